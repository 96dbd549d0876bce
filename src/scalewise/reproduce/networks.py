"""The networks that experiments share: trained once, all for the same budget, kept in the report.

A network is trained by `LevelTrainer`, as in any run. The multi-scale priors of different
receptive fields share one low-pass network, so the levels are driven one by one here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from scalewise.data import ImageSet
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.scale import Budget, Scale
from scalewise.training import Recipe, TrainingRun
from scalewise.training.files import load_state, save_state
from scalewise.training.level import LevelTrainer
from scalewise.training.plan import Segment

SAVE_SECONDS = 30.0
CHUNK = 10
"""Steps between two looks at the clock."""

Form = Literal["noise-conditional", "bias-free"]


class Patches(ImageSet):
    """Images of which networks learn crops, though all have one size."""

    @property
    def size(self) -> None:
        """Not told, so that nobody takes them whole."""
        return None


class Silent:
    """Hears nothing of a run."""

    def on_step(self, *_: Any) -> None:
        """Ignored."""

    def on_validation(self, *_: Any) -> None:
        """Ignored."""

    def on_prior(self, *_: Any) -> None:
        """Ignored."""


class Networks:
    """Trains networks when they are first asked for, and keeps them in a folder.

    Args:
        folder: where networks and the state of training are kept.
        training: gray images to train on.
        validation: gray images to validate on.
        scale: sizes and budget.
        seed: of the trainings.
        device: where to train.
        say: hears which network is being trained.
        tag: begins the names of the networks, to tell training sets apart.
        share: of the budget of `scale`, for each network.
        wavelet: between the scales.
    """

    def __init__(
        self,
        folder: Path,
        training: ImageSet,
        validation: ImageSet,
        scale: Scale,
        seed: int,
        device: torch.device,
        say: Callable[[str], None],
        tag: str = "",
        share: float = 1.0,
        wavelet: str = "haar",
    ) -> None:
        self.folder, self.training, self.validation = folder, training, validation
        self.scale, self.seed, self.device, self.say = scale, seed, device, say
        self.tag, self.budget, self.wavelet = tag, scale.budget.times(share), wavelet

    def flat(self, field: int, times: float = 1.0) -> MultiScalePrior:
        """A local denoiser in the pixel domain, of the form of the networks of details.

        Args:
            field: its receptive field.
            times: of the budget.
        """
        recipe = self._recipe(
            levels=0, receptive_field=field, low_local=True, low_batch=4, low_crop=48
        )
        images = Patches(self.training.images, self.training.name)
        held_out = Patches(self.validation.images, self.validation.name)
        run = self._run(recipe, images, held_out)
        more = "" if times == 1 else f"-x{times:g}"
        return self._prior(run, {1: f"flat-rf{field}{more}"}, times)

    def whole(self, times: float = 1.0) -> MultiScalePrior:
        """A pixel-domain U-Net, told the noise level, of global receptive field."""
        run = self._run(
            self._recipe(levels=0, form="noise-conditional"), self.training, self.validation
        )
        return self._prior(run, {1: "whole-unet"}, times)

    def multi_scale(
        self, field: int, levels: int = 2, form: Form = "noise-conditional", times: int = 1
    ) -> MultiScalePrior:
        """A multi-scale prior; all receptive fields of a form share the low-pass network.

        Args:
            field: receptive field of the networks of the details.
            levels: wavelet levels.
            form: ours ("noise-conditional"), or the published one ("bias-free"), whose details
                are trained on clean low-pass images.
            times: how many times as wide as others the networks of the details are.
        """
        width = times * self.scale.width
        recipe = self._recipe(levels=levels, form=form, receptive_field=field, width=width)
        run = self._run(recipe, self.training, self.validation)
        kind = "" if form == "noise-conditional" else "-published"
        wide = "" if times == 1 else f"-wide{times}"
        low = f"low{1 << levels}{kind}"
        names = {
            level: f"details{level}-of{levels}-rf{field}{kind}{wide}"
            for level in range(1, levels + 1)
        }
        return self._prior(run, {levels + 1: low, **names})

    def details(self, field: int) -> MultiScalePrior:
        """The details of level 1 alone, given the clean low-pass image; the rest is untrained."""
        recipe = self._recipe(levels=1, receptive_field=field, denoising_fraction=0.0)
        run = self._run(recipe, self.training, self.validation)
        return self._prior(run, {1: f"given-clean-rf{field}"})

    def records(self) -> list[dict[str, Any]]:
        """What each network that is kept here cost and reached, by name."""
        finished = sorted(self.folder.glob("*.pt"))
        records = [load_state(path).get("record", {}) for path in finished]
        return [record for record in records if record]

    def _recipe(self, **fields: Any) -> Recipe:
        scale = self.scale
        shared: dict[str, Any] = {
            "wavelet": self.wavelet,
            "width": scale.width,
            "blocks": (max(scale.fields) - 5) // 2,  # the same depth for every receptive field
            "depth": scale.depth,
            "low_width": scale.low_width,
            "low_blocks": 1,
            "crop": 24,
            "turns": False,
            "warmup": 50,
            "seed": self.seed,
            "steps": 1,
        }
        return Recipe(**(shared | fields))

    def _run(self, recipe: Recipe, training: ImageSet, validation: ImageSet) -> TrainingRun:
        return TrainingRun(recipe, training, validation, self.folder, self.device, Silent())

    def _prior(
        self, run: TrainingRun, names: dict[int, str], times: float = 1.0
    ) -> MultiScalePrior:
        """Train the named levels, coarsest first, or take them from the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for level in sorted(names, reverse=True):
            name = f"{self.tag}-{names[level]}" if self.tag else names[level]
            self._finish(run.trainers[level], name, self.budget.times(times))
        return run.prior().requires_grad_(False)

    def _finish(self, trainer: LevelTrainer, name: str, budget: Budget) -> None:
        """Give a trainer the weights of the finished network, training it if it is not there."""
        path = self.folder / f"{name}.pt"
        if not path.exists():
            self.say(f"training {name}: {budget}")
            record = _train(trainer, self.folder / f"{name}.state", budget)
            record = {"name": name, "budget": str(budget), "images": len(self.training)} | record
            save_state(path, {"weights": trainer.best, "record": record})
            for part in self.folder.glob(f"{name}.state*"):
                part.unlink()
        trainer.average.load_state_dict(load_state(path)["weights"])
        trainer.state.history.clear()


def _train(trainer: LevelTrainer, path: Path, budget: Budget) -> dict[str, Any]:
    """Train a network to the end of its budget, going on from `path` if that is there.

    The learning rate is constant for the first part of the budget and falls to zero in the last.
    """
    progress = path.with_suffix(".state-clock")
    clock = Clock()
    falling: Segment | None = None
    if path.exists() and progress.exists():
        trainer.restore(path)
        saved = load_state(progress)
        clock = Clock(saved["seconds"])
        if saved["falling"]:
            first, last = saved["falling"]
            falling = Segment(trainer.level, first, last, falling=True)

    def save() -> None:
        trainer.save(path)
        ends = (falling.first, falling.last) if falling else None
        save_state(progress, {"seconds": clock.seconds, "falling": ends})

    saved_at = time.monotonic()

    def after_step(_: float) -> None:
        nonlocal saved_at
        if time.monotonic() - saved_at > SAVE_SECONDS:
            save()
            saved_at = time.monotonic()

    share = 1 - trainer.recipe.decay
    while falling is None:
        step = trainer.state.step
        falling = _last_segment(trainer, budget, clock.seconds, share)
        if falling is None:
            trainer.run(Segment(trainer.level, step, _next(step, budget, share)), after_step)
    trainer.run(falling, after_step)
    seconds = clock.seconds
    measured = trainer.validate()
    return {
        "steps": trainer.state.step,
        "seconds": round(seconds, 1),
        "loss": measured["loss"],
        "psnr": measured["psnr"],
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
    }


class Clock:
    """Processor seconds, on top of those of an earlier process."""

    def __init__(self, before: float = 0.0) -> None:
        self._start = time.process_time() - before

    @property
    def seconds(self) -> float:
        """So far."""
        return time.process_time() - self._start


def _next(step: int, budget: Budget, share: float) -> int:
    """Step at which to look at the clock again."""
    if budget.steps is not None:
        return max(1, round(share * budget.steps))
    return step + CHUNK


def _last_segment(
    trainer: LevelTrainer, budget: Budget, seconds: float, share: float
) -> Segment | None:
    """The segment of falling learning rate, once it is time for it."""
    step = trainer.state.step
    if budget.steps is not None:
        late = step >= max(1, round(share * budget.steps))
        return Segment(trainer.level, step, max(step + 1, budget.steps), True) if late else None
    whole = 60 * (budget.minutes or 0.0)
    if step == 0 or seconds < share * whole:
        return None
    pace = seconds / step
    left = max(1, round((whole - seconds) / pace))
    return Segment(trainer.level, step, step + left, True)
