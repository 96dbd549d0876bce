"""
Fill scratches and holes
========================

For whoever restores scans. White in the mask is filled with what is likely there; every other
pixel stays exactly as it is. Two draws show what is sure and what is a guess.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data
from skimage.draw import line

import scalewise
from scalewise.metrics import psnr

photo = torch.from_numpy(data.astronaut()[206:270, 126:190]).permute(2, 0, 1)[None] / 255
mask = torch.zeros(64, 64)
for ends in ((5, 0, 40, 63), (60, 5, 12, 54), (0, 50, 63, 30)):
    rows, columns = line(*ends)
    for shift in range(-1, 2):
        mask[(torch.from_numpy(rows) + shift).clamp(0, 63), torch.from_numpy(columns)] = 1
mask[38:48, 10:20] = 1
scratched = torch.where(mask > 0, 1.0, photo)

filled = scalewise.restore.inpaint(
    scalewise.Picture(scratched), mask, scalewise.load("photos"), samples=2, seed=0
)

figure, axes = plt.subplots(1, 4, figsize=(12.5, 3.6), layout="constrained")
images = {"scratched": scratched, "photo": photo}
images |= {f"filled, draw {k}": each.pixels for k, each in enumerate(filled.pictures)}
for axis, (name, image) in zip(axes, images.items(), strict=True):
    axis.imshow(image[0].clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set_title(name if image is photo else f"{name}, {psnr(photo, image).item():.1f} dB")
    axis.axis("off")
plt.show()
