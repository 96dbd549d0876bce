"""
Enlarge by any factor, knowing the filter
=========================================

For whoever has a picture that a program reduced, here to 5/8 by a bicubic filter.
``restore.enlarge`` takes any size and any filter that it knows: reduced again by the same filter,
the output is the input.
"""

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from skimage import data

import scalewise
from scalewise.metrics import psnr
from scalewise.operators import Downscaling

photo = torch.from_numpy(data.astronaut()[74:138, 190:254]).permute(2, 0, 1)[None] / 255
reduction = Downscaling((64, 64), (40, 40), "bicubic")
small = reduction.A(photo)
restored = scalewise.restore.enlarge(
    scalewise.Picture(small, depth="float32"),
    (64, 64),
    "bicubic",
    scalewise.load("photos"),
    samples=None,
)
large = restored.picture.pixels
bicubic = F.interpolate(small, size=(64, 64), mode="bicubic")

figure, axes = plt.subplots(1, 4, figsize=(12.5, 3.6), layout="constrained")
images = {"small": small, "bicubic": bicubic, "enlarged": large, "photo": photo}
for axis, (name, image) in zip(axes, images.items(), strict=True):
    axis.imshow(image[0].clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set_title(
        name if name in ("small", "photo") else f"{name}, {psnr(photo, image).item():.1f} dB"
    )
    axis.axis("off")
off = 255 * float((reduction.A(large) - small).abs().max())
figure.supxlabel(f"reduced again, the enlarged picture differs by at most {off:.1g} of 255")
plt.show()
