"""A training run: all levels, the split of its time, checkpoints and resume."""

from __future__ import annotations

import math
import secrets
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch

from scalewise import processes
from scalewise.data import ImageSet
from scalewise.errors import ScalewiseError, UsageError
from scalewise.networks import NoiseEstimator, deepened, in_gray, with_noise_maps
from scalewise.networks.base import AnyNetwork
from scalewise.prior import MultiScalePrior
from scalewise.training.batches import batch_of, crop_side
from scalewise.training.budget import SAVE_SECONDS, run_paced
from scalewise.training.estimator import SIDES, train_estimator
from scalewise.training.files import held, load_plain, load_state, save_state
from scalewise.training.level import LevelTrainer
from scalewise.training.objectives import DetailsObjective, LowObjective, Objective, StandIn
from scalewise.training.plan import Plan, Segment
from scalewise.training.recipe import Recipe, scale_key, scale_name
from scalewise.wavelets import GAIN, low_pass, split

PUBLISH_SECONDS = 60.0
"""The prior is given to be written at most this often, until the end."""

DEFAULT_MINUTES = 30.0

LEAST_CLEAN = 0.3
"""Least part of the deviation of noisy bands that is taken for what is clean in them."""

ESTIMATOR = "estimator.pt"
"""Name of the file of a finished estimator of noise."""


class Listener(Protocol):
    """Hears how a run goes on: the command line's progress bar, logs, and pictures."""

    def on_step(self, level: int, step: int, last: int, loss: float, images: int) -> None:
        """Called after every step with its loss and number of images."""

    def on_validation(self, level: int, record: dict[str, float]) -> None:
        """Called with what `LevelTrainer.validate` measured."""

    def on_prior(self, prior: MultiScalePrior, summary: dict[str, Any]) -> None:
        """Called with the prior as it is now, and what to store beside it."""


def saved_run(folder: Path) -> dict[str, Any]:
    """What is known of the run whose training state is in `folder`, as plain values.

    Raises:
        ScalewiseError: there is no state, or a damaged one.
    """
    state = {"data": {}, "options": {}} | load_plain(folder / "run.pt")
    if not all(isinstance(state[name], dict) for name in ("data", "options")):
        raise _damaged(folder, "no valid options")
    return state


def saved_recipe(folder: Path) -> dict[str, Any]:
    """Fields of the recipe of the run whose training state is in `folder`."""
    return recipe_of(saved_run(folder), folder).model_dump(exclude_none=True)


def saved_options(folder: Path) -> dict[str, Any]:
    """What else than the recipe was asked for, of the run whose training state is in `folder`."""
    options: dict[str, Any] = saved_run(folder)["options"]
    return options


def recipe_of(state: dict[str, Any], folder: Path) -> Recipe:
    """The recipe in a run's state, by today's names.

    Raises:
        ScalewiseError: there is no valid one.
    """
    try:
        return Recipe(**state["recipe"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, "no valid recipe") from error


def _damaged(folder: Path, reason: str) -> ScalewiseError:
    return ScalewiseError(
        f"the training state {folder / 'run.pt'} is damaged ({reason}); remove it to train anew"
    )


class TrainingRun:
    """Trains all levels of a prior on images, from the coarsest to the finest, in rounds.

    Each level is a training of its own: network, optimiser, schedule, checkpoint. A level needs the
    coarser ones only for estimates of its low-pass image when it learns to denoise, so the levels
    are taken in turn, and each round's time goes where validation error last fell fastest.

    Args:
        recipe: every choice.
        images: training set.
        validation: images to choose by.
        folder: where training state is kept.
        device: where to train.
        listener: hears of steps, scores and priors.
        start: prior whose networks the run starts with, in place of new ones.
        estimator: of noise, for the prior, in place of that of `start` or a new one.
        options: what else was asked for, plain values, to find again by `saved_options`.
        began: `time.monotonic()` at which its time budget began; now by default.
        stand_in: denoises low-pass images where coarser levels are trained elsewhere.

    Raises:
        UsageError: `start` has other levels, channels or another wavelet.
        ScalewiseError: the images are too small for the levels.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: ImageSet,
        validation: ImageSet,
        folder: Path,
        device: torch.device,
        listener: Listener,
        *,
        start: MultiScalePrior | None = None,
        estimator: NoiseEstimator | None = None,
        options: dict[str, Any] | None = None,
        began: float | None = None,
        stand_in: MultiScalePrior | None = None,
    ) -> None:
        if recipe.minutes is None and recipe.steps is None:
            recipe = recipe.model_copy(update={"minutes": DEFAULT_MINUTES})
        self.recipe, self.folder, self.listener = recipe, folder, listener
        self.images, self.device, self.start = images, device, start
        if start is not None:
            _check_start(start, recipe, images.channels)
        self.options, self.stand_in = dict(options or {}), stand_in
        self.finished: dict[str, Any] | None = None
        self.identity = secrets.token_hex(8)
        self.began, self.spent_before = time.monotonic() if began is None else began, 0.0
        self.trainers: dict[int, LevelTrainer] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            there = images.to(device)
            for level in range(recipe.levels + 1, 0, -1):
                objective = self._objective(level)
                self.trainers[level] = LevelTrainer(objective, there, validation, recipe, device)
        self.estimator = estimator or (None if start is None else start.estimator)
        self.plan = Plan(recipe, reserve=self._kept)
        self.saved_at = time.monotonic()
        self.published_at, self.within = -math.inf, 0.0

    def check_processes(self) -> None:
        """Refuse processes that would not train the same, before they do.

        Raises:
            UsageError: there are more than images in a batch, or their recipes, images or first
                weights differ.
        """
        for level, trainer in self.trainers.items():
            if batch_of(self.images, trainer.batch) < processes.count():
                scale = scale_name(level, self.recipe.levels).replace("low", "the low", 1)
                least = "two at least of noisy ones" if self.images.noise else "one at least"
                raise UsageError(
                    f"the batch of {scale} has {trainer.batch} "
                    f"images for {processes.count()} processes, each of which takes {least}; "
                    "start fewer processes, or give a larger --batch or low_batch"
                )
        sums = [
            float(weight.detach().double().sum())
            for trainer in self.trainers.values()
            for weight in trainer.network.parameters()
        ]
        processes.check_same(
            {
                "recipe": self.recipe.model_dump_json(exclude_none=True),
                "set of images": str(self._fingerprint()),
                "first weights": str(math.fsum(sums)),
            }
        )

    def run(self) -> MultiScalePrior:
        """Train to the end of the budget and return the prior with its best weights."""
        with held(self.folder) if processes.rank() == 0 else nullcontext():
            while (segment := self._next()) is not None:
                self.finished = None
                self._save_run()
                finished = self._train(segment)
                if processes.first_number(time.monotonic() - self.published_at) >= PUBLISH_SECONDS:
                    self._publish()
                self.plan.beside.append(processes.first_number(time.monotonic() - finished))
            if self._estimates:
                self._train_estimator()
            self._publish()
            self.finished = self.summary()
            self._keep_estimator()
            self._save_run()
        return self.prior()

    @property
    def _estimates(self) -> bool:
        """Whether the run has an estimator of noise still to learn."""
        large = min(self.images.smallest) >= min(SIDES)
        told = self.recipe.form == "noise-conditional" and self.recipe.estimator_fraction > 0
        ours = self.recipe.only_level in (None, "low")
        return told and large and ours and self.estimator is None

    def _train_estimator(self) -> None:
        """Learn the estimator in the time that was kept for it, or its share of the steps."""
        share, minutes, steps = self.recipe.estimator_fraction, math.inf, None
        if self.recipe.minutes is not None:
            minutes = share * self.recipe.minutes
        elif self.recipe.steps is not None:
            steps = round(share * self.recipe.steps)
        if steps != 0:
            self.estimator = train_estimator(
                self.images, minutes=minutes, steps=steps, seed=self.recipe.seed
            )
            self._keep_estimator()

    def _keep_estimator(self) -> None:
        """Write the estimator beside the levels."""
        if self.estimator is not None and processes.rank() == 0:
            save_state(self.folder / ESTIMATOR, dict(self.estimator.state_dict()))

    def _publish(self) -> None:
        """Give the prior to be written; as much again is kept for the end, and for its scores."""
        began = time.monotonic()
        if self.recipe.only_level is None:
            self.listener.on_prior(self.prior(), self.summary())
        self.published_at = time.monotonic()
        self.plan.reserve = processes.first_number(2 * (self.published_at - began)) + self._kept

    @property
    def _kept(self) -> float:
        """Seconds of a time budget that are the estimator's."""
        minutes = self.recipe.minutes if self._estimates else None
        return 60 * self.recipe.estimator_fraction * (minutes or 0.0)

    def _next(self) -> Segment | None:
        """The segment to run now, planned by the time that is left on the clock."""
        self.plan.elapsed = processes.first_number(self.elapsed)
        return self.plan.next(self._losses())

    @property
    def elapsed(self) -> float:
        """Seconds since the run began, all included, less those between a kill and a resume."""
        return self.spent_before + time.monotonic() - self.began

    def _train(self, segment: Segment) -> float:
        """Run a segment from where its level stands, and validate; return when it was run."""
        trainer = self.trainers[segment.level]
        began = time.monotonic() - self.within

        def spent() -> float:
            return processes.first_number(time.monotonic() - began)

        def after_step(loss: float) -> None:
            last, count = self.plan.segments[-1].last, trainer.batch
            self.listener.on_step(segment.level, trainer.state.step, last, loss, count)
            if time.monotonic() - self.saved_at > SAVE_SECONDS:
                self.within = time.monotonic() - began
                self._save(trainer)

        def replanned(moved: Segment) -> None:
            self.plan.segments[-1] = moved

        if segment.seconds is None:
            trainer.run(segment, after_step)
        else:
            run_paced(trainer, segment, spent, after_step, replanned)
        finished = time.monotonic()
        seconds, self.within = spent(), 0.0
        self.listener.on_validation(segment.level, trainer.validate())
        self.plan.seconds.append(seconds)
        self._save(trainer)
        return finished

    def prior(self) -> MultiScalePrior:
        """The prior with the best weights so far, in evaluation mode."""
        low = self._best(self.recipe.levels + 1)
        details = [self._best(level) for level in range(1, self.recipe.levels + 1)]
        prior = MultiScalePrior(
            low,
            details,
            self.recipe.wavelet,
            self.estimator,
            noise_floor=self.noise_floor,
            denoises_only=self.recipe.denoises_only,
        )
        return prior.eval()

    @property
    def noise_floor(self) -> float:
        """Standard deviation of the noise of noisy images; 0 of clean ones."""
        return min((noise.sigma for noise in self.images.noise), default=0.0)

    def summary(self) -> dict[str, Any]:
        """What to store beside the weights: recipe, data, steps, seconds and scores.

        Of a run that started with all networks of a model, the recipe says nothing of their form:
        the model does.
        """
        recipe = self.recipe
        return {
            "recipe": recipe.model_dump(mode="json", exclude_none=True, exclude=recipe.unsaid),
            "data": {"name": self.images.name, "images": len(self.images)},
            "levels": {
                str(scale_key(level, self.recipe.levels)): {
                    "steps": trainer.state.step,
                    "seconds": round(self.plan.spent(level), 1),
                    "validation": trainer.state.history[-1] if trainer.state.history else {},
                }
                for level, trainer in sorted(self.trainers.items())
                if level in self.recipe.trained
            },
            "torch": str(torch.__version__),
            "device": self.device.type,
            "precision": self.recipe.precision_on(self.device),
        }

    def resume(self) -> None:
        """Go on from the training state in the folder, with the same budget or a larger one.

        Raises:
            ScalewiseError: there is none, it is damaged, or it is of another recipe.
        """
        saved = processes.from_first(lambda: saved_run(self.folder))
        recipe = self.recipe.model_dump(mode="json")
        before = recipe_of(saved, self.folder).model_dump(mode="json")
        changed = sorted(name for name in recipe if before[name] != recipe[name])
        if changed and not (changed in (["minutes"], ["steps"]) and _longer(before, recipe)):
            raise UsageError(
                f"the run in {self.folder} was started with other choices ({', '.join(changed)}); "
                "give the same ones to resume it, or another --out"
            )
        if saved["data"] != self._fingerprint():
            raise UsageError(
                f"the run in {self.folder} was started on other images; give the same ones to "
                "resume it, or another --out"
            )
        try:
            self.plan.restore(saved)
            self.identity = str(saved.get("identity", ""))
            self.spent_before = float(saved.get("elapsed", sum(self.plan.seconds)))
            self.within = float(saved.get("within", 0.0))
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(self.folder, "no valid plan") from error
        for trainer in self.trainers.values():
            trainer.restore(self._state_path(trainer), self.identity)
        path = self.folder / ESTIMATOR
        weights = processes.from_first(lambda: load_state(path) if path.exists() else None)
        if weights is not None:
            self.estimator = stored_estimator(weights, saved.get("estimator") or {}, path)

    def forget(self) -> None:
        """Remove the training state in the folder, to start anew: that of the run last."""
        if processes.rank() == 0:
            for path in sorted(self.folder.glob("*.pt")):
                path.unlink()

    def _objective(self, level: int) -> Objective:
        recipe, channels = self.recipe, self.images.channels
        side = crop_side(self.images, recipe, level)
        generator = torch.Generator().manual_seed(recipe.seed)
        crops = self.images.crops(512, side, generator)
        scale = low_pass(crops, level - 1, recipe.wavelet)
        if level <= recipe.levels:
            deviation = float(split(scale, recipe.wavelet)[1].square().mean().sqrt())
            deviation = self._without_noise(deviation, level)
            if self.start is None or recipe.begins_anew(level):
                network = recipe.details_network(channels, level, round(deviation, 4))
            else:
                network = _trainable(self.start.conditionals[level - 1], recipe, channels, level)
                if more := recipe.at("added_blocks", level):
                    network = deepened(network, more)
            coarser = self._coarser(level)
            return DetailsObjective(network, coarser, recipe, level, round(deviation, 4))
        mean = self._mean_image(scale)
        deviation = float((scale - mean).square().mean().sqrt())
        deviation = round(self._without_noise(deviation, level), 4)
        if self.start is not None and not recipe.begins_anew(level):
            low = _trainable(self.start.low, recipe, channels, level)
            return LowObjective(low, recipe, level, deviation)
        height, width = scale.shape[-2:]
        low = recipe.low_network(channels, (height, width), deviation)
        low.set_mean(mean)
        return LowObjective(low, recipe, level, deviation)

    def _coarser(self, level: int) -> MultiScalePrior | StandIn:
        """What estimates the low-pass image of a level in training."""
        if self.recipe.only_level is not None and self.start is None and self.stand_in:
            return StandIn(self.stand_in)
        recipe = self.recipe
        return MultiScalePrior(
            self.trainers[recipe.levels + 1].average,
            [self.trainers[j].average for j in range(level + 1, recipe.levels + 1)],
            recipe.wavelet,
        )

    def _without_noise(self, deviation: float, level: int) -> float:
        """Root mean square of what is clean in the bands of a level of noisy images."""
        if not self.images.noise:
            return deviation
        each = [one for noise in self.images.noise for one in noise.scale(level)]
        variance = sum(one**2 for one in each) / len(each)
        noise = GAIN ** (2 * min(level, self.recipe.levels)) * variance
        return math.sqrt(max(deviation**2 - noise, (LEAST_CLEAN * deviation) ** 2))

    def _mean_image(self, crops: torch.Tensor) -> torch.Tensor:
        """Mean of whole low-pass images and their mirrors; of crops, their mean colour."""
        mean = crops.mean(dim=0)
        whole = self.images.size is not None and crops.shape[-1] << self.recipe.levels >= max(
            self.images.size
        )
        if whole:
            return (mean + mean.flip(-1)) / 2
        return mean.mean(dim=(1, 2), keepdim=True).expand_as(mean)

    def _best(self, level: int) -> Any:
        trainer = self.trainers[level]
        with torch.random.fork_rng(devices=[]):  # its first weights do not count
            network = type(trainer.average)(**trainer.average.settings)
        network.load_state_dict(
            trainer.best if trainer.state.history else trainer.average.state_dict()
        )
        return network.eval()

    def _losses(self) -> dict[int, list[float]]:
        return {
            level: [record["loss"] for record in trainer.state.history]
            for level, trainer in self.trainers.items()
        }

    def _save(self, trainer: LevelTrainer) -> None:
        """Write a level's state, then the plan, which never runs ahead of the levels."""
        if processes.rank() == 0:
            trainer.save(self._state_path(trainer), self.identity)
            self._save_run()
        self.saved_at = time.monotonic()

    def _save_run(self) -> None:
        if processes.rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            state = {
                "identity": self.identity,
                "recipe": self.recipe.model_dump(mode="json"),
                "data": self._fingerprint(),
                "options": self.options,
                "elapsed": self.elapsed,
                "within": self.within,
                "finished": self.finished,
                "estimator": self.estimator.settings if self.estimator else None,
                "noise_floor": self.noise_floor,
            }
            save_state(self.folder / "run.pt", state | self.plan.state())

    def _state_path(self, trainer: LevelTrainer) -> Path:
        return self.folder / f"level-{trainer.level}.pt"

    def _fingerprint(self) -> dict[str, Any]:
        """Enough to tell one set of images from another."""
        images = self.images
        return {"name": images.name, "images": len(images), "sum": images.identity}


def stored_estimator(weights: dict[str, Any], settings: Any, path: Path) -> NoiseEstimator:
    """The finished estimator of a run, whose weights were read from `path`.

    Raises:
        ScalewiseError: they are of no estimator of these settings.
    """
    try:
        estimator = NoiseEstimator(**settings)
        estimator.load_state_dict(weights)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ScalewiseError(
            f"the training state {path} is damaged (not the weights of an estimator); remove it, "
            "to learn them again"
        ) from error
    return estimator.eval().requires_grad_(False)


def _longer(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a budget of the same kind grew."""
    return any(
        None not in (before[kind], now[kind]) and now[kind] > before[kind]
        for kind in ("minutes", "steps")
    )


def _check_start(start: MultiScalePrior, recipe: Recipe, channels: int) -> None:
    found = (start.levels, start.wavelet, start.channels if channels > 1 else 1)
    if found != (recipe.levels, recipe.wavelet, channels):
        raise UsageError(
            "the model to start from has levels, wavelet and channels "
            f"{found}, the run {(recipe.levels, recipe.wavelet, channels)}; they must be the same"
        )


def _trainable(network: AnyNetwork, recipe: Recipe, channels: int, level: int) -> AnyNetwork:
    """A copy of a network, to train further, that is ready for the noise of the recipe.

    It sees noise maps where that differs by place, and is told no less than is drawn.
    """
    if network.channels != channels:
        network = in_gray(network)
    if recipe.structured_fraction > 0:
        network = with_noise_maps(network)
    settings = dict(network.settings)
    if "least_sigma" in settings:
        settings["least_sigma"] = recipe.least_sigma(level)
    trained = type(network)(**settings)
    trained.load_state_dict(network.state_dict())
    return trained
