"""`scalewise upscale`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalewise.cli import large, options
from scalewise.errors import ScalewiseError, UsageError

if TYPE_CHECKING:
    from scalewise.cli.console import Record, Share
    from scalewise.cli.jobs import Job
    from scalewise.images import JpegCoefficients, Picture
    from scalewise.operators import Blur
    from scalewise.prior import MultiScalePrior
    from scalewise.rasters import Raster


def upscale(
    input: options.Input,
    output: options.Output,
    factor: Annotated[
        float,
        typer.Option(callback=options.finite, metavar="2|4|8", help="Enlargement of each side."),
    ] = 2,
    reduced_by: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="What reduced the image: mean (of areas), bicubic, lanczos or gaussian:DEVIATION "
            "in its own pixels; or an image of the blur before every so many pixels were kept, of "
            "odd sides. Losses of a JPEG are taken into account. Outputs agree with it, --factor "
            "may be any number from 1, and it takes longer. Without it: means of blocks.",
            show_default=False,
        ),
    ] = None,
    sigma: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|auto",
            callback=options.finite_or_auto,
            help="With --reduced-by: level of white noise in INPUT, in 8-bit units; auto estimates "
            "what the noise is like. Without it and --noise: none.",
            show_default=False,
        ),
    ] = None,
    noise: options.NoiseFile = None,
    ignore_jpeg: Annotated[
        bool,
        typer.Option(
            "--ignore-jpeg",
            help="With --reduced-by: take the pixels of a JPEG as they are, losses and all.",
        ),
    ] = False,
    mode: options.Mode = options.ModeName.SAMPLE,
    samples: options.Samples = 1,
    average: options.Average = 1,
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.tif",
            help="Also write how far the truth may be from the mean, per pixel: the standard "
            "deviation, from 8 samples or more, as a float TIFF (a folder if INPUT is one). With "
            "--reduced-by: the deviation of the samples.",
            show_default=False,
        ),
    ] = None,
    confidence: options.Confidence = None,
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
    together: options.Jobs = 1,
    sheet: options.Sheet = None,
    max_memory: large.MaxMemory = None,
    tile: large.Tile = None,
    workers: large.Workers = 1,
    scheduler: large.Scheduler = None,
    as_json: options.Json = False,
) -> None:
    """Super-resolve an image or a folder of images.

    Every output agrees with the input: reduced again by averaging, it is the input, exactly where
    the file holds integers (a JPEG output adds its own error). With several samples, what they
    share is sure and what differs is invention; --skip-existing draws all samples of an image anew
    if one is missing, so that all are of one seed.

    Examples:
      scalewise upscale small.png big.png --factor 4
      scalewise upscale small.png big.png --factor 4 --mode mean --average 8
      scalewise upscale small.png big.png --samples 8 --uncertainty std.tif
      scalewise upscale small.png big.png --mode mean --uncertainty half.tif --confidence 90
      scalewise upscale web.jpg big.png --factor 3 --reduced-by bicubic --mode mean
      scalewise upscale noisy.png big.png --reduced-by mean --sigma auto
      scalewise upscale map.tif map.ome.zarr --factor 4 --max-memory 2GB
    """
    from scalewise.cli.contact import contact_sheet, sheet_of
    from scalewise.cli.jobs import nothing_to_do, work_through
    from scalewise.cli.paths import plan

    options.check_noise({"--sigma": sigma, "--noise": noise}, None, 0, 0)
    said = "--sigma" if sigma not in (None, "0") else None if noise is None else "--noise"
    _check_factor(factor, reduced_by, said)
    options.check_samples(mode, samples, None if reduced_by is None else uncertainty)
    if reduced_by is not None and confidence is not None:
        raise UsageError("--confidence is learnt for means of blocks; leave out --reduced-by")
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
    from scalewise import blocks, store
    from scalewise.cli.paths import save_all
    from scalewise.images import read_image
    from scalewise.posterior import DRAWS
    from scalewise.restore import check_average, enlarge
    from scalewise.restore import upscale as restored
    from scalewise.samplers import SAMPLERS

    check_average(average, "" if mode is options.ModeName.MEAN else "samples")
    prior = store.load(model, device=device, precision=precision.value, exact=exact or None)
    rule, count = SAMPLERS[sampler.value], None if mode is options.ModeName.MEAN else samples
    if reduced_by is None:
        prior.check_factor(int(factor))
    filter = _filter(reduced_by or "mean")
    level = None if sigma == "auto" or noise is not None else float(sigma or 0)
    told = options.told_noise(level, noise)

    drawn = max(count or 0, 0 if uncertainty is None else DRAWS)
    parts = max(1, drawn * (int(factor).bit_length() - 1))

    wish = large.Wish(
        max_memory,
        tile,
        workers,
        scheduler,
        {
            "--reduced-by": reduced_by is not None,
            "--uncertainty": uncertainty is not None,
            "--average": average != 1,
            "--sheet": sheet is not None,
            "--sampler paper": sampler is options.SamplerName.PAPER,
        },
        len(jobs),
    )
    wish.check()
    force = force or wish.spreads  # whose worker died has an output, perhaps, and is done again

    def in_blocks(raster: Raster, job: Job, share: Share) -> Record:
        notes: list[str] = []
        for number, target in enumerate(job.targets):
            outcome = blocks.upscale(
                raster,
                prior,
                target,
                factor=int(factor),
                mean=count is None,
                sample=number,
                seed=seed,
                sampler=sampler.value,
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
        notes: tuple[str, ...] = ()
        if reduced_by is not None:
            held, why = (None, None) if ignore_jpeg else _jpeg(picture, job.source, prior)
            notes = () if why is None else (why,)
            height, width = (round(factor * side) for side in picture.pixels.shape[-2:])
            result = enlarge(
                picture,
                (height, width),
                filter,
                prior,
                sigma=None,
                noise=told,
                samples=count,
                average=average,
                seed=seed,
                jpeg=held,
                callback=share.fill,
            )
        else:
            result = restored(
                picture,
                prior,
                factor=int(factor),
                samples=count,
                average=average,
                uncertainty=job.deviation is not None,
                confidence=confidence,
                seed=seed,
                sampler=rule,
                callback=share.part_of(parts),
            )
        kept = save_all(result, job, force, skip_existing, quality)
        if contact is not None:
            contact.add(job.source, picture, result.picture)
        return {
            "input": str(job.source),
            **job.written,
            **({} if said is None else {"sigma": round(255 * max(result.sigma), 3)}),
            "notes": list(dict.fromkeys([*result.notes, *notes, *kept])),
        }

    with sheet_of(contact, force):
        work_through(jobs, work, "upscaling", large.STEPS, as_json, together, wish=wish)


def _filter(reduced_by: str) -> str | Blur:
    """The name of a filter, or the blur of which a file holds the kernel."""
    from scalewise.cli.paths import looks_like_image
    from scalewise.operators import Blur

    file = Path(reduced_by)
    if file.is_file() or looks_like_image(file):
        return Blur(options.read_mask(file))
    return reduced_by


def _jpeg(
    picture: Picture, source: Path, prior: MultiScalePrior
) -> tuple[JpegCoefficients | None, str | None]:
    """What a JPEG holds, or a sentence why it is not taken into account; neither of others."""
    from scalewise.images import read_coefficients

    if not picture.is_jpeg:
        return None, None
    if picture.pixels.shape[1] > prior.channels or picture.intensities.source == "given":
        return None, "the losses of the JPEG were not taken into account: it was converted"
    try:
        return read_coefficients(source), None
    except ScalewiseError as error:
        return None, str(error)


def _check_factor(factor: float, reduced_by: str | None, said: str | None) -> None:
    """Refuse what no model can do, before anything is loaded."""
    if reduced_by is not None:
        if factor < 1:
            raise UsageError(f"--factor must be 1 or more, found {factor:g}")
        return
    if said is not None:
        raise UsageError(f"{said} goes with --reduced-by; give that too, or denoise before")
    if factor < 2 or factor != int(factor) or int(factor) & (int(factor) - 1):
        raise UsageError(
            f"--factor must be a power of two from 2 (2, 4, 8, ...), found {factor:g}; with "
            "--reduced-by it may be any number from 1"
        )
