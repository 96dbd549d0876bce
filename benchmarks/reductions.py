"""Small pictures, by the way that they became small, and frequencies, as a scanner measures them.

    python -m benchmarks.reductions --model photos

Middle parts of 128x128 of six validation photographs. Small pictures are rounded to 8 bits, as
files are; where nothing else is noise, nothing is told, and `agreement` is by how much the output,
reduced again, differs from what was given (root mean square in 8-bit units).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import DATA, RESULTS, facts, load_prior, read_images, write_json
from benchmarks.inverse import SIDE, middle
from scalewise.metrics import psnr
from scalewise.operators import Blur, Decimation, Downscaling, MaskedFourier, Operator
from scalewise.prior import MultiScalePrior

CENTRE, LINES = 10, 26
"""Columns of low frequencies that are measured, and of others, of 128."""


def tasks() -> dict[str, tuple[Operator, float]]:
    """What is measured, and the noise of it in 8-bit units."""
    size = (SIDE, SIDE)

    def reduced(small: int, filter: str) -> Downscaling:
        return Downscaling(size, (small, small), filter)

    return {
        "×1.5 bicubic": (reduced(85, "bicubic"), 0.0),
        "×2 Lanczos": (reduced(64, "lanczos"), 0.0),
        "×2 Lanczos, σ 5": (reduced(64, "lanczos"), 5.0),
        "×2 blur of deviation 1, decimation": (Decimation(size, 2, Blur.gaussian(1.0)), 0.0),
        "×8 bicubic": (reduced(16, "bicubic"), 0.0),
        "28 % of the frequencies, gray, σ 2": (MaskedFourier(columns()), 2.0),
    }


def columns() -> Tensor:
    """Which frequencies are measured: the lowest columns, and others at random."""
    generator = torch.Generator().manual_seed(0)
    order = (torch.arange(SIDE) - SIDE // 2).abs().argsort()
    others = order[CENTRE:][torch.randperm(SIDE - CENTRE, generator=generator)]
    chosen = torch.zeros(SIDE)
    chosen[torch.cat([order[:CENTRE], others[:LINES]])] = 1
    return torch.fft.ifftshift(chosen).expand(SIDE, SIDE)


def plain(operator: Operator, seen: Tensor) -> Tensor:
    """What needs no model: bicubic interpolation in the right places, or zeros for the unknown."""
    if isinstance(operator, MaskedFourier):
        return operator.A_adjoint(seen)
    if isinstance(operator, Downscaling):
        return F.interpolate(seen, size=(SIDE, SIDE), mode="bicubic")
    side = seen.shape[-1]
    places = torch.arange(SIDE) * (2 * side / SIDE) / (side - 1) - 1
    grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), dim=-1)[None]
    return F.grid_sample(seen, grid, mode="bicubic", padding_mode="border", align_corners=True)


def measure(prior: MultiScalePrior, images: dict[str, Tensor]) -> dict[str, Any]:
    """PSNR of every task: the plain way, the mean, and a sample; agreement, and seconds."""
    found: dict[str, Any] = {}
    for name, (operator, noise) in tasks().items():
        rows = []
        for index, (title, image) in enumerate(images.items()):
            clean = middle(image, SIDE)
            if isinstance(operator, MaskedFourier):
                clean = clean.mean(1, keepdim=True)
            seen = operator.A(clean)
            generator = torch.Generator().manual_seed(index)
            seen = seen + noise / 255 * torch.randn(seen.shape, generator=generator)
            if not isinstance(operator, MaskedFourier):
                seen = (255 * seen).clamp(0, 255).round() / 255
            start = time.perf_counter()
            mean = prior.restore(seen, operator, noise / 255)
            seconds = time.perf_counter() - start
            sample = prior.restore(seen, operator, noise / 255, samples=1, seed=index)[0]
            values = {"plain": plain(operator, seen), "mean": mean, "sample": sample}
            row: dict[str, Any] = {"image": title}
            row |= {key: float(psnr(clean, each, clip=True)) for key, each in values.items()}
            apart = [(operator.A(each) - seen).square().mean().sqrt() for each in (mean, sample)]
            row |= {"agreement": [255 * float(each) for each in apart], "seconds": seconds}
            rows.append(row)
            print(name, row, flush=True)
        found[name] = rows
    return found


def main() -> None:
    """Measure, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="photos")
    parser.add_argument("--photos", type=Path, default=DATA / "photos" / "validation")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS / "reductions.json")
    options = parser.parse_args()
    prior = load_prior(options.model, options.device)
    images = read_images(options.photos, 3, options.images)
    write_json(options.out, {**facts(), "tasks": measure(prior, images)})


if __name__ == "__main__":
    main()
