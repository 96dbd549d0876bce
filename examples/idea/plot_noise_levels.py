r"""
Noise falls by half from scale to scale
=======================================

For the engineer who wonders why coarse scales are easy. White noise of deviation σ in an image
has :math:`\sigma / 2^j` in every band of level ``j``, while the structure of photographs does not
fade: so a noisy photograph is nearly clean three levels up.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

from scalewise.wavelets import decompose, low_pass

sigma = 50 / 255
photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None] / 255
noise = sigma * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))

levels = range(1, 6)
of_noise = [255 * float(bands.std()) for bands in decompose(noise, 5)[1]]
of_photo = [255 * float(bands.std()) for bands in decompose(photo, 5)[1]]

figure, axes = plt.subplots(
    1, 5, figsize=(13, 3), layout="constrained", width_ratios=[1.5, 1, 1, 1, 1]
)
axes[0].semilogy(levels, [50 / 2**level for level in levels], "k--", label=r"$\sigma / 2^j$")
axes[0].semilogy(levels, of_noise, "o", label="noise, measured")
axes[0].semilogy(levels, of_photo, "s-", label="details of the photo")
axes[0].set(
    xlabel="level $j$",
    ylabel="standard deviation (of 255)",
    xticks=list(levels),
    yticks=[2, 5, 10, 20, 30],
)
axes[0].yaxis.set_major_formatter("{x:g}")
axes[0].minorticks_off()
axes[0].legend(fontsize=8)
for level, axis in enumerate(axes[1:]):
    part = low_pass(photo + noise, level)[0, :, : 512 >> level, : 512 >> level]
    axis.imshow(part.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set_title(f"$x_{level}$, noise of {50 / 2**level:g}")
    axis.axis("off")
plt.show()
