"""
What a denoiser averages, and where
===================================

For whoever thinks of denoising as averaging. The derivative of the estimate of one pixel says
with which weights noisy pixels enter it: times σ² it is a row of the covariance of the clean
image given the noisy one. In flat places the average is wide; along an edge it follows the edge.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise

sigma, side = 25 / 255, 15
photo = torch.from_numpy(data.camera()[110:238, 40:168]).expand(3, -1, -1)[None] / 255
noisy = photo + sigma * torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
posterior = scalewise.load("photos").posterior(noisy, sigma).gray

figure, axes = plt.subplots(1, 4, figsize=(11.5, 3.1), layout="constrained")
axes[0].imshow(noisy[0, 0].clamp(0, 1).numpy(), cmap="gray")
axes[0].set_title("noisy")
places = {"flat sky": (20, 24), "an edge": (50, 22), "a dark coat": (70, 80)}
for axis, (name, (row, column)) in zip(axes[1:], places.items(), strict=True):
    one = torch.zeros(1, 1, 128, 128)
    one[0, 0, row, column] = 1
    weights = posterior.covariance(one)[0, 0] / sigma**2
    around = weights[row - side : row + side + 1, column - side : column + side + 1]
    limit = float(around.abs().max())
    axis.imshow(around.numpy(), cmap="coolwarm", vmin=-limit, vmax=limit)
    axis.set_title(f"{name}: largest weight {limit:.2f}")
    axes[0].plot(column, row, "r+")
for axis in axes:
    axis.axis("off")
plt.show()
