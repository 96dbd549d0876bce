r"""
Same low-pass image, other details
==================================

For whoever asks what a conditional probability of images looks like: :math:`p(\bar x_1 | x_1)`,
drawn four times. The low-pass image is the same; where it leaves no doubt, so are the details;
fur and the light in the eye differ, as they may. The map is the standard deviation of sixteen
draws.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise
from scalewise.wavelets import split

photo = torch.from_numpy(data.chelsea()[60:156, 130:226]).permute(2, 0, 1)[None] / 255
low, _ = split(photo)
samples = scalewise.load("photos").upscale(low, factor=2, samples=16, seed=0)[:, 0]

figure, axes = plt.subplots(2, 5, figsize=(12, 5), layout="constrained")
for number in range(4):
    image = samples[number]
    bands = split(image[None])[1][0, 3:6]  # of three colours: horizontal, vertical, diagonal
    axes[0, number + 1].imshow(image.clamp(0, 1).permute(1, 2, 0).numpy())
    axes[0, number + 1].set_title(f"sample {number}")
    axes[1, number + 1].imshow((0.5 + 3 * bands).clamp(0, 1).permute(1, 2, 0).numpy())
    axes[1, number + 1].set_title("its vertical details")
axes[0, 0].imshow(low[0].permute(1, 2, 0).numpy(), interpolation="nearest")
axes[0, 0].set_title("$x_1$, given")
axes[1, 0].imshow(samples.std(0).mean(0).numpy(), cmap="magma")
axes[1, 0].set_title("deviation of 16 samples")
for axis in axes.flat:
    axis.axis("off")
plt.show()
