"""A curve over the light, and a strength of each plane, that fit what the places of planes say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from scalewise.networks.estimator import Places

BINS = 8
"""Parts of equal size that the places of a plane are cut into by brightness."""

ENOUGH = 80.0
"""Number of places that count alike from which what they say of a part is believed by half."""

ROUNDS = 6
"""Times that curve and strengths are fitted to each other."""

BELOW, DOUBT = 0.9, 0.25
"""Share of what is expected below which a part says little, and how far it counts then."""

RIDGE, LEAST = 0.02 * np.array([[1.0, -1.0], [-1.0, 1.0]]), 0.05
"""Weight against a curve where all parts are of one brightness; least belief in a plane's parts."""

FLOOR, NODES = 0.03, 9
"""Least variance of a curve over its largest, and the number of its intensities."""

SHADOWS = 6.0
"""Variance at black over that at white, at most: what falls faster is of texture in the darks."""

EVEN = 1.4
"""Ratio of deviations in bright and dark parts up to which noise counts as the same in both."""


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

    def mean(self, pixels: Tensor) -> float:
        """The mean variance of pixels of any shape, interpolated between `NODES`."""
        nodes = np.linspace(0, 1, NODES)
        return float(np.interp(pixels.flatten().numpy(), nodes, self.at(nodes)).mean())

    def curve(self, mean: float) -> tuple[tuple[float, float], ...]:
        """Intensities and variances, over their mean; none where it is even."""
        if self.even:
            return ()
        nodes = np.linspace(0, 1, NODES)
        return tuple(zip(nodes, self.at(nodes) / mean, strict=True))


class Fit(NamedTuple):
    """What the places of planes say, in one curve and a strength of each plane.

    Attributes:
        growth: the curve.
        strengths: variance of every plane's noise where the curve is 1, by level, then channel.
        belief: how far the places of every level are to be believed, from 0 to 1.
    """

    growth: Growth
    strengths: list[float]
    belief: list[float]


def fit_places(seen: list[list[Places]]) -> Fit:
    """Fit what the places of every level and channel say."""
    channels = len(seen[0])
    flat = [places for level in seen for places in level]
    parts = [part for number, places in enumerate(flat) for part in parts_of(places, number)]
    strengths = [float(places.level) ** 2 for places in flat]
    growth = Growth(1.0, 1.0)
    if any(part.belief > 0.5 for part in parts):
        for _ in range(ROUNDS):
            growth = _growth(parts, strengths)
            strengths = _strengths(parts, growth, strengths)
    if growth.even:
        growth = Growth(1.0, 1.0)
        strengths = _strengths(parts, growth, strengths)
    belief = [
        float(np.mean([part.belief for part in parts if part.plane // channels == level]))
        for level in range(len(seen))
    ]
    return Fit(growth, strengths, belief)


def parts_of(places: Places, number: int = 0) -> list[Part]:
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
