"""Adaptive filters: what a denoiser does to an image, as rows of its Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import Context
from scalewise.reproduce.experiment import Cell, Experiment, Result, Table, judge, told
from scalewise.reproduce.experiments.denoising import small_field
from scalewise.reproduce.figures import pictures
from scalewise.reproduce.measure import public_face, white
from scalewise.wavelets import GAIN, low_pass, split

SIGMAS = (10.0, 50.0, 200.0)
"""Noise of the image, in 8-bit units."""
PLACES = ((0.33, 0.38), (0.33, 0.62), (0.5, 0.5), (0.66, 0.5), (0.12, 0.12))
"""Where filters are looked at, as shares of height and width."""
ALIKE = 0.9
"""Cosine of two filters above which they count as the same."""
CUT = 9
"""Side of the filters of details that are shown."""


def rows_of(
    denoise: Callable[[Tensor], Tensor], noisy: Tensor, places: list[tuple[int, int]]
) -> Tensor:
    """Rows of the Jacobian of the first output channel at given places.

    Args:
        denoise: from (1, C, h, w) to (1, D, h, w).
        noisy: where the Jacobian is taken, shape (1, C, h, w).
        places: row and column of each output.

    Returns:
        The derivative of each output with respect to the first input channel, (places, h, w).
    """
    at = noisy.detach().clone().requires_grad_()
    estimate = denoise(at)
    return torch.stack(
        [
            torch.autograd.grad(estimate[0, 0, y, x], at, retain_graph=True)[0][0, 0]
            for y, x in places
        ]
    )


def radius(filters: Tensor, places: list[tuple[int, int]]) -> float:
    """Mean distance, in pixels, at which a filter's energy lies from its own place."""
    height, width = filters.shape[-2:]
    found = []
    for row, (y, x) in zip(filters.square(), places, strict=True):
        down, right = torch.arange(height)[:, None] - y, torch.arange(width)[None] - x
        distance = (down**2 + right**2).double().sqrt()
        found.append(float((row * distance).sum() / row.sum().clamp(min=1e-30)))
    return sum(found) / len(found)


def likeness(filters: Tensor, places: list[tuple[int, int]], reach: int = 4) -> float:
    """Mean cosine between the filters of different places, each centred on its own."""
    centred = torch.stack(
        [_around(f, p, reach).flatten() for f, p in zip(filters, places, strict=True)]
    )
    unit = centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-30)
    count = len(unit)
    return float(((unit @ unit.T).sum() - count) / (count * (count - 1)))


def run(context: Context) -> Result:
    """Filters of the low-pass image and of the details at several noise levels."""
    prior = context.networks.multi_scale(small_field(context.scale.fields))
    side = context.faces.training.images[0].shape[-1]
    found, figures = {}, []
    for name, image in {
        "astronaut": public_face(side),
        "face": context.faces.held_out(1),
    }.items():
        measured, shown = _measure(prior, image, context.seed)
        found[name] = measured
        for what, drawn in shown.items():
            caption = (
                f"Filters of the {what}, {name}: the noisy image, then one filter per place "
                "(gray is zero), by noise level."
            )
            labels = [f"σ = {s:g}" for s in SIGMAS]
            word = f"{name}-{what.replace(' ', '-')}"
            private = name == "face"
            figures.append(pictures(word, caption, drawn, labels, height=72, private=private))
    low = found["astronaut"]["low-pass image"]
    details = found["astronaut"]["details 1"]
    middle = SIGMAS[1]
    parts = {
        "filters of the low-pass image widen with the noise": low[SIGMAS[-1]]["radius"]
        > low[SIGMAS[0]]["radius"],
        f"filters of different places differ (cosine below {ALIKE:g} at σ = {middle:g})": max(
            low[middle]["likeness"], details[middle]["likeness"]
        )
        < ALIKE,
    }
    rows: list[list[Cell]] = [
        [name, what, s, by[s]["radius"], by[s]["likeness"]]
        for name, measured in found.items()
        for what, by in measured.items()
        for s in SIGMAS
    ]
    return Result(
        judge(parts),
        f"Astronaut: mean radius of low-pass filters {low[SIGMAS[0]]['radius']:.2f} pixels at "
        f"σ = {SIGMAS[0]:g} and {low[SIGMAS[-1]]['radius']:.2f} at {SIGMAS[-1]:g}; cosine between "
        f"places at σ = {middle:g}: {low[middle]['likeness']:.2f} for the low-pass image, "
        f"{details[middle]['likeness']:.2f} for details ({told(parts)}).",
        [
            Table(
                "Filters: mean radius of their energy in pixels of their scale, mean cosine "
                "between places",
                ["image", "of", "σ (8-bit, of the image)", "radius", "cosine"],
                rows,
            )
        ],
        figures,
        {
            name: {w: {str(s): v for s, v in by.items()} for w, by in m.items()}
            for name, m in found.items()
        },
        [
            "Rows of the Jacobian by automatic differentiation, of the first channel (the image, "
            "or horizontal details). Details see the clean low-pass image, as in sampling."
        ],
    )


def _measure(
    prior: MultiScalePrior, image: Tensor, seed: int
) -> tuple[dict[str, dict[float, dict[str, float]]], dict[str, list[list[Tensor]]]]:
    """Radius and likeness by scale and noise level, and rows of pictures."""
    low = low_pass(image, prior.levels, prior.wavelet)
    given, details = split(image, prior.wavelet)
    cases: dict[str, tuple[Tensor, float, Callable[..., Tensor], int | None]] = {
        "low-pass image": (low, GAIN**prior.levels, _low(prior), None),
        "details 1": (
            details,
            GAIN,
            _details(prior, given),
            CUT // 2,
        ),
    }
    found: dict[str, dict[float, dict[str, float]]] = {}
    shown: dict[str, list[list[Tensor]]] = {}
    for what, (clean, gain, denoise, reach) in cases.items():
        height, width = clean.shape[-2:]
        places = [(int(y * height), int(x * width)) for y, x in PLACES]
        for sigma in SIGMAS:
            level = gain * sigma / 255
            noisy = clean + level * white(clean, seed)
            filters = rows_of(partial(denoise, sigma=level), noisy, places)
            measured = {"radius": radius(filters, places), "likeness": likeness(filters, places)}
            found.setdefault(what, {})[sigma] = measured
            seen = noisy[0, :1] if what == "low-pass image" else 0.5 + 4 * noisy[0, :1]
            cut = [
                f if reach is None else _around(f, p, reach)
                for f, p in zip(filters, places, strict=True)
            ]
            drawn = [(0.5 + 0.5 * f / f.abs().max().clamp(min=1e-30))[None] for f in cut]
            shown.setdefault(what, []).append([seen, *drawn])
    return found, shown


def _low(prior: MultiScalePrior) -> Callable[..., Tensor]:
    def denoise(noisy: Tensor, sigma: float) -> Tensor:
        return prior.low(noisy, sigma)

    return denoise


def _details(prior: MultiScalePrior, low: Tensor) -> Callable[..., Tensor]:
    def denoise(noisy: Tensor, sigma: float) -> Tensor:
        return prior.conditionals[0](noisy, low, sigma).details

    return denoise


def _around(image: Tensor, place: tuple[int, int], reach: int) -> Tensor:
    """The square around a place, zero beyond the border."""
    padded = torch.nn.functional.pad(image, (reach,) * 4)
    y, x = place
    return padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1]


EXPERIMENT = Experiment(
    "filters",
    "Adaptive filters",
    "Denoisers act as filters that adapt to the image: those of the low-pass image widen with the "
    "noise, and those of the details follow local structure (figure 6).",
    "On the astronaut: the energy of low-pass filters lies farther from their place at the largest "
    f"noise level than at the least, and filters of different places have a mean cosine below "
    f"{ALIKE:g} at the middle one, for low-pass image and details.",
    run,
    ("faces",),
)
