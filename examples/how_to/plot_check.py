"""
Is a cleaned picture any good?
==============================

For whoever cleaned a picture with any tool and has no truth to compare with. ``restore.check``
tells its PSNR without the truth, and whether noise was left or structure taken, scale by scale.
Here three strengths of total variation are checked; nobody tells the check what is true.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data, restoration

import scalewise
from scalewise.metrics import psnr

prior = scalewise.load("photos")
photo = torch.from_numpy(data.camera()[80:208, 160:288])[None, None] / 255
noise = 25 / 255 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
noisy = scalewise.Picture(photo + noise, depth="float32")
told = scalewise.NoiseModel.white(25 / 255)

figure, axes = plt.subplots(2, 3, figsize=(10.5, 6.2), layout="constrained", height_ratios=[2.4, 1])
for column, weight in zip(axes.T, (0.03, 0.1, 0.4), strict=True):
    smooth = restoration.denoise_tv_chambolle(noisy.pixels[0, 0].numpy(), weight)
    cleaned = scalewise.Picture(torch.from_numpy(smooth)[None, None], depth="float32")
    found = scalewise.restore.check(noisy, cleaned, prior, noise=told)
    print(f"weight {weight}:", *found.words, sep="\n  ")
    true = psnr(photo, cleaned.pixels).item()
    column[0].imshow(smooth, cmap="gray", vmin=0, vmax=1)
    column[0].set_title(f"{weight:g}: told {found.psnr:.1f} dB, true {true:.1f} dB")
    column[0].axis("off")
    column[1].bar(["2", "4", "8"], found.removed)
    column[1].axhline(1, color="k", linestyle="--")
    column[1].set(xlabel="size of structures in pixels", ylabel="removed / noise", ylim=(0, 2))
plt.show()
