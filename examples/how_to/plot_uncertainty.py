"""
How far every pixel may be off
==============================

For whoever measures in pictures. The derivative of the networks tells the standard deviation of
every pixel given the noisy picture, without samples; beside it, the error that was made,
smoothed. Edges and texture are unsure, flat parts are not.
"""

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from skimage import data

import scalewise

photo = torch.from_numpy(data.astronaut()[40:168, 160:288]).permute(2, 0, 1)[None] / 255
noisy = photo + 50 / 255 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
restored = scalewise.restore.denoise(
    scalewise.Picture(noisy, depth="float32"),
    scalewise.load("photos"),
    sigma=50 / 255,
    uncertainty=True,
)
clean, deviation = restored.picture.pixels, restored.deviation.pixels
error = F.avg_pool2d((clean - photo).square(), 7, 1, 3).mean(1)[0].sqrt()

figure, axes = plt.subplots(1, 4, figsize=(13, 3.3), layout="constrained")
for axis, name, image in zip(axes, ("noisy", "cleaned"), (noisy, clean), strict=False):
    axis.imshow(image[0].clamp(0, 1).permute(1, 2, 0).numpy())
    axis.set_title(name)
told = deviation[0].square().mean(0).sqrt()
for axis, name, values in zip(
    axes[2:], ("deviation told", "true error, smoothed"), (told, error), strict=True
):
    shown = axis.imshow(255 * values.numpy(), cmap="magma", vmin=0, vmax=30)
    axis.set_title(f"{name}: {255 * values.square().mean().sqrt().item():.1f} of 255")
for axis in axes:
    axis.axis("off")
figure.colorbar(shown, ax=axes[3], label="of 255")
plt.show()
