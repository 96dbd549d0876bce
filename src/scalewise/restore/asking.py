"""What is asked of a noisy image: its mean, samples, or what lies between."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from scalewise.calibration import Calibration
from scalewise.checks import whole_number
from scalewise.errors import UsageError
from scalewise.noise_model import NoiseModel
from scalewise.posterior import Posterior
from scalewise.prior import MultiScalePrior
from scalewise.restore.averaging import averaged, check_average

Ask = Callable[[MultiScalePrior, Tensor, NoiseModel | float | None], Tensor]
"""Maps a prior, a noisy image (C, H, W) and its noise to images (K, C, H, W) on the CPU."""


def asking(
    samples: int | None = None, fidelity: float = 1.0, average: int = 1, seed: int = 0
) -> Ask:
    """Draw samples, or estimate: the mean, of one or of several estimates, or one that is sharper.

    Args:
        samples: how many; None for an estimate.
        fidelity: of the estimate, 1 for the mean.
        average: of how many estimates the mean is taken.
        seed: of the samples.
    """
    if samples is not None:
        return _of_posterior(lambda posterior: posterior.samples(samples, seed=seed))
    if fidelity < 1:
        return _of_posterior(lambda posterior: posterior.faithful(fidelity)[None])
    return MEAN if average == 1 else _mean_of(average)


def _mean_of(average: int) -> Ask:
    """Ask for the mean, of so many estimates."""

    def mean(prior: MultiScalePrior, noisy: Tensor, told: NoiseModel | float | None) -> Tensor:
        def denoise(images: Tensor, noise: NoiseModel | float | None) -> Tensor:
            return prior.denoise(images, noise).cpu()

        return averaged(denoise, noisy[None], average, told)

    return mean


MEAN = _mean_of(1)
"""Asks for the mean."""


def _of_posterior(wanted: Callable[[Posterior], Tensor]) -> Ask:
    """Ask for images (K, 1, C, H, W) of the clean image's distribution."""

    def ask(prior: MultiScalePrior, noisy: Tensor, told: NoiseModel | float | None) -> Tensor:
        posterior = prior.posterior(noisy[None], told)
        alike = bool((noisy == noisy[:1]).all())
        found = wanted(posterior.gray if alike else posterior)[:, 0].cpu()
        return found.expand(-1, len(noisy), -1, -1)

    return ask


def _ends(posterior: Posterior) -> Tensor:
    """The mean, a standard deviation less and more."""
    mean, deviation = posterior.mean(), posterior.variance().sqrt()
    return torch.stack([mean - deviation, mean + deviation])


ends = _of_posterior(_ends)
"""Asks for the mean, a standard deviation less and more."""


def calibrated(
    told: Tensor, table: Calibration | None, unit: float, confidence: int | None
) -> Tensor:
    """The deviation that a prior tells, corrected, or the half width of intervals.

    Args:
        told: by the prior.
        table: what it has learnt of that, if anything.
        unit: deviation of the noise, or `CONTRAST`.
        confidence: in percent, for half widths; None for the deviation.
    """
    if table is None:
        return told
    if confidence is None:
        return table.deviation(told, unit)
    return table.half_width(told, unit, confidence)


def check_interval(uncertainty: bool, confidence: int | None, table: Calibration | None) -> None:
    """Refuse intervals of nothing, and those that a prior has not learnt, before any work."""
    if confidence is None:
        return
    if not uncertainty:
        raise UsageError("confidence is of the uncertainty; ask for that too")
    if table is None:
        raise UsageError(
            "confidence needs a model that is calibrated for it, which this one is not; scalewise "
            "evaluate calibration --learn does it, with --factor for enlargements"
        )
    table.check_coverage(confidence)


def check_wanted(
    samples: int | None,
    fidelity: float,
    average: int,
    uncertainty: bool,
    partly: bool,
) -> None:
    """Refuse what contradicts itself; `partly` tells that noise is left, or more removed."""
    if samples is not None:
        whole_number(samples, "samples")
    if not 0 <= fidelity <= 1:
        raise UsageError(f"fidelity must be from 0 to 1, found {fidelity:g}")
    if samples is not None and fidelity < 1:
        raise UsageError("samples are drawn at random, fidelity is for one estimate; give one")
    if (samples is not None or fidelity < 1 or uncertainty) and partly:
        raise UsageError(
            "samples, fidelity and uncertainty are of the image without any of the noise; leave "
            "out strength and keep-grain"
        )
    others = samples is not None or fidelity < 1 or uncertainty
    check_average(average, "samples, fidelity and uncertainty" if others else "")
