"""Adaptive filters: what a denoiser does to an image, as rows of its Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import Context
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
from scalewise.reproduce.measure import public_face, white
from scalewise.reproduce.scale import small_field
from scalewise.wavelets import GAIN, low_pass, split

LOW, DETAILS, PUBLIC = "low-pass image", "details 1", "astronaut"
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


Shape = dict[str, float]
"""`radius` and `likeness` of filters."""

Found = dict[str, dict[float, Shape]]
"""By scale (`LOW`, `DETAILS`), then by noise level."""


@dataclass(frozen=True)
class Measured:
    """Filters of the low-pass image and of the details at several noise levels.

    Attributes:
        shapes: by image.
        pictures: by image, then by scale: a row per noise level, the noisy image and its filters.
    """

    shapes: dict[str, Found]
    pictures: dict[str, dict[str, list[list[Tensor]]]]


def run(context: Context) -> Result:
    """Filters of the low-pass image and of the details at several noise levels."""
    return show(measure(context))


def measure(context: Context) -> Measured:
    """Take filters of the multi-scale prior, on the astronaut and on a validation face."""
    prior = context.networks.multi_scale(small_field(context.scale.fields))
    side = context.faces.training.images[0].shape[-1]
    images = {PUBLIC: public_face(side), "face": context.faces.held_out(1)}
    shapes: dict[str, Found] = {}
    shown: dict[str, dict[str, list[list[Tensor]]]] = {}
    for name, image in images.items():
        for what, (denoise, clean, gain) in scales_of(prior, image).items():
            for sigma in SIGMAS:
                level = gain * sigma / 255
                noisy = clean + level * white(clean, context.seed)
                places = places_in(noisy)
                filters = rows_of(partial(denoise, sigma=level), noisy, places)
                shape = {"radius": radius(filters, places), "likeness": likeness(filters, places)}
                shapes.setdefault(name, {}).setdefault(what, {})[sigma] = shape
                row = _row(what, noisy, filters, places)
                shown.setdefault(name, {}).setdefault(what, []).append(row)
    return Measured(shapes, shown)


def scales_of(
    prior: MultiScalePrior, image: Tensor
) -> dict[str, tuple[Callable[..., Tensor], Tensor, float]]:
    """Denoisers `(noisy, sigma)` of the low-pass image and of the details of level 1.

    Returns:
        Each with what it denoises, clean, and the deviation there of unit noise in the image. The
        details are given the clean low-pass image, as in sampling.
    """
    given, details = split(image, prior.wavelet)

    def denoise_details(noisy: Tensor, sigma: float) -> Tensor:
        return prior.conditionals[0](noisy, given, sigma).details

    low = low_pass(image, prior.levels, prior.wavelet)
    return {LOW: (prior.low, low, GAIN**prior.levels), DETAILS: (denoise_details, details, GAIN)}


def places_in(image: Tensor) -> list[tuple[int, int]]:
    """`PLACES` in pixels of an image (1, C, h, w)."""
    height, width = image.shape[-2:]
    return [(int(y * height), int(x * width)) for y, x in PLACES]


def decide(found: Found) -> tuple[Verdict, dict[str, bool]]:
    """The verdict by the rule, and its parts, from the filters on the astronaut."""
    least, middle, largest = SIGMAS
    low, details = found[LOW], found[DETAILS]
    most = max(low[middle]["likeness"], details[middle]["likeness"])
    parts = {
        "filters of the low-pass image widen with the noise": (
            low[largest]["radius"] > low[least]["radius"]
        ),
        f"filters of different places differ (cosine below {ALIKE:g} at σ = {middle:g})": (
            most < ALIKE
        ),
    }
    return judge(parts), parts


def show(measured: Measured) -> Result:
    """Verdict, table and pictures."""
    found = measured.shapes
    verdict, parts = decide(found[PUBLIC])
    low, details = found[PUBLIC][LOW], found[PUBLIC][DETAILS]
    least, middle, largest = SIGMAS
    rows: list[list[Cell]] = [
        [name, what, sigma, shape["radius"], shape["likeness"]]
        for name, scales in found.items()
        for what, by in scales.items()
        for sigma, shape in by.items()
    ]
    title = (
        "Filters: mean radius of their energy in pixels of their scale, mean cosine between places"
    )
    return Result(
        verdict,
        f"Astronaut: mean radius of low-pass filters {low[least]['radius']:.2f} pixels at "
        f"σ = {least:g} and {low[largest]['radius']:.2f} at {largest:g}; cosine between places at "
        f"σ = {middle:g}: {low[middle]['likeness']:.2f} for the low-pass image, "
        f"{details[middle]['likeness']:.2f} for details ({told(parts)}).",
        [Table(title, ["image", "of", "σ (8-bit, of the image)", "radius", "cosine"], rows)],
        [
            _figure(name, what, drawn)
            for name, scales in measured.pictures.items()
            for what, drawn in scales.items()
        ],
        {
            name: {w: {str(s): v for s, v in by.items()} for w, by in m.items()}
            for name, m in found.items()
        },
        [
            "Rows of the Jacobian by automatic differentiation, of the first channel (the image, "
            "or horizontal details). Details see the clean low-pass image, as in sampling."
        ],
    )


def _row(what: str, noisy: Tensor, filters: Tensor, places: list[tuple[int, int]]) -> list[Tensor]:
    """The noisy image, then one filter per place, gray where it is zero."""
    if what == DETAILS:
        seen, near = 0.5 + 4 * noisy[0, :1], CUT // 2
        filters = torch.stack([_around(f, p, near) for f, p in zip(filters, places, strict=True)])
    else:
        seen = noisy[0, :1]
    return [seen, *((0.5 + 0.5 * f / f.abs().max().clamp(min=1e-30))[None] for f in filters)]


def _figure(name: str, what: str, drawn: list[list[Tensor]]) -> Figure:
    caption = (
        f"Filters of the {what}, {name}: the noisy image, then one filter per place "
        "(gray is zero), by noise level."
    )
    labels = [f"σ = {s:g}" for s in SIGMAS]
    word = f"{name}-{what.replace(' ', '-')}"
    return pictures(word, caption, drawn, labels, height=72, private=name != PUBLIC)


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
