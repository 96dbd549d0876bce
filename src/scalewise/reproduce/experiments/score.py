"""Denoising gives the score: Tweedie's formula against the derivative of a known log density."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from scalewise.data import ImageSet
from scalewise.exact import (
    GaussianDenoiser,
    StationaryGaussian,
    gaussian_prior,
    power_law_spectrum,
)
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import Context
from scalewise.reproduce.experiment import Experiment, Result, Table, Verdict, judge, told
from scalewise.reproduce.figures import curves
from scalewise.reproduce.measure import denoised, mean, white
from scalewise.score import score_from_denoised

SIDE, DEVIATION, MEAN = 32, 0.15, 0.5
EXACT, TRAINED = 1e-6, 0.1
"""Largest relative squared errors of the score that count as exact, and as learnt."""


def true_score(spectrum: Tensor, noisy: Tensor, sigma: float) -> Tensor:
    """`grad log p_sigma` of a Gaussian field, by automatic differentiation of its log density.

    Args:
        spectrum: power spectrum, shape (H, W).
        noisy: shape (N, 1, H, W).
        sigma: noise standard deviation.
    """
    blurred = (spectrum + sigma**2)[..., None, None].to(torch.complex128)
    law = StationaryGaussian(blurred, torch.full((1, *spectrum.shape), MEAN, dtype=torch.float64))
    at = noisy.detach().double().clone().requires_grad_()
    return torch.autograd.grad(law.log_density(at).sum(), at)[0]


def relative_error(prior: MultiScalePrior, fields: Tensor, spectrum: Tensor, sigma: float) -> float:
    """`|s - score|^2 / |score|^2` over noisy fields (N, 1, H, W), s from the denoiser."""
    noisy = fields + sigma * white(fields, seed=1)
    wanted = true_score(spectrum, noisy, sigma)
    found = score_from_denoised(noisy, denoised(prior, noisy, sigma), sigma)
    return float((found - wanted).square().sum() / wanted.square().sum())


@dataclass(frozen=True)
class Measured:
    """Relative squared errors of the score.

    Attributes:
        sigmas: noise levels in 8-bit units.
        exact: of exact denoisers, by name, one value per noise level.
        trained: of trained ones, likewise.
    """

    sigmas: tuple[float, ...]
    exact: dict[str, list[float]]
    trained: dict[str, list[float]]


def run(context: Context) -> Result:
    """Errors of the score by noise level, of exact and trained denoisers."""
    return show(measure(context))


def measure(context: Context) -> Measured:
    """Compare the scores of exact denoisers of Gaussian fields, and of trained ones, with the true.

    Trained ones learn from fields of the same law, clipped to [0, 1].
    """
    spectrum = DEVIATION**2 * power_law_spectrum((SIDE, SIDE), corner=1 / 8)
    generator = torch.Generator().manual_seed(context.seed)
    exact = {f"exact, {levels} levels": gaussian_prior(spectrum, levels) for levels in (0, 2)}
    drawn = GaussianDenoiser(spectrum, MEAN).law.draw(2048 + 64, generator)
    fields = [field.clamp(0, 1).float() for field in drawn]
    training, validation = ImageSet(fields[64:], "Gaussian fields"), ImageSet(fields[:64], "held")
    networks = context.trained_on(training, validation, "gaussian")
    trained = {
        "trained U-Net, 0 levels": networks.whole(),
        "trained multi-scale 9x9, 2 levels": networks.multi_scale(
            9 if 9 in context.scale.fields else 5
        ),
    }
    sigmas = context.scale.sigmas
    return Measured(
        sigmas,
        errors(exact, drawn[:64], spectrum, sigmas),
        errors(trained, drawn[:64].float(), spectrum, sigmas),
    )


def errors(
    priors: Mapping[str, MultiScalePrior],
    fields: Tensor,
    spectrum: Tensor,
    sigmas: tuple[float, ...],
) -> dict[str, list[float]]:
    """`relative_error` of every prior at every noise level, in 8-bit units."""
    return {
        name: [relative_error(prior, fields, spectrum, s / 255) for s in sigmas]
        for name, prior in priors.items()
    }


def decide(worst: float, learnt: Mapping[str, float]) -> tuple[Verdict, dict[str, bool]]:
    """The verdict by the rule, and its parts.

    Args:
        worst: largest error of an exact denoiser at any noise level.
        learnt: mean error over noise levels of each trained one.
    """
    exact = f"exact denoisers give the score to a relative squared error below {EXACT:g}"
    trained = f"every trained one to one below {TRAINED:g} on the mean over noise levels"
    parts = {exact: worst < EXACT, trained: max(learnt.values()) < TRAINED}
    return judge(parts), parts


def show(measured: Measured) -> Result:
    """Verdict, table and curves."""
    sigmas, found = measured.sigmas, measured.exact | measured.trained
    worst = max(map(max, measured.exact.values()))
    learnt = {name: mean(values) for name, values in measured.trained.items()}
    verdict, parts = decide(worst, learnt)
    best = ", ".join(f"{name}: {error:.3f}" for name, error in learnt.items())
    return Result(
        verdict,
        f"Largest relative squared error of exact denoisers {worst:.1e}; mean over noise levels of "
        f"{best} ({told(parts)}).",
        [
            Table(
                f"Relative squared error of the score, {SIDE}x{SIDE} Gaussian fields of deviation "
                f"{DEVIATION}, by noise level (8-bit units)",
                ["denoiser", *(f"σ = {s:g}" for s in sigmas)],
                [[name, *values] for name, values in found.items()],
            )
        ],
        [
            curves(
                "error",
                "Relative squared error of the score by noise level.",
                {"": {name: (sigmas, values) for name, values in found.items()}},
                "σ (8-bit units)",
                "relative squared error",
                "xy",
            )
        ],
        {"sigmas": list(sigmas), "errors": found},
        [
            "The true score is the derivative of the log density of the noisy field, by automatic "
            "differentiation; the trained networks saw fields clipped to [0, 1]."
        ],
    )


EXPERIMENT = Experiment(
    "score",
    "Score by denoising",
    "The least-squares denoiser gives the score, ∇log p_σ(y) = (E[x|y] − y)/σ² (section 2).",
    f"Exact denoisers of Gaussian fields give the known score to a relative squared error below "
    f"{EXACT:g} at every noise level; trained ones to one below {TRAINED:g} on the mean.",
    run,
)
