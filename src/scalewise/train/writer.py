"""What hears of a run, and what writes its model folder, logs, curves and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from scalewise import evaluation, store
from scalewise.data import ImageSet
from scalewise.evaluation import sheets
from scalewise.images import Picture, write_image
from scalewise.prior import MultiScalePrior
from scalewise.train.judging import Judge
from scalewise.training.objectives import VALIDATION_SIGMA
from scalewise.training.recipe import scale_key, scale_name
from scalewise.wavelets import low_pass

SHOWN = 4
"""Number of validation images on the sheet."""


class Progress:
    """Hears how training goes on; this one says nothing."""

    def begin(self, levels: int) -> None:
        """Called before the first step with the number of wavelet levels."""

    def note(self, text: str) -> None:
        """Called with what people should know."""

    def on_step(self, level: int, step: int, last: int, loss: float, images: int) -> None:
        """Called after every step with its loss and number of images."""

    def on_validation(self, level: int, record: dict[str, float]) -> None:
        """Called with `step`, `loss` and `psnr` (dB) of a level."""


class Writer:
    """Listens to a training run, and writes what it gives.

    Every validation goes to `training/log.jsonl` and, where TensorBoard is installed, to
    `training/tensorboard`, and after each segment the model folder and `training/validation.png`
    are written anew.

    Args:
        out: the model folder.
        facts: `license`, `description` and `data_license` for the model card.
        half: store weights in 16 bits.
        held_out: validation set.
        levels: of the wavelet.
        quiet: do nothing; for all but the first process.
        progress: hears of steps and validations.
        other: name of a model to compare with.
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
        progress: Progress,
        other: str | None = None,
    ) -> None:
        self.out, self.facts, self.half, self.quiet = out, facts, half, quiet
        self.progress, self.levels = progress, levels
        self.judge, self.other = Judge(held_out), other
        self.writer: Any = None

    def __enter__(self) -> Writer:
        """Nothing is open yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the curves, also when the run fails."""
        if self.writer:  # False where TensorBoard is not installed
            self.writer.close()

    def on_step(self, level: int, step: int, last: int, loss: float, images: int) -> None:
        """Tell of the step, and log every fiftieth."""
        if self.quiet:
            return
        self.progress.on_step(level, step, last, loss, images)
        if step % 50 == 0:
            self._log(level, {"step": step, "loss": loss})

    def on_validation(self, level: int, record: dict[str, float]) -> None:
        """Tell and log validation loss and PSNR."""
        if not self.quiet:
            self.progress.on_validation(level, record)
        self._log(level, {"step": record["step"], "validation": record})

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
        found = self.judge.scores(prior, self.other)
        self._publish(prior, summary, found["scores"])
        return {"model": str(self.out), **found, "training": summary}

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
        shown = self.judge.crops[:SHOWN]
        if self.judge.noise:
            pairs = zip(shown, self.judge.noise, strict=False)
            rows = [[noisy, prior.denoise(noisy[None], noise)[0]] for noisy, noise in pairs]
            return sheets.sheet(rows, ["noisy", "denoised"])
        rows = []
        for place, clean in enumerate(shown):
            noisy = evaluation.add_noise(clean, VALIDATION_SIGMA, 0, place)
            row = [clean, noisy, prior.denoise(noisy[None], VALIDATION_SIGMA)[0]]
            if prior.levels and not prior.denoises_only:
                small = low_pass(clean[None], 1, prior.wavelet)
                row += [small[0], prior.upscale_mean(small)[0], prior.upscale(small)[0, 0]]
            rows.append(row)
        titles = ["clean", "noisy", "denoised", "small", "least squares", "sample"]
        return sheets.sheet(rows, titles[: len(rows[0])])

    def _log(self, level: int, record: dict[str, Any]) -> None:
        if self.quiet:
            return
        with (self.out / store.TRAINING / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps({"level": scale_key(level, self.levels), **record}) + "\n")
        scalars = record.get("validation", {"loss": record.get("loss", 0.0)})
        name = "validation" if "validation" in record else "training"
        if self.writer is None:
            self.writer = _tensorboard(self.out / store.TRAINING / "tensorboard")
        if self.writer:
            for key, value in scalars.items():
                if key != "step":
                    tag = f"{scale_name(level, self.levels)}/{name} {key}"
                    self.writer.add_scalar(tag, value, record["step"])


def _tensorboard(folder: Path) -> Any:
    """A TensorBoard writer, or False where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return False
    return SummaryWriter(str(folder))
