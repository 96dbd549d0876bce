"""Drift to dark images: a homogeneous denoiser cannot carry a prior on brightness."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from scalewise.evaluation.synthesis import quantiles
from scalewise.networks import Denoiser, Network
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import LEVELS, Context
from scalewise.reproduce.experiment import Cell, Experiment, Result, Table, judge, told
from scalewise.reproduce.experiments.denoising import small_field
from scalewise.reproduce.figures import pictures
from scalewise.reproduce.measure import quantile, white
from scalewise.samplers import Sampler, StepRule, StochasticAscent, few_steps, paper_ascent
from scalewise.wavelets import low_pass

FACTORS = (0.25, 0.5, 2.0)
SHOWN = 8
LIMIT = 6_000
"""Steps of the ascent at which to stop at the latest."""


def run(context: Context) -> Result:
    """Homogeneity, and quantiles of the samples' mean and contrast beside the data's."""
    scale, faces = context.scale, context.faces
    field = small_field(scale.fields)
    ours = context.networks.multi_scale(field)
    blind = context.networks.multi_scale(field, form="bias-free")
    data = low_pass(faces.training.whole(range(len(faces.training))), LEVELS)
    priors = {"ours": ours, "published form": blind}
    imported = context.published("faces160-rf9")
    if imported is not None:
        priors["authors' weights"] = imported
    samples = {
        name: _low_samples(prior, scale.samples, context.seed) for name, prior in priors.items()
    }
    drawn = "published form"
    if scale.ascent:
        context.say("drawing by the paper's ascent, in thousands of steps")
        drawn = "published form, ascent"
        samples[drawn] = _low_samples(blind, scale.ascent, context.seed, ascent)
        if imported is not None:
            few = max(1, scale.ascent // 4)
            found = _low_samples(imported, few, context.seed, ascent)
            samples["authors' weights, ascent"] = found
    sets = {"training images": data, **samples}
    homogeneous = {
        name: homogeneity(prior.low, data[:16], context.seed) for name, prior in priors.items()
    }
    means = {name: images.flatten(1).mean(1) for name, images in sets.items()}
    contrasts = {name: images.flatten(1).std(1) for name, images in sets.items()}
    middle = {name: (quantile(means[name], 0.5), quantile(contrasts[name], 0.5)) for name in sets}
    parts = {
        "the median of the published form's samples is darker than three quarters of the data": (
            middle[drawn][0] < quantile(means["training images"], 0.25)
        )
    } | {
        f"median {what} of ours within the data's quartiles": quantile(
            values["training images"], 0.25
        )
        <= quantile(values["ours"], 0.5)
        <= quantile(values["training images"], 0.75)
        for what, values in (("mean", means), ("contrast", contrasts))
    }
    tables = [_quantiles("mean", means), _quantiles("contrast (standard deviation)", contrasts)]
    columns = ["network", *(f"a = {factor:g}" for factor in FACTORS)]
    rows: list[list[Cell]] = [[name, *values] for name, values in homogeneous.items()]
    title = "Homogeneity: |f(ay) - a f(y)| / |a f(y)|, 0 for a homogeneous denoiser"
    tables.append(Table(title, columns, rows))
    phrase = ", ".join(f"{name} {m:.3f} and {c:.3f}" for name, (m, c) in middle.items())
    return Result(
        judge(parts),
        f"Median brightness and contrast of low-pass images: {phrase} ({told(parts)}).",
        tables,
        [
            pictures(
                "samples",
                "Low-pass samples as they are drawn, not rescaled.",
                [list(images[:SHOWN].clamp(0, 1)) for images in samples.values()],
                list(samples),
                height=80,
            )
        ],
        {
            "mean": {name: quantiles(values) for name, values in means.items()},
            "contrast": {name: quantiles(values) for name, values in contrasts.items()},
            "homogeneity": homogeneous,
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


def ascent(network: Network) -> StepRule:
    """The paper's stochastic ascent, stopped at `LIMIT`."""
    return replace(cast(StochasticAscent, paper_ascent(network)), limit=LIMIT)


@torch.no_grad()
def _low_samples(
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


def _quantiles(what: str, values: dict[str, Tensor]) -> Table:
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
