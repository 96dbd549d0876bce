"""`scalewise denoise`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalewise.cli import large, options
from scalewise.errors import ScalewiseError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from scalewise.cli.console import Record, Share
    from scalewise.cli.jobs import Job
    from scalewise.images import Picture
    from scalewise.noise_model import NoiseModel
    from scalewise.prior import MultiScalePrior
    from scalewise.rasters import Raster
    from scalewise.restore import Strength


def denoise(
    input: options.Input,
    output: options.Output,
    sigma: Annotated[
        float | None,
        typer.Option(
            min=0,
            callback=options.finite,
            help="Level of white noise in 8-bit units: 25 means 25/255. Without it and the next "
            "six, what the noise is like is estimated.",
            show_default=False,
        ),
    ] = None,
    noise: options.NoiseFile = None,
    noise_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FRAME",
            help="A frame that shows nothing, of the same camera: dark, or an even area.",
            show_default=False,
        ),
    ] = None,
    gain: options.Gain = None,
    offset: options.Offset = 0.0,
    read_noise: options.ReadNoise = 0.0,
    one_camera: Annotated[
        bool,
        typer.Option(
            "--one-camera",
            help="The images of a folder are of one camera or microscope: photon noise is measured "
            "in all of them together, which is far better for dark ones.",
        ),
    ] = False,
    strength: Annotated[
        str,
        typer.Option(
            metavar="NUMBER",
            help="How much of the noise to remove, 1 for all of it; or luma=0.6,chroma=1 for "
            "brightness and colours; and 1=0.5,2=0.8 for the finest level and the next.",
        ),
    ] = "1",
    keep_grain: Annotated[
        float,
        typer.Option(
            min=0, max=1, callback=options.finite, help="Share of the finest grain that comes back."
        ),
    ] = 0.0,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=9999,
            help="Draw so many images, all as likely as any given the noisy one; from 2 the output "
            "name gets -1, -2, ...  Without it: their mean, the least error.",
            show_default=False,
        ),
    ] = None,
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.tif",
            help="Also write by how much every pixel may be wrong: the standard deviation, as a "
            "float TIFF (a folder if INPUT is one).",
            show_default=False,
        ),
    ] = None,
    confidence: options.Confidence = None,
    fidelity: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            callback=options.finite,
            help="1: the least error; 0: as sharp as a clean photo, at the least error that costs.",
        ),
    ] = 1.0,
    average: options.Average = 1,
    seed: options.Seed = 0,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An image of the same size: white where to denoise; black stays untouched.",
            show_default=False,
        ),
    ] = None,
    fix: Annotated[
        str | None,
        typer.Option(
            metavar="KINDS",
            help="Remove these before: impulses (dead pixels), stripes, or both by a comma.",
            show_default=False,
        ),
    ] = None,
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
    """Remove noise from an image or a folder of images.

    Bit depth, alpha, colour profile and EXIF are kept. What the noise is like is estimated from
    each image, and reported; `scalewise noise` shows it. Images of any size are taken and given:
    INPUT and OUTPUT may be Zarr or OME-Zarr (.zarr) and NumPy arrays (.npy), and large ones are
    worked on in blocks, of which a run that was cut short does those that are missing.

    Examples:
      scalewise denoise noisy.png clean.png
      scalewise denoise noisy.tif clean.tif --sigma 25
      scalewise denoise scans/ cleaned/ --jobs 4 --skip-existing
      scalewise denoise cells/ cleaned/ --one-camera
      scalewise denoise cells.tif clean.tif --gain 2.2 --offset 100 --read-noise 1.6
      scalewise denoise photo.jpg clean.jpg --strength luma=0.6,chroma=1 --keep-grain 0.3
      scalewise denoise photo.jpg clean.jpg --strength 1=0.5,2=0.8
      scalewise denoise cells.tif clean.tif --uncertainty deviation.tif
      scalewise denoise noisy.png drawn.png --samples 8
      scalewise denoise noisy.png sharp.png --fidelity 0.5
      scalewise denoise noisy.png clean.png --average 8
      scalewise denoise slide.ome.zarr clean.ome.zarr --max-memory 2GB --workers 4
      scalewise denoise crops/ cleaned/ --scheduler tcp://host:8786
    """
    from scalewise.cli.contact import contact_sheet, sheet_of
    from scalewise.cli.jobs import nothing_to_do, work_through
    from scalewise.cli.paths import plan

    ways = {"--sigma": sigma, "--noise": noise, "--noise-from": noise_from, "--gain": gain}
    ways |= {"--one-camera": one_camera or None}
    options.check_noise(ways, gain, offset, read_noise)
    jobs = plan(
        input,
        output,
        samples or 1,
        uncertainty,
        force=force,
        skip_existing=skip_existing,
        quality=quality,
    )
    contact = contact_sheet(sheet, jobs, force)
    if nothing_to_do(jobs):
        return
    from scalewise import blocks, rasters, restore, store
    from scalewise.cli.paths import save_all
    from scalewise.images import read_image
    from scalewise.rasters import open_raster

    amount = _strength(strength, keep_grain)
    wish = large.Wish(
        max_memory,
        tile,
        workers,
        scheduler,
        {
            "--samples": samples is not None,
            "--uncertainty": uncertainty is not None,
            "--fidelity": fidelity != 1,
            "--average": average != 1,
            "--fix": fix is not None,
            "--keep-grain": keep_grain != 0,
            "--strength by luma, chroma or level": amount.luma != amount.chroma
            or amount.levels != (),
            "--sheet": sheet is not None,
        },
        len(jobs),
    )
    wish.check()
    force = force or wish.spreads  # whose worker died has an output, perhaps, and is done again
    kinds = () if fix is None else tuple(part.strip() for part in fix.split(","))
    restore.check_defects(kinds)
    restore.check_average(average)
    prior = store.load(model, device=device, precision=precision.value, exact=exact or None)
    noise_of = _Told(
        options.told_noise(sigma, noise),
        _noise_together(jobs, prior, black, white) if one_camera else {},
        noise_from,
        max(1, prior.levels),
        gain,
        offset,
        read_noise,
    )
    area = None if mask is None or rasters.is_array(mask) else options.read_mask(mask)

    def in_blocks(raster: Raster, job: Job, share: Share) -> Record:
        looked = replace(raster.picture, pixels=raster.looked_at(0)[None], alpha=None)
        outcome = blocks.denoise(
            raster,
            prior,
            job.targets[0],
            noise=noise_of(looked, job),
            strength=amount.luma,
            mask=None if mask is None else open_raster(mask),
            limits=wish.limits,
            force=force or skip_existing,
            quality=quality,
            progress=large.counted(share.fill),
        )
        return record(job, outcome.noise, outcome.notes)

    def record(job: Job, noise: Sequence[NoiseModel], notes: Sequence[str]) -> Record:
        levels = [round(255 * found.sigma, 3) for found in noise]
        words = dict.fromkeys("; ".join(found.in_words()[1:]) for found in noise)
        return {
            "input": str(job.source),
            **job.written,
            "sigma": levels[0] if len(levels) == 1 else levels,
            "noise": next(iter(words)) if len(words) == 1 else list(words),
            "average": average,
            "notes": list(notes),
        }

    def work(job: Job, share: Share) -> Record:
        raster = wish.raster(job.source, job.targets[0], black, white)
        if raster is not None:
            return in_blocks(raster, job, share)
        return restore.answered(steps(job))

    def several(some: Sequence[Job]) -> list[Record | Exception]:
        return restore.answered_together([steps(job) for job in some])

    def steps(job: Job) -> restore.Asking[Record]:
        picture = read_image(job.source, black=black, white=white)
        result = yield from restore.denoising(
            picture,
            prior,
            noise=noise_of(picture, job),
            strength=amount,
            samples=samples,
            fidelity=fidelity,
            average=average,
            uncertainty=job.deviation is not None,
            confidence=confidence,
            seed=seed,
            mask=area,
            fix=kinds,
        )
        kept = save_all(result, job, force, skip_existing, quality)
        if contact is not None:
            contact.add(job.source, picture, result.picture)
        return record(job, result.noise, [*result.notes, *kept])

    with sheet_of(contact, force):
        work_through(
            jobs,
            work,
            "denoising",
            large.STEPS,
            as_json,
            together,
            several=None if exact else several,
            wish=wish,
        )


@dataclass(frozen=True)
class _Told:
    """What options say of the noise of a picture; None if it is to be estimated.

    Args:
        given: of all pictures.
        known: of some files.
        frame: that shows nothing.
        levels: of which it tells the noise.
        gain: of counted photons.
        offset: belongs to it.
        read_noise: belongs to it.
    """

    given: NoiseModel | None
    known: Mapping[Path, NoiseModel]
    frame: Path | None
    levels: int
    gain: float | None
    offset: float
    read_noise: float

    def __call__(self, picture: Picture, job: Job) -> NoiseModel | None:
        from scalewise import restore
        from scalewise.images import read_image

        if self.frame is not None:
            frame = read_image(self.frame)
            seen = picture.intensities.of(frame.intensities.stored(frame.pixels))
            return restore.noise_of_frame(seen[0], self.levels)
        if self.gain is not None:
            return restore.photon_noise(
                picture, gain=self.gain, offset=self.offset, read=self.read_noise
            )
        return self.known.get(job.source, self.given)


def _noise_together(
    jobs: Sequence[Job], prior: MultiScalePrior, black: float | None, white: float | None
) -> dict[Path, NoiseModel]:
    """The noise of each file of a folder, measured in all of them; not of those that are bad."""
    from scalewise import restore
    from scalewise.data.image_set import middle
    from scalewise.images import read_image

    if len(jobs) < 2:
        raise UsageError("--one-camera measures noise in several images; give a folder of them")
    parts: dict[Path, Tensor] = {}
    for job in jobs:
        with suppress(ScalewiseError):  # which is told when the file has its turn
            picture = read_image(job.source, black=black, white=white)
            parts[job.source] = middle(picture.pixels[0], restore.LOOKED_AT).clone()
    return dict(zip(parts, restore.noise_together(list(parts.values()), prior), strict=True))


def _strength(text: str, grain: float) -> Strength:
    """What `--strength` and `--keep-grain` say."""
    from scalewise.noise_model import MOST_SCALES
    from scalewise.restore import Strength

    try:
        if "=" not in text:
            return Strength(float(text), float(text), grain)
        pairs = (part.split("=", 1) for part in text.split(","))
        values = {name.strip(): float(value) for name, value in pairs}
        colours = {name: values.pop(name) for name in ("luma", "chroma") if name in values}
        shares = {int(name): value for name, value in values.items()}
        if shares and not 1 <= min(shares) <= max(shares) < MOST_SCALES:
            raise ValueError
    except ValueError:
        raise UsageError(
            "--strength must be a number such as 0.7, or luma=0.6,chroma=1, or by level, of which "
            f"1 is the finest, 1=0.5,2=0.8; found {text!r:.60}"
        ) from None
    levels = tuple(shares.get(level, 1.0) for level in range(1, max(shares, default=0) + 1))
    return Strength(**colours, grain=grain, levels=levels)
