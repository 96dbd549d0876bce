"""
Enlarged pictures agree with the small one
==========================================

For whoever must not invent data that contradict the measurement. Details are drawn, the low-pass
image is given: so every enlarged picture, reduced again by averaging, is the small picture to
float precision. A bicubic enlargement is not.
"""

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from skimage import data

import scalewise

photo = torch.from_numpy(data.coffee()[60:188, 260:388]).permute(2, 0, 1)[None] / 255
small = F.avg_pool2d(photo, 4)
bicubic = F.interpolate(small, scale_factor=4, mode="bicubic")
sample = scalewise.load("photos").upscale(small, factor=4, seed=0)[0]

figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
for pair, name, large in zip(
    (axes[:2], axes[2:]), ("bicubic", "a sample"), (bicubic, sample), strict=True
):
    off = (F.avg_pool2d(large, 4) - small).abs().mean(1)[0]
    pair[0].imshow(large[0].clamp(0, 1).permute(1, 2, 0).numpy())
    pair[0].set_title(name)
    shown = pair[1].imshow(255 * off.numpy(), cmap="magma", vmin=0, vmax=12)
    pair[1].set_title(f"reduced, off by up to {255 * float(off.max()):.2g} of 255")
for axis in axes:
    axis.axis("off")
figure.colorbar(shown, ax=axes[3], label="of 255")
plt.show()
