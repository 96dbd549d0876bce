"""
The ways in which a picture may be wrong
========================================

For whoever asks what a cleaned picture leaves open. Pixels do not err one by one: the main
directions of the covariance are whole changes of the picture. Each row is one, taken away and
added at three times its deviation, so that it can be seen.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise

sigma, (top, left, side) = 75 / 255, (16, 16, 32)
photo = torch.from_numpy(data.astronaut()[74:138, 186:250]).permute(2, 0, 1)[None] / 255
noisy = photo + sigma * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
posterior = scalewise.load("photos").posterior(noisy, sigma)
mean = posterior.mean()
found = posterior.directions(2, region=(top, left, side, side), rounds=8)

figure, axes = plt.subplots(2, 5, figsize=(12.5, 5.2), layout="constrained")
for row, first, variance, image in zip(
    axes, (noisy, photo), found.variances[0], found.images, strict=True
):
    step = 3 * variance.sqrt() * image
    for axis, picture in zip(row, (first, mean - step, mean, mean + step, image), strict=True):
        part = picture[0, :, top : top + side, left : left + side]
        if picture is image:
            limit = float(part.mean(0).abs().max())
            axis.imshow(part.mean(0).numpy(), cmap="coolwarm", vmin=-limit, vmax=limit)
        else:
            axis.imshow(part.clamp(0, 1).permute(1, 2, 0).numpy())
        axis.axis("off")
names = ("noisy", "− 3 deviations", "mean", "+ 3 deviations", "main direction")
for number, name in enumerate(names):
    axes[0, number].set_title(name)
axes[1, 0].set_title("the photo")
axes[1, 4].set_title("the second")
plt.show()
