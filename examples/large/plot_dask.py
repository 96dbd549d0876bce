"""
Lazy arrays
===========

For whoever works with Dask: an array goes in, an array comes out, and nothing is computed until it
is asked for; then only what it takes. Here one corner of an image is enlarged by four, and the rest
never is.
"""

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from skimage import data

import scalewise

photo = data.chelsea()[40:168, 100:292].transpose(2, 0, 1)[None] / 255
small = da.from_array(photo.astype(np.float32), chunks=(1, 3, 64, 64))
large = scalewise.load("photos").upscale_mean(small, 4)
corner = large[0, :, 100:340, 300:560].compute()

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
axes[0].imshow(photo[0, :, 25:85, 75:140].transpose(1, 2, 0))
axes[0].set_title("a corner")
axes[1].imshow(corner.clip(0, 1).transpose(1, 2, 0))
axes[1].set_title(f"of {large.shape[3]}×{large.shape[2]} pixels, the only part computed")
for axis in axes:
    axis.axis("off")
plt.show()
