"""
A stack of frames
=================

For whoever records sequences. Planes of a picture (frames, slices) are denoised one by one, each
with its own noise; the file's axes stay. Here the light fades, so each frame has more noise than
the last. Frames do not lend each other anything: what moves is never smeared.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise
from scalewise.metrics import psnr

coins = torch.from_numpy(data.coins())[None] / 255
frames = torch.stack([coins[:, 20:148, start : start + 128] for start in (20, 50, 80, 110)])
levels = torch.tensor([10.0, 20.0, 40.0, 60.0]).view(4, 1, 1, 1) / 255
noisy = frames + levels * torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))

cleaned = scalewise.restore.denoise(scalewise.Picture(noisy), scalewise.load("photos"))

figure, axes = plt.subplots(2, 4, figsize=(11, 5.8), layout="constrained")
for frame in range(4):
    axes[0, frame].set_title(f"frame {frame + 1}, noise of {255 * levels[frame].item():g}")
    axes[0, frame].imshow(noisy[frame, 0].numpy(), cmap="gray", vmin=0, vmax=1)
    gained = psnr(frames, cleaned.picture.pixels)[frame].item()
    axes[1, frame].set_title(f"{255 * cleaned.sigma[frame]:.1f} found; {gained:.1f} dB")
    axes[1, frame].imshow(cleaned.picture.pixels[frame, 0].numpy(), cmap="gray", vmin=0, vmax=1)
for axis in axes.flat:
    axis.axis("off")
plt.show()
