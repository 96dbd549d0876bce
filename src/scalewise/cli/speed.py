"""`scalewise benchmark`."""

from __future__ import annotations

from typing import Annotated

import typer

from scalewise.cli import options


def benchmark(
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="The main figures, in two minutes; else all, in half an hour."
        ),
    ] = False,
    device: options.Device = "auto",
    json_file: options.JsonFile = None,
    force: options.Force = False,
) -> None:
    """Measure how fast this machine denoises, samples and trains.

    Times are compared with the published networks as written, and rates with what the machine
    reaches at best; a ratio above 1 means that Scalewise is faster. On a GPU the quality of every
    precision is checked first. Other work on the machine spoils the figures.

    Example:
      scalewise benchmark --quick --json speed.json
    """
    from scalewise.cli.paths import check_json, refuse_dash
    from scalewise.files import write_json

    refuse_dash(json_file)
    check_json(json_file, force)
    from scalewise.cli.console import Bar, table
    from scalewise.speed import FULL, HEAD, QUICK, rows, run

    scope = QUICK if quick else FULL
    with Bar("measuring", len(scope.parts)) as bar:
        content = run(scope, device, callback=bar.step)
    typer.echo(table(HEAD, rows(content)))
    if json_file is not None:
        write_json(json_file, content)
