"""Noise that is stronger in some places of a picture than in others.

Flat-field correction, lens shading, stitched and pasted pictures leave such noise. What the
estimator says of a part of a picture is certain where its quietest blocks and its second scale hold
no more than that: there it is flat, so that neither texture is taken for noise, nor noise for it.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.estimation import block_energy, of_quietest, usable_pixels
from scalewise.networks import NoiseEstimator
from scalewise.noise_model import NoiseModel, smoothed
from scalewise.places import Places
from scalewise.restore.lights import light_line
from scalewise.wavelets import GAIN, low_pass, mirror_to_multiple, split
from scalewise.windows import Window, size_of

SIDE, MOST, LOOKED_AT, AROUND = 32, 16, 64, 16
"""Least side of the parts of a picture, how many there are along a side at the most, how much of
the middle of one is looked at, and how much is seen around that."""

LEAST = 4
"""Parts along the shorter side that a picture must have."""

STRIDE = 4
"""Pixels from one block to the next, of which the quietest of a part are found."""

CERTAIN, ALIKE = 0.75, 0.05
"""What the estimator says of a part, over what its quietest blocks hold, from which it is certain;
and the share of the places that must count alike."""

COARSER, FLAT = 2, 1.25
"""Scale that must hold no more than so many times as much, in a part that is certain: white noise
is as strong at all scales, texture rises."""

SHARE, FEWEST = 0.1, 4
"""Share of the parts that must be known, and number of those that must be certain."""

FIRST, DIFFER = 1.25, 1.35
"""Ratio of deviations, without the extremes, from which noise differs by place, among a quarter of
the parts and among all (`benchmarks/LOG.md`)."""

LOUDER, LOUD = 0.9, 7 / 255
"""Quantile of the variances that is loud, and the least deviation there."""

EXPLAINED = 0.75
"""Share of the spread that is left of it, at the most, where noise has a curve besides: places make
believe in one."""

FAINTEST, QUIETEST = 1e-12, 1e-3
"""Least variance of a part; and of a place, over the mean."""


class Parts(NamedTuple):
    """What the parts of a picture say of its noise, shape (rows, columns) each.

    Attributes:
        variance: of the noise.
        most: what it is at the most: that of the quietest blocks.
        brightness: mean of the intensities.
        lit: what the curve makes of it there.
        agreed: whether the estimate is about what the quietest blocks hold.
        certain: whether it is so, and the part is flat.
    """

    variance: Tensor
    most: Tensor
    brightness: Tensor
    lit: Tensor
    agreed: Tensor
    certain: Tensor

    @property
    def quarter(self) -> Parts:
        """Every other part of every other row."""
        return Parts(*(each[::2, ::2] for each in self))

    @property
    def even(self) -> Parts:
        """The same without a curve."""
        return self._replace(lit=torch.ones_like(self.lit))

    @property
    def doubted(self) -> Parts:
        """The same, told only by parts that are certain: the quietest blocks may be the darkest."""
        return self._replace(most=torch.full_like(self.most, math.inf))

    @property
    def lined(self) -> Parts:
        """The same with a line of the variance over the brightness in place of the curve."""
        known = self.even.known
        if not bool(known.certain.any()):
            return self
        line = light_line(self.brightness[known.certain], known.variance[known.certain])
        return self._replace(lit=line.at(self.brightness).clamp(min=FAINTEST))

    @property
    def known(self) -> Parts:
        """Those that are certain, or certainly quieter, over what the curve explains.

        Parts full of texture are not certain, but no louder than their quietest blocks.
        """
        variance, most = self.variance / self.lit, self.most / self.lit
        if not bool(self.certain.any()):
            return self
        typical = float(variance[self.certain].median())
        quieter = ~self.certain & (DIFFER**2 * most < typical)
        between = (variance.minimum(most) * most).sqrt()  # texture makes the estimate too small
        variance = torch.where(quieter, between.clamp(min=FAINTEST), variance)
        certain = self.certain | quieter
        return self.even._replace(variance=variance, most=most, certain=certain)

    @property
    def filled(self) -> Tensor:
        """The variance of all parts: where it is not known that of those around, up to `most`.

        Noise as strong as that of loud parts is known where the estimate agrees, too: it hides what
        is not flat.
        """
        known, variance = self.known, self.variance / self.lit
        loud = float(variance[self.certain].quantile(LOUDER))
        near = (variance * DIFFER**2 > loud) & (variance < loud * DIFFER**2)
        certain = known.certain | (self.agreed & near)
        around = _filled(torch.where(known.certain, known.variance, variance), certain)
        return torch.where(certain, around, around.minimum(known.most).clamp(min=FAINTEST))

    @property
    def spread(self) -> float:
        """Ratio of deviations of those that are known, without the extremes.

        1 where too few are, or none is loud.
        """
        known = self.known
        if int(self.certain.sum()) < FEWEST:
            return 1.0
        if int(known.certain.sum()) < SHARE * known.certain.numel():
            return 1.0
        if float(self.variance[self.certain].quantile(LOUDER)) < LOUD**2:
            return 1.0
        ends = torch.tensor([1 - LOUDER, LOUDER])
        least, most = known.variance[known.certain].quantile(ends).tolist()
        return math.sqrt(most / least)


def seen_in_places(
    found: NoiseModel, noisy: Tensor, valid: Tensor | None, estimator: NoiseEstimator
) -> NoiseModel:
    """What is found of the noise of a picture, once its parts were looked at one by one.

    Args:
        found: noise that pixels do not share, alike in all channels.
        noisy: a whole picture, shape (C, H, W) in [0, 1] intensities.
        valid: bool of shape (1, H, W), true where pixels count; all by default.
        estimator: that of a prior.

    Returns:
        With `places`, where the noise differs clearly by place; else `found`.
    """
    if min(size_of(noisy)) < LEAST * SIDE:
        return found
    looking = _Looking(found, noisy, valid, estimator)
    parts = looking.at(2)
    judged = parts.doubted if found.curve else parts
    if judged.quarter.even.spread < FIRST:
        return found
    parts = looking.at(1)
    judged = parts.doubted if found.curve else parts
    even, lit = judged.even.spread, judged.spread
    if min(even, lit, judged.lined.spread) < DIFFER:
        return found
    curved = math.log(lit) < EXPLAINED * math.log(even)
    variance = (judged if curved else parts.even).filled
    mean = float(variance.mean())
    factors = (variance / mean).clamp(min=QUIETEST)
    louder = math.sqrt(mean) / found.sigma if found.sigma else 0.0
    noise = found.times(louder) if louder else NoiseModel.white(math.sqrt(mean))
    places = Places.of(factors)
    return noise.model_copy(update={"places": places, "curve": noise.curve if curved else ()})


class _Looking:
    """Looks at the parts of a picture, in its noisiest channel."""

    def __init__(
        self,
        found: NoiseModel,
        noisy: Tensor,
        valid: Tensor | None,
        estimator: NoiseEstimator,
    ) -> None:
        plain = noisy.detach().cpu()
        loudest = max(range(found.channels), key=lambda channel: found.scales[0][channel])
        self.plane, self.estimator = plain[loudest : loudest + 1], estimator
        self.usable = usable_pixels(self.plane, None if valid is None else valid[0].cpu())
        self.energy = block_energy(self.plane, self.usable, STRIDE)
        small = low_pass(mirror_to_multiple(self.plane[None], 1 << COARSER), COARSER - 1)
        self.coarser = (split(small)[1][0] / GAIN**COARSER).square().mean(0)
        self.lit = found.at(smoothed(self.plane[None])[0]).square()
        self.rows, self.columns = (_edges(side) for side in size_of(noisy))
        variance, most, brightness, lit = torch.ones(4, len(self.rows) - 1, len(self.columns) - 1)
        agreed, certain = torch.zeros(2, *lit.shape, dtype=torch.bool)
        self.parts = Parts(variance, most, brightness, lit, agreed, certain)
        self.seen: set[tuple[int, int]] = set()

    def at(self, step: int) -> Parts:
        """What every so many parts of every so many rows say; none is looked at twice."""
        rows, columns = (
            list(enumerate(pairwise(edges)))[::step] for edges in (self.rows, self.columns)
        )
        for row, vertical in rows:
            for column, horizontal in columns:
                if (row, column) not in self.seen:
                    self.seen.add((row, column))
                    self._look((row, column), Window(*_middle(*vertical), *_middle(*horizontal)))
        return self.parts

    def _look(self, place: tuple[int, int], inner: Window) -> None:
        """Look at one part."""
        outer = inner.grown(AROUND, size_of(self.plane))
        weight = next(self.estimator.parameters())
        mask = None if self.usable is None else self.usable[outer.place].to(weight.device)
        with torch.no_grad():
            places = self.estimator.places(
                self.plane[outer.place].to(weight), mask, inner.inside(outer)
            )
        if places is None:
            return
        blocks = self.energy[inner.over(STRIDE).place].flatten()
        level, quiet = float(places.level), float(of_quietest(blocks[blocks.isfinite()]))
        alike = 1 / float(places.weights.softmax(0).square().sum())
        self.parts.variance[place] = max(level**2, FAINTEST)
        self.parts.most[place] = quiet**2
        self.parts.brightness[place] = self.plane[inner.place].mean()
        self.parts.lit[place] = self.lit[inner.place].mean()
        coarser = self.coarser[inner.over(1 << COARSER).place].mean().sqrt()
        alone = alike > ALIKE * inner.size[0] * inner.size[1] / 4
        self.parts.agreed[place] = alone and CERTAIN * quiet < level
        self.parts.certain[place] = self.parts.agreed[place] and float(coarser) < FLAT * level


def _edges(side: int) -> list[int]:
    """Where the parts along a side begin, and the last ends."""
    count = min(MOST, side // SIDE)
    return [round(number * side / count) for number in range(count + 1)]


def _middle(start: int, end: int) -> tuple[int, int]:
    """The middle of a part, of even sides."""
    start += max(0, end - start - LOOKED_AT) // 2
    start -= start % 2
    return start, min(start + LOOKED_AT, end - end % 2)


def _filled(variance: Tensor, certain: Tensor) -> Tensor:
    """Variances of all parts, of those that are not certain by those around."""
    stencil = torch.tensor([1.0, 2.0, 1.0]).outer(torch.tensor([1.0, 2.0, 1.0]))[None, None]
    known, filled = certain.float(), torch.where(certain, variance, 0.0)
    while bool((known == 0).any()):
        around, sums = (
            F.conv2d(each[None, None], stencil, padding=1)[0, 0] for each in (known, filled)
        )
        new = (known == 0) & (around > 0)
        filled = torch.where(new, sums / around.clamp(min=1e-9), filled)
        known = torch.where(new, 1.0, known)
    return filled
