"""`scalewise synthesize`."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalewise.cli import large, options
from scalewise.errors import ScalewiseError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from scalewise.cli.console import Record
    from scalewise.images import Picture
    from scalewise.images.picture import PngChunks

BATCH = 16
"""Most images drawn at a time."""

BATCH_PIXELS = 2**20
"""Pixels of images drawn at a time: fewer images where they are large."""

MOST_PIXELS = 5 * 10**9
"""Pixels of the largest image that is drawn."""

MARK = b"scalewise"
"""Keyword of the text in a PNG file that says which run drew it."""

Run = dict[str, object]
"""All that an image depends on but its number."""

Draw = Callable[[int, int], "Tensor"]
"""Draws so many images from a first one on, shape (N, C, H, W)."""


def synthesize(
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT",
            help="Image file for a sheet of all, or a folder for single images 0001.png, ...",
            show_default=False,
        ),
    ],
    model: options.Model = "faces",
    count: Annotated[
        int, typer.Option("--number", "-n", min=1, max=9999, help="How many images.")
    ] = 16,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Height and width; those of the training images if not given. Models of textures "
            "draw any, 256x256 if not given; faces no other.",
            show_default=False,
        ),
    ] = None,
    periodic: Annotated[
        bool,
        typer.Option(
            "--periodic",
            help="Images that tile the plane without a seam, of a model of a texture.",
        ),
    ] = False,
    sampler: options.Sampler = options.SamplerName.FEW_STEPS,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = options.PrecisionName.FLOAT32,
    exact: options.Exact = False,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    max_memory: large.MaxMemory = None,
    tile: large.Tile = None,
    workers: large.Workers = 1,
    scheduler: large.Scheduler = None,
    as_json: options.Json = False,
) -> None:
    """Draw new images from scratch.

    Image i of a seed is the same whatever the number of images. Single images are written as they
    are drawn; with --skip-existing a run that was cut short goes on, if seed, model and all else
    are the same.

    Examples:
      scalewise synthesize faces.png --model faces -n 16
      scalewise synthesize faces/ --model faces -n 100 --seed 1

      scalewise synthesize gravel.png --model gravel -n 1 --size 512x1024

      scalewise synthesize tile.png --model deep-field -n 1 --periodic

      scalewise synthesize huge.zarr --model gravel -n 1 --size 20000x20000
    """
    refused = {"--periodic": periodic, "--sampler paper": sampler is options.SamplerName.PAPER}
    wish = large.Wish(max_memory, tile, workers, scheduler, refused)
    sides = _sides(size)
    if sides is not None and wish.draws(sides, output):
        if count != 1:
            raise UsageError("images in blocks are drawn one at a time; give -n 1")
        large.check_array_output(output, force, skip_existing)
        if not (skip_existing and output.exists()):
            _in_blocks(output, model, sides, sampler.value, seed, wish, force, as_json)
        return
    files = _files(output, count, force, skip_existing)
    if not files:
        return
    from scalewise import store
    from scalewise.cli.console import Bar, show
    from scalewise.cli.paths import save
    from scalewise.samplers import SAMPLERS

    prior = store.load(model, device=device, precision=precision.value, exact=exact or None)
    run: Run = {
        "model": store.fingerprint(prior),
        "seed": seed,
        "size": list(sides or prior.size or ()),
        "sampler": sampler.value,
        "precision": precision.value,
    }
    if periodic:
        run["periodic"] = True
    facts: Record = {"input": None, "model": model, "seed": seed}
    single = files[0] != output
    there = _drawn(files, run, force) if single and skip_existing else set()
    height, width = sides or prior.size or (1, 1)
    batches = _batches(count, there, max(1, min(BATCH, BATCH_PIXELS // (height * width))))
    with Bar("synthesizing", len(batches) * (prior.levels + 1)) as bar:

        def draw(first: int, number: int) -> Tensor:
            return prior.sample(
                number,
                seed=seed,
                size=sides,
                sampler=SAMPLERS[sampler.value],
                periodic=periodic,
                first=first,
                callback=bar.step,
            ).cpu()

        def tell(record: Record) -> None:
            with bar.aside():
                show(facts | record, as_json)

        write = partial(save, force=force, skip_existing=skip_existing)
        if single:
            _single_images(draw, batches, files, there, run, write=write, tell=tell)
        else:
            _sheet(draw, batches, output, write, tell)


def _in_blocks(
    output: Path,
    model: str,
    size: tuple[int, int],
    sampler: str,
    seed: int,
    wish: large.Wish,
    force: bool,
    as_json: bool,
) -> None:
    """Draw one image of any size, block by block."""
    from scalewise import blocks, store
    from scalewise.cli.console import Bar, Share, show

    wish.check()
    start = time.perf_counter()
    with Bar("synthesizing", large.STEPS) as bar:
        outcome = blocks.synthesize(
            store.load(model, device="cpu"),
            output,
            size,
            seed=seed,
            sampler=sampler,
            limits=wish.limits,
            force=force,
            progress=large.counted(Share(bar, large.STEPS).fill),
        )
    facts: Record = {"input": None, "model": model, "seed": seed, "output": str(output)}
    seconds = round(time.perf_counter() - start, 3)
    show(facts | {"sample": 0, "notes": list(outcome.notes), "seconds": seconds}, as_json)


def _single_images(
    draw: Draw,
    batches: list[range],
    files: list[Path],
    there: set[int],
    run: Run,
    *,
    write: Callable[[Picture, Path], list[str]],
    tell: Callable[[Record], None],
) -> None:
    """Draw batch by batch, and write what is not there yet as soon as it is drawn."""
    from scalewise.images import Picture

    for batch in batches:
        start = time.perf_counter()
        images = draw(batch.start, len(batch))
        seconds = round((time.perf_counter() - start) / len(batch), 3)
        for image, number in zip(images, batch, strict=True):
            if number not in there:
                picture = Picture(image, origin=_mark(run, number))
                notes = write(picture, files[number])
                told = {"output": str(files[number]), "sample": number}
                tell(told | {"notes": notes, "seconds": seconds})


def _sheet(
    draw: Draw,
    batches: list[range],
    file: Path,
    write: Callable[[Picture, Path], list[str]],
    tell: Callable[[Record], None],
) -> None:
    """Draw all images, and write one sheet of them; one alone as it is, without a frame."""
    import torch

    from scalewise.evaluation import sheets
    from scalewise.images import Picture

    start = time.perf_counter()
    images = torch.cat([draw(batch.start, len(batch)) for batch in batches])
    drawn = images[0] if len(images) == 1 else sheets.grid(images)
    notes = write(Picture(drawn), file)
    seconds = round(time.perf_counter() - start, 3)
    tell({"output": str(file), "sample": None, "notes": notes, "seconds": seconds})


def _batches(count: int, there: set[int], size: int) -> list[range]:
    """Batches that hold an image which is not there.

    They are those of a run from the start, so that going on gives the same pixels.
    """
    batches = [range(first, min(count, first + size)) for first in range(0, count, size)]
    return [batch for batch in batches if not there.issuperset(batch)]


def _mark(run: Run, number: int) -> PngChunks:
    """The text in a PNG file that says which run drew it."""
    from scalewise.images.picture import PngChunks

    text = json.dumps(run | {"image": number})
    return PngChunks(((b"tEXt", MARK + b"\0" + text.encode()),))


def _drawn(files: list[Path], run: Run, force: bool) -> set[int]:
    """Numbers of the images of this run that are there.

    Raises:
        ScalewiseError: an image of another run is there, and may not be overwritten.
    """
    from scalewise.images import read_image

    drawn = set()
    for number, file in enumerate(files):
        if not file.exists():
            continue
        found = _read_mark(read_image(file).origin)
        if found == run | {"image": number}:
            drawn.add(number)
        elif not force:
            both = [name for name in run | found if found and name != "image"]
            names = [name for name in both if found.get(name) != run.get(name)]
            what = ", ".join(
                f"{name} {found.get(name)} there, {run.get(name)} here" for name in names
            )
            raise ScalewiseError(
                f"{file}: is not of this run ({what or 'it does not say how it was drawn'}); give "
                "the same options, another folder, or --force to draw it anew"
            )
    return drawn


def _read_mark(origin: object) -> dict[str, object]:
    """What a PNG file says of the run that drew it; nothing if it was another program."""
    from scalewise.images.picture import PngChunks

    for kind, data in origin.chunks if isinstance(origin, PngChunks) else ():
        keyword, _, text = data.partition(b"\0")
        if (kind, keyword) == (b"tEXt", MARK):
            try:
                found = json.loads(text)
            except (ValueError, RecursionError):
                return {}
            return found if isinstance(found, dict) else {}
    return {}


def _sides(size: str | None) -> tuple[int, int] | None:
    if size is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", size.lower())
    if found is None:
        raise UsageError(f"--size must be height x width in pixels, such as 96x128, found {size!r}")
    height, width = int(found[1]), int(found[2])
    if height * width > MOST_PIXELS:
        raise UsageError(
            f"--size {size} has {height * width / 1e6:.0f} million pixels, more than the "
            f"{MOST_PIXELS / 1e6:.0f} million that are drawn"
        )
    return height, width


def _files(output: Path, count: int, force: bool, skip_existing: bool) -> list[Path]:
    """The file of the sheet, or those of the single images, checked; none if the sheet is there."""
    from scalewise.cli.paths import check_absent, check_new_folder, looks_like_image, refuse_dash
    from scalewise.images import check_output

    refuse_dash(output)
    if looks_like_image(output) and not output.is_dir():
        check_output(output, force=force or skip_existing)
        return [] if skip_existing and output.exists() else [output]
    check_new_folder(output)
    files = [output / f"{place:04d}.png" for place in range(1, count + 1)]
    kept = () if force or skip_existing else files
    check_absent(kept, "give --force to overwrite, or --skip-existing to go on with a run")
    return files
