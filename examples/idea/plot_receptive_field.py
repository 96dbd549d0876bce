"""
What one output of a network sees
=================================

For whoever wants proof that a network is local. Each network declares its receptive field, and
``probe_receptive_field`` finds the true one by gradients. Below, how much the estimate of one
detail depends on each noisy detail around it and on the low-pass image: beyond the square, not at
all.
"""

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Rectangle
from skimage import data

import scalewise
from scalewise.networks import probe_receptive_field
from scalewise.wavelets import split

prior = scalewise.load("photos")
for level, network in enumerate(prior.conditionals, start=1):
    print(
        f"level {level}: declares {network.receptive_field}, has {probe_receptive_field(network)}"
    )

photo = torch.from_numpy(data.astronaut()[90:154, 200:264]).permute(2, 0, 1)[None] / 255
low, details = (bands.requires_grad_() for bands in split(photo))
network = prior.conditionals[0]
middle = network(details, low, 0.05).details[0, :, 16, 16].sum()
on_details, on_low = torch.autograd.grad(middle, (details, low))

figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.8), layout="constrained")
names = ("depends on these noisy details", "and on this low-pass image")
for axis, name, gradient in zip(axes, names, (on_details, on_low), strict=True):
    influence = gradient[0].abs().sum(0)
    shown = axis.imshow((influence / influence.max() + 1e-7).log10().numpy(), vmin=-4, vmax=0)
    half = network.receptive_field / 2
    axis.add_patch(Rectangle((16 - half, 16 - half), 2 * half, 2 * half, fill=False, color="white"))
    axis.set_title(name)
figure.colorbar(shown, ax=axes, label="log10 of the derivative, over the largest")
plt.show()
