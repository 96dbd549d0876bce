"""What people see: progress on stderr, results on stdout, as text or as JSON."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from scalewise.cli.loudness import is_quiet

if TYPE_CHECKING:
    from rich.progress import Progress


Record = dict[str, Any]

PATIENCE = 2.0
"""Seconds of work after which a progress bar appears."""


RECENT_SECONDS = 600.0
"""How long back the speed is looked at, from which the time that is left is estimated."""

QUIET_SECONDS = 60.0
"""Where stderr is no terminal, a line tells how far the work is this often."""


def is_terminal() -> bool:
    """Whether somebody looks at stderr as it is written, and wants progress there."""
    return not is_quiet() and sys.stderr is not None and sys.stderr.isatty()


class QuietLines:
    """Where stderr is no terminal, a line on it every minute, so that a log shows life.

    Args:
        line: says how far the work is; nothing is printed where it is empty.
    """

    def __init__(self, line: Callable[[], str]) -> None:
        self._line, self._ended = line, threading.Event()

    def start(self) -> None:
        """Begin to wait."""
        if not is_terminal() and not is_quiet():
            threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Be silent."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(QUIET_SECONDS):
            text = self._line()
            with suppress(OSError, ValueError):  # stderr is gone
                if text:
                    typer.echo(text, err=True)


class Bar:
    """A progress bar on stderr, shown where that is a terminal and the work takes its time.

    Elsewhere a line every minute.

    Args:
        title: what is being done.
        total: number of steps.
        images: number of those that they are of; of several, they are what is counted.
    """

    def __init__(self, title: str, total: int, images: int = 1) -> None:
        self.title, self.total, self.done = title, total, 0
        self.images, self.finished = images, 0
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._timer = threading.Timer(PATIENCE, self._show)
        self._timer.daemon = True
        self._lines = QuietLines(self._line)
        self._began = time.monotonic()

    def __enter__(self) -> Bar:
        """Wait for the work to take long."""
        if is_terminal():
            self._timer.start()
        self._lines.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        self._timer.cancel()
        self._lines.stop()
        with self._lock:
            if self._progress is not None:
                self._progress.stop()
                self._progress = None

    def step(self, *_: object) -> None:
        """Go one step further; takes and ignores whatever a `callback` is called with."""
        self.advance(1)

    def advance(self, steps: int, images: int = 0) -> None:
        """Say how many steps further the work is, and how many images more are finished."""
        with self._lock:
            self.done += steps
            self.finished += images
            if self._progress is not None:
                done, total, _ = self._counted()
                task = self._progress.task_ids[0]
                self._progress.update(task, completed=self.done, counted=f"{done}/{total}")

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bar away while something is printed."""
        with self._lock:
            if self._progress is not None:
                self._progress.stop()
            yield
            if self._progress is not None:
                self._progress.start()

    def _counted(self) -> tuple[int, int, str]:
        """How many are done, of how many, of what."""
        if self.images > 1:
            return self.finished, self.images, "images"
        return self.done, self.total, "steps"

    def _line(self) -> str:
        minutes, (done, total, what) = (time.monotonic() - self._began) / 60, self._counted()
        line = f"{self.title}: {done} of {total} {what} after {minutes:.0f} min"
        if not 0 < self.done < self.total:
            return line
        return f"{line}, about {minutes / self.done * (self.total - self.done):.0f} min left"

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        with self._lock:
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[counted]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                speed_estimate_period=RECENT_SECONDS,
            )
            done, total, _ = self._counted()
            self._progress.add_task(
                self.title, total=self.total, completed=self.done, counted=f"{done}/{total}"
            )
            self._progress.start()


class Share:
    """What one image has of a bar, whichever of several is ahead.

    Args:
        bar: of all images.
        steps: of this one.
    """

    def __init__(self, bar: Bar, steps: int) -> None:
        self._bar, self._steps, self._done = bar, steps, 0

    def step(self, *_: object) -> None:
        """Go one step further; takes and ignores whatever a `callback` is called with."""
        self._move_to(self._done + 1)

    def fill(self, share: float) -> None:
        """Say which share of the work is done, from 0 to 1."""
        self._move_to(int(share * self._steps))

    def part_of(self, parts: int) -> Callable[..., None]:
        """What says that one of so many parts of the work is done; takes and ignores anything."""
        done = count(1)
        return lambda *_: self.fill(min(1.0, next(done) / parts))

    def finish(self) -> None:
        """Say that the image is finished, well or not."""
        self._move_to(self._steps, 1)

    def aside(self) -> AbstractContextManager[None]:
        """Take the bar away while something is printed."""
        return self._bar.aside()

    def _move_to(self, done: int, images: int = 0) -> None:
        self._bar.advance(done - self._done, images)
        self._done = done


def tell(notes: Iterable[str]) -> None:
    """Print notes that belong to no image, on stderr."""
    for note in () if is_quiet() else notes:
        typer.echo(f"note: {note}", err=True)


def show(record: Record, as_json: bool) -> None:
    """Print what was done with one image: one line of JSON, or of text and its notes."""
    if as_json:
        typer.echo(json.dumps(record))
        return
    outputs = record["output"]
    shown = outputs if isinstance(outputs, str) else f"{outputs[0]} ... {Path(outputs[-1]).name}"
    source = "" if record.get("input") is None else f"{record['input']} -> "
    sigma = _levels(record.get("sigma"))
    typer.echo(f"{source}{shown}  ({sigma}{record['seconds']:.1f} s)")
    words = record.get("noise")
    if isinstance(words, str) and words and not words.startswith("white"):
        typer.echo(f"  noise: {words}")
    for note in record["notes"]:
        typer.echo(f"  note: {note}")


def _levels(sigma: float | list[float] | None) -> str:
    """Noise levels in words: of an image, or the range of those of its planes."""
    if sigma is None:
        return ""
    if isinstance(sigma, list):
        return f"{len(sigma)} planes, sigma {_level(min(sigma))} to {_level(max(sigma))}, "
    return f"sigma {_level(sigma)}, "


def _level(sigma: float) -> str:
    """A deviation in 8-bit units to a tenth, or to its first digit where there is less."""
    return f"{sigma:.1g}" if 0 < sigma < 0.1 else f"{sigma:.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]], digits: int = 2) -> str:
    """Lay out a table as plain text: words to the left, numbers of so many digits to the right."""
    cells = [[_cell(value, digits) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    right = [
        bool(rows) and all(isinstance(row[place], int | float | None) for row in rows)
        for place in range(len(head))
    ]

    def line(values: Sequence[str]) -> str:
        padded = [
            value.rjust(width) if to_right else value.ljust(width)
            for value, width, to_right in zip(values, widths, right, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, cells)])


def _cell(value: object, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
