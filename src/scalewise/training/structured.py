"""Noise that is not white, to train with: what cameras, interpolation and compression make.

White noise is mixed between channels, blurred, scaled by channel and by how bright the image is.
The networks are told its deviation in their own bands, measured on the noise itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scalewise.noise import NoiseLevels
from scalewise.wavelets import GAIN, decompose, low_pass

CHANNELS_SPREAD = 0.35
"""Standard deviation of the logarithm of how strong the noise of a channel is."""

DARKEST = 0.02
"""Least variance of noise that grows with brightness, over that of middle gray."""


def structured_noise(
    images: Tensor,
    white: Tensor,
    chosen: Tensor,
    levels: int,
    wavelet: str,
    generator: torch.Generator,
) -> tuple[Tensor, NoiseLevels]:
    """Shape the white noise of some images; the others keep it.

    Args:
        images: clean, shape (N, C, H, W), sides multiples of `2 ** levels`.
        white: standard white noise for them; for gray images the same in all channels.
        chosen: which images, bool (N, 1, 1, 1).
        levels: how many levels of details to tell the deviation of.
        wavelet: between the levels.
        generator: of what each image's noise is like.

    Returns:
        The noise, of deviation about 1 in each image, and what it is in each level, as full maps.
    """
    chance = torch.rand(4, len(images), 1, 1, 1, generator=generator).to(images.device)
    strength = torch.randn(*images.shape[:2], 1, 1, generator=generator).to(images.device)
    gray = (white == white[:, :1]).flatten(1).all(dim=1).view(-1, 1, 1, 1)
    common = white[:, -1:].flip(0)  # that of another image
    alike = _in_half(chance[0])
    shaped = (1 - alike).sqrt() * white + alike.sqrt() * common
    shaped = _blurred(shaped, chance[1] / 3, _in_half(chance[2]) / 3)
    shaped = shaped * torch.where(gray, 1.0, (CHANNELS_SPREAD * strength).exp())
    shaped = shaped / shaped.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    bright = _in_half(chance[3])
    low, details = decompose(shaped, levels, wavelet)

    def deviation(bands: Tensor, level: int) -> Tensor:
        """Of one level's bands (N, C or 3C, h, w), as a map (N, C, h, w)."""
        parts = bands.unflatten(1, (-1, images.shape[1])).square().mean(dim=(1, 3, 4)).sqrt()
        there = _brightness(low_pass(images, level, wavelet), bright)
        return torch.where(chosen, parts[:, :, None, None] * there, GAIN**level)

    told = tuple(deviation(bands, level) for level, bands in enumerate(details, start=1))
    noise = torch.where(chosen, shaped * _brightness(images, bright), white)
    return noise, NoiseLevels(told, deviation(low, levels))


def _in_half(chance: Tensor) -> Tensor:
    """A number that is 0 in half of the images, and from 0 to 1 in the others."""
    return (2 * chance - 1).clamp(min=0)


def _brightness(images: Tensor, share: Tensor) -> Tensor:
    """Deviation of noise of which a share grows with brightness, as photon noise does."""
    return ((1 - share) + 2 * share * images).clamp(min=DARKEST).sqrt()


def _blurred(noise: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """Noise blurred by symmetric filters: weights of the next pixels, and of those beyond."""
    for axis in (-1, -2):
        for distance, weight in ((1, near), (2, far)):
            around = noise.roll(distance, axis) + noise.roll(-distance, axis)
            noise = (1 - 2 * weight) * noise + weight * around
    return noise
