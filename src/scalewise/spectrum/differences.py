"""Noise that channels do not share, seen in their differences, where there is no texture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scalewise.noise_model import NoiseModel
from scalewise.spectrum.looking import Scale
from scalewise.spectrum.plausible import expected_next
from scalewise.wavelets import GAIN

RISING, HIGHER = 1.5, 1.3
"""Ratio of the second scale to the finest from which noise is correlated; and the same of learnt
spectra of gray images."""

UNSHARED, FLAT = 0.7, 0.95
"""Deviation of the noise that differences of channels show, over that of the channels, from which
channels share none of it; and from which a curve that was found in them is of texture."""

AGREEING, SHOWN = 0.9, 0.6
"""Share of that deviation that a statistic of white noise finds from which noise is white, and how
much of the channels' it must be."""

ALIKE, QUIET = 1.1, 0.5
"""Ratio of the channels' deviations at the finest scale below which they count as alike in all; and
share of the strongest below which a channel's own is lost in what the differences have of it."""


def rises(noise: NoiseModel, ratio: float = RISING) -> bool:
    """Whether the second scale has so much more than the finest that noise is correlated."""
    finest, *coarser = map(sum, noise.scales)
    return bool(coarser) and coarser[0] > ratio * finest


def own_noise(finest: Sequence[float], seen: Scale, white: float) -> tuple[bool, bool]:
    """Whether noise that is not white is each channel's own; and, then, alike in all.

    Such noise is no camera's, and a curve that was found in it is of texture.

    Args:
        finest: its deviations at the finest scale.
        seen: that scale.
        white: what a statistic of white noise finds in all channels together.
    """
    apart = seen.unshared
    whole = overall(apart)
    own = white < AGREEING * whole and whole >= FLAT * overall(finest)
    return own, own and max(apart) < ALIKE * min(apart)


def compared(found: NoiseModel, seen: list[Scale], white: float) -> NoiseModel | None:
    """Noise that agrees with what differences of channels show; None where that is no noise.

    Texture is about the same in all channels, and hides noise that they do not share: their
    differences are free of it. Where a statistic of white noise finds the same there is no other.
    Noise that channels do share is not seen there, so the finest scale must show about all of it
    before coarser ones, which texture hides most, are believed. Differences tell nothing of a
    curve: where there is one, they must show more.

    Args:
        found: what the channels show.
        seen: in these scales.
        white: what a statistic of white noise finds in all channels together.
    """
    scales, alike = list(found.scales), False
    for level, scale in enumerate(seen):
        apart = [each / GAIN**level for each in scale.unshared]
        whole = overall(apart)
        if level == 0:
            shown = whole / max(math.ulp(0), overall(scales[0]))
            if white >= AGREEING * whole and shown >= SHOWN:
                return _white(found, [white / whole * each for each in apart])
            if shown < (FLAT if found.curve else UNSHARED):
                return None
            alike = max(apart) < ALIKE * min(apart)
        loud = [each if each >= QUIET * max(apart) else 0.0 for each in apart]
        floor = [whole, whole, whole] if alike else loud
        scales[level] = tuple(map(max, scales[level], floor))
    if len(scales) > len(seen):
        scales[-1] = tuple(
            expected_next(list(each)) for each in zip(*scales[: len(seen)], strict=True)
        )
    return NoiseModel(scales=tuple(scales))


def _white(found: NoiseModel, finest: Sequence[float]) -> NoiseModel | None:
    """Noise that is white, `finest` at the most, where it seems to rise: that is texture."""
    if not rises(found):
        return None
    return found.model_copy(update={"scales": (tuple(map(min, found.scales[0], finest)),)})


def overall(deviations: Sequence[float]) -> float:
    """Root mean square of deviations."""
    return math.sqrt(sum(each**2 for each in deviations) / len(deviations))
