"""How far a training is: bars on a terminal, else a line a minute."""

from __future__ import annotations

import time
from typing import Any

from rich import progress
from rich.console import Console

from scalewise.cli.console import QuietLines, is_terminal, tell
from scalewise.train import Progress
from scalewise.training.recipe import scale_name


class TrainingBars(Progress):
    """Shows a training on stderr."""

    def __init__(self) -> None:
        self.progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TextColumn("step {task.completed}/{task.total}  {task.fields[told]}"),
            progress.TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not is_terminal(),
        )
        self.bars: dict[int, Any] = {}
        self.scores: dict[int, str] = {}
        self.began: dict[int, tuple[int, float]] = {}
        self.levels = 0
        self.line = ""
        self.lines = QuietLines(lambda: self.line)

    def __enter__(self) -> TrainingBars:
        """Bars start with the first step."""
        self.lines.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them, also when the run fails."""
        self.lines.stop()
        self.progress.stop()

    def begin(self, levels: int) -> None:
        """Take the number of levels, and start."""
        self.levels = levels
        self.progress.start()

    def note(self, text: str) -> None:
        """Print a note."""
        tell([text])

    def on_step(self, level: int, step: int, last: int, loss: float, images: int) -> None:
        """Move the level's bar and say its speed and the time left to the end of its stretch."""
        now = time.monotonic()
        self.line = f"{scale_name(level, self.levels)}: step {step} of {last}, loss {loss:.4f}"
        if level not in self.bars:
            self.bars[level] = self.progress.add_task(
                scale_name(level, self.levels), told="", total=last
            )
        first, since = self.began.setdefault(level, (step - 1, now))
        speed = (step - first) / max(now - since, 1e-3)
        told = f"{images * speed:.0f} images/s  {self.scores.get(level, '')}"
        left = f"  {(last - step) / max(speed, 1e-3):.0f} s left"
        self.progress.update(self.bars[level], completed=step, total=last, told=told + left)

    def on_validation(self, level: int, record: dict[str, float]) -> None:
        """Show validation loss and PSNR."""
        self.scores[level] = f"{record['psnr']:.2f} dB"
        self.began.pop(level, None)
