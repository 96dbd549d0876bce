"""One level in training: its network, running average, optimiser, and the loop over steps."""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import nn

from scalewise import processes
from scalewise.data import ImageSet
from scalewise.device import use_threads
from scalewise.errors import ScalewiseError
from scalewise.networks.local import ModulatedBlock
from scalewise.networks.unet import ResidualBlock
from scalewise.training.batches import Batch, batch_of, draw_batch
from scalewise.training.chance import Chance
from scalewise.training.files import load_state, save_state
from scalewise.training.objectives import Objective
from scalewise.training.optimiser import Optimiser
from scalewise.training.plan import Segment
from scalewise.training.recipe import Recipe

VALIDATION_IMAGES = 48
_VALIDATION_STEP = 2**31


def fastest_layout(device: torch.device) -> torch.memory_format:
    """How weights and features are laid out for training.

    Channels last, but for processors without AVX-512: there 1x1 convolutions of float32 have a slow
    backward pass (`benchmarks/LOG.md`).
    """
    if device.type == "cpu" and not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return torch.contiguous_format
    return torch.channels_last


@dataclass
class LevelState:
    """Where a level is.

    Attributes:
        step: steps taken.
        best: least validation loss so far.
        history: what each validation measured: `step`, `loss`, `psnr`.
    """

    step: int = 0
    best: float = math.inf
    history: list[dict[str, float]] = field(default_factory=list)


_STATE = TypeAdapter(LevelState)


class LevelTrainer:
    """Trains one level's network.

    Random numbers of a step depend on (seed, level, step) alone, so that a run that was interrupted
    goes on as if it had not been, and on several processes as on one.

    Args:
        objective: loss, with the network that it trains.
        images: training set.
        validation: validation set.
        recipe: of the run.
        device: where to train.

    Attributes:
        waited: seconds in which steps waited for their images.
    """

    def __init__(
        self,
        objective: Objective,
        images: ImageSet,
        validation: ImageSet,
        recipe: Recipe,
        device: torch.device,
    ) -> None:
        self.objective, self.images, self.recipe = objective.to(device), images, recipe
        self.device, self.level = device, objective.level
        self.low = objective.level > recipe.levels
        self.batch = recipe.low_batch if self.low else recipe.at("batch", self.level)
        self.network = objective.network
        self.precision = recipe.precision_on(device)
        self.network.to(memory_format=fastest_layout(device))  # type: ignore[call-overload]
        self.average: Any = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.best = copy.deepcopy(self.average.state_dict())
        self.state = LevelState()
        self.rate = recipe.low_learning_rate if self.low else recipe.learning_rate
        self.optimiser = Optimiser(self.network, self.rate, recipe.weight_decay)
        if device.type == "cuda":
            for block in self.network.modules():
                if isinstance(block, ModulatedBlock | ResidualBlock):
                    block.compile(dynamic=True)
        self.waited = 0.0
        count = batch_of(validation, min(VALIDATION_IMAGES, 4 * len(validation)))
        chance = Chance.of(count, self._generator(_VALIDATION_STEP))
        drawn = draw_batch(validation, recipe, self.level, chance, varied=False)
        self.held_out = drawn.to(device)

    def run(
        self, segment: Segment, after_step: Callable[[float], None], until: int | None = None
    ) -> None:
        """Train from the present step to the end of a segment, or to a step before that.

        Args:
            segment: tells the learning rate.
            after_step: called with the loss.
            until: step at which to stop; the segment's last by default.
        """
        last = segment.last if until is None else until
        self.network.train()
        with one_thread() as loader:
            steps = iter(range(self.state.step, last))
            drawn = deque(loader.submit(self._draw, s) for s in islice(steps, self.images.ahead))
            while self.state.step < last:
                step, asked = self.state.step, time.perf_counter()
                batch, chance = drawn.popleft().result()
                self.waited += time.perf_counter() - asked
                drawn.extend(loader.submit(self._draw, later) for later in islice(steps, 1))
                self.optimiser.rate = self.rate * segment.rate(step, self.recipe.warmup)
                loss = self._descend(batch.to(self.device), chance)
                self.state.step += 1
                self._update_average()
                after_step(loss)

    def _draw(self, step: int) -> tuple[Batch, Chance]:
        """The batch of a step, drawn while the one before is trained on, and its chance."""
        count = batch_of(self.images, self.batch)
        chance = Chance.of(count, self._generator(step), shared=True)
        return draw_batch(self.images, self.recipe, self.level, chance), chance

    def _descend(self, batch: Batch, chance: Chance) -> float:
        with torch.random.fork_rng(self._forked()), self.autocast():
            seed = chance.generator.initial_seed()
            torch.manual_seed(seed)  # what dropout leaves out, by step alone
            part: torch.Tensor = self.objective(batch.images, chance, batch.noise)
        self.optimiser.zero_grad()
        loss = processes.backward(part, self.network.parameters())
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        return float(loss)

    def _forked(self) -> list[torch.device]:
        """Devices whose random state, besides the CPU's, a step must leave as it was."""
        return [self.device] if self.device.type == "cuda" else []

    def autocast(self) -> torch.autocast:
        """The precision of convolutions in training; weights and sums stay in float32."""
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        """Power-law running average of the weights (Karras et al. 2024, equation 127)."""
        weight = min(1.0, (self.recipe.ema_gamma + 1) / self.state.step)
        means, now = self.average.state_dict().values(), self.network.state_dict().values()
        torch._foreach_lerp_(list(means), list(now), weight)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss and PSNR (dB) of the averaged network on held-out images, remembered if best."""
        live, self.objective.network = self.objective.network, self.average
        try:
            loss = float(
                np.mean([self._held_out_loss(_VALIDATION_STEP + turn) for turn in range(1, 4)])
            )
            images, noise = self.held_out
            psnr = self.objective.psnr(images, self._of_held_out(_VALIDATION_STEP + 4), noise)
        finally:
            self.objective.network = live
        loss, psnr = processes.first_number(loss), processes.first_number(psnr)
        record = {"step": self.state.step, "loss": loss, "psnr": psnr}
        if loss < self.state.best:
            self.state.best = loss
            self.best = copy.deepcopy(self.average.state_dict())
        self.state.history = [r for r in self.state.history if r["step"] < self.state.step]
        self.state.history.append(record)
        return record

    def _held_out_loss(self, step: int) -> float:
        images, noise = self.held_out
        return float(self.objective(images, self._of_held_out(step), noise))

    def _of_held_out(self, step: int) -> Chance:
        return Chance.of(len(self.held_out.images), self._generator(step))

    def save(self, path: Path, identity: str = "") -> None:
        """Write everything that resuming the run of this identity needs, whole or not at all."""
        save_state(
            path,
            {
                "identity": identity,
                "kind": type(self.average).__name__,
                "settings": self.average.settings,
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "best": self.best,
                "optimiser": self.optimiser.state_dict(),
                "state": vars(self.state),
            },
        )

    def restore(self, path: Path, identity: str = "") -> None:
        """Go back to what `save` wrote, unless there is nothing, or that was another run.

        Of several processes the first reads.

        Raises:
            ScalewiseError: the state is damaged.
        """
        saved = processes.from_first(lambda: load_state(path) if path.exists() else None)
        if saved is None or str(saved.get("identity", "")) != identity:
            return
        try:
            self.network.load_state_dict(saved["network"])
            self.average.load_state_dict(saved["best"])  # fits, or fails here
            self.average.load_state_dict(saved["average"])
            self.best = saved["best"]
            self.optimiser.load_state_dict(saved["optimiser"])
            self.state = _level_state(saved["state"])
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ScalewiseError(
                f"the training state {path} is damaged ({reason}); remove the folder to train anew"
            ) from error

    def _generator(self, step: int) -> torch.Generator:
        key = [self.recipe.seed, self.level, step, 0]
        seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
        return torch.Generator().manual_seed(seed)


def _level_state(saved: Mapping[str, Any]) -> LevelState:
    """What was saved of a level, of the right types; else a `ValueError`."""
    state = LevelState(**saved)
    _STATE.validate_python(vars(state))
    good = isinstance(state.history, list) and state.step >= 0
    if not good or not all({"step", "loss"} <= record.keys() for record in state.history):
        raise ValueError("no steps or validations of a run")
    return state


def one_thread() -> ThreadPoolExecutor:
    """Make a thread that computes alone.

    The team of threads that it would get otherwise makes that of the training step sleep between
    operators, for a sixth of the step (`benchmarks/LOG.md`).
    """
    threads = torch.get_num_threads()
    loader = ThreadPoolExecutor(max_workers=1)
    loader.submit(use_threads, 1).result()
    torch.set_num_threads(threads)  # it is set for threads to come, too
    return loader
