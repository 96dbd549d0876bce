"""Pictures that a set of photographs lacks: of other colours, and taken from farther away."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.training.chance import Chance

PALEST, BRIGHTEST = 0.5, 3.0
"""By how much colours become paler or brighter, from and to."""

NEAREST, FARTHEST = 1.2, 2.5
"""How many times smaller pictures become, from and to."""


def other_colours(images: Tensor, share: float, chance: Chance) -> Tensor:
    """Turn the hues of some images all around, and make their colours paler or brighter.

    The mean of the channels stays. Photographs of one kind hold colours of one kind; networks that
    saw no others take bright colours for noise.

    Args:
        images: RGB in [0, 1], shape (N, 3, H, W).
        share: probability that an image is changed.
        chance: of the batch.

    Returns:
        Images in [0, 1], what is beyond them clipped as cameras clip it.
    """
    chosen, angle, times = chance.uniform(3).to(images).T
    angle = 2 * math.pi * angle
    times = PALEST * (BRIGHTEST / PALEST) ** times
    mean = torch.full((3, 3), 1 / 3).to(images)
    across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]).to(images) / math.sqrt(3)
    cosine, sine = ((times * f(angle)).view(-1, 1, 1) for f in (torch.cos, torch.sin))
    turned = mean + cosine * (torch.eye(3).to(images) - mean) + sine * across
    changed = torch.einsum("ndc,nchw->ndhw", turned, images).clamp(0, 1)
    return torch.where((chosen < share).view(-1, 1, 1, 1), changed, images)


def draw_distance(share: float, chance: Chance, farthest: float) -> float:
    """By how much the pictures of a batch are to be reduced: 1 for not at all.

    Args:
        share: probability that they are.
        chance: of the batch.
        farthest: what the images allow.
    """
    if share == 0 or farthest < NEAREST:
        return 1.0
    chosen, times = torch.rand(2, generator=chance.generator).tolist()
    return NEAREST + times * (min(FARTHEST, farthest) - NEAREST) if chosen < share else 1.0


def reduced(images: Tensor, side: int) -> Tensor:
    """Images (N, C, S, S) in [0, 1], reduced to a side."""
    size = (side, side)
    return F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)
