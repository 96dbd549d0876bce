"""
From the mosaic of a camera to a picture
========================================

For whoever works with raw files. Each pixel counted one colour, and noise: both are mended in one
step, where the noise is still white. A file of a camera comes from ``scalewise.images.read_raw``;
here a mosaic is made of a photo, taken for linear light of 2,000 photo-electrons at white.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise
from scalewise.images import Mosaic
from scalewise.images.srgb import to_srgb
from scalewise.metrics import psnr
from scalewise.operators import Demosaicking

photo = torch.from_numpy(data.coffee()[60:188, 290:418]).permute(2, 0, 1)[None] / 255
light = photo**2.2
mosaicking = Demosaicking("RGGB")
counted = (
    torch.poisson(2000 * mosaicking.A(light), generator=torch.Generator().manual_seed(0)) / 2000
)

picture = scalewise.restore.demosaic(Mosaic(counted[0, 0], "RGGB"), scalewise.load("photos"))
print("\n".join(picture.notes))

interpolated = to_srgb(mosaicking.fill(counted).clamp(0, 1))
truth = to_srgb(light)
figure, axes = plt.subplots(1, 4, figsize=(12.5, 3.6), layout="constrained")
axes[0].imshow(to_srgb(counted.clamp(0, 1))[0, 0].numpy(), cmap="gray")
axes[0].set_title("mosaic")
images = {"photo": truth, "interpolated": interpolated, "Scalewise": picture.picture.pixels}
for axis, (name, image) in zip(axes[1:], images.items(), strict=True):
    axis.imshow(image[0, :, 30:94, 30:94].clamp(0, 1).permute(1, 2, 0).numpy())
    axis.set_title(name if image is truth else f"{name}, {psnr(truth, image).item():.1f} dB")
for axis in axes:
    axis.axis("off")
plt.show()
