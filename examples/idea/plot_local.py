"""
Why local is enough
===================

For the physicist. In a Gaussian field with the spectrum of photographs the best estimates are
linear, and their weights known. Under strong noise the best estimate of a pixel looks far around.
That of a detail, given the low-pass image, hardly looks beyond its neighbours: what was far is in
the low-pass image already. So a small receptive field is enough for details. Colours are
logarithmic, over five decades; a side is in pixels of its own scale, half as fine for details.
"""

import matplotlib.pyplot as plt
import torch

from scalewise.exact import gaussian_prior, power_law_spectrum

spectrum = 0.2**2 * power_law_spectrum((128, 128), corner=1 / 128)
flat, prior = gaussian_prior(spectrum, levels=0), gaussian_prior(spectrum, levels=1)
sigma = 0.4

impulse = torch.zeros(1, 1, 128, 128, dtype=torch.float64)
impulse[0, 0, 64, 64] = 1
pixels = flat.denoise(0.5 + impulse, sigma)[0, 0] - 0.5

impulse = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
impulse[0, 0, 32, 32] = 1
low = torch.full((1, 1, 64, 64), 0.5, dtype=torch.float64)
details = prior.conditionals[0](impulse, low, sigma / 2).details[0, 0]

figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.6), layout="constrained")
reach = torch.arange(0, 25)
for axis, weights, middle, name in (
    (axes[0], pixels, 64, "a pixel"),
    (axes[1], details, 32, "a detail, given the low-pass image"),
):
    part = (weights / weights.max())[middle - 12 : middle + 13, middle - 12 : middle + 13]
    axis.imshow((part.abs() + 1e-9).log10().numpy(), vmin=-5, vmax=0)
    axis.set_title(f"weights for {name}")
    axis.axis("off")
    squares = weights[middle - 24 : middle + 25, middle - 24 : middle + 25] ** 2
    far = (reach[:, None] - 24).abs()
    inside = [squares[24 - r : 25 + r, 24 - r : 25 + r].sum() / squares.sum() for r in range(25)]
    axes[2].semilogy(2 * reach + 1, [max(1e-12, float(1 - part)) for part in inside], label=name)
axes[2].axvline(9, color="gray", linestyle=":")
axes[2].set(
    xlabel="side of the square looked at", ylabel="share of squared weights beyond", xlim=(1, 45)
)
axes[2].set_ylim(1e-7, 1)
axes[2].legend(fontsize=8)
plt.show()
