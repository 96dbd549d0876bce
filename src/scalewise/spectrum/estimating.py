"""What the noise of an image is like at every scale, channel and intensity, from it alone."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from scalewise.estimation import estimate_sigma
from scalewise.networks.estimator import NoiseEstimator
from scalewise.networks.spectrum import FAINT, SCALES
from scalewise.noise_model import NoiseModel
from scalewise.spectrum.differences import AGREEING, HIGHER, compared, overall, own_noise, rises
from scalewise.spectrum.fitting import Fit, fit_places
from scalewise.spectrum.looking import Scale, look
from scalewise.spectrum.plausible import expected_next, plausible_scales
from scalewise.spectrum.statistics import Statistics, statistics_of

SURE, LIKELY = 0.4, 0.6
"""Errors of the logarithms of its deviations below which a learnt spectrum is believed; and below
which unless places contradict that are believed, too (`benchmarks/LOG.md`)."""

TOLERATED, CAUTION = 0.1, 0.4
"""Error up to which a deviation is told as it seems; and by how much of what it is beyond that less
is told: rather too little is removed than too much."""

BELIEVED, UNSEEN = 0.5, 0.35
"""Confidence in places from which they are believed, whatever else is in doubt; and where there are
no statistics, for no place has all channels."""

LESS = 0.5
"""Share of what places say of all scales below which statistics contradict them."""

PLAIN = 4 / 255
"""Level from which on noise that is white by all that places say is not looked at further."""


class Estimate(NamedTuple):
    """What was found.

    Attributes:
        noise: its description.
        confidence: how far the places at the finest scale are to be believed, from 0 to 1.
        learnt: whether a network told it that has learnt spectra.
        own: whether it is each channel's own, as no camera's is, and not white.
        needed: confidence from which it is believed, at the least: more where that network, which
            is not sure enough, sees far less, and where it has no statistics to see anything by.
    """

    noise: NoiseModel
    confidence: float
    learnt: bool = False
    own: bool = False
    needed: float = 0.0


class _Told(NamedTuple):
    """What a network tells that has learnt spectra.

    Attributes:
        estimate: what is made of it.
        error: mean error, as it says, of the logarithms at the two finest scales.
        seems: root mean square of the deviations, as they seem.
    """

    estimate: Estimate
    error: float
    seems: float


NOTHING = Estimate(NoiseModel.white(0.0), 1.0)


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
    each are fitted to what it says. Where it has learnt spectra, the strengths are a first guess,
    and statistics of all that is seen tell the rest; where they leave doubt, places are believed,
    less so if statistics see far less. In gray images, whose white noise places tell more exactly,
    statistics tell which is not white, and how much there is at the most. Where a scale is too
    small to be looked at, the next finer ones say what to expect.

    Args:
        image: shape (C, H, W), any H and W from 1.
        levels: number of scales to look at, from 1.
        estimator: that of a prior.
        white: what a statistic of white noise finds in all channels together. Where that is far
            less than the estimator finds, the noise is correlated, and more is expected of coarse
            scales.
        valid: bool of shape (1, H, W), true where pixels count; all by default.
    """
    learnt = estimator.spectrum is not None and estimator.spectrum.channels == len(image)
    seen, pixels = look(image, max(levels, SCALES) if learnt else levels, estimator, valid)
    if not seen:
        return NOTHING
    fit = fit_places([scale.places for scale in seen])
    typical = fit.growth.mean(pixels)
    scales = _extended(plausible_scales(fit, typical, white))
    gray = len(image) == 1
    curve = _curve(fit, typical, gray)
    found = Estimate(NoiseModel(scales=scales, curve=curve), fit.belief[0])
    level = overall(scales[0])
    plain = white >= AGREEING * level and not (found.noise.curve or rises(found.noise))
    if plain and level > PLAIN and not (learnt and gray):
        return found
    told = _learnt(seen, fit, typical, white, pixels, found) if learnt else None

    def contradicted(noise: NoiseModel) -> bool:
        return told is not None and told.seems < LESS * _of_all(noise)

    certain = fit.belief[0] > BELIEVED and contradicted(found.noise)
    if told is not None and told.error < (SURE if certain else LIKELY):
        white_too = gray and plain and not rises(told.estimate.noise, HIGHER)
        return found if white_too else told.estimate

    if not plain and len(image) == 3 and not math.isinf(white):
        agreed = compared(found.noise, seen, white)
        if agreed is not None and not contradicted(agreed):
            return Estimate(agreed, 1.0)
    if told is not None and contradicted(found.noise):
        if gray and not certain:
            found = found._replace(noise=found.noise.times(told.seems / _of_all(found.noise)))
        return found._replace(needed=BELIEVED)
    unseen = learnt and told is None and len(seen) >= SCALES
    return found._replace(needed=UNSEEN if unseen else 0.0)


def _curve(fit: Fit, typical: float, gray: bool) -> tuple[tuple[float, float], ...]:
    """The curve of places; of gray images one that falls is not told.

    Networks of gray images lose more than they gain by it, even by a true one, and those of colours
    gain nothing, for places are often wrong of it where there is one channel (`benchmarks/LOG.md`).
    """
    falls = fit.growth.dark > fit.growth.bright
    return () if falls and gray else fit.growth.curve(typical)


def _of_all(noise: NoiseModel) -> float:
    """Root mean square of the deviations at the scales that are learnt."""
    return overall([overall(noise.scale(level)) for level in range(1, SCALES + 1)])


def _learnt(
    seen: list[Scale], fit: Fit, typical: float, white: float, pixels: Tensor, found: Estimate
) -> _Told | None:
    """What statistics tell, with the curve of what places `found`; None if they are not known."""
    known = statistics_of(seen, fit, typical, white, pixels)
    network = seen[0].estimator.spectrum
    if known is None or network is None:
        return None
    weight = next(network.parameters())
    values, guess = (torch.tensor(part).to(weight)[None] for part in known)
    with torch.no_grad():
        levels, logarithms = network(values, guess)
    errors = logarithms[0].exp()
    doubt = CAUTION * (errors - TOLERATED).clamp(min=0)
    told = ((levels[0] - doubt).exp() - FAINT).clamp(min=0).tolist()
    curve, own = found.noise.curve, False
    if len(pixels) == 3:
        own, alike = own_noise(told[0], seen[0], white)
        curve = () if own else curve
        told = [[overall(scale)] * 3 for scale in told] if alike else told
    noise = NoiseModel(scales=_extended(told), curve=curve)
    seems = (levels[0].exp() - FAINT).clamp(min=0).square().mean().sqrt()
    return _Told(
        Estimate(noise, found.confidence, True, own), float(errors[:2].mean()), float(seems)
    )


def look_at(image: Tensor, estimator: NoiseEstimator) -> Statistics | None:
    """Statistics that tell the spectrum of the noise of an image (C, H, W), where it is large."""
    white = math.inf if len(image) == 1 else float(estimate_sigma(image[None]))
    with torch.no_grad():
        seen, pixels = look(image, SCALES, estimator, None)
    if not seen:
        return None
    fit = fit_places([scale.places for scale in seen])
    return statistics_of(seen, fit, fit.growth.mean(pixels), white, pixels)


def _extended(scales: list[list[float]]) -> tuple[tuple[float, ...], ...]:
    """With what is expected of all coarser scales, and of the low-pass image."""
    if len(scales) > 1:
        scales = [*scales, [expected_next(list(each)) for each in zip(*scales, strict=True)]]
    return tuple(map(tuple, scales))
