"""Bits per dimension lost by a small neighbourhood."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scalewise.reproduce.context import LEVELS, Context
from scalewise.reproduce.experiment import Cell, Experiment, Result, Table, judge_against, told
from scalewise.reproduce.experiments.denoising import small_field
from scalewise.reproduce.figures import curves

LOST = 0.02
"""Bits per dimension that 9x9 may lose, all levels together."""


def run(context: Context) -> Result:
    """Bits per dimension by receptive field and level, of the told networks."""
    scale = context.scale
    local, large = small_field(scale.fields), max(scale.fields)
    images = context.faces.held_out(max(2, scale.images // 2))
    steps = 16 if scale.packaged else 8
    bits: dict[int, Tensor] = {}
    for field in scale.fields:
        context.say(f"bits per dimension of {field}x{field}")
        prior = context.networks.multi_scale(field)
        with torch.no_grad():
            bits[field] = prior.nll(images, seed=context.seed, steps=steps).bits
    names = [*(f"level {level}" for level in range(1, LEVELS + 1)), "low"]
    lost = {field: bits[field] - bits[large] for field in scale.fields}
    total = lost[local].sum(1)
    mean, error = float(total.mean()), float(total.std() / math.sqrt(len(total)))
    parts = {f"{local}x{local} loses at most {LOST} bits per dimension": mean <= LOST}
    rows: list[list[Cell]] = [
        [f"{field}x{field}", *found.mean(0).tolist(), float(found.sum(1).mean())]
        for field, found in bits.items()
    ]
    losses: list[list[Cell]] = [
        [
            f"{field}x{field}",
            *by.mean(0).tolist(),
            float(by.sum(1).mean()),
            float(by.sum(1).std() / math.sqrt(len(by))),
        ]
        for field, by in lost.items()
        if field != large
    ]
    fields = list(scale.fields)
    levels = ", ".join(
        f"{name} {float(value):+.4f}"
        for name, value in zip(names, lost[local].mean(0), strict=True)
        if name != "low"
    )
    verdict, doubt = judge_against(parts, -mean, LOST)
    return Result(
        verdict,
        f"{doubt}{local}x{local} loses {mean:+.4f} ± {error:.4f} bits per dimension against "
        f"{large}x{large} ({levels}; {told(parts)}).",
        [
            Table(
                f"Bits per dimension, {len(images)} validation faces, smoothed by noise of "
                "0.242/255",
                ["field", *names, "total"],
                rows,
            ),
            Table(
                f"Bits per dimension lost against {large}x{large}, the same noise; standard error "
                "over images",
                ["field", *names, "total", "s.e."],
                losses,
            ),
        ],
        [
            curves(
                "lost",
                "Bits per dimension lost against the largest receptive field, by level.",
                {
                    "": {
                        name: (fields, [float(lost[f].mean(0)[place]) for f in fields])
                        for place, name in enumerate(names[:-1])
                    }
                },
                "receptive field",
                "bits per dimension lost",
            )
        ],
        {
            "names": names,
            "bits": {str(field): found.mean(0).tolist() for field, found in bits.items()},
            "lost": {str(field): by.mean(0).tolist() for field, by in lost.items()},
        },
        [
            "From denoising errors over noise levels; a denoiser that is not the least-squares one "
            "costs bits, so these are upper bounds, and differences include what training left. "
            "All share the low-pass network, whose bits are equal.",
        ],
    )


EXPERIMENT = Experiment(
    "bits",
    "Bits lost by a 9x9 neighbourhood",
    "What a 9x9 neighbourhood does not see costs few bits (ours).",
    f"Mean over validation faces, all levels together: 9x9 costs at most {LOST} bits per dimension "
    f"more than the largest receptive field. Not tested, if that costs {LOST} more than 9x9: then "
    "it has not learnt enough.",
    run,
    ("faces",),
)
