"""Whether enlarged photographs look like photographs: a classifier, and a sheet to look at.

    python -m benchmarks.looks
    python -m benchmarks.looks --out docs/images/looks.jpg

Samples at a factor of four, drawn by several samplers, the least-squares estimate, and other
photographs in their place are told from photographs by a small network (`benchmarks.faces`): 50 %
is the best. Samplers are chosen on every second photograph, and the others tell what that is worth.
The sheet has the photograph, the estimate and a sample of twenty crops of photographs that
scikit-image ships, which may be shown.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import DATA, RESULTS, facts, load_prior, read_images, write_json
from benchmarks.faces import two_sample_accuracy
from scalewise.data.image_set import middle
from scalewise.data.photos import sample_photo
from scalewise.evaluation import sheet
from scalewise.images import Picture, write_image
from scalewise.networks import Network
from scalewise.prior import MultiScalePrior
from scalewise.samplers import Multistep, Sampler, few_steps
from scalewise.wavelets import low_pass

SIDE, PART = 128, 64
"""Of the middle of every photograph, and of the parts that are told apart."""

SHOWN = ("astronaut", "coffee", "chelsea", "rocket")
"""Photographs of the sheet; five crops of each."""


def steps(count: int, eta: float) -> Sampler:
    """So many steps, with fresh noise (1) or without (0)."""

    def rule(network: Network) -> Multistep:
        start, end = network.sigma_range
        return Multistep(start, end, steps=count, eta=eta)

    return rule


SAMPLERS: dict[str, Sampler] = {
    "flow, 10 steps (default)": few_steps,
    "flow, 20 steps": steps(20, 0.0),
    "fresh noise, 10 steps": steps(10, 1.0),
    "fresh noise, 20 steps": steps(20, 1.0),
}


def parts(images: Tensor) -> Tensor:
    """Two opposite quarters of each image (N, C, SIDE, SIDE), clipped."""
    images = images.clamp(0, 1)
    return torch.cat([images[..., :PART, :PART], images[..., PART:, PART:]])


@torch.no_grad()
def enlarged(prior: MultiScalePrior, small: Tensor, sampler: Sampler | None) -> Tensor:
    """Samples of each small image, or the least-squares estimate."""
    if sampler is None:
        return torch.cat([prior.upscale_mean(part, 4) for part in small.split(8)])
    drawn = [
        prior.upscale(one[None], 4, seed=place, sampler=sampler)[0]
        for place, one in enumerate(small)
    ]
    return torch.cat(drawn)


def measure(prior: MultiScalePrior, photos: Tensor, samplers: dict[str, Sampler]) -> dict[str, Any]:
    """Accuracy of the classifier for every way of enlarging; for interpolation and photographs."""
    small, truth = low_pass(photos, 2), parts(photos)
    ways: dict[str, Tensor] = {"bicubic": F.interpolate(small, scale_factor=4, mode="bicubic")}
    ways["least squares"] = enlarged(prior, small, None)
    ways |= {name: enlarged(prior, small, sampler) for name, sampler in samplers.items()}
    found: dict[str, Any] = {}
    for name, images in ways.items():
        found[name] = two_sample_accuracy(parts(images), truth, paired=True)
        print(name, found[name], flush=True)
    half = len(truth) // 2
    found["photographs"] = two_sample_accuracy(truth[:half], truth[half:])
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="photos", help="packaged name or folder")
    parser.add_argument("--photos", type=Path, default=DATA / "photos" / "validation")
    parser.add_argument("--out", type=Path, help="where to draw the sheet")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=RESULTS / "looks.json")
    options = parser.parse_args(arguments)
    prior = load_prior(options.model, options.device)
    if options.out:
        draw_sheet(prior, options.out)
        return
    images = list(read_images(options.photos, 3).values())
    photos = torch.stack([middle(image, SIDE) for image in images])
    made = {"model": options.model, **facts(options.device)}
    print("to choose by", flush=True)
    chosen = measure(prior, photos[::2], SAMPLERS)
    best = min(SAMPLERS, key=lambda name: chosen[name]["accuracy"])
    print("to report", flush=True)
    default = next(iter(SAMPLERS))
    kept = {name: SAMPLERS[name] for name in (default, best)}
    reported = measure(prior, photos[1::2], kept)
    content = {"benchmark": "looks", "chosen": best, "validation": chosen, "test": reported}
    write_json(options.json, {**content, **made})


def crops(image: Tensor) -> Tensor:
    """The corners of an image (C, H, W) and its middle: (5, C, SIDE, SIDE)."""
    rows = image[:, :SIDE], image[:, -SIDE:]
    corners = [part for row in rows for part in (row[..., :SIDE], row[..., -SIDE:])]
    return torch.stack([*corners, middle(image, SIDE)])


def draw_sheet(prior: MultiScalePrior, file: Path) -> None:
    """The photograph, the least-squares estimate and a sample, two crops per row."""
    rows = []
    for clean in torch.cat([crops(sample_photo(name)) for name in SHOWN]):
        small = low_pass(clean[None], 2)
        rows.append([clean, enlarged(prior, small, None)[0], enlarged(prior, small, few_steps)[0]])
    pairs = [first + second for first, second in zip(rows[::2], rows[1::2], strict=False)]
    write_image(file, Picture(sheet(pairs)[None]), force=True)


if __name__ == "__main__":
    main()
