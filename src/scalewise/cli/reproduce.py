"""`scalewise reproduce`: every claim of the paper, tested and written down."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scalewise.cli import options
from scalewise.cli.loudness import is_quiet

if TYPE_CHECKING:
    from scalewise.reproduce.scale import Scale


def reproduce(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the report.")],
    faces: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Holds training and validation faces of one size: folders, arrays or lists.",
        ),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The published checkpoints.")
    ] = None,
    textures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Images of textures.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small networks, few images: under ten minutes.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Run this experiment; give it again for more."),
    ] = None,
    minutes_per_network: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            callback=options.finite,
            help="Processor time of every training; default 2, with --quick 0.06.",
        ),
    ] = None,
    steps_per_network: Annotated[
        int | None, typer.Option(min=2, help="Steps of every training, instead.")
    ] = None,
    seed: options.Seed = 0,
    public: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Also write the report without pictures of the faces, to publish."
        ),
    ] = None,
    device: options.Device = "auto",
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace another run's results; with --only, make those anew."
        ),
    ] = False,
) -> None:
    """Test the paper's claims, and ours, and write a report; interrupted, it goes on.

    Experiments whose data is not given are left untested. The report is DIR/index.html.

    Example:
      scalewise reproduce --out report --faces faces/ --quick
    """
    say = _talker()
    from scalewise.evaluation.reliability import check_matplotlib

    check_matplotlib()
    if public is not None:
        _check_apart(public, out)
    from scalewise.device import pick_device
    from scalewise.reproduce import reproduce as run
    from scalewise.reproduce.context import load_faces

    entries = run(
        out,
        _scale(quick, minutes_per_network, steps_per_network),
        seed=seed,
        images=None if faces is None else load_faces(faces),
        reference=reference,
        textures=textures,
        only=only or (),
        public=public,
        force=force,
        device=pick_device(device),
        command=_command(),
        say=say,
    )
    for about, result in entries:
        typer.echo(f"{about['name']}: {result.verdict}. {result.sentence}")
    typer.echo(f"{out / 'index.html'} holds the report.")


def _check_apart(public: Path, out: Path) -> None:
    """The report without pictures of data must not lie among the files of the other."""
    from scalewise.cli.paths import real
    from scalewise.errors import UsageError

    if real(out) in (real(public), *real(public).parents):
        raise UsageError(f"--public {public}: lies within --out {out}; give another folder")


def _scale(quick: bool, minutes: float | None, steps: int | None) -> Scale:
    """How much to compute."""
    from dataclasses import replace

    from scalewise.errors import UsageError
    from scalewise.reproduce.scale import FULL, QUICK
    from scalewise.training.budget import Budget

    if minutes is not None and steps is not None:
        raise UsageError(
            "--minutes-per-network and --steps-per-network are two ways to say one thing; "
            "give one of them"
        )
    scale = QUICK if quick else FULL
    if minutes is None and steps is None:
        return scale
    return replace(scale, budget=Budget(minutes, steps))


def _command() -> str:
    """What was typed, folders by their last names alone."""
    words: list[Any] = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return " ".join(["scalewise", *words])


def _talker() -> Callable[[str], None]:
    """Tells on stderr what is being done, and when."""
    began = time.monotonic()

    def say(text: str) -> None:
        if not is_quiet():
            typer.echo(f"{time.monotonic() - began:6.0f} s  {text}", err=True)

    return say
