"""
Sharpen a blurred picture
=========================

For whoever knows the blur: a Gaussian, or any kernel (a point spread function). Noise is not
blown up, as the filters of libraries do. The baseline is Wiener's filter with the best of six
weights, chosen by the truth.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data, restoration

import scalewise
from scalewise.metrics import psnr
from scalewise.operators import Blur

photo = torch.from_numpy(data.camera()[108:172, 204:268])[None, None] / 255
blur = Blur.gaussian(1.6)
noise = 2 / 255 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
soft = blur.A(photo) + noise

sharp = scalewise.restore.deblur(
    scalewise.Picture(soft), blur, scalewise.load("photos"), sigma=2 / 255
).picture.pixels

kernel, image = blur.kernel.numpy(), soft[0, 0].double().numpy()
wiener = [
    torch.from_numpy(restoration.wiener(image, kernel, balance, clip=False))[None, None]
    for balance in (0.003, 0.01, 0.03, 0.1, 0.3, 1)
]
inner = (..., slice(8, -8), slice(8, -8))  # Wiener's filter takes borders for periodic
best = max(wiener, key=lambda each: psnr(photo[inner], each[inner]).item())

figure, axes = plt.subplots(1, 4, figsize=(12.5, 3.6), layout="constrained")
images = {"photo": photo, "blurred": soft, "Wiener's filter": best, "deblurred": sharp}
for axis, (name, image) in zip(axes, images.items(), strict=True):
    axis.imshow(image[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
    axis.set_title(
        name if image is photo else f"{name}, {psnr(photo[inner], image[inner]).item():.1f} dB"
    )
    axis.axis("off")
plt.show()
