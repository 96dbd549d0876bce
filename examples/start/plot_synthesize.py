"""
Draw images from noise alone
============================

For whoever wants to see what a prior has learnt: six faces that nobody has, and that nobody
chose. The size is that of the training images, and sample ``i`` of a seed is always the same.
"""

import matplotlib.pyplot as plt

import scalewise

faces = scalewise.load("faces").sample(6, seed=0)

figure, axes = plt.subplots(2, 3, figsize=(7.5, 5.4), layout="constrained")
for number, (axis, face) in enumerate(zip(axes.flat, faces, strict=True)):
    axis.imshow(face.clamp(0, 1).permute(1, 2, 0).numpy())
    axis.set_title(f"sample {number}")
    axis.axis("off")
plt.show()
