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
            help="Level of white noise in NOISY, in 8-bit units; estimated without.",
            show_default=False,
        ),
    ] = None,
    black: options.Black = None,
    white: options.White = None,
    model: options.Model = "photos",
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Say how good a denoised image is, without the truth, whatever tool made it.

    Its estimated PSNR, what is the best that the model could do, and a bound that nine of ten
    images exceed; at every scale whether what was removed is noise, or structure went with it.

    Example:
      scalewise check noisy.png cleaned.png
    """
    from scalewise import restore, store
    from scalewise.cli.console import show
    from scalewise.images import read_image
    from scalewise.noise_model import NoiseModel

    prior = store.load(model, device=device)
    before, after = (read_image(path, black=black, white=white) for path in (noisy, cleaned))
    told = None if sigma is None else NoiseModel.white(sigma / 255)
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
