"""The program around the commands: every failure ends in one sentence and an exit code."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from scalewise.cli import loudness
from scalewise.errors import ScalewiseError

# left to typer; the bases of BadParameter are click's errors, wherever typer keeps click
_PASSED: tuple[type[Exception], ...] = (
    typer.Exit,
    typer.Abort,
    BrokenPipeError,
    *typer.BadParameter.__mro__[:-3],
)


ASKS_FOR_HELP = "scalewise.asks_for_help"
"""Key of a context's `meta`: whether the command line asks for help, which must always come."""

WORDS = ("description", "license", "data_license")
"""Parameters that may be given as nothing."""


class Program(TyperGroup):
    """A group of commands, whose failures are told in one place."""

    def get_params(self, ctx: Any) -> Any:
        """Give flags a default: to convert a missing one, typer loads pydantic, a slow one."""
        params: list[Any] = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False) and param.default is None:
                param.default = False
        return params

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse the arguments, and keep whether they ask for help."""
        ctx.meta[ASKS_FOR_HELP] = not {"-h", "--help"}.isdisjoint(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; end with code 1 or 2 and a sentence if it fails, 130 if interrupted."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("Stopped.", err=True)
            raise typer.Exit(130) from None
        except _PASSED:
            raise
        except Exception as error:
            report(error)
            raise typer.Exit(getattr(error, "exit_code", 1)) from None


class Command(TyperCommand):
    """A command that refuses empty names: `Path` would make the current folder of them."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse the arguments, of which only words about a model may be empty."""
        given = self.make_parser(ctx).parse_args(list(args))[0]
        parameters: list[Any] = self.params
        for parameter in parameters:
            if parameter.name not in WORDS and given.get(parameter.name) == "":
                raise typer.BadParameter(
                    "it is empty (a variable that is not set?); for the current folder give .",
                    ctx=ctx,
                    param=parameter,
                )
        return super().parse_args(ctx, args)


def add(app: typer.Typer, command: Callable[..., None], **options: Any) -> None:
    """Add a command; its docstring is its help, whose examples keep their lines."""
    app.command(help=with_lines(command.__doc__), **({"cls": Command} | options))(command)


def with_lines(text: str | None) -> str:
    """A docstring as help, in which the examples keep their lines."""
    return inspect.cleandoc(text or "").replace("\n\nExample", "\n\n\b\nExample")


def report(error: Exception) -> None:
    """Print one sentence on stderr and, if asked for, the traceback."""
    if loudness.shows_all():
        typer.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    typer.echo(f"Error: {explain(error)}", err=True)


def explain(error: Exception) -> str:
    """Say in one line what went wrong."""
    if isinstance(error, ScalewiseError):
        text = str(error)
    elif _out_of_memory(error):
        text = "not enough memory for this; use smaller or fewer images, or another --device"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = (
            f"this is a bug in Scalewise ({type(error).__name__}: {error}); please report it with "
            "the traceback that SCALEWISE_DEBUG=1 shows"
        )
    return " ".join(text.splitlines())


def _out_of_memory(error: Exception) -> bool:
    """Tell also by the words, since PyTorch raises a RuntimeError on the CPU."""
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )
