"""The command line: parse, call, show.

Modules here import nothing heavy at their top (no PyTorch, NumPy or Pillow), so that `--help`
answers at once; each command imports what it needs when it runs.
"""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from scalewise.cli.demo import demo
from scalewise.cli.evaluate import evaluate
from scalewise.cli.models import import_reference, info, models
from scalewise.cli.program import Program, add
from scalewise.cli.reproduce import reproduce
from scalewise.cli.restore import denoise, upscale
from scalewise.cli.speed import benchmark
from scalewise.cli.synthesis import synthesize
from scalewise.cli.train import train

app = typer.Typer(
    name="scalewise",
    cls=Program,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
add(app, demo)
add(app, denoise)
add(app, upscale)
add(app, synthesize)
add(app, train)
app.add_typer(evaluate)
add(app, reproduce)
add(app, benchmark)
add(app, info)
add(app, models)
add(app, import_reference)


def _version(wanted: bool) -> None:
    if wanted:
        from scalewise import __version__

        typer.echo(f"scalewise {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Multi-scale probability models of images: denoise, super-resolve, synthesize.

    Input comes first, output second; a folder in means a folder out. Exit codes: 0 done, 1 failed,
    2 wrong usage. SCALEWISE_DEBUG=1 shows tracebacks.
    """


def main() -> None:
    """Run the program `scalewise` on the arguments of this process, and leave with its code."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:  # file names need not be printable
            reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _ended)
    try:
        app(prog_name="scalewise")
    except KeyboardInterrupt:  # while a command is looked up
        _leave("Stopped.", 130)
    except OSError as error:  # of printing help
        _leave(f"Error: cannot print: {error.strerror or error}", 1)


def _ended(number: int, frame: object) -> None:
    """Say that another program ended this one, and clean up on the way out."""
    _leave("Ended by SIGTERM.", 128 + number)


def _leave(sentence: str, code: int) -> NoReturn:
    """End with a sentence, if there is somewhere to print it."""
    with suppress(OSError, AttributeError, ValueError):
        sys.stderr.write(sentence + "\n")
    with suppress(OSError, AttributeError, ValueError):
        sys.stdout.close()
    raise SystemExit(code)
