"""Learning from noisy images alone: from each, two whose noises have nothing to do with each other.

Of `y = x + n` and noise `m` drawn like `n`, `y + a m` and `y - m / a` have uncorrelated noises, so
that to predict the second from the first is, but for a constant, to predict `x` (recorrupted pairs:
Pang et al., "Recorrupted-to-Recorrupted", CVPR 2021). As `a` goes to 0 the loss goes to Stein's
unbiased estimate of the error of denoising `y` itself; with `m` and `-m` side by side what is large
in it cancels (Stein 1981; Monfort, Tachella et al., "Generalized recorrupted-to-recorrupted", ICLR
2025). A coarse scale has less noise, so there the second image is nearly clean.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from scalewise.noise import NoiseLevels
from scalewise.training.batches import Noise
from scalewise.training.chance import Chance

SHARES = (0.1, 1.5)
"""Least and most of the noise that is added, in deviations of the noise that is there."""


class Recorrupted(NamedTuple):
    """Two noisy images of each image, whose noises are uncorrelated.

    Attributes:
        noisy: what to denoise, shape (N, C, H, W).
        target: what to compare the estimate with.
        own: noise of the images.
        told: noise of `noisy`.
        added: noise of `target` that is known, to leave out of the loss.
    """

    noisy: Tensor
    target: Tensor
    own: NoiseLevels
    told: NoiseLevels
    added: Tensor


def recorrupted(images: Tensor, noise: Noise, chance: Chance) -> Recorrupted:
    """Make pairs of noisy images, each added noise in both directions.

    Args:
        images: noisy, shape (N, C, H, W) of one scale.
        noise: what is in them; not read off them, or it tells of the noise that is in `target` too.
        chance: of how much of it is added.

    Returns:
        `2 N` pairs.
    """
    low, high = map(math.log, SHARES)
    share = (low + (high - low) * chance.uniform()).exp().to(images.device)
    (own, more), share = noise.both_ways(), share.repeat(2)
    added = -more / share.view(-1, 1, 1, 1)
    images = images.repeat(2, 1, 1, 1)
    told = own.times((1 + share**2).sqrt())
    return Recorrupted(images + share.view(-1, 1, 1, 1) * more, images + added, own, told, added)
