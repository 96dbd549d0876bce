"""
Train a prior in seconds
========================

For whoever has images that are no photographs. Twelve crops of a picture of grass, small
networks, 120 steps per scale: enough to see the way, not to be good. The part of the picture that
was kept apart is denoised, beside the packaged model, which had hours. Half an hour and a start
from that is what :doc:`/own-data` advises.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage import data

import scalewise
from scalewise.metrics import psnr

grass = data.grass()
crops = np.stack(
    [grass[y : y + 120, x : x + 120] for y in range(0, 480, 120) for x in (0, 60, 120)]
)
with tempfile.TemporaryDirectory() as folder:
    np.save(Path(folder, "grass.npy"), crops)
    scalewise.train.train_model(
        Path(folder, "grass.npy"),
        Path(folder, "model"),
        levels=1,
        receptive_field=9,
        width=16,
        blocks=2,
        low_local=True,
        steps=120,
        warmup=10,
        crop=24,
        low_crop=32,
        low_batch=8,
        learning_rate=1e-2,
        low_learning_rate=1e-2,
        estimator_fraction=0.0,
        precision="float32",
        device="cpu",
    )
    prior = scalewise.load(Path(folder, "model"))

clean = torch.from_numpy(grass[100:228, 300:428])[None, None] / 255
noisy = clean + 50 / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
denoised = prior.denoise(noisy, 50 / 255)
packaged = scalewise.restore.denoise_plane(noisy[0], scalewise.load("photos"), noise=50 / 255)[0]

figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained")
images = {
    "unseen grass": clean,
    "noisy": noisy,
    "in seconds": denoised,
    "by photos": packaged[None],
}
for axis, (name, image) in zip(axes, images.items(), strict=True):
    axis.imshow(image[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
    axis.set_title(name if image is clean else f"{name}, {psnr(clean, image).item():.1f} dB")
    axis.axis("off")
plt.show()
