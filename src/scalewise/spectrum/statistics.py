"""Numbers that tell the noise of an image by: what its details hold at every scale.

Noise and texture differ in many small ways. Texture is about the same in all channels, which noise
seldom is; white noise is as strong in diagonal details as in others; what interpolated colours of
sensors, and JPEG packed them, has little in the finest scale and much in the next; the quietest
places hold more noise than structure. What each of these is worth is learnt (`SpectrumNetwork`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.images import to_channels
from scalewise.networks.estimator import Places, spread_crops
from scalewise.networks.spectrum import FAINT, SCALES
from scalewise.spectrum.fitting import Fit, parts_of
from scalewise.spectrum.looking import Scale, differences_of
from scalewise.wavelets import GAIN, split

QUANTILES = (0.05, 0.15, 0.3, 0.5, 0.8)
"""Of the energy of the details in blocks."""

BLOCK, QUIET = 4, 0.2
"""Side of the blocks in coefficients, and the share of them, the quietest, that is looked at."""


class Statistics(NamedTuple):
    """What a `SpectrumNetwork` is told.

    Attributes:
        values: M numbers.
        guess: logarithms of the deviations that places of each scale and channel say, with `FAINT`
            added.
    """

    values: list[float]
    guess: list[list[float]]


def statistics_of(
    seen: list[Scale],
    fit: Fit,
    typical: float,
    white: float,
    pixels: Tensor,
) -> Statistics | None:
    """Statistics of an image.

    Args:
        seen: its scales.
        fit: what their places say.
        typical: mean of its curve over the pixels.
        white: what a statistic of white noise finds in all channels together; infinite for unknown.
        pixels: those that count, shape (C, M).

    Returns:
        The numbers; None where a scale is too small, or holds nothing that counts.
    """
    if len(seen) < SCALES:
        return None
    growth = math.log(fit.growth.dark / fit.growth.bright)
    values = [_log(min(white, 1.0)), growth, float(pixels.mean()), float(pixels.std())]
    for scale in seen[:SCALES]:
        found = _of_scale(scale)
        if found is None:
            return None
        values += found
    channels = len(pixels)
    guess = [
        [
            _log(math.sqrt(typical * fit.strengths[level * channels + channel]) / GAIN**level)
            for channel in range(channels)
        ]
        for level in range(SCALES)
    ]
    return Statistics(values, guess)


def _of_scale(scale: Scale) -> list[float] | None:
    """What the details of one scale hold; None if no place or block counts.

    Of large images it is that of their crops, as for places.
    """
    found, channels = scale.places, len(scale.planes)
    crops = spread_crops(scale.planes)
    if channels > 1:
        luma, _ = to_channels(scale.planes, 1)
        found = [*found, *scale.look_at(luma), *scale.apart]
        crops = torch.cat([crops, to_channels(crops, 1)[0], _differences(crops)], dim=1)
    planes = crops.shape[1]
    details = split(crops.flatten(0, 1)[:, None])[1] / GAIN
    energy = F.avg_pool2d(details.square(), BLOCK)
    details, energy = (  # by plane and band
        each.unflatten(0, (-1, planes)).movedim(0, 2) for each in (details, energy)
    )
    counted = torch.ones_like(energy[0, 0], dtype=torch.bool)
    if scale.shared is not None:
        lost = F.max_pool2d(1 - spread_crops(scale.shared.to(crops)), 2 * BLOCK, ceil_mode=True)
        counted = lost[:, 0, : energy.shape[3], : energy.shape[4]] == 0
    if len(found) < planes or not bool(counted.any()):
        return None
    blocks = energy[..., counted]
    whole = blocks.mean(1)
    quiet = whole <= whole.quantile(QUIET, dim=1, keepdim=True)
    numbers = [number for places in found for number in _of_places(places)]
    levels = torch.tensor(QUANTILES).to(blocks)
    numbers += (whole.quantile(levels, dim=1).T + FAINT**2).log().div(2).flatten().tolist()
    for bands, still in zip(blocks, quiet, strict=True):
        across, down, diagonal = (bands[:, still].mean(1) + FAINT**2).tolist()
        numbers += [math.log(2 * diagonal / (across + down)), math.log(across / down)]
    if channels > 1:
        flat = torch.zeros_like(counted)
        flat[counted] = quiet[channels]  # where the luma is quietest
        numbers += _correlations(details[:channels], flat)
    return numbers


def _differences(crops: Tensor) -> Tensor:
    """Those of the channels of crops (N, C, h, w)."""
    return torch.stack(list(differences_of(crops.movedim(1, 0))), dim=1)


def _correlations(details: Tensor, chosen: Tensor) -> list[float]:
    """Of details (C, 3, N, h, w) of each channel and the next, in the blocks that are chosen."""
    inside = chosen.repeat_interleave(BLOCK, 1).repeat_interleave(BLOCK, 2)
    height, width = inside.shape[1:]
    shown = details[..., :height, :width][..., inside].flatten(1).double()
    shown = shown - shown.mean(1, keepdim=True)
    shown = shown / (shown.square().mean(1, keepdim=True).sqrt() + 1e-9)
    return (shown * shown.roll(-1, 0)).mean(1).tolist()


def _of_places(places: Places) -> list[float]:
    """Level of places, how far they are to be believed, and the level of parts by brightness."""
    parts = parts_of(places)
    deviation = math.sqrt(float(np.mean([part.variance for part in parts])))
    belief = float(np.mean([part.belief for part in parts]))
    return [_log(float(places.level)), belief, _log(deviation)]


def _log(deviation: float) -> float:
    """The logarithm of a deviation, near that of `FAINT` where there is none."""
    return math.log(deviation + FAINT)
