"""`scalewise check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalewise.cli import options


def check(
    noisy: Annotated[
        Path, typer.Argument(metavar="NOISY", help="The image before.", show_default=False)
    ],
    cleaned: Annotated[
        Path,
        typer.Argument(
            metavar="CLEANED", help="The same image, cleaned by any tool.", show_default=False
        ),
    ],
    sigma: Annotated[
        float | None,
        typer.Option(
            min=0,
            callback=options.finite,
            help="Level of white noise in NOISY, in 8-bit units. Without it and the next "
            "four, what the noise is like is estimated.",
            show_default=False,
        ),
    ] = None,
    noise: options.NoiseFile = None,
    gain: options.Gain = None,
    offset: options.Offset = 0.0,
    read_noise: options.ReadNoise = 0.0,
    black: options.Black = None,
    white: options.White = None,
    model: options.Model = "photos",
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Say how good a denoised image is, without the truth, whatever tool made it.

    Its estimated PSNR, what is the best that the model could do, and a bound that nine of ten
    images exceed; at every scale whether what was removed is noise, or structure went with it.

    Examples:
      scalewise check noisy.png cleaned.png
      scalewise check cells.tif cleaned.tif --gain 2.2 --offset 100 --read-noise 1.6
      scalewise check photo.tif cleaned.tif --noise camera.json
    """
    ways = {"--sigma": sigma, "--noise": noise, "--gain": gain}
    options.check_noise(ways, gain, offset, read_noise)
    from scalewise import restore, store
    from scalewise.cli.console import show
    from scalewise.images import read_image

    prior = store.load(model, device=device)
    before, after = (read_image(path, black=black, white=white) for path in (noisy, cleaned))
    told = options.told_noise(sigma, noise)
    if gain is not None:
        told = restore.photon_noise(before, gain=gain, offset=offset, read=read_noise)
    found = restore.check(before, after, prior, noise=told)
    record = {
        "noisy": str(noisy),
        "cleaned": str(cleaned),
        "sigma": round(255 * found.noise.sigma, 3),
        "psnr": round(found.psnr, 3),
        "best": round(found.best, 3),
        "bound": None if found.bound is None else round(found.bound, 3),
        "removed": [round(ratio, 3) for ratio in found.removed],
        "damaged": round(found.damaged, 4),
        "lights": round(found.lights, 3),
        "words": list(found.words),
    }
    if as_json:
        show(record, as_json)
        return
    bound = "" if found.bound is None else f", at least {found.bound:.1f} dB with 90 % confidence"
    typer.echo(f"{cleaned}: about {found.psnr:.1f} dB{bound}")
    typer.echo(f"the model's own estimate would have about {found.best:.1f} dB")
    for line in found.words:
        typer.echo(line)
