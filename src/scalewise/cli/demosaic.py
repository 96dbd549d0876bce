"""`scalewise demosaic`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalewise.cli import options
from scalewise.errors import UsageError

if TYPE_CHECKING:
    from scalewise.cli.console import Record, Share
    from scalewise.cli.jobs import Job
    from scalewise.images import Mosaic
    from scalewise.restore import SensorNoise

STEPS = 1000
"""Of the bar."""

LONG = 300.0
"""Seconds from which it is said beforehand how long the work will take."""


def demosaic(
    input: Annotated[
        Path,
        typer.Argument(
            metavar="RAW",
            help="Raw file of a camera (DNG, CR2, NEF, ARW, ...), or folder of such; with "
            "--pattern, an image of one channel.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT",
            help="Image file (.png .tif .jpg .webp); a folder if RAW is one, of .tif of raw files.",
            show_default=False,
        ),
    ],
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="RGGB",
            help="RAW is a PNG or TIFF of one channel with this pattern in its upper left 2x2 "
            "pixels: RGGB, BGGR, GRBG or GBRG.",
            show_default=False,
        ),
    ] = None,
    black: Annotated[
        float | None,
        typer.Option(
            callback=options.finite,
            help="Stored value without light; else the file says so.",
            show_default=False,
        ),
    ] = None,
    white: Annotated[
        float | None,
        typer.Option(
            callback=options.finite,
            help="Stored value at which the sensor saturates; else the file says so.",
            show_default=False,
        ),
    ] = None,
    white_balance: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B",
            help="Factors of red, green and blue, such as 2,1,1.5; else those of the camera.",
            show_default=False,
        ),
    ] = None,
    exposure: Annotated[
        float, typer.Option(callback=options.finite, help="Brighten the picture by so many stops.")
    ] = 0.0,
    gain: Annotated[
        float | None,
        typer.Option(
            callback=options.finite,
            help="Stored value of one photo-electron; without it and --sigma, the noise is "
            "estimated.",
            show_default=False,
        ),
    ] = None,
    read_noise: options.ReadNoise = 0.0,
    sigma: Annotated[
        float | None,
        typer.Option(
            min=0,
            callback=options.finite,
            help="Noise that is the same in shadows and lights: 2.55 for 1 % of the range.",
            show_default=False,
        ),
    ] = None,
    mode: options.Mode = options.ModeName.MEAN,
    samples: options.Samples = 1,
    uncertainty: options.Uncertainty = None,
    steps: Annotated[
        int,
        typer.Option(
            min=1, max=100, help="Of the quick way to the mean: time is proportional to them."
        ),
    ] = 4,
    slow: Annotated[
        bool,
        typer.Option("--slow", help="The mean by 224 calls of the networks, not by 2 per step."),
    ] = False,
    seed: options.Seed = 0,
    quality: options.Quality = None,
    model: options.Model = "photos",
    device: options.Device = "auto",
    precision: options.Precision = options.PrecisionName.FLOAT32,
    exact: options.Exact = False,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    together: options.Jobs = 1,
    as_json: options.Json = False,
) -> None:
    """Develop a raw file: find the colours of every pixel and remove the noise, in one step.

    The picture is 16-bit sRGB, in the camera's white balance and as it was held. Raw files need
    rawpy: pip install 'scalewise[raw]'.

    Examples:
      scalewise demosaic IMG_0001.CR2 picture.tif
      scalewise demosaic night.dng night.jpg --exposure 1
      scalewise demosaic card/ pictures/ --skip-existing
      scalewise demosaic frame.png frame.tif --pattern RGGB --black 64 --white 1023
    """
    from scalewise.cli.jobs import nothing_to_do, work_through
    from scalewise.cli.paths import plan, save_all

    options.check_samples(mode, samples, uncertainty)
    balance = None if white_balance is None else _balance(white_balance)
    options.check_noise({"--gain": gain, "--sigma": sigma}, gain, 0, read_noise)
    from scalewise.images import RAW_SUFFIXES, check_pattern

    if pattern is not None:
        check_pattern(pattern)
    jobs = plan(
        input,
        output,
        samples,
        uncertainty,
        force=force,
        skip_existing=skip_existing,
        quality=quality,
        suffixes=RAW_SUFFIXES if pattern is None else None,
    )
    if nothing_to_do(jobs):
        return
    from scalewise import restore, store
    from scalewise.images import read_mosaic, read_raw

    prior = store.load(model, device=device, precision=precision.value, exact=exact or None)

    def work(job: Job, share: Share) -> Record:
        if pattern is None:
            mosaic = read_raw(job.source, black=black, white=white)
        else:
            mosaic = read_mosaic(job.source, pattern, black=black, white=white)
        result = restore.demosaic(
            mosaic,
            prior,
            noise=_noise(mosaic, gain, read_noise, sigma),
            steps=0 if slow else steps,
            samples=None if mode is options.ModeName.MEAN else samples,
            balance=balance,
            exposure=exposure,
            seed=seed,
            callback=_warning(share),
        )
        kept = save_all(result, job, force, skip_existing, quality)
        return {"input": str(job.source), **job.written, "notes": [*result.notes, *kept]}

    work_through(jobs, work, "demosaicking", STEPS, as_json, together)


def _warning(bar: Share) -> Callable[[float], None]:
    """Move the bar, and say once, when it can be known, that the work will take long."""
    from scalewise.cli.console import tell

    calls: list[tuple[float, float]] = []

    def told(share: float) -> None:
        calls.append((share, time.monotonic()))
        if len(calls) == 2:
            (before, began), (after, now) = calls
            left = (now - began) / (after - before) * (1 - after)
            if left > LONG:
                with bar.aside():
                    tell([f"this will take about {left / 60:.0f} minutes more; Ctrl-C stops it"])
        bar.fill(share)

    return told


def _noise(
    mosaic: Mosaic, gain: float | None, read_noise: float, sigma: float | None
) -> SensorNoise | None:
    """What the options say of the noise."""
    from scalewise.restore import SensorNoise

    if sigma is not None:
        return SensorNoise(0.0, sigma / 255)
    if gain is None:
        return None
    share = gain / (mosaic.white - mosaic.black)
    return SensorNoise(share, share * read_noise)


def _balance(text: str) -> tuple[float, float, float]:
    """What `--white-balance` says."""
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--white-balance must be three numbers such as 2,1,1.5, found {text!r:.60}"
        ) from None
    return red, green, blue
