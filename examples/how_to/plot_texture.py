"""
A texture of any size, without a seam
=====================================

For whoever needs a surface: a floor, a lawn, a background. The packaged ``gravel`` learnt one
picture of gravel, by networks that see a window around each pixel and no whole image, so it draws
any size. With ``periodic`` its networks see across the borders, and the image tiles the plane.
"""

import matplotlib.pyplot as plt
import torch

import scalewise

prior = scalewise.load("gravel")
tile = prior.sample(1, seed=0, size=(128, 192), periodic=True)[0, 0]
alone = prior.sample(1, seed=0, size=(128, 192))[0, 0]


def across(image: torch.Tensor) -> float:
    """Mean squared step from the last column to the first, over that between other columns."""
    steps = (image - image.roll(1, 1)).square().mean(dim=0)
    return float(steps[0] / steps[1:].mean())


figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for axis, (name, image) in zip(axes, {"periodic": tile, "not": alone}.items(), strict=True):
    axis.imshow(image.clamp(0, 1).tile(2, 2).numpy(), cmap="gray", vmin=0, vmax=1)
    axis.set_title(f"{name}, laid 2x2: step across the border {across(image):.1f} of one inside")
    axis.axis("off")
plt.show()
