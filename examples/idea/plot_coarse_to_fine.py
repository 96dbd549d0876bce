"""
Synthesis, coarse to fine
=========================

For whoever wants to see the equation at work: four faces from noise alone. A network that sees
all of it draws the low-pass image, which is small; then local networks draw the details of each
level given what is there, and merge them.
"""

import matplotlib.pyplot as plt

import scalewise

prior = scalewise.load("faces")
stages = {}
prior.sample(4, seed=8, callback=lambda level, images: stages.setdefault(level, images))

figure, axes = plt.subplots(3, 4, figsize=(8.4, 6.8), layout="constrained")
for row, (level, images) in zip(axes, sorted(stages.items(), reverse=True), strict=True):
    height, width = images.shape[-2:]
    for axis, image in zip(row, images, strict=True):
        axis.imshow(image.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set(xticks=[], yticks=[])
    row[0].set_ylabel(f"$x_{level}$, {width}×{height}")
plt.show()
