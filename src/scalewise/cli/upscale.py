"""`scalewise upscale`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalewise.cli import options
from scalewise.errors import UsageError

if TYPE_CHECKING:
    from scalewise.cli.console import Bar, Record
    from scalewise.cli.jobs import Job


class Mode(StrEnum):
    """What `upscale` gives."""

    SAMPLE = "sample"
    MEAN = "mean"


def upscale(
    input: options.Input,
    output: options.Output,
    factor: options.Factor = 2,
    mode: Annotated[
        Mode,
        typer.Option(
            help="sample: plausible sharp images; mean: the least-squares estimate, softer and "
            "closer to the truth on average."
        ),
    ] = Mode.SAMPLE,
    samples: Annotated[
        int,
        typer.Option(
            min=1, max=9999, help="How many to draw; from 2 the output name gets -1, -2, ..."
        ),
    ] = 1,
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.tif",
            help="Also write the standard deviation of the samples per pixel, as a float TIFF "
            "(a folder if INPUT is one).",
            show_default=False,
        ),
    ] = None,
    sampler: options.Sampler = options.SamplerName.FEW_STEPS,
    seed: options.Seed = 0,
    black: options.Black = None,
    white: options.White = None,
    quality: options.Quality = None,
    model: options.Model = "photos",
    device: options.Device = "auto",
    precision: options.Precision = options.PrecisionName.FLOAT32,
    exact: options.Exact = False,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    sheet: options.Sheet = None,
    as_json: options.Json = False,
) -> None:
    """Super-resolve an image or a folder of images.

    Every output agrees with the input: reduced again by averaging, it is the input, exactly where
    the file holds integers (a JPEG output adds its own error). With several samples, what they
    share is sure and what differs is invention; --skip-existing draws all samples of an image anew
    if one is missing, so that all are of one seed.

    Examples:
      scalewise upscale small.png big.png --factor 4
      scalewise upscale small.png big.png --factor 4 --mode mean
      scalewise upscale small.png big.png --samples 8 --uncertainty std.tif
    """
    from scalewise.cli.contact import contact_sheet, sheet_of
    from scalewise.cli.jobs import nothing_to_do, work_through
    from scalewise.cli.paths import plan

    _check_upscale(factor, mode, samples, uncertainty)
    jobs = plan(
        input,
        output,
        samples,
        uncertainty,
        force=force,
        skip_existing=skip_existing,
        quality=quality,
    )
    contact = contact_sheet(sheet, force)
    if nothing_to_do(jobs):
        return
    from scalewise import store
    from scalewise.cli.paths import save
    from scalewise.images import read_image
    from scalewise.restore import upscale as restored
    from scalewise.samplers import SAMPLERS

    prior = store.load(model, device=device, precision=precision.value, exact=exact or None)
    rule = SAMPLERS[sampler.value]
    prior.check_factor(factor)

    def work(job: Job, bar: Bar) -> Record:
        count = None if mode is Mode.MEAN else samples
        picture = read_image(job.source, black=black, white=white)
        result = restored(
            picture,
            prior,
            factor=factor,
            samples=count,
            seed=seed,
            sampler=rule,
            callback=bar.step,
        )
        notes = list(result.notes)
        for output, path in zip(result.pictures, job.targets, strict=True):
            notes += save(output, path, force or skip_existing, quality=quality)
        if contact is not None:
            contact.add(picture, result.picture)
        if job.deviation and result.deviation:
            notes += save(result.deviation, job.deviation, force or skip_existing)
        outputs = [str(path) for path in job.targets]
        return {
            "input": str(job.source),
            "output": outputs if samples > 1 else outputs[0],
            "uncertainty": None if job.deviation is None else str(job.deviation),
            "notes": list(dict.fromkeys(notes)),
        }

    steps = 1 if mode is Mode.MEAN else samples * (factor.bit_length() - 1)
    with sheet_of(contact, force):
        work_through(jobs, work, "upscaling", steps, as_json)


def _check_upscale(factor: int, mode: Mode, samples: int, uncertainty: Path | None) -> None:
    """Refuse what no model can do, before anything is loaded."""
    if factor < 2 or factor & (factor - 1):
        raise UsageError(f"--factor must be a power of two from 2 (2, 4, 8, ...), found {factor}")
    if mode is Mode.MEAN and samples > 1:
        raise UsageError(f"--mode mean gives one image; leave out --samples {samples}")
    if uncertainty is not None and samples < 2:
        raise UsageError("--uncertainty is measured between samples; give --samples 2 or more")
