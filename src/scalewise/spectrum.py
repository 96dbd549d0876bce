"""What the noise of an image is like at every scale, channel and intensity, from it alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from scalewise.estimation import LEARNT_SIDE, TWO_VALUES, usable_pixels
from scalewise.networks.estimator import NoiseEstimator, Places
from scalewise.noise_model import NoiseModel
from scalewise.wavelets import GAIN, low_pass

BINS = 8
"""Parts of equal size that the places of a plane are cut into by brightness."""

ENOUGH = 80.0
"""Number of places that count alike from which what they say of a part is believed by half."""

ROUNDS = 6
"""Times that curve and strengths are fitted to each other."""

BELOW, DOUBT = 0.9, 0.25
"""Share of what is expected below which a part says little, and how far it counts then."""

SURE = 0.15
"""Mean belief in the parts of a scale from which it may differ from the next finer one."""

RIDGE, LEAST = 0.02 * np.array([[1.0, -1.0], [-1.0, 1.0]]), 0.05
"""Weight against a curve where all parts are of one brightness; least belief in a plane's parts."""

FLOOR, NODES = 0.03, 9
"""Least variance of a curve over its largest, and the number of its intensities."""

SHADOWS = 6.0
"""Variance at black over that at white, at most: what falls faster is of texture in the darks."""

EVEN = 1.4
"""Ratio of deviations in bright and dark parts up to which noise counts as the same in both."""

GENTLEST, STEEPEST = 0.9, 2.5
"""How many times as strong noise is at one scale as at the next finer one."""

CLOSE, CROWD = 9, 0.3
"""Side of the squares in which pixels at the ends of the range are counted, and the share of them
that makes an area without noise."""

HIDDEN, USUAL = 0.5, 1.8
"""Share of the noise that a statistic of white noise finds, below which it is correlated, and how
much stronger that of cameras then usually is at the second scale."""

APART = 1.25
"""What the estimate of a scale differs by, at most, from what finer ones lead to expect."""


RISING = 1.5
"""Ratio of the second scale to the finest from which noise is correlated."""

UNSHARED, FLAT = 0.7, 0.95
"""Deviation of the noise that differences of channels show, over that of the channels, from which
channels share none of it; and from which a curve that was found in them is of texture."""


AGREEING, SHOWN = 0.9, 0.6
"""Share of that deviation that a statistic of white noise finds from which noise is white, and how
much of the channels' it must be."""

ALIKE, QUIET = 1.1, 0.5
"""Ratio of the channels' deviations at the finest scale below which they count as alike in all; and
share of the strongest below which a channel's own is lost in what the differences have of it."""


class Estimate(NamedTuple):
    """What was found.

    Attributes:
        noise: its description.
        confidence: how far the places at the finest scale are to be believed, from 0 to 1.
    """

    noise: NoiseModel
    confidence: float


NOTHING = Estimate(NoiseModel.white(0.0), 1.0)


@dataclass(frozen=True)
class Part:
    """What the places of one part of a plane, of about one brightness, say of its noise.

    Attributes:
        plane: number of the plane, by level, then channel.
        brightness: their mean.
        variance: that of the white noise that would be as strong.
        belief: how far they are to be believed, from 0 to 1.
    """

    plane: int
    brightness: float
    variance: float
    belief: float


class Growth(NamedTuple):
    """How the variance of noise depends on the intensity, relative to some intensity.

    In linear light it grows in proportion to the photons; a tone curve is steepest in the darks, so
    that what falls does so ever more slowly.

    Attributes:
        dark: at black.
        bright: at white.
    """

    dark: float
    bright: float

    @property
    def even(self) -> bool:
        """Whether it counts as the same everywhere."""
        return max(self) <= EVEN**2 * min(self)

    def at(self, places: np.ndarray) -> np.ndarray:
        """The variance at intensities: on a line where it rises, its logarithm where it falls."""
        if self.dark > self.bright:
            return np.asarray(self.dark ** (1 - places) * self.bright**places)
        return np.maximum(self.dark + (self.bright - self.dark) * places, FLOOR * self.bright)


def estimate_noise(
    image: Tensor,
    levels: int,
    estimator: NoiseEstimator,
    *,
    white: float = math.inf,
    valid: Tensor | None = None,
) -> Estimate:
    """Estimate what the noise of one image is like, in each scale, channel and intensity.

    The estimator looks at the details of every scale of every channel, dark and bright places each
    on their own. A curve that all share, its variance linear in the intensity, and a strength of
    each are fitted to what it says. Where a scale is too small to be looked at, the next finer ones
    say what to expect.

    Args:
        image: shape (C, H, W), any H and W from 1.
        levels: number of scales to look at, from 1.
        estimator: that of a prior.
        white: what a statistic of white noise finds in all channels together. Where that is far
            less than the estimator finds, the noise is correlated, and more is expected of coarse
            scales.
        valid: bool of shape (1, H, W), true where pixels count; all by default.
    """
    weight = next(estimator.parameters())
    plain = image.detach().cpu()
    usable = usable_pixels(plain, None if valid is None else valid[0].cpu())
    if usable is not None and float(usable.double().mean()) < TWO_VALUES:
        return NOTHING
    mask = None if usable is None else _areas(usable)[None, None].to(weight)
    seen: list[list[Places]] = []
    for level in range(1, levels + 1):
        planes, there = _at(level, image.to(weight), mask)
        if seen and min(planes.shape[1:]) < LEARNT_SIDE:
            break
        found = [estimator.places(plane[None], there) for plane in planes]
        known = [places for places in found if places is not None]
        if len(known) < len(found):
            break
        seen.append(known)
    if not seen:
        return NOTHING
    estimate = _fitted(seen, len(image), white, plain if usable is None else plain[:, usable])
    unlike = white < AGREEING * _overall(estimate.noise.scales[0])
    if not (unlike or estimate.noise.curve or rises(estimate.noise)):
        return estimate
    if len(image) < 3 or math.isinf(white):
        return estimate
    return _compared(estimate, image.to(weight), len(seen), estimator, mask, white)


def _at(level: int, image: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The planes (C, h, w) whose details are those of a level, and which of their pixels count."""
    there = None if mask is None else (_reduced(mask, level - 1) == 1)[0]
    return low_pass(image[None], level - 1)[0], there


def rises(noise: NoiseModel) -> bool:
    """Whether the second scale has so much more than the finest that noise is correlated."""
    finest, *coarser = map(sum, noise.scales)
    return bool(coarser) and coarser[0] > RISING * finest


def _white(found: Estimate, finest: Sequence[float]) -> Estimate:
    """An estimate of noise that is white, `finest` at the most: what rises in it is texture."""
    if not rises(found.noise):
        return found
    least = tuple(map(min, found.noise.scales[0], finest))
    return Estimate(found.noise.model_copy(update={"scales": (least,)}), 1.0)


def _compared(
    found: Estimate,
    image: Tensor,
    levels: int,
    estimator: NoiseEstimator,
    mask: Tensor | None,
    white: float,
) -> Estimate:
    """An estimate that agrees with what differences of channels show, where that is noise.

    Texture is about the same in all channels, and hides noise that they do not share: their
    differences are free of it. Where a statistic of white noise finds the same there is no other.
    Noise that channels do share is not seen there, so the finest scale must show about all of it
    before coarser ones, which texture hides most, are believed. Differences tell nothing of a
    curve: where there is one, they must show more.
    """
    scales, alike = list(found.noise.scales), False
    for level in range(levels):
        planes, there = _at(level + 1, image, mask)
        apart = [each / GAIN**level for each in _unshared(planes, estimator, there)]
        whole = _overall(apart)
        if level == 0:
            shown = whole / max(math.ulp(0), _overall(scales[0]))
            if white >= AGREEING * whole and shown >= SHOWN:
                return _white(found, [white / whole * each for each in apart])
            if shown < (FLAT if found.noise.curve else UNSHARED):
                return found
            alike = max(apart) < ALIKE * min(apart)
        loud = [each if each >= QUIET * max(apart) else 0.0 for each in apart]
        floor = [whole, whole, whole] if alike else loud
        scales[level] = tuple(map(max, scales[level], floor))
    if len(scales) > levels:
        scales[levels] = tuple(_expected(list(each)) for each in zip(*scales[:levels], strict=True))
    return Estimate(NoiseModel(scales=tuple(scales)), 1.0)


def _unshared(planes: Tensor, estimator: NoiseEstimator, valid: Tensor | None) -> list[float]:
    """Deviation of the noise of three planes (3, H, W), each its own, from their differences.

    A difference has the variance of both.
    """
    places = [estimator.places(each[None], valid) for each in planes - planes.roll(-1, 0)]
    first, second, third = (0.0 if one is None else float(one.level) ** 2 for one in places)
    twice = (first + third - second, first + second - third, second + third - first)
    return [math.sqrt(max(0.0, each / 2)) for each in twice]


def _overall(deviations: Sequence[float]) -> float:
    """Root mean square of deviations."""
    return math.sqrt(sum(each**2 for each in deviations) / len(deviations))


def _fitted(seen: list[list[Places]], channels: int, white: float, pixels: Tensor) -> Estimate:
    """The model of what the places of every level and channel say, and the pixels that count."""
    flat = [places for level in seen for places in level]
    parts = [part for number, places in enumerate(flat) for part in _parts(number, places)]
    strengths = [float(places.level) ** 2 for places in flat]
    growth = Growth(1.0, 1.0)
    if any(part.belief > 0.5 for part in parts):
        for _ in range(ROUNDS):
            growth = _growth(parts, strengths)
            strengths = _strengths(parts, growth, strengths)
    if growth.even:
        growth = Growth(1.0, 1.0)
        strengths = _strengths(parts, growth, strengths)
    places = np.linspace(0, 1, NODES)
    factors = growth.at(places)
    typical = float(np.interp(pixels.flatten().numpy(), places, factors).mean())
    scales: list[list[float]] = []
    confidence = [_belief(parts, level, channels) for level in range(len(seen))]
    for level in range(len(seen)):
        own = strengths[level * channels : (level + 1) * channels]
        deviations = [math.sqrt(typical * value) / GAIN**level for value in own]
        if scales:
            usual = USUAL if white < HIDDEN * max(scales[0]) else 1.0
            deviations = [
                _plausible(
                    deviation, [scale[channel] for scale in scales], confidence[level], usual
                )
                for channel, deviation in enumerate(deviations)
            ]
        scales.append(deviations)
    if len(scales) > 1:  # of all coarser ones, and of the low-pass image
        scales.append([_expected(list(channel)) for channel in zip(*scales, strict=True)])
    curve = () if growth.even else tuple(zip(places, factors / typical, strict=True))
    noise = NoiseModel(scales=tuple(tuple(scale) for scale in scales), curve=curve)
    return Estimate(noise, confidence[0])


def _belief(parts: list[Part], level: int, channels: int) -> float:
    """Mean belief in the parts of a level."""
    return float(np.mean([part.belief for part in parts if part.plane // channels == level]))


def _parts(number: int, places: Places) -> list[Part]:
    """The parts of a plane by brightness."""
    parts = []
    for inside in places.brightness.argsort().chunk(BINS):
        share = places.weights[inside].softmax(0)
        alike = 1 / float(share.square().sum())
        parts.append(
            Part(
                number,
                float(places.brightness[inside].mean()),
                float((share * places.levels[inside]).sum()) ** 2,
                alike**2 / (alike**2 + ENOUGH**2),
            )
        )
    return parts


def _growth(parts: list[Part], strengths: list[float]) -> Growth:
    """The growth that fits all parts best, of their variance over the strength of their plane."""
    used = [part for part in parts if strengths[part.plane] > 0]
    if not used:
        return Growth(1.0, 1.0)
    belief = np.array([part.belief for part in used])
    place = np.clip([part.brightness for part in used], 0, 1)
    ratios = np.minimum([part.variance / strengths[part.plane] for part in used], 1 / FLOOR)
    design = np.stack([1 - place, place], axis=1)

    def fit(wanted: np.ndarray, growth: Growth) -> np.ndarray:
        weighted = (belief * _doubted(ratios, growth.at(place)))[:, None] * design
        return np.asarray(np.linalg.solve(weighted.T @ design + RIDGE, weighted.T @ wanted))

    growth = Growth(1.0, 1.0)
    for _ in range(ROUNDS):
        line = fit(ratios, growth)
        growth = Growth(*np.maximum(line, FLOOR * max(line.max(), FLOOR)))
    if growth.dark > growth.bright:
        for _ in range(ROUNDS):
            dark, bright = np.exp(fit(np.log(np.maximum(ratios, FLOOR)), growth))
            growth = Growth(dark, max(bright, dark / SHADOWS))
    return growth


def _strengths(parts: list[Part], growth: Growth, before: list[float]) -> list[float]:
    """Variance of every plane where the curve is 1; as before where nothing is believed."""
    found = []
    for number, old in enumerate(before):
        own = [part for part in parts if part.plane == number]
        belief = np.array([part.belief for part in own])
        place = np.clip([part.brightness for part in own], 0, 1)
        variance = np.array([part.variance for part in own]) / growth.at(place)
        strength = old
        if belief.sum() > LEAST:
            for _ in range(ROUNDS):
                weights = belief * _doubted(variance, strength)
                strength = float((weights * variance).sum() / weights.sum())
        found.append(strength)
    return found


def _doubted(found: np.ndarray, expected: np.ndarray | float) -> np.ndarray:
    """How far parts count: less where they say less than others, as those full of texture do."""
    return np.where(found < BELOW * expected, DOUBT, 1.0)


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
    expected = _expected(finer)
    return min(max(deviation, expected / APART), expected * APART)


def _expected(finer: list[float]) -> float:
    """What the deviations of finer scales lead to expect of the next."""
    before, last = finer[-2:]
    return last * math.sqrt(max(GENTLEST, last / before)) if before else last


def _areas(usable: Tensor) -> Tensor:
    """Pixels (H, W) but those in areas that are lost: noise takes single ones to black or white."""
    lost = F.avg_pool2d((~usable)[None].float(), CLOSE, 1, CLOSE // 2, count_include_pad=False)
    return lost[0] <= CROWD


def _reduced(mask: Tensor, levels: int) -> Tensor:
    """Pixels all of whose finer pixels count: a mask (1, 1, H, W) of zeros and ones."""
    for _ in range(levels):
        mask = 1 - F.max_pool2d(1 - mask, 2, ceil_mode=True)
    return mask
