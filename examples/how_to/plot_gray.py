"""
A gray picture
==============

For whoever has gray pictures: gray goes in and gray comes out, by a model of gray pictures that
``photos`` asks in its place. The noise is estimated; the title says what was found and what was
true.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise
from scalewise.metrics import psnr

photo = torch.from_numpy(data.camera()[70:230, 180:340])[None, None] / 255
noisy = photo + 40 / 255 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
cleaned = scalewise.restore.denoise(scalewise.Picture(noisy), scalewise.load("photos"))

figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.8), layout="constrained")
names = ("photo", "noise of 40", f"cleaned, {255 * cleaned.sigma[0]:.1f} found")
for axis, name, image in zip(axes, names, (photo, noisy, cleaned.picture.pixels), strict=True):
    axis.imshow(image[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
    axis.set_title(name if image is photo else f"{name}, {psnr(photo, image).item():.1f} dB")
    axis.axis("off")
plt.show()
