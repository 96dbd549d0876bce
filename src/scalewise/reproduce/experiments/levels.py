"""Conditional denoisers level by level, beside the published values."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor

from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import LEVELS, Context
from scalewise.reproduce.experiment import Cell, Experiment, Result, Table, judge_against, told
from scalewise.reproduce.experiments.denoising import AHEAD, small_field
from scalewise.reproduce.figures import curves
from scalewise.reproduce.measure import BATCH, mean, white
from scalewise.wavelets import low_pass, split

LOSS = 0.2
"""dB that 9x9 may lose against the largest receptive field, at every level."""
PUBLISHED_SIGMAS = (20.0, 60.0, 100.0, 180.0, 260.0)

Curves = dict[int, list[float]]


@torch.no_grad()
def details_psnr(
    prior: MultiScalePrior, images: Tensor, level: int, sigmas: tuple[float, ...], seed: int
) -> list[float]:
    """PSNR in dB of the details of a level given the clean low-pass image.

    Noise of `sigma / 255` is added to the normalised details themselves; the peak is 1.

    Args:
        prior: holds the level's network.
        images: clean, shape (N, 1, H, W).
        level: from 1.
        sigmas: in 8-bit units.
        seed: of the noise.
    """
    low, details = split(low_pass(images, level - 1, prior.wavelet), prior.wavelet)
    noise, network = white(details, seed, level), prior.conditionals[level - 1]
    found = []
    for sigma in sigmas:
        noisy = details + sigma / 255 * noise
        parts = zip(noisy.split(BATCH), low.split(BATCH), strict=True)
        estimate = torch.cat([network(n, given, sigma / 255).details for n, given in parts])
        found.append(-10 * math.log10(float((estimate - details).square().mean())))
    return found


def run(context: Context) -> Result:
    """PSNR by level, receptive field and noise level; ours, and as published."""
    scale, networks = context.scale, context.networks
    local, large = small_field(scale.fields), max(scale.fields)
    sigmas = tuple(sorted({*PUBLISHED_SIGMAS, *(s for s in scale.sigmas if s <= 100)}))
    images = context.faces.held_out(scale.images)
    own: dict[int, Curves] = {
        level: {
            field: details_psnr(networks.multi_scale(field), images, level, sigmas, context.seed)
            for field in scale.fields
        }
        for level in range(1, LEVELS + 1)
    }
    lost = {
        level: mean([b - a for a, b in zip(by[local], by[large], strict=True)])
        for level, by in own.items()
    }
    parts = {
        f"level {level}: {local}x{local} at most {LOSS} dB under {large}x{large}": loss <= LOSS
        for level, loss in lost.items()
    }
    tables = [_table("Own networks, validation faces", own, sigmas)]
    panels = {
        f"level {level}, own": {f"{f}x{f}": (sigmas, v) for f, v in by.items()}
        for level, by in own.items()
    }
    published = read_published(context.reference)
    if published:
        tables.append(
            _table("Published test values (CelebA, 160x160)", published, PUBLISHED_SIGMAS)
        )
        panels |= {
            f"level {level}, published": {f"{f}x{f}": (PUBLISHED_SIGMAS, v) for f, v in by.items()}
            for level, by in published.items()
        }
    phrase = ", ".join(f"level {level}: {loss:.2f} dB" for level, loss in lost.items())
    verdict, doubt = judge_against(parts, max(-loss for loss in lost.values()), AHEAD)
    return Result(
        verdict,
        f"{doubt}{local}x{local} loses against {large}x{large}, mean over noise levels, {phrase} "
        f"({told(parts)}).",
        tables,
        [
            curves(
                "psnr",
                "Details given the clean low-pass image: PSNR by noise level.",
                panels,
                "σ of the details (8-bit units)",
                "PSNR (dB)",
                "x",
            )
        ],
        {"sigmas": list(sigmas), "own": own, "published": published, "lost": lost},
        [
            "Noise is added to details divided by 2 per level; the peak of the PSNR is 1. "
            "Published values are of other faces at a larger size, so only differences between "
            "receptive fields compare. Not every published network has a published value.",
        ],
    )


def read_published(reference: Path | None) -> dict[int, Curves]:
    """`published_psnr.json` of the 160x160 family, by level and receptive field."""
    if reference is None:
        return {}
    files = [folder / "published_psnr.json" for folder in (reference, reference.parent)]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return {}
    found: dict[int, Curves] = {}
    for name, values in json.loads(file.read_text()).items():
        if name.startswith("multi_scale/celebA_160x160_gray/") and "_scale_" in name:
            field = int(name.split("_RF_")[1].split("x")[0])
            level = int(name.rsplit("_", 1)[1]) + 1
            found.setdefault(level, {})[field] = [values[f"{s:g}"] for s in PUBLISHED_SIGMAS]
    return {level: dict(sorted(found[level].items())) for level in sorted(found)}


def _table(title: str, by: dict[int, Curves], sigmas: tuple[float, ...]) -> Table:
    rows: list[list[Cell]] = [
        [f"level {level}, {field}x{field}", *values]
        for level, fields in by.items()
        for field, values in fields.items()
    ]
    return Table(f"{title}: PSNR in dB", ["network", *(f"σ = {s:g}" for s in sigmas)], rows)


EXPERIMENT = Experiment(
    "levels",
    "Conditional denoisers, level by level",
    "At every level, a conditional denoiser of the details needs a small receptive field only "
    "(section 3).",
    f"Given the clean low-pass image, mean over noise levels, 9x9 is at most {LOSS} dB under the "
    f"largest receptive field at every level, on our networks. Not tested, if at any level the "
    f"largest is more than {AHEAD} dB behind 9x9: then it has not learnt enough.",
    run,
    ("faces",),
)
