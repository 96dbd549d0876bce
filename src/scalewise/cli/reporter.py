"""What a training run shows and writes: progress, logs, pictures, and the model folder."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from scalewise import evaluation, store
from scalewise.data import ImageSet
from scalewise.evaluation import sheets
from scalewise.images import Picture, write_image
from scalewise.prior import MultiScalePrior
from scalewise.training.objectives import VALIDATION_SIGMA
from scalewise.wavelets import low_pass

SHOWN = 4
"""Number of validation images on the sheet."""

QUIET_SECONDS = 60.0
"""Where stderr is no terminal, a line tells how far the run is this often."""

SIDE = 128
"""Side of what is shown of each, in pixels."""


class Reporter:
    """Listens to a training run.

    Progress goes to stderr, as bars where that is a terminal and else in a line a minute, every
    validation to `training/log.jsonl` and, where TensorBoard is installed, to
    `training/tensorboard`, and after each segment the model folder and `training/validation.png`
    are written anew.

    Args:
        out: the model folder.
        facts: `license`, `description` and `data_license` for the model card.
        half: store weights in 16 bits.
        held_out: validation set.
        levels: wavelet levels of the run.
        quiet: do nothing; for all but the first process.
    """

    def __init__(
        self,
        out: Path,
        facts: dict[str, str],
        *,
        half: bool,
        held_out: ImageSet,
        levels: int,
        quiet: bool,
    ) -> None:
        self.out, self.facts, self.half, self.quiet = out, facts, half, quiet
        self.levels = levels
        self.crops = held_out.crops(
            min(SHOWN, len(held_out)),
            min(SIDE, *held_out.smallest),
            torch.Generator().manual_seed(0),
            flips=False,
        )
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("step {task.completed}/{task.total}  {task.fields[told]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=quiet or not sys.stderr.isatty(),
        )
        self.bars: dict[int, Any] = {}
        self.scores: dict[int, str] = {}
        self.began: dict[int, tuple[int, float]] = {}
        self.writer: Any = None
        self.told_at = time.monotonic()

    def __enter__(self) -> Reporter:
        """Start the progress bars."""
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop them, also when the run fails."""
        self.progress.stop()
        if self.writer:  # False where TensorBoard is not installed
            self.writer.close()

    def on_step(self, level: int, step: int, last: int, loss: float, images: int) -> None:
        """Move the level's bar and say its speed and the time left to the end of its stretch."""
        if self.quiet:
            return
        now = time.monotonic()
        if not sys.stderr.isatty() and now - self.told_at > QUIET_SECONDS:
            self.told_at = now
            text = f"{scale_name(level, self.levels)}: step {step} of {last}, loss {loss:.4f}"
            typer.echo(text, err=True)
        if level not in self.bars:
            self.bars[level] = self.progress.add_task(
                scale_name(level, self.levels), told="", total=last
            )
        first, since = self.began.setdefault(level, (step - 1, now))
        speed = (step - first) / max(now - since, 1e-3)
        told = f"{images * speed:.0f} images/s  {self.scores.get(level, '')}"
        left = f"  {(last - step) / max(speed, 1e-3):.0f} s left"
        self.progress.update(self.bars[level], completed=step, total=last, told=told + left)
        if step % 50 == 0:
            self._log({"level": level, "step": step, "loss": loss})

    def on_validation(self, level: int, record: dict[str, float]) -> None:
        """Show and log validation loss and PSNR."""
        self.scores[level] = f"{record['psnr']:.2f} dB"
        self.began.pop(level, None)
        self._log({"level": level, "step": record["step"], "validation": record})

    def on_prior(self, prior: MultiScalePrior, summary: dict[str, Any]) -> None:
        """Write the model folder and the sheet of pictures."""
        if not self.quiet:
            self._publish(prior, summary, {})
            sheet = Picture(self._sheet(prior))
            write_image(self.out / store.TRAINING / "validation.png", sheet, force=True)

    def finish(self, prior: MultiScalePrior, summary: dict[str, Any]) -> dict[str, Any]:
        """Measure the finished prior and write it with its scores; return what was written."""
        if self.quiet:
            return {}
        images = {f"{place:03d}": crop for place, crop in enumerate(self.crops)}
        records = evaluation.evaluate_denoise(prior, images)
        scores = {
            "denoising, validation crops, PSNR in dB": {
                f"sigma {mean['sigma']:g}": {"noisy": mean["psnr_noisy"], "denoised": mean["psnr"]}
                for mean in evaluation.means(records, "sigma")
            }
        }
        self._publish(prior, summary, scores)
        return {"model": str(self.out), "scores": scores, "training": summary}

    def _publish(
        self, prior: MultiScalePrior, summary: dict[str, Any], scores: dict[str, Any]
    ) -> None:
        summary["data"]["license"] = self.facts["data_license"]
        store.save(
            prior.cpu(),
            self.out,
            description=self.facts["description"],
            training=summary,
            scores=scores,
            license=self.facts["license"],
            dtype="float16" if self.half else "float32",
            force=True,
        )

    @torch.no_grad()
    def _sheet(self, prior: MultiScalePrior) -> torch.Tensor:
        """Clean, noisy and denoised crops; and small ones, enlarged in two ways."""
        rows = []
        for place, clean in enumerate(self.crops):
            noisy = evaluation.add_noise(clean, VALIDATION_SIGMA, 0, place)
            row = [clean, noisy, prior.denoise(noisy[None], VALIDATION_SIGMA)[0]]
            if prior.levels:
                small = low_pass(clean[None], 1, prior.wavelet)
                row += [small[0], prior.upscale_mean(small)[0], prior.upscale(small)[0, 0]]
            rows.append(row)
        titles = ["clean", "noisy", "denoised", "small", "least squares", "sample"]
        return sheets.sheet(rows, titles[: len(rows[0])])

    def _log(self, record: dict[str, Any]) -> None:
        if self.quiet:
            return
        with (self.out / store.TRAINING / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        scalars = record.get("validation", {"loss": record.get("loss", 0.0)})
        name = "validation" if "validation" in record else "training"
        if self.writer is None:
            self.writer = _tensorboard(self.out / store.TRAINING / "tensorboard")
        if self.writer:
            for key, value in scalars.items():
                if key != "step":
                    tag = f"level {record['level']}/{name} {key}"
                    self.writer.add_scalar(tag, value, record["step"])


def scale_name(level: int, levels: int) -> str:
    """What a scale is called: a level of details, or the low-pass image."""
    return f"level {level}" if level <= levels else "low-pass image"


def _tensorboard(folder: Path) -> Any:
    """A TensorBoard writer, or False where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return False
    return SummaryWriter(str(folder))
