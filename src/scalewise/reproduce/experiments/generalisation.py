"""Generalisation instead of memory: do priors of disjoint images agree?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from scalewise.networks import ConditionalDenoiser
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import LEVELS, Context
from scalewise.reproduce.experiment import Cell, Experiment, Result, Table, judge, told
from scalewise.reproduce.experiments.denoising import small_field
from scalewise.reproduce.figures import curves, pictures
from scalewise.reproduce.measure import white
from scalewise.samplers import draw, few_steps
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


def run(context: Context) -> Result:
    """Agreement of two priors by the number of images of each."""
    faces, field = context.faces, small_field(context.scale.fields)
    images = faces.held_out(context.scale.images)
    total = len(faces.training)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(context.seed)).tolist()
    counts = sorted({min(count, total // 2) for count in context.scale.halves})
    found: dict[int, dict[str, dict[str, float]]] = {}
    shown: list[list[Tensor]] = []
    for count in counts:
        halves = order[:count], order[total // 2 : total // 2 + count]
        pair = []
        for number, half in enumerate(halves, start=1):
            part = replace(faces.training, images=[faces.training.images[place] for place in half])
            tag = f"half{number}-of-{count}"
            networks = context.trained_on(part, faces.validation, tag, SHARE, chance=number)
            pair.append(networks.multi_scale(field))
        found[count], pictured = agreement((pair[0], pair[1]), images, context.seed)
        shown += pictured
    last = found[counts[-1]]
    details = [f"details {level}" for level in range(1, LEVELS + 1)]
    parts = {
        "denoised details differ less than denoised low-pass images, relative to their error": max(
            last[name]["denoised"] for name in details
        )
        < last["low"]["denoised"],
        "samples of details correlate more than samples of the low-pass image": min(
            last[name]["correlation"] for name in details
        )
        > last["low"]["correlation"],
    }
    names = ["low", *details]
    rows: list[list[Cell]] = [
        [count, name, by[name]["denoised"], by[name]["correlation"], by[name]["error"]]
        for count, by in found.items()
        for name in names
    ]
    panels = {
        title: {name: (counts, [found[c][name][key] for c in counts]) for name in names}
        for title, key in (
            ("difference of denoised over their error", "denoised"),
            ("correlation of samples", "correlation"),
        )
    }
    learnt = all(last[name]["error"] < LEARNT for name in ("low", *details))
    doubt = "" if learnt else "The networks learnt too little to be compared: "
    return Result(
        judge(parts) if learnt else "not tested",
        f"{doubt}With {counts[-1]} images each, the difference of two priors' denoised images over "
        f"their mean squared error is {last['low']['denoised']:.2f} for the low-pass image and "
        f"{_list(last, details, 'denoised')} for details 1 to {LEVELS}; "
        f"samples from the same noise correlate {last['low']['correlation']:.2f} and "
        f"{_list(last, details, 'correlation')} ({told(parts)}).",
        [
            Table(
                f"Two priors of disjoint training images, {len(images)} validation faces: squared "
                f"difference of denoised bands over mean squared error (noise {RATIO:g} deviation),"
                " and correlation of samples from the same noise, about their mean image",
                ["images each", "band", "difference / error", "correlation", "error / noise"],
                rows,
            )
        ],
        [
            curves(
                "agreement", "Agreement of two priors.", panels, "training images each", "", "x"
            ),
            pictures(
                "samples",
                "Low-pass samples of two priors from the same noise, by number of images.",
                shown,
                [f"{count}, {which}" for count in counts for which in ("first", "second")],
                height=72,
            ),
        ],
        {"counts": counts, "found": {str(count): by for count, by in found.items()}},
        [
            f"Each network had {SHARE:g} of the budget of one network. Details are denoised and "
            "drawn given the same clean low-pass image. Images of one person may be in both parts. "
            "Half of the error bounds nothing: two independent unbiased estimates would differ by "
            "twice their variance.",
        ],
    )


@torch.no_grad()
def agreement(
    pair: Pair, images: Tensor, seed: int
) -> tuple[dict[str, dict[str, float]], list[list[Tensor]]]:
    """Agreement by band, and low-pass samples of both priors."""
    found, shown = {}, []
    low = low_pass(images, LEVELS)
    centre = pair[0].low.prior_mean((low.shape[-2], low.shape[-1]))
    sigma = RATIO * float((low - low.mean(0)).square().mean().sqrt())
    noisy = low + sigma * white(low, seed)
    denoised = [prior.low(noisy, sigma) for prior in pair]
    drawn = [
        draw(prior.low, _noise(low, seed, LEVELS + 1), few_steps(prior.low), mean=centre)
        for prior in pair
    ]
    found["low"] = _compare(denoised, drawn, low)
    shown = [list(samples[:8].clamp(0, 1)) for samples in drawn]
    for level in range(1, LEVELS + 1):
        given, details = split(low_pass(images, level - 1))
        networks = [prior.conditionals[level - 1] for prior in pair]
        sigma = RATIO * float(details.square().mean().sqrt())
        noisy = details + sigma * white(details, seed, level)
        estimates = [network(noisy, given, sigma).details for network in networks]
        rule = few_steps(networks[0])
        samples = [
            draw(
                _given(network, given),
                _noise(details, seed, level),
                rule,
                mean=network.prior_mean(given),
            )
            for network in networks
        ]
        found[f"details {level}"] = _compare(estimates, samples, details)
    return found, shown


def _compare(denoised: list[Tensor], drawn: list[Tensor], clean: Tensor) -> dict[str, float]:
    """Squared difference over mean squared error; correlation about the mean image."""
    error = sum(float((estimate - clean).square().mean()) for estimate in denoised) / 2
    between = float((denoised[0] - denoised[1]).square().mean())
    a, b = ((samples - samples.mean(0)).flatten() for samples in drawn)
    correlation = float(a @ b / (a.norm() * b.norm()).clamp(min=1e-12))
    variance = float((clean - clean.mean(0)).square().mean()) * RATIO**2
    return {"denoised": between / error, "correlation": correlation, "error": error / variance}


def _noise(like: Tensor, seed: int, level: int) -> Callable[[int], Tensor]:
    return lambda _: white(like, seed, level)


def _given(network: ConditionalDenoiser, low: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda noisy, sigma: network(noisy, low, sigma).details


def _list(found: dict[str, dict[str, float]], names: list[str], key: str) -> str:
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
