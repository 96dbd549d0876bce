"""The networks that experiments share: trained once, all for the same budget, kept in the report.

A network is trained by `LevelTrainer`, as in any run. The multi-scale priors of different
receptive fields share one low-pass network, so the levels are driven one by one here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from scalewise.data import ImageSet
from scalewise.networks import parameters_of
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.scale import Scale
from scalewise.training import Recipe, TrainingRun
from scalewise.training.budget import Budget, train_to
from scalewise.training.files import load_state, save_state
from scalewise.training.level import LevelTrainer

Form = Literal["noise-conditional", "bias-free"]

FIRST_LOOK = 256
"""First step at which a network is validated before its training ends."""


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
        low_tag: begins the names of the low-pass networks; `tag` by default.
        share: of the budget of `scale`, for each network.
        wavelet: between the scales.
    """

    def __init__(
        self,
        folder: Path,
        training: ImageSet,
        validation: ImageSet,
        scale: Scale,
        *,
        seed: int,
        device: torch.device,
        say: Callable[[str], None],
        tag: str = "",
        low_tag: str | None = None,
        share: float = 1.0,
        wavelet: str = "haar",
    ) -> None:
        self.folder, self.training, self.validation = folder, training, validation
        self.scale, self.seed, self.device, self.say = scale, seed, device, say
        self.tag, self.low_tag = tag, tag if low_tag is None else low_tag
        self.budget, self.wavelet = scale.budget.times(share), wavelet

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
            "rotate": False,
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
            tag = self.low_tag if level > max(run.recipe.levels, 1) else self.tag
            name = f"{tag}-{names[level]}" if tag else names[level]
            self._finish(run.trainers[level], name, self.budget.times(times))
        return run.prior().requires_grad_(False)

    def _finish(self, trainer: LevelTrainer, name: str, budget: Budget) -> None:
        """Give a trainer the weights of the finished network, training it if it is not there."""
        path = self.folder / f"{name}.pt"
        if not path.exists():
            self.say(f"training {name}: {budget}")
            state = self.folder / f"{name}.state"
            seconds = train_to(
                trainer, budget, after_step=lambda _: look_back(trainer), state=state
            )
            measured = trainer.validate()
            record = {
                "name": name,
                "budget": str(budget),
                "images": len(self.training),
                "steps": trainer.state.step,
                "seconds": round(seconds, 1),
                "loss": measured["loss"],
                "psnr": measured["psnr"],
                "gain": gain_per_doubling(trainer.state.history),
                "parameters": parameters_of(trainer.network),
            }
            save_state(path, {"weights": trainer.best, "record": record})
            for part in self.folder.glob(f"{name}.state*"):
                part.unlink()
        trainer.average.load_state_dict(load_state(path)["weights"])
        trainer.state.history.clear()


def look_back(trainer: LevelTrainer) -> None:
    """Validate at steps that are powers of two, so that it shows how the loss still falls."""
    step = trainer.state.step
    if step >= FIRST_LOOK and step & (step - 1) == 0:
        trainer.validate()


def gain_per_doubling(history: list[dict[str, float]]) -> float | None:
    """PSNR gained per doubling of the steps, at the end of a training, in dB.

    Args:
        history: of validations; the last one is taken with the last of at most 0.8 of its steps.

    Returns:
        The gain, or None where none came before.
    """
    last = history[-1]
    earlier = [record for record in history if record["step"] <= 0.8 * last["step"]]
    if not earlier:
        return None
    return (last["psnr"] - earlier[-1]["psnr"]) / math.log2(last["step"] / earlier[-1]["step"])
