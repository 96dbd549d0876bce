"""Training on images of one's own: from noisy ones alone, beside clean ones; in half an hour.

    python -m benchmarks.own_data --part methods --steps 250
    python -m benchmarks.own_data --part methods --steps 250 --methods "blind spots"
    python -m benchmarks.own_data --part noises --steps 120
    python -m benchmarks.own_data --part microscope --minutes 10
    python -m benchmarks.own_data --part minutes --minutes 30 --start photos
    python -m benchmarks.own_data --part minutes --minutes 30

The first trains one small network from scratch on noisy gray faces by several methods, to choose
by; the second goes on from the packaged photos, on images of three kinds of noise, beside the same
training on clean ones; the third on the frames of a real microscope; the last do what the command
line does with 200 clean colour faces, from the packaged networks and from new ones. All is measured
on images kept apart, but for the microscope, whose noisy frames are what was trained on.
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import DATA, RESULTS, facts, load_prior, read_images, read_json, write_json
from scalewise.data import ImageSet, load_image_set
from scalewise.images import find_images
from scalewise.metrics import psnr
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore import denoise_plane, spectrum_of
from scalewise.stabilise import stabiliser_of
from scalewise.train import train_model
from scalewise.train.noisy import noise_of_set, of_noisy_images, with_noise
from scalewise.training import Recipe, TrainingRun, objectives, recorrupted
from scalewise.training.batches import Noise
from scalewise.training.chance import Chance
from scalewise.training.recorrupted import Recorrupted

PARTS = ("methods", "noises", "microscope", "minutes")
SIGMA = 25 / 255
SMALL: dict[str, Any] = {
    "levels": 2, "width": 48, "blocks": 4, "receptive_field": 13, "batch": 16, "crop": 32,
    "low_width": 32, "low_blocks": 1, "low_batch": 16, "rotate": False,
}  # fmt: skip
"""The network that methods are compared on."""

GAIN_OF_PHOTONS, READ = 0.02, 2.0
"""Intensity of one photon, and read noise in photons."""

BLURRED = 0.1
"""Deviation of noise that went through [1 2 1] along both axes."""


def blurred(white: Tensor) -> Tensor:
    """White noise (C, H, W) through [1 2 1] along both axes, of deviation `BLURRED`."""
    kernel = torch.tensor([1.0, 2.0, 1.0]) / math.sqrt(6)
    padded = F.pad(white[None], [1] * 4, "reflect")
    return BLURRED * F.conv2d(padded.movedim(0, 1), kernel.outer(kernel)[None, None])[:, 0]


NOISES = {
    "white": NoiseModel.white(SIGMA),
    "photons": NoiseModel.photons(GAIN_OF_PHOTONS, read=READ),
    "correlated": spectrum_of(
        blurred(torch.randn(1, 1024, 1024, generator=torch.Generator().manual_seed(0))), 3
    ),
}
"""What noisy images of one's own may have."""

Pairs = Callable[[Tensor, Noise, Chance], Recorrupted]


class Quiet:
    """A listener that only says how validation goes."""

    def on_step(self, *_: object) -> None:
        """Nothing."""

    def on_validation(self, level: int, record: dict[str, float]) -> None:
        """A line."""
        print(level, record, flush=True)

    def on_prior(self, *_: object) -> None:
        """Nothing."""


def clean_pairs(images: Tensor, noise: Noise, chance: Chance) -> Recorrupted:
    """Of clean images: noise anew in every step, and the images themselves to compare with."""
    images, (levels, more) = images.repeat(2, 1, 1, 1), noise.both_ways()
    return Recorrupted(images + more, images, levels, levels, torch.zeros_like(images))


def one_sided(images: Tensor, noise: Noise, chance: Chance) -> Recorrupted:
    """Recorrupted pairs as published: one direction, half a deviation (Pang et al. 2021)."""
    share = 0.5
    images, (levels, more) = images.repeat(2, 1, 1, 1), noise.both_ways()
    added = -more / share
    told = levels.times(math.sqrt(1 + share**2))
    return Recorrupted(images + share * more, images + added, levels, told, added)


def neighbours(images: Tensor, noise: Noise, chance: Chance) -> Recorrupted:
    """Two of the four pixels of each square as two images, of white noise (Huang et al. 2021)."""
    parts = F.pixel_unshuffle(images, 2).unflatten(1, (-1, 4))
    order = chance.uniform(1, 4, *parts.shape[-2:]).argsort(dim=2)
    chosen = parts.gather(2, order.expand_as(parts))
    pairs = torch.cat([chosen[:, :, 0], chosen[:, :, 1]])
    others = torch.cat([chosen[:, :, 1], chosen[:, :, 0]])
    levels = noise.both_ways().levels
    return Recorrupted(pairs, others, levels, levels, torch.zeros_like(pairs))


METHODS: dict[str, tuple[Pairs, tuple[float, float]]] = {
    "clean images": (clean_pairs, (0.1, 1.5)),
    "recorrupted, both directions": (recorrupted.recorrupted, (0.1, 1.5)),
    "Stein's estimate": (recorrupted.recorrupted, (0.03, 0.1)),
    "recorrupted, as published": (one_sided, (0.5, 0.5)),
    "neighbours": (neighbours, (0.1, 1.5)),
}
"""How pairs are made, and how much noise is added."""


def noisy_set(clean: ImageSet, noise: NoiseModel, seed: int) -> ImageSet:
    """Images with noise of a description, which they are told."""
    generator = torch.Generator().manual_seed(seed)
    images = [add(image, noise, generator) for image in as_floats(clean)]
    return with_noise(ImageSet(images, clean.name), noise, looking(), print)


@cache
def looking() -> MultiScalePrior:
    """The packaged model that looks at the noise."""
    return load_prior("photos", "cpu")


def as_floats(images: ImageSet) -> list[Tensor]:
    """Images as floats."""
    return [image.float() / 255 for image in images.images]


def add(image: Tensor, noise: NoiseModel, generator: torch.Generator) -> Tensor:
    """One image (C, H, W) with noise: counted photons, or what a spectrum says."""
    gray = image[:1]
    if noise is NOISES["photons"]:
        counts = torch.poisson(gray / GAIN_OF_PHOTONS, generator)
        read = READ * torch.randn(gray.shape, generator=generator)
        return image - gray + GAIN_OF_PHOTONS * (counts + read)
    white = torch.randn(gray.shape, generator=generator)
    return image + (blurred(white) if noise is NOISES["correlated"] else noise.sigma * white)


def train(
    method: str,
    images: ImageSet,
    validation: ImageSet,
    fields: dict[str, Any],
    start: MultiScalePrior | None = None,
) -> MultiScalePrior:
    """A prior of images whose noise is told, by one of the methods."""
    pairs, recorrupted.SHARES = METHODS[method]
    setattr(objectives, "recorrupted", pairs)  # noqa: B010
    recipe = of_noisy_images(Recipe(**fields), images)
    if start is not None:
        recipe = recipe.model_copy(update={"levels": start.levels, "structured_fraction": 1.0})
    estimator = None if start is None else start.estimator
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(
            recipe,
            images,
            validation,
            Path(folder),
            torch.device("cpu"),
            Quiet(),
            start=start,
            estimator=estimator,
        )
        return run.run()


def measure(
    prior: MultiScalePrior, clean: list[Tensor], noisy: list[Tensor], noise: NoiseModel | None
) -> float:
    """Mean PSNR in dB of gray images."""
    found = [
        psnr(one[None], denoise_plane(two[:1], prior, noise=noise)[0][None]).item()
        for one, two in zip(clean, noisy, strict=True)
    ]
    return sum(found) / len(found)


BLIND, HIDDEN, REACH = "blind spots", 0.02, 2
"""A method that needs no description of the noise; the share of pixels that are hidden from the
networks in it, and how far away what takes their place is found."""


def with_blind_spots(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) with a few pixels replaced by others near them, and which these are."""
    sides = images.shape[-2:]
    hidden = torch.rand(images.shape, generator=generator) < HIDDEN
    moved = [torch.randint(1, 2 * REACH + 1, images.shape, generator=generator) for _ in sides]
    rows, columns = (
        (torch.arange(size).view(shape) + move - REACH - (move <= REACH).long()).remainder(size)
        for size, shape, move in zip(sides, ((-1, 1), (-1,)), moved, strict=True)
    )
    others = images.flatten(2).gather(2, (rows * sides[1] + columns).flatten(2))
    return torch.where(hidden, others.view_as(images), images), hidden


def train_blind(images: ImageSet, validation: ImageSet, steps: int) -> MultiScalePrior:
    """The small networks, all together, to tell hidden pixels (Krull et al., Noise2Void, 2019).

    As many steps of as many crops as the networks of a level take in the other methods; each step
    is of all levels. The rate rises as theirs and falls to nothing at the end.
    """
    first = "recorrupted, both directions"
    prior = train(first, images, validation, SMALL | {"steps": 1}).train()
    recipe = Recipe(**SMALL)
    generator, sigma = torch.Generator().manual_seed(0), NOISES["white"].sigma
    optimiser = torch.optim.AdamW(prior.parameters(), recipe.learning_rate)
    fall = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / recipe.warmup, (steps - step) / (steps / 5))
    )
    batch, side = SMALL["batch"], SMALL["crop"]
    for step in range(steps):
        crops = []
        for place in torch.randint(len(images), (batch,), generator=generator).tolist():
            image = images.images[place]
            top, left = (
                int(torch.randint(size - side + 1, (1,), generator=generator))
                for size in image.shape[-2:]
            )
            crops.append(image[:, top : top + side, left : left + side])
        noisy = torch.stack(crops)
        seen, hidden = with_blind_spots(noisy, generator)
        loss = (prior(seen, sigma) - noisy)[hidden].square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimiser.step()
        fall.step()
        if step % 25 == 0:
            print(BLIND, step, loss.item(), flush=True)
    return prior.eval()


def compare_methods(steps: int, images: int, methods: list[str]) -> dict[str, float]:
    """PSNR on held-out gray faces of white noise, of a small network from scratch."""
    training, held_out, clean = faces(1, images)
    white = NOISES["white"]
    noisy = [add(image, white, torch.Generator().manual_seed(9)) for image in clean]
    found = {}
    for method in methods:
        first, second = (
            (noisy_like if method == "clean images" else noisy_set)(part, white, seed)
            for seed, part in enumerate((training, held_out))
        )
        if method == BLIND:
            prior = train_blind(first, second, steps)
        else:
            prior = train(method, first, second, SMALL | {"steps": steps})
        found[method] = measure(prior, clean, noisy, white)
        print(method, found[method], flush=True)
    return found


def noisy_like(clean: ImageSet, noise: NoiseModel, seed: int) -> ImageSet:
    """Clean images, told the noise of `noisy_set`, which `clean_pairs` is to add."""
    stabiliser = stabiliser_of(noise)
    images = [stabiliser.forward(i) if stabiliser else i for i in as_floats(clean)]
    return replace(noisy_set(clean, noise, seed), images=images)


def compare_noises(
    model: str, steps: int, images: int, kinds: list[str]
) -> dict[str, dict[str, float]]:
    """PSNR on held-out gray faces: of a model, and trained further on clean or noisy ones."""
    found: dict[str, dict[str, float]] = {}
    for kind in kinds:
        noise = NOISES[kind]
        training, held_out, clean = faces(3, images)
        gray = [image[:1] for image in clean]
        noisy = [
            add(image, noise, torch.Generator().manual_seed(900 + place))
            for place, image in enumerate(gray)
        ]
        start = load_prior(model, "cpu")
        scores = {"packaged": measure(start, gray, noisy, noise)}
        scores["packaged, blind"] = measure(start, gray, noisy, None)
        fields = {"steps": steps, "warmup": 20, "learning_rate": 5e-4, "batch": 8}
        for name, method in (("clean", "clean images"), ("noisy", "recorrupted, both directions")):
            first, second = (
                (noisy_like if name == "clean" else noisy_set)(part, noise, 1)
                for part in (training, held_out)
            )
            prior = train(method, first, second, fields, start)
            scores[name] = measure(prior, gray, noisy, noise)
            scores[f"{name}, blind"] = measure(prior, gray, noisy, None)
            print(kind, scores, flush=True)
        generators = (torch.Generator().manual_seed(1) for _ in range(2))
        told = [
            estimated([add(image, noise, generator) for image in as_floats(part)], start)
            for part, generator in zip((training, held_out), generators, strict=True)
        ]
        prior = train("recorrupted, both directions", told[0], told[1], fields, start)
        scores["noisy, of unknown noise"] = measure(prior, gray, noisy, noise)
        scores["noisy, of unknown noise, blind"] = measure(prior, gray, noisy, None)
        found[kind] = scores
        print(kind, scores, flush=True)
    return found


def estimated(images: list[Tensor], prior: MultiScalePrior) -> ImageSet:
    """Noisy images, told the noise that is found in each."""
    return with_noise(ImageSet(images, "noisy"), None, prior, print)


def faces(channels: int, count: int) -> tuple[ImageSet, ImageSet, list[Tensor]]:
    """So many images to train on, ten to validate on, 24 held out; all gray, in 1 or 3 channels."""
    every = load_image_set(DATA / "faces" / "training", 1)
    places = range(0, len(every), len(every) // (count + 10))
    chosen = every.part(list(places)[: count + 10])
    chosen = ImageSet([image.expand(channels, -1, -1) for image in chosen.images], "faces")
    kept = load_image_set(DATA / "faces" / "validation", 1).part(range(24))
    clean = [image.expand(channels, -1, -1).float() / 255 for image in kept.images]
    return chosen.part(range(10, count + 10)), chosen.part(range(10)), clean


def frames_of_microscope() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Noisy frames of a real microscope, and clean ones, matched as `gain_offset.csv` says."""
    folder = DATA / "realnoise" / "microscope"
    frames = read_images(folder, 1)
    with (folder / "gain_offset.csv").open() as rows:
        fits = {f"{int(row['pair']):02d}": row for row in csv.DictReader(rows)}
    noisy = {name[:2]: frame for name, frame in frames.items() if "noisy" in name}
    clean = {
        name[:2]: frame * float(fits[name[:2]]["gain"]) + float(fits[name[:2]]["offset"]) / 255
        for name, frame in frames.items()
        if "clean" in name
    }
    return noisy, clean


def microscope(model: str, minutes: float) -> dict[str, float]:
    """PSNR on the frames of a real microscope, of networks trained on the noisy ones."""
    noisy, clean = frames_of_microscope()
    start = load_prior(model, "cpu")
    scores = {"noisy": score(clean, noisy), "packaged, blind": score(clean, blind(start, noisy))}
    gathered = ImageSet([frame.expand(3, -1, -1) for frame in noisy.values()], "frames")
    told = dict(zip(noisy, noise_of_set(gathered, None, start, print), strict=True))
    scores["packaged, told what all frames say"] = score(clean, denoised(start, noisy, told))
    images = with_noise(gathered, None, start, print)
    began = time.monotonic()
    fields = {"minutes": minutes, "learning_rate": 5e-4, "warmup": 20}
    prior = train("recorrupted, both directions", images, images, fields, start)
    scores["trained, blind"] = score(clean, blind(prior, noisy))
    scores["trained, told what all frames say"] = score(clean, denoised(prior, noisy, told))
    scores["minutes"] = (time.monotonic() - began) / 60
    print(scores, flush=True)
    return scores


def half_an_hour(start: str | None, minutes: float, count: int) -> dict[str, Any]:
    """The table that `scalewise train` ends with, of so many clean colour faces."""
    files = find_images(DATA / "faces" / "training").files
    chosen = files[:: len(files) // count][:count]
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "faces.txt"
        listed.write_text("\n".join(str(file) for file in chosen))
        record = train_model(
            listed, Path(folder) / "mine", start=start, minutes=minutes, compare="photos"
        )
    found: dict[str, Any] = record["comparison"]
    print("\n".join(found["words"]), flush=True)
    return found


def blind(prior: MultiScalePrior, noisy: dict[str, Tensor]) -> dict[str, Tensor]:
    """Frames, denoised without telling anything."""
    return {name: denoise_plane(frame, prior)[0] for name, frame in noisy.items()}


def denoised(
    prior: MultiScalePrior, noisy: dict[str, Tensor], told: dict[str, NoiseModel]
) -> dict[str, Tensor]:
    """Frames, denoised, each told its noise."""
    return {n: denoise_plane(frame, prior, noise=told[n])[0] for n, frame in noisy.items()}


def score(clean: dict[str, Tensor], images: dict[str, Tensor]) -> float:
    """Mean PSNR in dB."""
    found = [
        psnr(clean[name][None], image[None], clip=True).item() for name, image in images.items()
    ]
    return sum(found) / len(found)


def main() -> None:
    """Measure one part, and write it beside the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--start")
    parser.add_argument("--kinds", nargs="+", default=list(NOISES))
    parser.add_argument("--methods", nargs="+", default=[*METHODS, BLIND])
    parser.add_argument("--model", default="photos")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULTS / "own-data.json")
    options = parser.parse_args()
    if options.part == "methods":
        before = read_json(options.out).get("methods", {}).get("psnr", {})
        psnrs = compare_methods(options.steps, options.images, options.methods)
        found: dict[str, Any] = {"psnr": before | psnrs}
    elif options.part == "noises":
        known = read_json(options.out).get("noises", {}).get("psnr", {})
        scores = compare_noises(options.model, options.steps, options.images, options.kinds)
        found = {"psnr": known | scores}
    elif options.part == "microscope":
        found = {"psnr": microscope(options.model, options.minutes)}
    else:
        name = f"from {options.start}" if options.start else "from new networks"
        table = half_an_hour(options.start, options.minutes, options.images)
        known = read_json(options.out).get("minutes", {}).get("tables", {})
        found = {"minutes": options.minutes, "tables": known | {name: table}}
    given = {"steps": options.steps, "images": options.images}
    before = read_json(options.out)
    write_json(options.out, before | {options.part: given | found | {"facts": facts()}})


if __name__ == "__main__":
    main()
