"""Training on several processes, on images that are read as needed, and of levels apart.

    python -m benchmarks.machines --part processes    # and streaming, memory, apart

`processes`: losses of 2 and 4 processes beside those of one. `streaming`: the share of a step in
which it waits for images, from tar shards and from memory, in turn. `memory`: the largest memory
of a process, by the operating system, with sets in memory and larger ones. `apart`: the PSNR of a
model whose levels were trained apart, beside that of a joint run.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from itertools import product
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import DATA, RESULTS, facts, load_prior, read_images, read_json, write_json
from scalewise.data import Reading, hold_out, open_image_set
from scalewise.evaluation import add_noise
from scalewise.images import Picture, write_image
from scalewise.metrics import psnr
from scalewise.train import Progress, assemble, train_model
from scalewise.training import Recipe, TrainingRun, level
from scalewise.training.batches import Batch, Noise
from scalewise.training.plan import Segment

ROOT = Path(__file__).resolve().parents[1]
SIGMAS = (15, 25, 50)
LITTLE: dict[str, Any] = {
    "levels": 1,
    "width": 16,
    "blocks": 1,
    "receptive_field": 9,
    "low_width": 8,
    "batch": 9,
    "low_batch": 9,
    "warmup": 10,
    "estimator_fraction": 0.0,
    "precision": "float32",
}
"""A recipe of seconds, whose batches no number of processes divides."""


def squares(photos: Path, count: int, side: int) -> list[Tensor]:
    """Squares of photographs, mirrored to be large enough."""
    made = []
    for image in read_images(photos, 3, count).values():
        tile = torch.cat([image, image.flip(2)], 2)
        tile = torch.cat([tile, tile.flip(1)], 1).repeat(1, 3, 3)
        made.append(tile[:, :side, :side])
    return made


def shard(file: Path, images: list[Tensor], copies: int) -> None:
    """Write a tar shard of JPEG files: every image so many times."""
    with tempfile.TemporaryDirectory() as place, tarfile.open(file, "w") as archive:
        for index, image in enumerate(images):
            written = Path(place) / f"{index}.jpg"
            write_image(written, Picture(image))
            content = written.read_bytes()
            for copy in range(copies):
                member = tarfile.TarInfo(f"{copy:05d}-{index:03d}.jpg")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


# Losses of several processes


class Curve(Progress):
    """Keeps the losses of all steps."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_step(self, level: int, step: int, last: int, loss: float, images: int) -> None:
        """Keep the loss."""
        self.losses.append(loss)


def in_float64() -> None:
    """Have this process train in float64, whose rounding hides nothing."""
    objective, draw = TrainingRun._objective, vars(level)["draw_batch"]

    def drawn(*given: Any, **named: Any) -> Batch:
        images, noise = draw(*given, **named)
        if noise is not None:
            levels = noise.levels.over(lambda each: torch.as_tensor(each).double())
            noise = Noise(levels, noise.more.double())
        return Batch(images.double(), noise)

    vars(level)["draw_batch"] = drawn
    TrainingRun._objective = lambda *given: objective(*given).double()  # type: ignore[method-assign]


def one_process(asked: dict[str, Any]) -> None:
    """What each process of `torchrun` does; the first writes the losses."""
    if asked.pop("double"):
        in_float64()
    curve, began = Curve(), time.monotonic()
    if train_model(**asked, device="cpu", progress=curve):
        seconds = time.monotonic() - began
        told = {"losses": curve.losses, "seconds": seconds}
        Path(f"{asked['out']}.json").write_text(json.dumps(told), encoding="utf-8")


def processes(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Losses of 1, 2 and 4 processes, each form of network."""
    records = []
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "images.tar"
        shard(source, squares(options.photos, 12, 128), 1)
        for form, double in product(("noise-conditional", "bias-free"), (False, True)):
            curves = {}
            for count in (1, 2, 4):
                out = Path(place) / f"{form}-{double}-{count}"
                asked = LITTLE | {"images": str(source), "out": str(out), "form": form, "depth": 6}
                asked |= {"steps": options.steps, "double": double}
                words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count]
                words += ["-m", "benchmarks.machines", "--work", json.dumps(asked)]
                subprocess.run([sys.executable, *map(str, words)], check=True, cwd=ROOT)
                told = json.loads(Path(f"{out}.json").read_text())
                curves[count] = told["losses"]
                pairs = list(zip(told["losses"], curves[1], strict=True))
                apart = [abs(a - b) / abs(b) for a, b in pairs]
                record = {"form": form, "float": 64 if double else 32, "processes": count}
                record |= {"steps": options.steps, "losses": len(pairs)}
                record |= {"largest_difference": max(apart), "median_difference": median(apart)}
                records.append(record | {"seconds": told["seconds"]})
                print(records[-1])
    return records


# Waiting for images


def trainer_of(source: Path, reading: Reading, recipe: Recipe, folder: Path) -> Any:
    """The finest level, on images read so."""
    sets = hold_out(open_image_set(source, None, reading))
    run = TrainingRun(recipe, *sets, folder, torch.device("cpu"), Curve())  # type: ignore[arg-type]
    return run.trainers[1]


def streaming(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds of a step, and of waiting in it, in turn from memory, tar shards and Zarr."""
    records = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        pictures = squares(options.photos, 24, 512)
        shard(place / "images.tar", pictures, 4)
        tiled(place / "images.zarr", pictures, 4)
        little = Reading(stream=True, memory=0.008)
        readings = {
            "memory": ("images.tar", Reading()),
            "shards": ("images.tar", little),
            "Zarr": ("images.zarr", little),
        }
        for width in (16, 64):
            recipe = Recipe(levels=1, width=width, low_width=8, steps=1, precision="float32")
            trainers = {
                kind: trainer_of(place / source, reading, recipe, place / f"{kind}-{width}")
                for kind, (source, reading) in readings.items()
            }
            turns: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in trainers}
            for turn in range(options.rounds + 1):
                for kind, trainer in trainers.items():
                    measured = stretch(trainer, options.steps)
                    if turn:  # the first warms up
                        turns[kind].append(measured)
            for kind, found in turns.items():
                seconds, waiting, processor = zip(*found, strict=True)
                pairs = zip(found, turns["memory"], strict=True)
                record = {"width": width, "images": kind, "steps": options.steps}
                record |= {"rounds": len(found), "seconds_per_step": median(seconds)}
                record |= {"processor_seconds_per_step": median(processor)}
                record |= {"over_memory": median(ours[0] / memory[0] for ours, memory in pairs)}
                records.append(record | {"waiting": median(waiting)})
                print(records[-1])
    return records


def tiled(path: Path, images: list[Tensor], copies: int) -> None:
    """Write a Zarr array of bytes, in chunks of 128x128 pixels: every image so many times."""
    import zarr

    stack = torch.stack(images).mul(255).round().byte().movedim(1, -1).repeat(copies, 1, 1, 1)
    chunks = (1, 128, 128, 3)
    zarr.create_array(path, shape=tuple(stack.shape), chunks=chunks, dtype="uint8")[:] = (
        stack.numpy()
    )


def stretch(trainer: Any, steps: int) -> tuple[float, float, float]:
    """Seconds of a step, the share of it that waits for images, and the processor's seconds."""
    step, waited = trainer.state.step, trainer.waited
    began, worked = time.perf_counter(), time.process_time()
    trainer.run(Segment(1, step, step + steps), lambda loss: None)
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    return seconds / steps, (trainer.waited - waited) / seconds, worked / steps


# Memory


def largest_memory(asked: dict[str, Any]) -> None:
    """Train a few steps, and print the largest memory of this process in bytes."""
    reading = Reading(**asked["reading"])
    recipe = Recipe(levels=1, width=16, low_width=8, steps=1, precision="float32")
    with tempfile.TemporaryDirectory() as place:
        trainer = trainer_of(Path(asked["source"]), reading, recipe, Path(place))
        trainer.run(Segment(1, 0, asked["steps"]), lambda loss: None)
    told = Path("/proc/self/status").read_text(encoding="ascii")  # getrusage tells the parent's too
    (line,) = (line for line in told.splitlines() if line.startswith("VmHWM:"))
    print(1024 * int(line.split()[1]))


def memory(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The largest memory of processes that train on sets of several sizes."""
    records = []
    with tempfile.TemporaryDirectory() as place:
        pictures = squares(options.photos, 12, 512)
        for copies, reading in (
            (100, {"memory": 8.0}),
            (100, {"memory": 0.2}),
            (300, {"memory": 0.2}),
        ):
            source = Path(place) / f"{copies}.tar"
            if not source.exists():
                shard(source, pictures, copies)
            asked = {"source": str(source), "reading": reading, "steps": options.steps}
            words = ["-m", "benchmarks.machines", "--peak", json.dumps(asked)]
            done = subprocess.run(
                [sys.executable, *words], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True
            )
            size = 3 * 512**2 * copies * len(pictures)
            record = {"gigabytes_of_images": size / 1e9, "gigabytes_asked": reading["memory"]}
            record |= {"streamed": bool(reading.get("stream")) or size > 1e9 * reading["memory"]}
            records.append(record | {"gigabytes_at_most": int(done.stdout) / 1e9})
            print(records[-1])
    return records


# Levels apart


def apart(options: argparse.Namespace) -> list[dict[str, Any]]:
    """PSNR of levels trained together and apart, by noise, on the same photographs."""
    recipe: dict[str, Any] = {"levels": 2, "width": 16, "blocks": 2, "receptive_field": 9}
    recipe |= {"steps": options.steps, "warmup": 50, "low_width": 16, "estimator_fraction": 0.0}
    held_out = list(read_images(options.validation, 3, options.images).values())
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        train_model(options.photos, place / "together", **recipe)
        parts = [place / f"part-{level}" for level in ("low", 2, 1)]
        for part in parts:
            level = part.name.removeprefix("part-")
            chosen = int(level) if level.isdigit() else level
            train_model(options.photos, part, only_level=chosen, **recipe)
        assemble(parts, place / "apart")
        priors = {kind: load_prior(str(place / kind), "cpu") for kind in ("together", "apart")}
    records = []
    for sigma in SIGMAS:
        scores: dict[str, list[float]] = {kind: [] for kind in priors}
        for index, image in enumerate(held_out):
            clean = image[:, :256, :256]
            noisy = add_noise(clean, sigma / 255, 0, index)
            for kind, prior in priors.items():
                scores[kind].append(
                    float(psnr(clean[None], prior.denoise(noisy[None], sigma / 255)))
                )
        gains = [a - b for a, b in zip(scores["apart"], scores["together"], strict=True)]
        record = {"sigma": sigma, "steps": options.steps, "images": len(gains)}
        record |= {kind: mean(each) for kind, each in scores.items()}
        record |= {"gain": mean(gains), "error": stdev(gains) / len(gains) ** 0.5}
        records.append(record)
        print(record)
    return records


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--part", choices=["processes", "streaming", "memory", "apart"])
    parser.add_argument("--photos", type=Path, default=DATA / "photos" / "training")
    parser.add_argument("--validation", type=Path, default=DATA / "photos" / "validation")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=12, help="to denoise, of apart")
    parser.add_argument("--running", default="", help="what else the machine did")
    parser.add_argument("--json", type=Path, default=RESULTS / "machines.json")
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--peak", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work is not None:
        one_process(options.work)
    elif options.peak is not None:
        largest_memory(options.peak)
    else:
        parts = {
            "processes": processes,
            "streaming": streaming,
            "memory": memory,
            "apart": apart,
        }
        told = facts() | {"running": options.running}
        found: dict[str, Any] = {f"{options.part}_facts": told}
        found[options.part] = parts[options.part](options)
        write_json(options.json, read_json(options.json) | found)


if __name__ == "__main__":
    main()
