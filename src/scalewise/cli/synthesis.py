"""`scalewise demo` and `scalewise synthesize`."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalewise.cli import options
from scalewise.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from scalewise.cli.console import Record

BATCH = 16
"""Images drawn at a time."""


def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the pictures go.")] = Path(
        "scalewise-demo"
    ),
    seed: options.Seed = 0,
    device: options.Device = "auto",
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Take the tour: denoise, super-resolve, synthesize.

    Uses the packaged models and photos that come with scikit-image; needs no network. Writes
    demo.png and the single results, and prints what was gained.
    """
    import json

    from scalewise.cli.console import Bar, table
    from scalewise.cli.paths import check_absent, check_new_folder, refuse_dash

    refuse_dash(out)
    check_new_folder(out)
    from scalewise.demo import OUTPUTS, STEPS, run

    if not force:
        check_absent(out / name for name in OUTPUTS)
    with Bar("demo", len(STEPS)) as bar:
        records = run(out, seed, device, callback=bar.step)
    if as_json:
        for record in records:
            typer.echo(json.dumps(record))
        return
    head = ("step", "image", "PSNR before", "PSNR after", "seconds")
    names = ("step", "image", "psnr_before", "psnr_after", "seconds")
    typer.echo(table(head, [[record[name] for name in names] for record in records]))
    typer.echo(f"\n{out / 'demo.png'} shows the results; the single images lie beside it.")


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
            help="Height and width; those of the training images if not given.",
            show_default=False,
        ),
    ] = None,
    sampler: options.Sampler = options.SamplerName.FEW_STEPS,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = options.PrecisionName.FLOAT32,
    exact: options.Exact = False,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Draw new images from scratch.

    Image i of a seed is the same whatever the number of images.

    Examples:
      scalewise synthesize faces.png --model faces -n 16
      scalewise synthesize faces/ --model faces -n 100 --seed 1
    """
    sides = _sides(size)
    files = _files(output, count, force)
    from scalewise import store
    from scalewise.cli.console import Bar, show
    from scalewise.samplers import SAMPLERS

    prior = store.load(model, device=device, precision=precision.value, exact=exact or None)
    start = time.perf_counter()
    steps = -(-count // BATCH) * (prior.levels + 1)
    with Bar("synthesizing", steps) as bar:
        rule = SAMPLERS[sampler.value]
        images = prior.sample(
            count, seed=seed, size=sides, sampler=rule, batch=BATCH, callback=bar.step
        ).cpu()
    facts: Record = {"input": None, "model": model, "seed": seed}
    notes = _write(images, files, force)
    facts["seconds"] = round(time.perf_counter() - start, 3)
    for place, file in enumerate(files):
        sample = place if len(files) > 1 else None
        show(facts | {"output": str(file), "sample": sample, "notes": notes}, as_json)


def _sides(size: str | None) -> tuple[int, int] | None:
    if size is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", size.lower())
    if found is None:
        raise UsageError(f"--size must be height x width in pixels, such as 96x128, found {size!r}")
    return int(found[1]), int(found[2])


def _files(output: Path, count: int, force: bool) -> list[Path]:
    """The file of the sheet, or those of the single images, checked."""
    from scalewise.cli.paths import check_absent, check_new_folder, looks_like_image, refuse_dash
    from scalewise.images import check_output

    refuse_dash(output)
    if looks_like_image(output) and not output.is_dir():
        check_output(output, force=force)
        return [output]
    check_new_folder(output)
    files = [output / f"{place:04d}.png" for place in range(1, count + 1)]
    check_absent(() if force else files)
    return files


def _write(images: Tensor, files: list[Path], force: bool) -> list[str]:
    """Write single images, or one sheet of all."""
    from scalewise.cli.paths import save
    from scalewise.evaluation import sheets
    from scalewise.images import Picture

    if len(files) < len(images):
        images = sheets.grid(images)[None]
    notes = [
        note
        for image, file in zip(images, files, strict=True)
        for note in save(Picture(image), file, force)
    ]
    return list(dict.fromkeys(notes))
