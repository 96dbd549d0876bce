"""Scales of noise that are plausible beside each other: what filters noise has a width."""

from __future__ import annotations

import math

from scalewise.spectrum.fitting import Fit
from scalewise.wavelets import GAIN

SURE = 0.15
"""Mean belief in the parts of a scale from which it may differ from the next finer one."""

GENTLEST, STEEPEST = 0.9, 2.5
"""How many times as strong noise is at one scale as at the next finer one."""

HIDDEN, USUAL = 0.5, 1.8
"""Share of the noise that a statistic of white noise finds, below which it is correlated, and how
much stronger that of cameras then usually is at the second scale."""

APART = 1.25
"""What the estimate of a scale differs by, at most, from what finer ones lead to expect."""


def plausible_scales(fit: Fit, typical: float, white: float) -> list[list[float]]:
    """Deviation of the noise of every scale and channel, near what finer ones lead to expect.

    Args:
        fit: what the places say.
        typical: mean of the curve over the pixels.
        white: what a statistic of white noise finds in all channels together. Where that is far
            less than the places say the noise is correlated, and more is expected of coarse scales.
    """
    levels = len(fit.belief)
    channels = len(fit.strengths) // levels
    scales: list[list[float]] = []
    for level in range(levels):
        own = fit.strengths[level * channels : (level + 1) * channels]
        deviations = [math.sqrt(typical * value) / GAIN**level for value in own]
        if scales:
            usual = USUAL if white < HIDDEN * max(scales[0]) else 1.0
            deviations = [
                _plausible(
                    deviation, [scale[channel] for scale in scales], fit.belief[level], usual
                )
                for channel, deviation in enumerate(deviations)
            ]
        scales.append(deviations)
    return scales


def _plausible(deviation: float, finer: list[float], confidence: float, usual: float) -> float:
    """An estimate of a scale, kept near what those of the finer scales lead to expect.

    Coarse scales have few places and much structure. What filtered the noise has a width, so its
    spectrum rises ever more slowly: by the square root of the ratio before. Without confidence in
    its places a scale has `usual` times what the finer one has.
    """
    if len(finer) == 1 and finer[0] > 0:
        ratio = min(max(deviation / finer[0], GENTLEST), STEEPEST)
        sure = min(1.0, confidence / SURE)
        return finer[0] * ratio**sure * usual ** (1 - sure)
    if len(finer) == 1:
        return 0.0
    expected = expected_next(finer)
    return min(max(deviation, expected / APART), expected * APART)


def expected_next(finer: list[float]) -> float:
    """What the deviations of finer scales lead to expect of the next."""
    before, last = finer[-2:]
    return last * math.sqrt(max(GENTLEST, last / before)) if before else last
