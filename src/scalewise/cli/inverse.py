"""`scalewise inpaint` and `scalewise deblur`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalewise.cli import large, options
from scalewise.errors import ScalewiseError, UsageError

if TYPE_CHECKING:
    from scalewise.cli.console import Record, Share
    from scalewise.cli.jobs import Job
    from scalewise.operators import Blur
    from scalewise.rasters import Raster

STEPS = 100
"""Of the bar, per image."""


def inpaint(
    input: options.Input,
    mask: Annotated[
        Path,
        typer.Argument(
            metavar="MASK",
            help="An image of the same size: white where to fill; black stays as it is.",
            show_default=False,
        ),
    ],
    output: options.Output,
    mode: options.Mode = options.ModeName.SAMPLE,
    samples: options.Samples = 1,
    uncertainty: options.Uncertainty = None,
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
    together: options.Jobs = 1,
    sheet: options.Sheet = None,
    max_memory: large.MaxMemory = None,
    tile: large.Tile = None,
    workers: large.Workers = 1,
    scheduler: large.Scheduler = None,
    as_json: options.Json = False,
) -> None:
    """Fill holes of an image: scratches, dust, dead columns, what should not be there.

    What is drawn is likely given what surrounds it; with several samples, what they share is sure.
    Pixels under black of the mask stay exactly as they are. For a folder of images the mask is one
    for all, or a folder of masks of the same names.

    Examples:
      scalewise inpaint scan.png scratches.png filled.png
      scalewise inpaint photo.jpg mask.png filled.png --samples 4 --uncertainty deviation.tif
    """
    from scalewise.cli.contact import contact_sheet, sheet_of
    from scalewise.cli.jobs import nothing_to_do, work_through
    from scalewise.cli.paths import plan, save_all

    options.check_samples(mode, samples, uncertainty)
    jobs = plan(
        input,
        output,
        samples,
        uncertainty,
        force=force,
        skip_existing=skip_existing,
        quality=quality,
    )
    contact = contact_sheet(sheet, jobs, force)
    if nothing_to_do(jobs):
        return
    from scalewise import blocks, restore, store
    from scalewise.images import read_image
    from scalewise.rasters import open_raster

    prior = store.load(model, device=device, precision=precision.value, exact=exact or None)
    count = None if mode is options.ModeName.MEAN else samples
    refused = {"--uncertainty": uncertainty is not None, "--sheet": sheet is not None}
    wish = large.Wish(max_memory, tile, workers, scheduler, refused, len(jobs))
    wish.check()
    force = force or wish.spreads  # whose worker died has an output, perhaps, and is done again

    def in_blocks(raster: Raster, job: Job, share: Share) -> Record:
        hole, notes = open_raster(_mask_of(job.source, input, mask)), list[str]()
        for number, target in enumerate(job.targets):
            outcome = blocks.inpaint(
                raster,
                hole,
                prior,
                target,
                mean=count is None,
                sample=number,
                seed=seed,
                limits=wish.limits,
                force=force or skip_existing,
                quality=quality,
                progress=large.counted(share.fill),
            )
            notes += outcome.notes
        return {"input": str(job.source), **job.written, "notes": list(dict.fromkeys(notes))}

    def work(job: Job, share: Share) -> Record:
        raster = wish.raster(job.source, job.targets[0], black, white)
        if raster is not None:
            return in_blocks(raster, job, share)
        picture = read_image(job.source, black=black, white=white)
        hole = options.read_mask(_mask_of(job.source, input, mask))
        result = restore.inpaint(
            picture, hole, prior, samples=count, seed=seed, callback=share.fill
        )
        kept = save_all(result, job, force, skip_existing, quality)
        if contact is not None:
            contact.add(job.source, picture, result.picture)
        return {"input": str(job.source), **job.written, "notes": [*result.notes, *kept]}

    with sheet_of(contact, force):
        work_through(jobs, work, "inpainting", STEPS, as_json, together, wish=wish)


def deblur(
    input: options.Input,
    output: options.Output,
    kernel: Annotated[
        str,
        typer.Option(
            metavar="KERNEL",
            help="What blurred it: gaussian:1.6 (deviation in pixels), or an image of the kernel, "
            "white on black, of odd sides.",
            show_default=False,
        ),
    ],
    sigma: Annotated[
        float | None,
        typer.Option(
            min=0,
            callback=options.finite,
            help="Level of white noise in 8-bit units; without it and --noise, what the noise is "
            "like is estimated.",
            show_default=False,
        ),
    ] = None,
    noise: options.NoiseFile = None,
    mode: options.Mode = options.ModeName.MEAN,
    samples: options.Samples = 1,
    uncertainty: options.Uncertainty = None,
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
    together: options.Jobs = 1,
    sheet: options.Sheet = None,
    as_json: options.Json = False,
) -> None:
    """Sharpen an image that is out of focus or moved, where the blur is known.

    Examples:
      scalewise deblur soft.png sharp.png --kernel gaussian:1.6
      scalewise deblur frame.tif sharp.tif --kernel psf.tif --sigma 2
      scalewise deblur soft.png sharp.png --kernel gaussian:2 --mode sample --samples 4
    """
    from scalewise.cli.contact import contact_sheet, sheet_of
    from scalewise.cli.jobs import nothing_to_do, work_through
    from scalewise.cli.paths import plan, save_all

    options.check_samples(mode, samples, uncertainty)
    options.check_noise({"--sigma": sigma, "--noise": noise}, None, 0, 0)
    jobs = plan(
        input,
        output,
        samples,
        uncertainty,
        force=force,
        skip_existing=skip_existing,
        quality=quality,
    )
    contact = contact_sheet(sheet, jobs, force)
    if nothing_to_do(jobs):
        return
    from scalewise import restore, store
    from scalewise.images import read_image

    blur, told = _blur(kernel), options.told_noise(sigma, noise)
    prior = store.load(model, device=device, precision=precision.value, exact=exact or None)
    count = None if mode is options.ModeName.MEAN else samples

    def work(job: Job, share: Share) -> Record:
        picture = read_image(job.source, black=black, white=white)
        result = restore.deblur(
            picture,
            blur,
            prior,
            noise=told,
            samples=count,
            seed=seed,
            callback=share.fill,
        )
        kept = save_all(result, job, force, skip_existing, quality)
        if contact is not None:
            contact.add(job.source, picture, result.picture)
        return {
            "input": str(job.source),
            **job.written,
            "sigma": round(255 * max(result.sigma), 3),
            "notes": [*result.notes, *kept],
        }

    with sheet_of(contact, force):
        work_through(jobs, work, "deblurring", STEPS, as_json, together)


def _mask_of(source: Path, input: Path, mask: Path) -> Path:
    """The mask of an image: the only one, or that of its name in a folder."""
    if not mask.is_dir() or mask.suffix == ".zarr":
        return mask
    if not input.is_dir():
        raise UsageError(f"{mask} is a folder, but {input} is an image; give the mask of it")
    there = mask / source.relative_to(input)
    named = sorted(there.parent.glob(f"{there.stem}.*"))
    if not named:
        raise ScalewiseError(f"{mask} holds no mask of the name {there.stem} for {source}")
    return named[0]


def _blur(kernel: str) -> Blur:
    """What `--kernel` says."""
    from scalewise.operators import Blur

    kind, _, deviation = kernel.partition(":")
    if kind == "gaussian":
        try:
            return Blur.gaussian(float(deviation))
        except ValueError:
            raise UsageError(
                "--kernel gaussian:DEVIATION needs a number, such as gaussian:1.6, found "
                f"{kernel!r}"
            ) from None
    if ":" in kernel and not Path(kernel).exists():
        raise UsageError(
            "--kernel must be gaussian:DEVIATION, such as gaussian:1.6, or an image file, found "
            f"{kernel!r}"
        )
    return Blur(options.read_mask(Path(kernel)))
