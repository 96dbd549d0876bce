"""Drift to dark images: a homogeneous denoiser cannot carry a prior on brightness."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from scalewise.evaluation.synthesis import quantiles
from scalewise.networks import Denoiser, Network
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import LEVELS, Context
from scalewise.reproduce.experiment import (
    Cell,
    Experiment,
    Figure,
    Result,
    Table,
    Verdict,
    judge,
    told,
)
from scalewise.reproduce.figures import pictures
from scalewise.reproduce.measure import quantile, white
from scalewise.reproduce.scale import small_field
from scalewise.samplers import Sampler, StepRule, StochasticAscent, few_steps, paper_ascent
from scalewise.wavelets import low_pass

DATA, OURS, PUBLISHED = "training images", "ours", "published form"
FACTORS = (0.25, 0.5, 2.0)
SHOWN = 8
LIMIT = 6_000
"""Steps of the ascent at which to stop at the latest."""


Values = dict[str, Tensor]
"""A number for each image, shape (N,), by set of images."""


@dataclass(frozen=True)
class Measured:
    """Low-pass images as they are and as priors draw them, and the homogeneity of the networks.

    Attributes:
        samples: low-pass images by prior and way of drawing, shape (N, 1, h, w).
        means: of every image, of the training images (`DATA`) and of all samples.
        contrasts: standard deviations, likewise.
        homogeneity: by network, then by factor; see `homogeneity`.
        drawn: the samples of the published form that decide.
    """

    samples: dict[str, Tensor]
    means: Values
    contrasts: Values
    homogeneity: dict[str, list[float]]
    drawn: str


def run(context: Context) -> Result:
    """Homogeneity, and quantiles of the samples' mean and contrast beside the data's."""
    return show(measure(context))


def measure(context: Context) -> Measured:
    """Draw from low-pass priors of ours and of the published form, trained on the same images."""
    scale, training = context.scale, context.faces.training
    field = small_field(scale.fields)
    priors = {
        OURS: context.networks.multi_scale(field),
        PUBLISHED: context.networks.multi_scale(field, form="bias-free"),
    }
    data = low_pass(training.whole(range(len(training))), LEVELS)
    imported = context.published("faces160-rf9")
    if imported is not None:
        priors["authors' weights"] = imported
    samples = {
        name: low_samples(prior, scale.samples, context.seed) for name, prior in priors.items()
    }
    drawn = PUBLISHED
    if scale.ascent:
        context.say("drawing by the paper's ascent, in thousands of steps")
        drawn = f"{PUBLISHED}, ascent"
        samples[drawn] = low_samples(priors[PUBLISHED], scale.ascent, context.seed, ascent)
        if imported is not None:
            few = max(1, scale.ascent // 4)
            found = low_samples(imported, few, context.seed, ascent)
            samples["authors' weights, ascent"] = found
    homogeneous = {
        name: homogeneity(prior.low, data[:16], context.seed) for name, prior in priors.items()
    }
    return Measured(samples, *brightness({DATA: data, **samples}), homogeneous, drawn)


def brightness(sets: dict[str, Tensor]) -> tuple[Values, Values]:
    """Mean and standard deviation of the pixels of every image, by set of images (N, C, h, w)."""
    pixels = {name: images.flatten(1) for name, images in sets.items()}
    means = {name: values.mean(1) for name, values in pixels.items()}
    return means, {name: values.std(1) for name, values in pixels.items()}


def ascent(network: Network) -> StepRule:
    """The paper's stochastic ascent, stopped at `LIMIT`."""
    return replace(cast(StochasticAscent, paper_ascent(network)), limit=LIMIT)


@torch.no_grad()
def low_samples(
    prior: MultiScalePrior, count: int, seed: int, sampler: Sampler = few_steps
) -> Tensor:
    """Samples of the low-pass image alone."""
    return MultiScalePrior(prior.low).sample(count, seed=seed, sampler=sampler, batch=16).cpu()


@torch.no_grad()
def homogeneity(network: Denoiser, images: Tensor, seed: int) -> list[float]:
    """`|f(ay) - a f(y)| / |a f(y)|` for each factor; a network told σ is told aσ with ay."""
    sigma = 0.2
    noisy = images + sigma * white(images, seed)
    plain = network(noisy, sigma)
    return [
        float((network(a * noisy, a * sigma) - a * plain).norm() / (a * plain).norm())
        for a in FACTORS
    ]


def decide(means: Values, contrasts: Values, drawn: str) -> tuple[Verdict, dict[str, bool]]:
    """The verdict by the rule, and its parts.

    Args:
        means: of the images, at least of `DATA`, `OURS` and `drawn`.
        contrasts: of the images, at least of `DATA` and `OURS`.
        drawn: which samples of the published form decide.
    """
    parts = {
        "the median of the published form's samples is darker than three quarters of the data": (
            quantile(means[drawn], 0.5) < quantile(means[DATA], 0.25)
        )
    } | {
        f"median {what} of ours within the data's quartiles": quantile(values[DATA], 0.25)
        <= quantile(values[OURS], 0.5)
        <= quantile(values[DATA], 0.75)
        for what, values in (("mean", means), ("contrast", contrasts))
    }
    return judge(parts), parts


def show(measured: Measured) -> Result:
    """Verdict, tables and pictures."""
    means, contrasts = measured.means, measured.contrasts
    verdict, parts = decide(means, contrasts, measured.drawn)
    phrase = ", ".join(
        f"{name} {quantile(means[name], 0.5):.3f} and {quantile(contrasts[name], 0.5):.3f}"
        for name in means
    )
    columns = ["network", *(f"a = {factor:g}" for factor in FACTORS)]
    rows: list[list[Cell]] = [[name, *values] for name, values in measured.homogeneity.items()]
    title = "Homogeneity: |f(ay) - a f(y)| / |a f(y)|, 0 for a homogeneous denoiser"
    return Result(
        verdict,
        f"Median brightness and contrast of low-pass images: {phrase} ({told(parts)}).",
        [
            _quantiles("mean", means),
            _quantiles("contrast (standard deviation)", contrasts),
            Table(title, columns, rows),
        ],
        [_pictures(measured.samples)],
        {
            "mean": {name: quantiles(values) for name, values in means.items()},
            "contrast": {name: quantiles(values) for name, values in contrasts.items()},
            "homogeneity": measured.homogeneity,
        },
        [
            "Theory: if f(ay) = a f(y), the score that f gives belongs to a density that is the "
            "same along every ray but for a power of the distance, so nothing tells how bright "
            "images are; the scale of a sample is what the noise happened to leave.",
            "Drawn by the default sampler, or by the paper's stochastic ascent (at "
            f"most {LIMIT} steps), which decides where it is drawn. The authors rescaled samples; "
            "their network learnt 40x40 low-pass images of other faces.",
        ],
    )


def _pictures(samples: dict[str, Tensor]) -> Figure:
    return pictures(
        "samples",
        "Low-pass samples as they are drawn, not rescaled.",
        [list(images[:SHOWN].clamp(0, 1)) for images in samples.values()],
        list(samples),
        height=80,
    )


def _quantiles(what: str, values: Values) -> Table:
    found = {name: quantiles(v) for name, v in values.items()}
    columns = list(next(iter(found.values())))
    rows: list[list[Cell]] = [[name, *by.values()] for name, by in found.items()]
    return Table(f"Quantiles of the images' {what}", ["images", *columns], rows)


EXPERIMENT = Experiment(
    "brightness",
    "The published low-pass prior drifts to dark images",
    "A homogeneous low-pass denoiser cannot know how bright images are, so its samples are dark; "
    "one with biases, told the noise level, needs no rescaling (ours).",
    "Of own networks: the median brightness of samples of the published form is under the lower "
    "quartile of the data, and the medians of brightness and contrast of ours are within the "
    "data's quartiles.",
    run,
    ("faces",),
)
