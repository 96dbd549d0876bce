"""
From the nearest picture to the sharpest
========================================

For whoever finds the least-squares estimate too smooth. ``fidelity=1`` is the mean: the least
error. ``fidelity=0`` is as sharp as photographs are, at the least error that this costs; what
lies between is between. A sample is as sharp, and errs more.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise
from scalewise.metrics import psnr

sigma = 75 / 255
photo = torch.from_numpy(data.chelsea()[40:168, 100:228]).permute(2, 0, 1)[None] / 255
noisy = photo + sigma * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
posterior = scalewise.load("photos").posterior(noisy, sigma)

images = {"noisy": noisy}
images |= {f"fidelity {each:g}": posterior.faithful(each) for each in (1, 0.5, 0)}
images["a sample"] = posterior.samples(1, seed=0)[0]

figure, axes = plt.subplots(1, 5, figsize=(14.5, 3.3), layout="constrained")
for axis, (name, image) in zip(axes, images.items(), strict=True):
    axis.imshow(image[0].clamp(0, 1).permute(1, 2, 0).numpy())
    axis.set_title(f"{name}, {psnr(photo, image).item():.1f} dB")
    axis.axis("off")
plt.show()
