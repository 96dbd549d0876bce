"""Noise levels estimated from single images, and what blind denoising does to clean and noisy ones.

    python -m benchmarks.noise_levels --model photos
    python -m benchmarks.noise_levels --train 25 --model photos --into photos-with-estimator
    python -m benchmarks.noise_levels --train 25 --further --model photos --into photos-further

White noise is added to validation photographs, in colour and in gray, and is not clipped. The
first command measures the estimates, and how many images come out of `restore.denoise_plane` worse
than they went in; the second trains an estimator on the training photographs, and stores it with
the networks of a model in a new folder; the third goes on with that of the model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import DATA, RESULTS, facts, load_prior, write_json
from scalewise import store
from scalewise.data import ImageSet, load_image_set
from scalewise.evaluation import add_noise, psnr
from scalewise.images import to_channels
from scalewise.prior import MultiScalePrior
from scalewise.restore import denoise_plane
from scalewise.training.estimator import train_estimator

SIGMAS = (0, 1, 2, 5, 10, 15, 25, 50, 100)
KINDS, SETS = ("colour", "gray"), ("photos", "freephotos")


def validation(source: Path, side: int, count: int) -> list[Tensor]:
    """Central crops of validation photographs of both sets, large ones reduced: (3, h, w)."""
    found = []
    for name in SETS:
        images = load_image_set(source / name / "validation", 3)
        for index in range(min(count, len(images))):
            image = images.images[index].float() / 255
            factor = max(1, min(image.shape[1:]) // 480)
            image = torch.nn.functional.avg_pool2d(image, factor)
            top, left = ((size - side) // 2 if size > side else 0 for size in image.shape[1:])
            found.append(image[:, top : top + side, left : left + side])
    return found


def measure(prior: MultiScalePrior, images: list[Tensor]) -> list[dict[str, Any]]:
    """One record per kind, noise level and image."""
    records = []
    for kind in KINDS:
        for sigma in SIGMAS:
            for index, image in enumerate(images):
                clean = image if kind == "colour" else to_channels(image, 1)[0]
                noisy = add_noise(clean, sigma / 255, 0, index)
                result, found = denoise_plane(noisy, prior)
                before, after = psnr(clean[None], noisy[None]), psnr(clean[None], result[None])
                record: dict[str, Any] = {"kind": kind, "sigma": sigma, "image": index}
                record |= {"estimate": 255 * float(np.sqrt(np.mean(np.square(found.scales[0]))))}
                record |= {"before": min(99.0, before.item()), "after": min(99.0, after.item())}
                records.append(record)
    return records


def summary(
    records: list[dict[str, Any]], kinds: Sequence[str], sigmas: Sequence[float]
) -> list[dict[str, Any]]:
    """By kind and noise level: error of the estimate, gain, and how many images lost.

    Lost is what has less PSNR than it had, and clean images that come back below 50 dB.
    """
    rows = []
    for kind in kinds:
        for sigma in sigmas:
            part = [r for r in records if (r["kind"], r["sigma"]) == (kind, sigma)]
            errors = np.abs([r["estimate"] - sigma for r in part])
            after = np.array([r["after"] for r in part])
            before = np.array([r["before"] for r in part])
            row: dict[str, Any] = {"kind": kind, "sigma": sigma, "images": len(part)}
            row |= {"median error": float(np.median(errors)), "worst error": float(errors.max())}
            row |= {"median estimate": float(np.median([r["estimate"] for r in part]))}
            row |= {"gain": float((after - before).mean()), "least after": float(after.min())}
            row |= {"worse": int((after < before).sum()) if sigma else int((after < 50).sum())}
            rows.append(row)
    return rows


def reduced(sets: list[ImageSet]) -> ImageSet:
    """All images, large ones in two sizes, of about 1,024 and 512 pixels a side."""
    found = []
    for image in (image for images in sets for image in images.images):
        for side in (1024, 512):
            factor = max(1, round(max(image.shape) / side))
            small = torch.nn.functional.avg_pool2d(image.float(), factor)
            found.append(small.round().to(torch.uint8))
            if max(image.shape) <= 512:
                break
    return ImageSet(found, "photographs")


def train(options: argparse.Namespace) -> None:
    """Train an estimator, and store it with a model's networks."""
    images = reduced([load_image_set(options.data / name / "training", 3) for name in SETS])
    prior = load_prior(options.model, "cpu")

    def tell(step: int, loss: float) -> None:
        if step % 100 == 0:
            print(f"step {step}, loss {loss:.4f}", flush=True)

    prior.estimator = train_estimator(
        images,
        minutes=options.train,
        estimator=prior.estimator if options.further else None,
        callback=tell,
    )
    save_like(prior, options.model, options.into)


def save_like(prior: MultiScalePrior, model: str, folder: Path) -> None:
    """Store a prior with all that is said of a model."""
    config = store.read_config(store.resolve(model))
    kept = config.model_dump(include={"description", "training", "scores", "license", "gray"})
    store.save(prior, folder, name=config.name, **kept, dtype="float16", force=True)


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="photos", help="packaged name or folder")
    parser.add_argument("--data", type=Path, default=DATA, help="holds photos and freephotos")
    parser.add_argument("--train", type=float, help="minutes of training, in place of measuring")
    parser.add_argument("--further", action="store_true", help="train the one of the model on")
    parser.add_argument("--into", type=Path, help="folder of the model with its new estimator")
    parser.add_argument("--images", type=int, default=25, help="of each set, at the most")
    parser.add_argument("--side", type=int, default=256, help="of the crops")
    parser.add_argument("--json", type=Path, default=RESULTS / "noise-levels.json")
    options = parser.parse_args(arguments)
    if options.train:
        train(options)
        return
    prior = load_prior(options.model, "cpu")
    rows = summary(
        measure(prior, validation(options.data, options.side, options.images)), KINDS, SIGMAS
    )
    write_json(options.json, {"benchmark": "noise levels", **facts("cpu"), "rows": rows})
    for row in rows:
        print({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    main()
