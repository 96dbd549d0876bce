"""The Markov property: declared fields are true, and how much a neighbourhood lacks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

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
from scalewise.reproduce.figures import curves
from scalewise.reproduce.neighbourhoods import level_laws, pixel_errors, simulated_errors

SIDE, LEVELS = 64, 2
FIELDS = (1, 3, 5, 9, 13)
RATIOS, PIXEL_RATIOS = (0.25, 1.0, math.inf), (0.25, 1.0, 4.0)
"""Noise in deviations of the details, and of the pixels."""
ERRORS, ENOUGH = 4.0, 0.01
"""Standard errors that simulation may differ by; relative excess error that is negligible."""


@dataclass(frozen=True)
class Probed:
    """A network's receptive field, declared and probed by gradients."""

    name: str
    origin: str
    declared: int | None
    probed: int | None


@dataclass(frozen=True)
class Neighbourhood:
    """What a square neighbourhood lacks for the details of a level, given the low-pass image.

    Attributes:
        level: from 1.
        ratio: noise in deviations of the details; infinite where only the low-pass image is seen.
        field: side of the square.
        theory: excess over the error with everything seen, relative to it.
        simulated: the same, found by regression on simulated fields.
        off: difference of the errors, in standard errors of the simulation.
    """

    level: int
    ratio: float
    field: int
    theory: float
    simulated: float
    off: float


@dataclass(frozen=True)
class Measured:
    """Receptive fields of networks, and what neighbourhoods of a Gaussian field lack.

    Attributes:
        probed: networks of every form.
        details: given the low-pass image; of every level, noise and field.
        pixel: relative excess error of pixel-domain denoising, by noise and field.
    """

    probed: list[Probed]
    details: list[Neighbourhood]
    pixel: dict[float, dict[int, float]]

    @property
    def worst(self) -> float:
        """The largest difference of simulation and theory, in standard errors."""
        return max(abs(found.off) for found in self.details)

    @property
    def at_nine(self) -> float:
        """The largest relative excess error of 9x9."""
        return max(found.theory for found in self.details if found.field == 9)

    @property
    def excess(self) -> dict[tuple[int, float], dict[int, float]]:
        """Theory by level and noise, then by field."""
        by: dict[tuple[int, float], dict[int, float]] = {}
        for found in self.details:
            by.setdefault((found.level, found.ratio), {})[found.field] = found.theory
        return by


def run(context: Context) -> Result:
    """Probe receptive fields, then compare neighbourhoods of a Gaussian field with theory."""
    return show(measure(context))


def measure(context: Context) -> Measured:
    """Probe networks of every form, and simulate a field that is Markov on its lattice."""
    spectrum = power_law_spectrum((SIDE, SIDE), corner=1 / 32, lattice=True)
    return Measured(
        [probe(name, origin, network) for (name, origin), network in _networks(context).items()],
        neighbourhoods(spectrum, LEVELS, FIELDS, context.scale.fields_drawn, context.seed),
        {ratio: pixel_excess(spectrum, FIELDS, ratio) for ratio in PIXEL_RATIOS},
    )


def _networks(context: Context) -> dict[tuple[str, str], Network]:
    """Networks of every form, by name and origin."""
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
    return networks


def probe(name: str, origin: str, network: Network) -> Probed:
    """A network's receptive field as it is declared, and as its gradients show it."""
    return Probed(name, origin, network.receptive_field, probe_receptive_field(network))


def neighbourhoods(
    spectrum: Tensor, levels: int, fields: tuple[int, ...], count: int, seed: int
) -> list[Neighbourhood]:
    """What neighbourhoods lack for the details of a Gaussian field, in theory and simulated.

    Args:
        spectrum: power spectrum of the field, shape (H, W).
        levels: how many.
        fields: sides of the neighbourhoods.
        count: how many fields to simulate.
        seed: of the fields and of the noise.
    """
    mean = torch.zeros(1, *spectrum.shape).double()
    law = StationaryGaussian(spectrum[..., None, None].to(torch.complex128), mean)
    images = law.draw(count, torch.Generator().manual_seed(seed))
    compared = []
    for level, bands in enumerate(level_laws(spectrum, levels), start=1):
        for ratio in RATIOS:
            sigma = ratio * bands.deviation
            full = bands.full_error(sigma)
            found = simulated_errors(images, level, fields, sigma, seed, "haar")
            for field, (error, spread) in found.items():
                theory = bands.local_error(field, sigma)
                excess = theory / full - 1, error / full - 1
                off = (error - theory) / spread
                compared.append(Neighbourhood(level, ratio, field, *excess, off))
    return compared


def pixel_excess(spectrum: Tensor, fields: tuple[int, ...], sigma: float) -> dict[int, float]:
    """Relative excess error of denoising pixels from neighbourhoods, by side."""
    full, found = pixel_errors(spectrum, fields, sigma)
    return {field: error / full - 1 for field, error in found.items()}


def decide(measured: Measured) -> tuple[Verdict, dict[str, bool]]:
    """The verdict by the rule, and its parts."""
    parts = {
        "probed receptive fields equal the declared ones": all(
            network.declared == network.probed for network in measured.probed
        ),
        f"simulated errors within {ERRORS:g} standard errors of theory": all(
            abs(found.off) <= ERRORS for found in measured.details
        ),
        f"9x9 excess error of details given the low-pass below {100 * ENOUGH:g} %": (
            measured.at_nine < ENOUGH
        ),
    }
    return judge(parts), parts


def show(measured: Measured) -> Result:
    """Verdict, tables and figure."""
    verdict, parts = decide(measured)
    flat = max(by[9] for by in measured.pixel.values())
    sentence = (
        f"{len(measured.probed)} networks probed; simulated excess errors differ from theory by at "
        f"most {measured.worst:.1f} standard errors; a 9x9 neighbourhood lacks "
        f"{100 * measured.at_nine:.2g} % of the error for details given the low-pass image, up to "
        f"{100 * flat:.2g} % for pixels"
    )
    return Result(
        verdict,
        f"{sentence} ({told(parts)}).",
        _tables(measured),
        [_figure(measured)],
        {
            "excess": {f"level {j}, sigma {s:g}": by for (j, s), by in measured.excess.items()},
            "pixel": {f"sigma {s:g}": by for s, by in measured.pixel.items()},
            "largest difference in standard errors": measured.worst,
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


def _tables(measured: Measured) -> list[Table]:
    fields = list(next(iter(measured.pixel.values())))
    details: list[list[Cell]] = [
        [
            found.level,
            _name(found.ratio),
            f"{found.field}x{found.field}",
            100 * found.theory,
            100 * found.simulated,
            found.off,
        ]
        for found in measured.details
    ]
    return [
        Table(
            f"Error of details given the clean low-pass image, {SIDE}x{SIDE} lattice field: "
            "excess over the error with everything seen",
            ["level", "σ / deviation", "field", "theory (%)", "simulated (%)", "difference / s.e."],
            details,
        ),
        Table(
            "Pixel-domain denoising of the same field: excess error (%)",
            ["σ / deviation", *(f"{r}x{r}" for r in fields)],
            [[s, *(100 * by[r] for r in fields)] for s, by in measured.pixel.items()],
        ),
        Table(
            "Receptive fields",
            ["network", "of", "declared", "probed"],
            [[n.name, n.origin, n.declared, n.probed] for n in measured.probed],
        ),
    ]


def _name(ratio: float) -> str:
    return "∞ (low-pass only)" if math.isinf(ratio) else f"{ratio:g}"


def _figure(measured: Measured) -> Figure:
    conditional = {
        f"level {level}, σ = {_name(ratio)}": (list(by), [max(v, 1e-9) for v in by.values()])
        for (level, ratio), by in measured.excess.items()
    }
    flat = {f"flat, σ = {s:g}": (list(by), list(by.values())) for s, by in measured.pixel.items()}
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
