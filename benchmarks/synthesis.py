"""Faces drawn from scratch: a sheet of uncurated samples, and distances from real ones.

    python -m benchmarks.synthesis --model faces

The distances are measured on as many samples as there are validation images; the sheet shows the
first of them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.common import DATA, RESULTS, ROOT, facts, load_prior, write_json
from scalewise.data import load_image_set
from scalewise.evaluation import grid, measure_samples
from scalewise.images import Picture, write_image
from scalewise.prior import MultiScalePrior


def read_faces(file: Path, channels: int) -> Tensor:
    """All images of an array file, shape (N, C, H, W), float32 in [0, 1]."""
    faces = load_image_set(file, channels)
    return faces.whole(range(len(faces)))


def draw(prior: MultiScalePrior, count: int, seed: int, batch: int) -> tuple[Tensor, float]:
    """Samples (count, C, H, W), and the seconds that one takes."""

    def show(level: int, images: Tensor) -> None:
        print(f"drew level {level} of {len(images)} samples", flush=True)

    start = time.perf_counter()
    samples = prior.sample(count, seed=seed, batch=batch, callback=show).cpu()
    return samples, (time.perf_counter() - start) / count


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="faces", help="packaged name or folder")
    parser.add_argument("--faces", type=Path, default=DATA / "faces", help="folder of two arrays")
    parser.add_argument("--count", type=int, help="samples; by default as many as validation has")
    parser.add_argument("--sheet", type=Path, default=ROOT / "docs/images/faces-samples.png")
    parser.add_argument("--shown", type=int, default=64, help="samples on the sheet")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=RESULTS / "synthesis.json")
    options = parser.parse_args(arguments)
    prior = load_prior(options.model, options.device)
    training = read_faces(options.faces / "faces_train.npz", prior.channels)
    validation = read_faces(options.faces / "faces_validation.npz", prior.channels)
    count = options.count or len(validation)
    samples, seconds = draw(prior, max(count, options.shown), options.seed, options.batch)
    options.sheet.parent.mkdir(parents=True, exist_ok=True)
    write_image(options.sheet, Picture(grid(samples[: options.shown])), force=True)
    with torch.no_grad():
        found = measure_samples(
            samples[:count],
            validation,
            training=training,
            levels=prior.levels,
            wavelet=prior.wavelet,
        )
    made = {"model": options.model, "seed": options.seed, "seconds_per_sample": seconds}
    content = {"benchmark": "synthesis", **made, **facts(options.device), **found}
    write_json(options.json, content)
    for level, distance in found["distances"].items():
        print(f"{level}: {distance:.3f}, floor {found['floor'][level]['mean']:.3f}")


if __name__ == "__main__":
    main()
