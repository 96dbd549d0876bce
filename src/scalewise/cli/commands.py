"""All commands of `scalewise`."""

from __future__ import annotations

from typing import Annotated

import typer

from scalewise.cli import defaults, loudness
from scalewise.cli.assemble import assemble
from scalewise.cli.check import check
from scalewise.cli.demo import demo
from scalewise.cli.demosaic import demosaic
from scalewise.cli.denoise import denoise
from scalewise.cli.doctor import doctor
from scalewise.cli.evaluate import evaluate
from scalewise.cli.export import export
from scalewise.cli.inverse import deblur, inpaint
from scalewise.cli.models import import_reference, info, models
from scalewise.cli.noise import noise
from scalewise.cli.program import ASKS_FOR_HELP, Program, add, with_lines
from scalewise.cli.reproduce import reproduce
from scalewise.cli.serve import serve
from scalewise.cli.speed import benchmark
from scalewise.cli.synthesis import synthesize
from scalewise.cli.train import train
from scalewise.cli.upscale import upscale

app = typer.Typer(
    name="scalewise",
    cls=Program,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
add(app, demo)
add(app, serve)
add(app, denoise)
add(app, upscale)
add(app, inpaint)
add(app, deblur)
add(app, demosaic)
add(app, noise)
add(app, check)
add(app, synthesize)
add(app, train)
add(app, assemble)
app.add_typer(evaluate)
add(app, reproduce)
add(app, benchmark)
add(app, export)
add(app, info)
add(app, models)
add(app, import_reference)
add(app, doctor)


def _version(wanted: bool) -> None:
    if wanted:
        from scalewise import __version__

        typer.echo(f"scalewise {__version__}")
        raise typer.Exit


HELP = """Multi-scale probability models of images: denoise, super-resolve, synthesize.

Input comes first, output second; a folder in means a folder out. A file scalewise.toml may give
options their defaults. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C.
scalewise doctor says whether the installation works. Options of the program itself stand before
the command: scalewise -q denoise ...

Examples:
  scalewise demo
  scalewise denoise noisy.png clean.png
"""


@app.callback(help=with_lines(HELP))
def root(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Say errors and results alone: no progress, no notes. SCALEWISE_LOG=error too.",
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Show tracebacks, and what libraries warn of. SCALEWISE_LOG=debug too.",
        ),
    ] = False,
) -> None:
    """Give options their defaults; the doctor and `--help` answer also where the file is wrong."""
    loudness.choose(quiet=quiet, verbose=verbose)
    if ctx.obj is not None and not ctx.meta[ASKS_FOR_HELP]:
        ctx.obj()  # `tune_libraries`, where the process is this program's
    if ctx.invoked_subcommand != "doctor" and not ctx.meta[ASKS_FOR_HELP]:
        ctx.default_map = defaults.load(ctx)
