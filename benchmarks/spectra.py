"""Spectra of noise told from single images: how they are learnt, and how wrong they are.

    python -m benchmarks.spectra draw examples-0.pt --model photos --minutes 25 --seed 0
    python -m benchmarks.spectra fit photos-with-spectra examples-*.pt --model photos
    python -m benchmarks.spectra measure --model photos-with-spectra
    python -m benchmarks.spectra measure --channels 1

The first command makes examples from the training photographs; several may run beside each other,
each with a seed of its own. The second teaches the estimator of a model by them, and stores it with
the networks in a new folder. The third measures, on validation photographs with noise of many
kinds, errors of the logarithms of the deviations that are found at the three finest scales, and
PSNR as noisy, blind with and without learnt spectra, and told the truth, with its curve and
without it; the last does so in gray, for the model that denoises gray pictures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import DATA, RESULTS, facts, load_prior, write_json
from benchmarks.noise_levels import SETS, reduced, save_like, validation
from benchmarks.restoration import CAMERAS, Pair, Scale, blurred_white, taken, white, with_curve
from scalewise.data import ImageSet, load_image_set
from scalewise.images import Intensities, Picture, to_channels
from scalewise.metrics import psnr
from scalewise.networks.spectrum import FAINT, SCALES
from scalewise.prior import MultiScalePrior
from scalewise.restore import denoise, spectrum_of
from scalewise.training.camera import Camera
from scalewise.training.spectrum import draw_examples, truth_of, with_spectrum

DEVELOPED = {
    "developed, middle ISO": Camera(
        electrons=600, bayer=True, tone=True, quality=92, colours=1.5, sharpened=0.4
    ),
    "developed, low ISO": Camera(
        electrons=3000, bayer=True, tone=True, quality=95, colours=1.0, sharpened=0.3
    ),
    "reduced": Camera(electrons=300, bayer=True, tone=True, quality=92, reduced=1.8),
    "denoised, middle ISO": Camera(
        electrons=600, bayer=True, tone=True, quality=93, hidden=0.7, grain=1.0, colours=1.0
    ),
    "denoised, high ISO": Camera(
        electrons=120, bayer=True, tone=True, quality=90, hidden=0.8, grain=1.2, colours=1.5
    ),
}
"""Cameras that smooth colours and sharpen, that denoise, and one whose pictures were reduced."""

LIT = {
    "red": (0.8, 0.06, 0.03),
    "orange": (2.2, 1.0, 0.25),
    "blue": (0.4, 0.8, 2.0),
    "overexposed": (1.8, 1.8, 1.8),
}
"""By what the channels of a scene are multiplied: some are black, or white, in large areas then."""

WHITE, BLURRED = (0, 1, 2, 5, 15, 25, 50), (25, 66)
"""Levels of white noise; and of white noise that is blurred after that."""

BEST = 99.0
"""PSNR that counts as perfect."""


def photographs(data: Path, sets: list[str], channels: int) -> ImageSet:
    """Training photographs, large ones in two sizes."""
    images = reduced([load_image_set(data / name / "training", 3) for name in sets])
    if channels == 3:
        return images
    return ImageSet([to_channels(image, 1)[0] for image in images.images], images.name)


def draw(options: argparse.Namespace) -> None:
    """Make examples."""
    prior = load_prior(options.model, "cpu")
    assert prior.estimator is not None
    images = photographs(options.data, options.sets, prior.channels)
    generator, began = torch.Generator().manual_seed(options.seed), time.monotonic()
    examples: list[Any] = []
    told = began
    while time.monotonic() - began < 60 * options.minutes:
        examples += draw_examples(images, prior.estimator, generator)
        if time.monotonic() - told > 60:
            told = time.monotonic()
            keep(options.examples, examples)
            print(f"{len(examples)} examples", flush=True)
    keep(options.examples, examples)


def keep(file: Path, examples: list[Any]) -> None:
    """Write examples as tensors."""
    parts = {
        "values": torch.tensor([example.seen.values for example in examples]),
        "guess": torch.tensor([example.seen.guess for example in examples]),
        "truth": torch.stack([example.truth for example in examples]),
    }
    torch.save(parts, file)


def fit(options: argparse.Namespace) -> None:
    """Teach the estimator of a model, and store it with its networks."""
    prior = load_prior(options.model, "cpu")
    assert prior.estimator is not None
    files = [torch.load(file, weights_only=True) for file in options.examples]
    values, guess, truth = (
        torch.cat([parts[name] for parts in files]) for name in ("values", "guess", "truth")
    )
    print(f"{len(truth)} examples", flush=True)
    prior.estimator = with_spectrum(prior.estimator, values, guess, truth)
    save_like(prior, options.model, options.into)


def kinds(channels: int) -> dict[str, Callable[[str, Tensor, int], Pair]]:
    """Noise of every kind, of the name of a photograph, itself (C, H, W) and a seed."""
    found: dict[str, Callable[[str, Tensor, int], Pair]]
    found = {f"white, {sigma}": partial(white, sigma=sigma / 255) for sigma in WHITE}
    for sigma in BLURRED:
        found[f"white, {sigma}, blurred"] = partial(blurred_white, sigma=sigma / 255)
    for name, camera in (CAMERAS | DEVELOPED).items():
        found[name] = partial(taken, camera=camera)
    for name, gains in LIT.items():
        if len(set(gains)) > channels:
            continue
        for kind in ("white, 0", "white, 5", "JPEG, middle ISO"):
            found[f"{name}; {kind}"] = partial(_lit, gains=gains, make=found[kind])
    return found


def _lit(
    name: str,
    scene: Tensor,
    seed: int,
    gains: tuple[float, ...],
    make: Callable[[str, Tensor, int], Pair],
) -> Pair:
    """A scene of which other channels are bright; all is clipped, and kept in 8 bits."""
    pair = make(name, _stored(scene * torch.tensor(gains[: len(scene)]).view(-1, 1, 1)), seed)
    return pair._replace(noisy=_stored(pair.noisy))


def _stored(image: Tensor) -> Tensor:
    """As a file of 8 bits holds it."""
    return (image.clamp(0, 1) * 255).round() / 255


def measure(options: argparse.Namespace) -> None:
    """What is found, and what it is worth, beside the same without learnt spectra."""
    priors = {
        "blind": load_prior(options.model, "cpu"),
        "without": load_prior(options.model, "cpu"),
    }
    channels = options.channels
    without = priors["without"].denoiser_of(channels).estimator
    assert without is not None
    without.spectrum = None
    photos = validation(options.data, options.side, options.images)
    scenes = [to_channels(photo[None], channels)[0][0] for photo in photos]
    rows: list[dict[str, Any]] = []
    for name, make in kinds(channels).items():
        records = [_record(priors, make(name, scene, seed)) for seed, scene in enumerate(scenes)]
        row: dict[str, Any] = {"kind": name, "images": len(records)}
        for key in records[0]:
            row[key] = np.mean([record[key] for record in records], axis=0).tolist()
        row["worse"] = sum(record["blind"] < record["noisy"] for record in records)
        rows.append(row)
        numbers = {key: np.round(row[key], 2).tolist() for key in row if key != "kind"}
        print({"kind": name, **numbers}, flush=True)
        head = {"benchmark": "spectra", "model": options.model, "channels": channels}
        write_json(options.json, {**head, **facts("cpu"), "rows": rows})


def _record(priors: dict[str, MultiScalePrior], pair: Pair) -> dict[str, Any]:
    """PSNR of a picture, and errors of the logarithms of what is found of its noise, by scale."""
    picture = Picture(pair.noisy[None], depth="float32", intensities=Intensities())
    still = pair.clean if pair.still is None else pair.still
    truth = truth_of(pair.noisy - still)
    record: dict[str, Any] = {"noisy": min(BEST, psnr(pair.clean[None], pair.noisy[None]).item())}
    for name, prior in priors.items():
        done = denoise(picture, prior)
        noise = done.noise[0]
        found = [
            torch.tensor(noise.scale(level)).expand(len(truth[0])) for level in range(1, SCALES + 1)
        ]
        wrong = (torch.stack(found) + FAINT).log() - truth
        record[name] = min(BEST, psnr(pair.clean[None], done.picture.pixels).item())
        record[f"{name}, bias"] = wrong.mean(1).numpy()
        record[f"{name}, error"] = wrong.abs().mean(1).numpy()
    spectrum = spectrum_of(pair.noisy - still, SCALES)
    truths = {"told the spectrum": spectrum, "told": spectrum}
    if pair.growth is not None:
        truths["told"] = with_curve(pair, pair.growth, Scale(pair.noisy, pair.clean), SCALES)
    for name, told in truths.items():
        known = denoise(picture, priors["blind"], noise=told).picture.pixels
        record[name] = min(BEST, psnr(pair.clean[None], known).item())
    return record


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=DATA, help="holds photos and freephotos")
    commands = parser.add_subparsers(required=True)
    drawing = commands.add_parser("draw", help="make examples")
    drawing.add_argument("examples", type=Path)
    drawing.add_argument("--minutes", type=float, default=25)
    drawing.add_argument("--seed", type=int, default=0)
    drawing.add_argument("--sets", nargs="+", default=list(SETS), help="of photographs")
    fitting = commands.add_parser("fit", help="teach an estimator")
    fitting.add_argument("into", type=Path, help="folder of the model with its new estimator")
    fitting.add_argument("examples", type=Path, nargs="+")
    measuring = commands.add_parser("measure", help="measure what is found")
    measuring.add_argument("--images", type=int, default=6, help="of each set, at the most")
    measuring.add_argument("--channels", type=int, default=3, choices=(1, 3))
    measuring.add_argument("--side", type=int, default=256, help="of the crops")
    measuring.add_argument("--json", type=Path, default=RESULTS / "spectra.json")
    for command, run in ((drawing, draw), (fitting, fit), (measuring, measure)):
        command.add_argument("--model", default="photos", help="packaged name or folder")
        command.set_defaults(run=run)
    options = parser.parse_args(arguments)
    options.run(options)


if __name__ == "__main__":
    main()
