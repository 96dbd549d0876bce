"""
Dead pixels and stripes
=======================

For whoever has a sensor that ages. Dead pixels and stripes are no noise, and a network taught
noise takes them for picture: they are named when found, and removed first by ``fix``.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise
from scalewise.metrics import psnr
from scalewise.restore import find_defects

generator = torch.Generator().manual_seed(1)
photo = torch.from_numpy(data.moon()[80:336, 60:316])[None, None] / 255
noisy = photo + 10 / 255 * torch.randn(photo.shape, generator=generator)
noisy = noisy + 8 / 255 * torch.randn(1, 1, 1, 256, generator=generator)
dead = torch.rand(photo.shape, generator=generator) < 0.015
noisy = torch.where(dead, (torch.rand(photo.shape, generator=generator) > 0.5).float(), noisy)
print("\n".join(find_defects(noisy[0])))

prior, picture = scalewise.load("photos"), scalewise.Picture(noisy)
plain = scalewise.restore.denoise(picture, prior).picture.pixels
fixed = scalewise.restore.denoise(picture, prior, fix=("impulses", "stripes")).picture.pixels

figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained")
images = {"picture": photo, "as recorded": noisy, "denoised": plain, "fixed, then denoised": fixed}
for axis, (name, image) in zip(axes, images.items(), strict=True):
    axis.imshow(image[0, 0].numpy(), cmap="gray", vmin=0.1, vmax=0.8)
    axis.set_title(name if image is photo else f"{name}, {psnr(photo, image).item():.1f} dB")
    axis.axis("off")
plt.show()
