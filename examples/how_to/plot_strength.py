"""
How much noise to remove
========================

For photographers. Strength is no blend of before and after: the networks are told so many times
the noise, in brightness and in colour apart, so that colour blotches go while fine structure
stays. ``grain`` puts a share of the finest brightness noise back.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise
from scalewise.restore import Strength

photo = torch.from_numpy(data.chelsea()[70:198, 130:258]).permute(2, 0, 1)[None] / 255
noisy = photo + 30 / 255 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
picture, prior = scalewise.Picture(noisy), scalewise.load("photos")

choices = {
    "all": Strength(),
    "luma 0.5, chroma 1": Strength(luma=0.5),
    "grain 0.4": Strength(grain=0.4),
    "luma and chroma 1.5": Strength(1.5, 1.5),
}
images = {"noisy": noisy}
for name, strength in choices.items():
    images[name] = scalewise.restore.denoise(picture, prior, strength=strength).picture.pixels

figure, axes = plt.subplots(1, 5, figsize=(14, 3.2), layout="constrained")
for axis, (name, image) in zip(axes, images.items(), strict=True):
    axis.imshow(image[0].clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set_title(name)
    axis.axis("off")
plt.show()
