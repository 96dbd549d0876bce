"""Noise that is not white, to train with: what cameras, interpolation and compression make.

White noise is mixed between channels, blurred, scaled by channel and by how bright the image is; or
a camera takes the image (`scalewise.training.camera`). The networks are told the deviation of the
noise in their own bands, measured on the noise itself.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from scalewise.noise import NoiseLevels
from scalewise.training.camera import draw_camera
from scalewise.training.chance import Chance
from scalewise.wavelets import GAIN, decompose, low_pass

CHANNELS_SPREAD = 0.35
"""Standard deviation of the logarithm of how strong the noise of a channel is."""

DARKEST = 0.02
"""Least variance of noise that grows with brightness, over that of middle gray."""

TAKEN = 0.4
"""Share of such noise that is a camera's."""

STRONGEST = 0.15
"""Deviation of a camera's noise, at most."""


class Structured(NamedTuple):
    """What a batch of noise is.

    Attributes:
        noise: what chance adds, shape (N, C, H, W).
        unseen: what a camera changes without any noise, by mosaic and compression.
        told: deviation of `noise` in the bands of each level, as full maps.
    """

    noise: Tensor
    unseen: Tensor
    told: NoiseLevels


def structured_noise(
    images: Tensor,
    white: Tensor,
    sigma: Tensor,
    chosen: Tensor,
    levels: int,
    wavelet: str,
    chance: Chance,
    *,
    taken: float = TAKEN,
) -> Structured:
    """Shape the white noise of some images; the others keep it.

    Args:
        images: clean, shape (N, C, H, W), sides multiples of `2 ** levels`.
        white: standard white noise for them; for gray images the same in all channels.
        sigma: deviation of the noise, shape (N, 1, 1, 1).
        chosen: which images, bool (N, 1, 1, 1).
        levels: how many levels of details to tell the deviation of.
        wavelet: between the levels.
        chance: of what each image's noise is like.
        taken: share of the chosen images whose noise is a camera's.
    """
    lows = [low_pass(images, level, wavelet) for level in range(levels + 1)]
    share = _in_half(chance.uniform(1, 1, 1).to(images.device))
    growth = [_brightness(low, share).expand_as(low).clone() for low in lows]
    noise = sigma * _shaped(white, chance) * growth[0]
    unseen = torch.zeros_like(noise)
    by_cameras = chosen & (chance.uniform(1, 1, 1) < taken).to(chosen.device)
    generators = chance.generators()
    for index in by_cameras.flatten().nonzero().flatten().tolist():
        generator = generators[index]
        image = images[index].cpu()
        plain = image[:1] if bool((image == image[:1]).all()) else image
        camera = draw_camera(plain, min(STRONGEST, float(sigma[index])), generator)
        still = camera.take(plain, None)
        noise[index] = camera.take(plain, generator) - still
        unseen[index] = still - plain
        for low, there in zip(lows, growth, strict=True):
            there[index] = camera.noise_at(low[index])
    low, details = decompose(noise / growth[0], levels, wavelet)

    def told(bands: Tensor, level: int) -> Tensor:
        """Of one level's bands (N, C or 3C, h, w), as a map (N, C, h, w)."""
        parts = bands.unflatten(1, (-1, images.shape[1])).square().mean(dim=(1, 3, 4)).sqrt()
        return torch.where(chosen, parts[:, :, None, None] * growth[level], GAIN**level * sigma)

    each = tuple(told(bands, level) for level, bands in enumerate(details, start=1))
    noise = torch.where(chosen, noise, sigma * white)
    return Structured(noise, unseen, NoiseLevels(each, told(low, levels)))


def _shaped(white: Tensor, chance: Chance) -> Tensor:
    """Noise of deviation 1 with a spectrum, and relations between channels, of its own."""
    drawn = chance.uniform(4, 1, 1, 1).movedim(1, 0).to(white.device)
    channels = white.shape[1]
    strength = chance.each(lambda n, g: torch.randn(n, channels, 1, 1, generator=g))
    strength = strength.to(white.device)
    gray = (white == white[:, :1]).flatten(1).all(dim=1).view(-1, 1, 1, 1)
    common = chance.normal(white[:, :1])
    alike = _in_half(drawn[0])
    near, far = drawn[1] / 3, _in_half(drawn[2]) / 3
    coarser = _in_half(drawn[3])  # colours, as cameras that smooth them leave it
    own = _blurred(
        white, torch.lerp(near, near.new_tensor(1 / 3), coarser), far.maximum(coarser / 3)
    )
    shaped = (1 - alike).sqrt() * own + alike.sqrt() * _blurred(common, near, far)
    shaped = shaped * torch.where(gray, 1.0, (CHANNELS_SPREAD * strength).exp())
    return shaped / shaped.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()


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
