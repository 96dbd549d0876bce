"""`scalewise noise`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalewise.cli import options

if TYPE_CHECKING:
    from scalewise.noise_model import NoiseModel

WIDTH = 40
"""Columns of the longest bar."""


def noise(
    input: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE.json",
            help="Where to write it, for denoise --noise.",
            show_default=False,
        ),
    ] = None,
    frame: Annotated[
        bool,
        typer.Option(
            "--frame", help="IMAGE shows nothing: it is dark, or an even area; all of it is noise."
        ),
    ] = False,
    black: options.Black = None,
    white: options.White = None,
    model: options.Model = "photos",
    device: options.Device = "auto",
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Say what the noise of an image is like.

    How strong it is at every scale, in each channel, and in the shadows and the lights; with what
    else is wrong, such as dead pixels and stripes.

    Examples:
      scalewise noise photo.jpg
      scalewise noise dark.tif camera.json --frame
      scalewise denoise photo.tif clean.tif --noise camera.json
    """
    from scalewise import restore, store
    from scalewise.cli.console import show
    from scalewise.files import check_writable, write_json
    from scalewise.images import fill_hidden, read_image

    if output is not None:
        check_writable(output, force=force)
    prior = store.load(model, device=device)
    picture = read_image(input, black=black, white=white)
    valid = restore.visible(picture)
    plane, there = fill_hidden(picture).pixels[0], None if valid is None else valid[0]
    levels = max(1, prior.levels)
    found = (
        restore.noise_of_frame(plane, levels) if frame else restore.noise_for(prior, plane, there)
    )
    if output is not None:
        write_json(output, found.model_dump(mode="json"))
    words = found.in_words()
    defects = [] if frame else restore.find_defects(plane)
    if as_json:
        record = {"input": str(input), **found.model_dump(mode="json"), "words": words}
        show(record | {"defects": defects, "notes": list(picture.notes)}, as_json)
        return
    for line in [f"{input}: {words[0]}", *words[1:], *defects, *picture.notes]:
        typer.echo(line)
    for line in bars(found):
        typer.echo(line)


def bars(found: NoiseModel) -> list[str]:
    """The deviation at each scale, and by intensity, as bars of text."""
    names = [""] if found.channels == 1 else ["red", "green", "blue"]
    rows = [
        (f"{1 << level} pixels {name}".strip(), 255 * deviation)
        for level, scale in enumerate(found.scales, start=1)
        for name, deviation in zip(names, scale, strict=True)
    ]
    lines = _bars("standard deviation by the size of structures, of 255:", rows)
    if found.curve:
        typical = 255 * found.sigma
        curve = [(f"at {place:.2f}", typical * factor**0.5) for place, factor in found.curve]
        lines += _bars("by intensity, from black 0 to white 1:", curve)
    return lines


def _bars(title: str, rows: list[tuple[str, float]]) -> list[str]:
    longest, wide = max(value for _, value in rows) or 1.0, max(len(name) for name, _ in rows)
    return [
        title,
        *(
            f"  {name:<{wide}}  {'█' * round(WIDTH * value / longest)} {value:.3g}"
            for name, value in rows
        ),
    ]
