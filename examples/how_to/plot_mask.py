"""
Denoise a part of a picture
===========================

For photographers who want the background smooth and everything else as it was. The mask says
where: 1 for all of it, 0 for nothing, and a soft border between. Where it is 0, not one value
changes.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise

photo = torch.from_numpy(data.astronaut()[20:212, 130:322]).permute(2, 0, 1)[None] / 255
noisy = photo + 25 / 255 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
rows, columns = torch.meshgrid(torch.arange(192.0), torch.arange(192.0), indexing="ij")
face = (((rows - 100) / 62) ** 2 + ((columns - 94) / 44) ** 2).sqrt()
mask = (5 * (face - 1)).clamp(0, 1)

picture, prior = scalewise.Picture(noisy.clamp(0, 1)), scalewise.load("photos")
cleaned = scalewise.restore.denoise(picture, prior, mask=mask).picture.pixels
same = (cleaned == picture.pixels).all(1)[0]

figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained")
axes[0].imshow(picture.pixels[0].permute(1, 2, 0).numpy())
axes[0].set_title("noisy")
axes[1].imshow(mask.numpy(), cmap="gray", vmin=0, vmax=1)
axes[1].set_title("mask")
axes[2].imshow(cleaned[0].clamp(0, 1).permute(1, 2, 0).numpy())
axes[2].set_title("denoised where the mask is white")
axes[3].imshow(same.numpy(), cmap="gray")
axes[3].set_title("white: exactly as before")
for axis in axes:
    axis.axis("off")
plt.show()
