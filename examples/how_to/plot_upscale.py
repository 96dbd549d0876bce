"""
Enlarge a small picture
=======================

What the small picture leaves open is drawn: every sample is one plausible sharp image.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise

photo = torch.from_numpy(data.astronaut()[64:160, 176:272]).permute(2, 0, 1)[None] / 255
small = torch.nn.functional.avg_pool2d(photo, 2)
samples = scalewise.load("photos").upscale(small, factor=2, samples=2, seed=0)

figure, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained")
images = (small[0], samples[0, 0], samples[1, 0], photo[0])
for axis, name, image in zip(
    axes, ("small", "a sample", "another", "the photo"), images, strict=True
):
    axis.imshow(image.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set_title(name)
    axis.axis("off")
plt.show()
