"""
Clean a noisy photo
===================

White noise of 25 (of 255) is added to a part of a photo, and the packaged prior takes it away.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise

photo = torch.from_numpy(data.astronaut()[0:128, 160:288]).permute(2, 0, 1)[None] / 255
noisy = photo + 25 / 255 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
clean = scalewise.load("photos").denoise(noisy)

figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
for axis, name, image in zip(
    axes, ("photo", "noisy", "denoised"), (photo, noisy, clean), strict=True
):
    psnr = -10 * torch.log10((image - photo).square().mean())
    axis.imshow(image[0].clamp(0, 1).permute(1, 2, 0).numpy())
    axis.set_title(name if image is photo else f"{name}, {psnr:.1f} dB")
    axis.axis("off")
plt.show()
