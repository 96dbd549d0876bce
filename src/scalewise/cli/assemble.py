"""`scalewise assemble`: one model from levels that were trained apart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalewise.cli import options
from scalewise.errors import UsageError


def assemble(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="PART... MODEL",
            help="Folders that scalewise train --only-level wrote, and the model folder to write.",
            show_default=False,
        ),
    ],
    half: Annotated[
        bool | None,
        typer.Option(
            "--half/--full",
            help="Store weights in 16 bits.  [default: as the low-pass image was trained]",
            show_default=False,
        ),
    ] = None,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Join levels that were trained apart, on any machines, to one model.

    Each level, and the low-pass image, is there once; all have the same recipe and images.

    Examples:
      scalewise assemble low/ level-2/ level-1/ my-model/

      scalewise train photos/ --out level-1 --levels 2 --only-level 1 --minutes 60
    """
    import json

    from scalewise.train import assemble as join

    if len(folders) < 2:
        raise UsageError("give the folders of the levels, and the model's last")
    record = join(folders[:-1], folders[-1], half=half, force=force)
    levels = len(folders) - 2
    told = f"{record['model']} is assembled, of {levels} levels and the low-pass image."
    typer.echo(json.dumps(record) if as_json else told)
