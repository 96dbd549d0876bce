"""
Another network
===============

For whoever has a better denoiser. A ``Denoiser`` and a ``ConditionalDenoiser`` per level make a
prior: they return images and bands, never residuals, and declare what they need. This one shrinks
each detail by Wiener's rule, with a variance that depends on how busy the low-pass image is
around it: two numbers per level, fitted to two photos. (Model folders hold the networks of
``store.NETWORKS`` alone.)
"""

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor, nn

from scalewise import MultiScalePrior
from scalewise.metrics import psnr
from scalewise.networks import Bands, ConditionalDenoiser, Denoiser
from scalewise.score import per_image
from scalewise.wavelets import split


def activity(low: Tensor) -> Tensor:
    """How much a low-pass image varies around each of its pixels, per channel."""
    padded = F.pad(low, [1] * 4, "replicate")
    return F.avg_pool2d(padded**2, 3, 1) - F.avg_pool2d(padded, 3, 1) ** 2


class Shrinkage(ConditionalDenoiser):
    noise_conditional, receptive_field = True, 3

    def __init__(self, channels: int, low: Tensor, details: Tensor) -> None:
        super().__init__(channels=channels)
        x, y = activity(low).repeat(1, 3, 1, 1).flatten(), details.square().flatten()
        slope = (x * y).sum() / (x * x).sum()
        self.line = nn.Parameter(torch.stack([slope, y.mean() / 50]), requires_grad=False)

    def forward(self, noisy, low, sigma=None, noisy_low=None):
        variance = self.line[0] * activity(low).repeat(1, 3, 1, 1) + self.line[1]
        level = sigma[0] if isinstance(sigma, tuple) else self.need(sigma)
        return Bands(noisy * variance / (variance + per_image(level, noisy) ** 2), low)


class Keep(Denoiser):
    """The low-pass image as it is: three levels up there is little noise in it."""

    noise_conditional, receptive_field = True, 1

    def __init__(self) -> None:
        super().__init__(channels=3)
        self.unit = nn.Parameter(torch.ones(()), requires_grad=False)  # tells device and type

    def forward(self, noisy, sigma=None):
        return noisy


photos = [
    torch.from_numpy(photo()).permute(2, 0, 1)[None] / 255 for photo in (data.coffee, data.rocket)
]
networks = []
for _ in range(3):
    lows, details = zip(*(split(photo) for photo in photos), strict=True)
    pairs = [torch.cat([each[..., :50, :75] for each in part]) for part in (lows, details)]
    networks.append(Shrinkage(3, *pairs))
    photos = list(lows)
prior = MultiScalePrior(Keep(), networks)

clean = torch.from_numpy(data.chelsea()[40:232, 100:292]).permute(2, 0, 1)[None] / 255
noisy = clean + 25 / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))

figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.8), layout="constrained")
images = {"photo": clean, "noisy": noisy, "by six numbers": prior.denoise(noisy, 25 / 255)}
for axis, (name, image) in zip(axes, images.items(), strict=True):
    axis.imshow(image[0].clamp(0, 1).permute(1, 2, 0).numpy())
    axis.set_title(name if image is clean else f"{name}, {psnr(clean, image).item():.1f} dB")
    axis.axis("off")
plt.show()
