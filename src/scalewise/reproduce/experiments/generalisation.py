"""Generalisation instead of memory: do priors of disjoint images agree?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

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
from scalewise.reproduce.figures import curves, pictures
from scalewise.reproduce.measure import white
from scalewise.reproduce.scale import small_field
from scalewise.wavelets import low_pass, split

SHARE = 0.5
"""Of the budget of one network, for each of these."""
RATIO = 1.0
"""Noise of what is denoised, in deviations of the clean bands."""

LEARNT = 0.45
"""Mean squared error over the noise's variance that networks must reach to be compared.

Plain shrinkage of every pixel by one half, which knows nothing of images, reaches 0.5.
"""

Pair = tuple[MultiScalePrior, MultiScalePrior]
Agreement = dict[str, dict[str, float]]
"""By band ("low", "details 1", ...): `denoised`, `correlation` and `error`, see `agreement`."""

DETAILS = [f"details {level}" for level in range(1, LEVELS + 1)]


@dataclass(frozen=True)
class Measured:
    """Agreement of two priors by the number of images of each.

    Attributes:
        found: by number of images, ascending.
        samples: low-pass images that both drew from the same noise, one row per number and prior.
        images: how many validation images were denoised.
    """

    found: dict[int, Agreement]
    samples: list[list[Tensor]]
    images: int

    @property
    def last(self) -> Agreement:
        """With the most images."""
        return self.found[max(self.found)]


def run(context: Context) -> Result:
    """Agreement of two priors by the number of images of each."""
    return show(measure(context))


def measure(context: Context) -> Measured:
    """Train two priors on disjoint images, for each number of images, and compare them."""
    faces, field = context.faces, small_field(context.scale.fields)
    images = faces.held_out(context.scale.images)
    total = len(faces.training)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(context.seed)).tolist()
    found, shown = {}, []
    for count in sorted({min(count, total // 2) for count in context.scale.halves}):
        halves = order[:count], order[total // 2 : total // 2 + count]
        pair = []
        for number, half in enumerate(halves, start=1):
            part = replace(faces.training, images=[faces.training.images[index] for index in half])
            tag = f"half{number}-of-{count}"
            networks = context.trained_on(part, faces.validation, tag, SHARE, chance=number)
            pair.append(networks.multi_scale(field))
        found[count], samples = agreement((pair[0], pair[1]), images, context.seed)
        shown += [list(drawn[:8].clamp(0, 1)) for drawn in samples]
    return Measured(found, shown, len(images))


@torch.no_grad()
def agreement(pair: Pair, images: Tensor, seed: int) -> tuple[Agreement, list[Tensor]]:
    """Compare what two priors make of the same noisy bands, and draw from the same noise.

    Args:
        pair: two priors of the same levels.
        images: validation images, shape (N, C, H, W); details are denoised and drawn given their
            clean low-pass images.
        seed: of all noise.

    Returns:
        By band: `denoised`, the squared difference of the two estimates over their mean squared
        error; `correlation` of the samples about their mean image; and `error`, that error over
        the noise's variance. And the low-pass images that each prior drew.
    """
    low = low_pass(images, LEVELS)
    sigma = RATIO * float((low - low.mean(0)).square().mean().sqrt())
    noisy = low + sigma * white(low, seed)
    coarsest = [MultiScalePrior(prior.low) for prior in pair]
    size = (low.shape[-2], low.shape[-1])
    drawn = [prior.sample(len(low), seed=seed, size=size) for prior in coarsest]
    estimates = [prior.denoise(noisy, sigma) for prior in coarsest]
    found = {"low": _compare(estimates, drawn, low)}
    for level, name in enumerate(DETAILS, start=1):
        given, details = split(low_pass(images, level - 1))
        sigma = RATIO * float(details.square().mean().sqrt())
        noisy = details + sigma * white(details, seed, level)
        estimates, samples = [], []
        for prior in pair:
            finer = MultiScalePrior(prior.low, prior.conditionals[level - 1 :])
            estimates.append(finer.conditionals[0](noisy, given, sigma).details)
            samples.append(split(finer.upscale(given, seed=seed)[0])[1])
        found[name] = _compare(estimates, samples, details)
    return found, drawn


def _compare(denoised: list[Tensor], drawn: list[Tensor], clean: Tensor) -> dict[str, float]:
    """Squared difference over mean squared error; correlation about the mean image."""
    error = sum(float((estimate - clean).square().mean()) for estimate in denoised) / 2
    between = float((denoised[0] - denoised[1]).square().mean())
    a, b = ((samples - samples.mean(0)).flatten() for samples in drawn)
    correlation = float(a @ b / (a.norm() * b.norm()).clamp(min=1e-12))
    variance = float((clean - clean.mean(0)).square().mean()) * RATIO**2
    return {"denoised": between / error, "correlation": correlation, "error": error / variance}


def decide(last: Agreement) -> tuple[Verdict, dict[str, bool]]:
    """The verdict by the rule, and its parts."""
    parts = {
        "denoised details differ less than denoised low-pass images, relative to their error": max(
            last[name]["denoised"] for name in DETAILS
        )
        < last["low"]["denoised"],
        "samples of details correlate more than samples of the low-pass image": min(
            last[name]["correlation"] for name in DETAILS
        )
        > last["low"]["correlation"],
    }
    learnt = all(last[name]["error"] < LEARNT for name in ("low", *DETAILS))
    return judge(parts) if learnt else "not tested", parts


def show(measured: Measured) -> Result:
    """Verdict, table and figures."""
    last, names = measured.last, ["low", *DETAILS]
    verdict, parts = decide(last)
    doubt = "" if verdict != "not tested" else "The networks learnt too little to be compared: "
    rows: list[list[Cell]] = [
        [count, name, by[name]["denoised"], by[name]["correlation"], by[name]["error"]]
        for count, by in measured.found.items()
        for name in names
    ]
    table = Table(
        f"Two priors of disjoint training images, {measured.images} validation faces: squared "
        f"difference of denoised bands over mean squared error (noise {RATIO:g} deviation), and "
        "correlation of samples from the same noise, about their mean image",
        ["images each", "band", "difference / error", "correlation", "error / noise"],
        rows,
    )
    sentence = (
        f"{doubt}With {max(measured.found)} images each, the difference of two priors' denoised "
        f"images over their mean squared error is {last['low']['denoised']:.2f} for the low-pass "
        f"image and {_list(last, DETAILS, 'denoised')} for details 1 to {LEVELS}; samples from the "
        f"same noise correlate {last['low']['correlation']:.2f} and "
        f"{_list(last, DETAILS, 'correlation')} ({told(parts)})."
    )
    numbers = {str(count): by for count, by in measured.found.items()}
    return Result(
        verdict,
        sentence,
        [table],
        _figures(measured),
        {"counts": list(measured.found), "found": numbers},
        [
            f"Each network had {SHARE:g} of the budget of one network. Details are denoised and "
            "drawn given the same clean low-pass image. Half of the error bounds nothing: two "
            "independent unbiased estimates would differ by twice their variance.",
        ],
    )


def _figures(measured: Measured) -> list[Figure]:
    counts = list(measured.found)
    panels = {
        title: {
            name: (counts, [measured.found[count][name][key] for count in counts])
            for name in ["low", *DETAILS]
        }
        for title, key in (
            ("difference of denoised over their error", "denoised"),
            ("correlation of samples", "correlation"),
        )
    }
    return [
        curves("agreement", "Agreement of two priors.", panels, "training images each", "", "x"),
        pictures(
            "samples",
            "Low-pass samples of two priors from the same noise, by number of images.",
            measured.samples,
            [f"{count}, {which}" for count in counts for which in ("first", "second")],
            height=72,
        ),
    ]


def _list(found: Agreement, names: list[str], key: str) -> str:
    return ", ".join(f"{found[name][key]:.2f}" for name in names)


EXPERIMENT = Experiment(
    "generalisation",
    "Generalisation instead of memory",
    "Local conditionals learnt from disjoint images agree where global low-pass networks do not "
    "(ours).",
    "With the most images: at every level the squared difference of two priors' denoised details, "
    "over their error, is less than that of their denoised low-pass images; and their samples of "
    "details from the same noise correlate more than those of the low-pass image. Not tested, "
    f"unless every band's error is below {LEARNT:g} of the noise, 0.5 being plain shrinkage.",
    run,
    ("faces",),
)
