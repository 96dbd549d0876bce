"""Bits per dimension lost by a small neighbourhood."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scalewise.reproduce.context import Context
from scalewise.reproduce.experiment import (
    Cell,
    Experiment,
    Figure,
    Result,
    Table,
    Verdict,
    judge_against,
    told,
)
from scalewise.reproduce.figures import curves
from scalewise.reproduce.measure import plus_minus
from scalewise.reproduce.networks import Networks
from scalewise.reproduce.scale import small_field

LOST = 0.02
"""Bits per dimension that 9x9 may lose, all levels together."""


@dataclass(frozen=True)
class Measured:
    """Bits per dimension of validation images.

    Attributes:
        bits: by receptive field, shape (N, J + 1): details of level 1 to J, low-pass image.
        local: the small receptive field that decides.
        again: of `local` and the largest field, trained again from other weights.
    """

    bits: dict[int, Tensor]
    local: int
    again: tuple[dict[int, Tensor], ...] = ()

    @property
    def lost(self) -> dict[int, Tensor]:
        """Bits lost against the largest receptive field, image by image, likewise."""
        return {field: found - self.bits[max(self.bits)] for field, found in self.bits.items()}

    @property
    def local_lost(self) -> Tensor:
        """Bits that `local` loses, by training, shape (trainings, N, J + 1)."""
        large = max(self.bits)
        return torch.stack([by[self.local] - by[large] for by in (self.bits, *self.again)])


def run(context: Context) -> Result:
    """Bits per dimension by receptive field and level, of the noise-conditional networks."""
    return show(measure(context))


def measure(context: Context) -> Measured:
    """Bits per dimension of validation faces, every prior's with the same noise."""
    scale = context.scale
    images = context.faces.held_out(max(2, scale.images // 2))
    steps = 16 if scale.packaged else 8
    local = small_field(scale.fields)

    def found(networks: Networks, field: int) -> Tensor:
        context.say(f"bits per dimension of {field}x{field}")
        prior = networks.multi_scale(field)
        with torch.no_grad():
            return prior.nll(images, seed=context.seed, steps=steps).bits

    bits = {field: found(context.networks, field) for field in scale.fields}
    again = tuple(
        {field: found(others, field) for field in (local, max(scale.fields))}
        for others in context.retrained
    )
    return Measured(bits, local, again)


def total(bits: Tensor) -> tuple[float, float]:
    """Mean over images of the bits (N, J + 1) of all levels together, and its standard error."""
    whole = bits.sum(1)
    return float(whole.mean()), float(whole.std() / math.sqrt(len(whole)))


def decide(lost: float, local: int) -> tuple[Verdict, str, dict[str, bool]]:
    """The verdict by the rule, what to put before the sentence, and the parts of the rule.

    Args:
        lost: bits per dimension that `local` loses, all levels together.
        local: the small receptive field.
    """
    parts = {f"{local}x{local} loses at most {LOST} bits per dimension": lost <= LOST}
    return *judge_against(parts, -lost, LOST), parts


def show(measured: Measured) -> Result:
    """Verdict, tables and curves."""
    bits, lost, local = measured.bits, measured.lost, measured.local
    large, count = max(bits), len(bits[local])
    names = [*(f"level {level}" for level in range(1, bits[local].shape[1])), "low"]
    by_training = measured.local_lost
    mean, error = total(by_training.mean(0))
    verdict, doubt, parts = decide(mean, local)
    by_level = zip(names[:-1], by_training.mean((0, 1))[:-1].tolist(), strict=True)
    trained = [total(one)[0] for one in by_training]
    spread = f", {plus_minus(trained, '+.4f')} over trainings" if len(trained) > 1 else ""
    levels = ", ".join(f"{name} {value:+.4f}" for name, value in by_level)
    rows: list[list[Cell]] = [
        [f"{field}x{field}", *found.mean(0).tolist(), total(found)[0]]
        for field, found in bits.items()
    ]
    losses: list[list[Cell]] = [
        [f"{field}x{field}", *found.mean(0).tolist(), *total(found)]
        for field, found in lost.items()
        if field != large
    ]
    title = f"Bits per dimension, {count} validation faces, smoothed by noise of 0.242/255"
    title_lost = (
        f"Bits per dimension lost against {large}x{large}, the same noise; standard error over "
        "images"
    )
    return Result(
        verdict,
        f"{doubt}{local}x{local} loses {mean:+.4f} ± {error:.4f} bits per dimension against "
        f"{large}x{large} (over images{spread}; {levels}; {told(parts)}).",
        [
            Table(title, ["field", *names, "total"], rows),
            Table(title_lost, ["field", *names, "total", "s.e."], losses),
        ],
        [_curves(lost, names[:-1])],
        {
            "names": names,
            "bits": {str(field): found.mean(0).tolist() for field, found in bits.items()},
            "lost": {str(field): found.mean(0).tolist() for field, found in lost.items()},
            "lost by training": trained,
        },
        [
            "From denoising errors over noise levels; a denoiser that is not the least-squares one "
            "costs bits, so these are upper bounds, and differences include what training left. "
            "All share the low-pass network, whose bits are equal.",
        ],
    )


def _curves(lost: dict[int, Tensor], names: list[str]) -> Figure:
    return curves(
        "lost",
        "Bits per dimension lost against the largest receptive field, by level.",
        {
            "": {
                name: (list(lost), [float(by.mean(0)[place]) for by in lost.values()])
                for place, name in enumerate(names)
            }
        },
        "receptive field",
        "bits per dimension lost",
    )


EXPERIMENT = Experiment(
    "bits",
    "Bits lost by a 9x9 neighbourhood",
    "What a 9x9 neighbourhood does not see costs few bits (ours).",
    f"Mean over validation faces and trainings, all levels together: 9x9 costs at most {LOST} bits "
    f"per dimension more than the largest receptive field. Not tested, if that costs {LOST} more "
    "than 9x9: then it has not learnt enough.",
    run,
    ("faces",),
)
