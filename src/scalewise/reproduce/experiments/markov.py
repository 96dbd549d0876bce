"""The Markov property: declared fields are true, and how much a neighbourhood lacks."""

from __future__ import annotations

import math

import torch

from scalewise.exact import StationaryGaussian, power_law_spectrum
from scalewise.networks import (
    BiasFreeConditional,
    BiasFreeDenoiser,
    LocalConditional,
    Network,
    probe_receptive_field,
    spread_kernels,
)
from scalewise.reproduce.context import Context
from scalewise.reproduce.experiment import Cell, Experiment, Figure, Result, Table, judge, told
from scalewise.reproduce.figures import curves
from scalewise.reproduce.neighbourhoods import level_laws, pixel_errors, simulated_errors

SIDE, LEVELS = 64, 2
FIELDS = (1, 3, 5, 9, 13)
ERRORS, ENOUGH = 4.0, 0.01
"""Standard errors that simulation may differ by; relative excess error that is negligible."""


def run(context: Context) -> Result:
    """Probe receptive fields, then compare neighbourhoods of a Gaussian field with theory."""
    probed = probe(context)
    equal = all(row[2] == row[3] for row in probed)
    spectrum = power_law_spectrum((SIDE, SIDE), corner=1 / 32, lattice=True)
    excess, rows, worst = gaussian(context, spectrum)
    pixel = {
        s: {r: e / full - 1 for r, e in found.items()}
        for s in (0.25, 1.0, 4.0)
        for full, found in [pixel_errors(spectrum, FIELDS, s)]
    }
    at_nine = max(by[9] for by in excess.values())
    parts = {
        "probed receptive fields equal the declared ones": equal,
        f"simulated errors within {ERRORS:g} standard errors of theory": worst <= ERRORS,
        f"9x9 excess error of details given the low-pass below {100 * ENOUGH:g} %": at_nine
        < ENOUGH,
    }
    flat = max(by[9] for by in pixel.values())
    sentence = (
        f"{len(probed)} networks probed; simulated excess errors differ from theory by at most "
        f"{worst:.1f} standard errors; a 9x9 neighbourhood lacks {100 * at_nine:.2g} % of the "
        f"error for details given the low-pass image, up to {100 * flat:.2g} % for pixels"
    )
    return Result(
        judge(parts),
        f"{sentence} ({told(parts)}).",
        [
            Table(
                f"Error of details given the clean low-pass image, {SIDE}x{SIDE} lattice field: "
                "excess over the error with everything seen",
                [
                    "level",
                    "σ / deviation",
                    "field",
                    "theory (%)",
                    "simulated (%)",
                    "difference / s.e.",
                ],
                rows,
            ),
            Table(
                "Pixel-domain denoising of the same field: excess error (%)",
                ["σ / deviation", *(f"{r}x{r}" for r in FIELDS)],
                [[s, *(100 * by[r] for r in FIELDS)] for s, by in pixel.items()],
            ),
            Table(
                "Receptive fields",
                ["network", "of", "declared", "probed"],
                probed,
            ),
        ],
        [_figure(excess, pixel)],
        {
            "excess": {f"level {j}, sigma {s:g}": by for (j, s), by in excess.items()},
            "pixel": {f"sigma {s:g}": by for s, by in pixel.items()},
            "largest difference in standard errors": worst,
        },
        [
            "Theory: one linear system per neighbourhood, from the known covariances. Simulation: "
            "least-squares regression on half of the fields, error over both halves, since it errs "
            "too little where it was fitted and as much too much elsewhere. The error with "
            "everything seen is a mean over frequencies.",
            "For a Gaussian field a receptive field of r is the assumption that details given the "
            "low-pass image interact within r only; the excess error is its price.",
        ],
    )


def probe(context: Context) -> list[list[Cell]]:
    """Name, origin, declared and probed receptive field of networks of every form."""
    fields, depth = context.scale.fields, context.scale.depth
    networks: dict[tuple[str, str], Network] = {}
    for field in fields:
        kernels = spread_kernels(field, depth)
        made: list[Network] = [
            BiasFreeDenoiser(1, kernels, width=4),
            BiasFreeConditional(1, kernels, width=4),
            LocalConditional(1, field, width=4, blocks=max(4, (field - 5) // 2)),
        ]
        networks |= {(f"{type(n).__name__} {field}x{field}", "ours"): n for n in made}
    for field in fields:
        for name in (f"flat160-rf{field}", f"faces160-rf{field}"):
            prior = context.published(name)
            if prior is not None:
                network = prior.details[0] if prior.levels else prior.low
                networks[name, "published"] = network  # type: ignore[assignment]
    return [
        [name, origin, network.receptive_field, probe_receptive_field(network)]
        for (name, origin), network in networks.items()
    ]


def gaussian(
    context: Context, spectrum: torch.Tensor
) -> tuple[dict[tuple[int, float], dict[int, float]], list[list[Cell]], float]:
    """Relative excess errors by level, noise and field; rows of the table; largest difference."""
    law = StationaryGaussian(
        spectrum[..., None, None].to(torch.complex128), torch.zeros(1, SIDE, SIDE).double()
    )
    generator = torch.Generator().manual_seed(context.seed)
    images = law.draw(context.scale.fields_drawn, generator)
    excess: dict[tuple[int, float], dict[int, float]] = {}
    rows: list[list[Cell]] = []
    worst = 0.0
    for level, bands in enumerate(level_laws(spectrum, LEVELS), start=1):
        for ratio in (0.25, 1.0, math.inf):
            sigma = ratio * bands.deviation
            full = bands.full_error(sigma)
            found = simulated_errors(images, level, FIELDS, sigma, context.seed, "haar")
            for field, (error, spread) in found.items():
                theory = bands.local_error(field, sigma)
                off = (error - theory) / spread
                worst = max(worst, abs(off))
                excess.setdefault((level, ratio), {})[field] = theory / full - 1
                percent = 100 * (theory / full - 1), 100 * (error / full - 1)
                rows.append([level, _name(ratio), f"{field}x{field}", *percent, off])
    return excess, rows, worst


def _name(ratio: float) -> str:
    return "∞ (low-pass only)" if math.isinf(ratio) else f"{ratio:g}"


def _figure(
    excess: dict[tuple[int, float], dict[int, float]], pixel: dict[float, dict[int, float]]
) -> Figure:
    conditional = {
        f"level {level}, σ = {_name(ratio)}": (list(by), [max(v, 1e-9) for v in by.values()])
        for (level, ratio), by in excess.items()
    }
    flat = {f"flat, σ = {s:g}": (list(by), list(by.values())) for s, by in pixel.items()}
    panels = {"details given the low-pass image": conditional, "pixels": flat}
    caption = "Relative excess error of r x r neighbourhoods of a Gaussian field, theory."
    return curves("excess", caption, panels, "r", "relative excess error", "y")


EXPERIMENT = Experiment(
    "markov",
    "The Markov property",
    "Limiting the receptive field is a Markov assumption on the details given the low-pass image, "
    "and a small neighbourhood is enough (section 3).",
    f"Probed receptive fields equal the declared ones; regression on simulated Gaussian fields "
    f"agrees with theory within {ERRORS:g} standard errors for every r, level and noise; the "
    f"theoretical excess error of 9x9 is below {100 * ENOUGH:g} % at every level and noise.",
    run,
)
