"""`scalewise demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalewise.cli import options


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

    Examples:
      scalewise demo
      scalewise demo --out tour/ --seed 1
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
