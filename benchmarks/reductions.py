"""Small pictures, by the way that they became small, and frequencies, as a scanner measures them.

    python -m benchmarks.reductions --model photos

Middle parts of six validation photographs, as a batch. Small pictures are rounded to 8 bits, as
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
from benchmarks.inverse import middle
from scalewise.metrics import psnr
from scalewise.operators import Blur, Decimation, Downscaling, MaskedFourier, Operator
from scalewise.prior import MultiScalePrior

CENTRE, LINES = 0.08, 0.2
"""Shares of the columns of frequencies that are measured: of the lowest, and of others."""


def tasks(side: int) -> dict[str, tuple[Operator, float]]:
    """What is measured, and the noise of it in 8-bit units."""
    size = (side, side)

    def reduced(factor: float, filter: str) -> Downscaling:
        return Downscaling(size, (round(side / factor),) * 2, filter)

    return {
        "×1.5 bicubic": (reduced(1.5, "bicubic"), 0.0),
        "×2 Lanczos": (reduced(2, "lanczos"), 0.0),
        "×2 Lanczos, σ 5": (reduced(2, "lanczos"), 5.0),
        "×2 blur of deviation 1, decimation": (Decimation(size, 2, Blur.gaussian(1.0)), 0.0),
        "×8 bicubic": (reduced(8, "bicubic"), 0.0),
        "28 % of the frequencies, gray, σ 2": (MaskedFourier(columns(side)), 2.0),
    }


def columns(side: int) -> Tensor:
    """Which frequencies are measured: the lowest columns, and others at random."""
    generator = torch.Generator().manual_seed(0)
    centre, lines = round(CENTRE * side), round(LINES * side)
    order = (torch.arange(side) - side // 2).abs().argsort()
    others = order[centre:][torch.randperm(side - centre, generator=generator)]
    chosen = torch.zeros(side)
    chosen[torch.cat([order[:centre], others[:lines]])] = 1
    return torch.fft.ifftshift(chosen).expand(side, side)


def plain(operator: Operator, seen: Tensor, side: int) -> Tensor:
    """What needs no model: bicubic interpolation in the right places, or zeros for the unknown."""
    if isinstance(operator, MaskedFourier):
        return operator.A_adjoint(seen)
    if isinstance(operator, Downscaling):
        return F.interpolate(seen, size=(side, side), mode="bicubic")
    small = seen.shape[-1]
    places = torch.arange(side) * (2 * small / side) / (small - 1) - 1
    grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), dim=-1).expand(
        len(seen), -1, -1, -1
    )
    return F.grid_sample(seen, grid, mode="bicubic", padding_mode="border", align_corners=True)


def measure(prior: MultiScalePrior, images: dict[str, Tensor], side: int) -> dict[str, Any]:
    """PSNR of every task: the plain way, the mean, and a sample; agreement, and seconds."""
    found: dict[str, Any] = {}
    colours = torch.cat([middle(image, side) for image in images.values()])
    for name, (operator, noise) in tasks(side).items():
        of_files = not isinstance(operator, MaskedFourier)
        clean = colours if of_files else colours.mean(1, keepdim=True)
        seen = operator.A(clean)
        generator = torch.Generator().manual_seed(0)
        seen = seen + noise / 255 * torch.randn(seen.shape, generator=generator)
        if of_files:
            seen = (255 * seen).clamp(0, 255).round() / 255
        start = time.perf_counter()
        mean = prior.restore(seen, operator, noise / 255)
        seconds = time.perf_counter() - start
        sample = prior.restore(seen, operator, noise / 255, samples=1)[0]
        values = {"plain": plain(operator, seen, side), "mean": mean, "sample": sample}
        found[name] = {key: psnr(clean, each, clip=True).tolist() for key, each in values.items()}
        apart = (operator.A(mean) - seen).square().mean().sqrt()
        found[name] |= {"agreement": 255 * float(apart), "seconds": seconds}
        print(name, found[name], flush=True)
    return found


def main() -> None:
    """Measure, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="photos")
    parser.add_argument("--photos", type=Path, default=DATA / "photos" / "validation")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS / "reductions.json")
    options = parser.parse_args()
    prior = load_prior(options.model, options.device)
    images = read_images(options.photos, 3, options.images)
    found = measure(prior, images, options.side)
    write_json(
        options.out, {**facts(), "side": options.side, "images": list(images), "tasks": found}
    )


if __name__ == "__main__":
    main()
