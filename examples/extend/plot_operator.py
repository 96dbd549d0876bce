"""
Another measurement
===================

For whoever has an instrument of their own. An operator is anything linear with ``A`` and its
transpose ``A_adjoint``. This one is a camera that moved by half a pixel of its own between four
frames: together they tell more than one frame, and a prior tells the rest.
"""

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor

import scalewise
from scalewise.metrics import psnr
from scalewise.operators import Downscaling
from scalewise.samplers import Multistep


class Frames:
    """Means of 4x4 pixels of shifted images; frames follow each other as channels."""

    shifts = ((0, 0), (0, 2), (2, 0), (2, 2))

    def __init__(self, side: int, count: int) -> None:
        self.shifts = self.shifts[:count]
        self.reduce = Downscaling((side, side), (side // 4, side // 4), "mean")

    def A(self, x: Tensor) -> Tensor:
        return torch.cat([self.reduce.A(x.roll(shift, (2, 3))) for shift in self.shifts], dim=1)

    def A_adjoint(self, y: Tensor) -> Tensor:
        back = zip(y.chunk(len(self.shifts), dim=1), self.shifts, strict=True)
        return sum(self.reduce.A_adjoint(each).roll((-a, -b), (2, 3)) for each, (a, b) in back)


photo = torch.from_numpy(data.camera()[100:164, 200:264])[None, None] / 255
prior, generator = scalewise.load("photos"), torch.Generator().manual_seed(0)
images, quick = {}, Multistep(30.0, 0.004, steps=14, eta=1.0)  # half of the default's steps
for count in (1, 4):
    camera = Frames(64, count)
    frames = camera.A(photo)
    frames = frames + 2 / 255 * torch.randn(frames.shape, generator=generator)
    name = "one frame" if count == 1 else "four frames"
    images[f"from {name}"] = prior.restore(frames, camera, noise=2 / 255, rule=quick)
bicubic = F.interpolate(frames[:, :1], scale_factor=4, mode="bicubic")
images = {"a frame": frames[:, :1], "bicubic": bicubic} | images | {"photo": photo}

figure, axes = plt.subplots(1, 5, figsize=(14, 3.2), layout="constrained")
for axis, (name, image) in zip(axes, images.items(), strict=True):
    axis.imshow(image[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
    axis.set_title(
        name if name in ("a frame", "photo") else f"{name}, {psnr(photo, image).item():.1f} dB"
    )
    axis.axis("off")
plt.show()
