"""Budgets are kept on machines whose pace changes, and training goes on where it was stopped."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scalewise.data import ImageSet
from scalewise.errors import ScalewiseError
from scalewise.training import Recipe, TrainingRun, budget, run
from scalewise.training.budget import LOOK, Budget, run_paced, train_to
from scalewise.training.level import LevelState, LevelTrainer
from scalewise.training.plan import ROUNDS, TIMING_STEPS, Segment

Pace = Callable[[float], float]
"""Seconds that a step takes, at a time."""


class Machine:
    """A clock, and trainers whose steps take what a pace says."""

    def __init__(self, pace: Pace) -> None:
        self.now, self.pace = 1000.0, pace

    def monotonic(self) -> float:
        return self.now

    def step(self, times: float = 1.0) -> None:
        self.now += times * self.pace(self.now - 1000.0)


class FakeTrainer:
    """Takes steps by the machine's clock; remembers the rates."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.level, self.state = machine, 1, LevelState()
        self.recipe = SimpleNamespace(decay=0.3)
        self.rates: list[float] = []
        self.saved: list[int] = []

    def run(self, segment: Segment, after_step: Any, until: int | None = None) -> None:
        while self.state.step < (segment.last if until is None else until):
            self.rates.append(segment.rate(self.state.step, 0))
            self.machine.step()
            self.state.step += 1
            after_step(0.5)

    def save(self, path: Path) -> None:
        self.saved.append(self.state.step)
        path.write_text(str(self.state.step))

    def restore(self, path: Path) -> None:
        self.state.step = int(path.read_text())


def steady(_: float) -> float:
    return 0.1


def slower(seconds: float) -> float:
    return 0.1 if seconds < 30 else 0.4


def faster(seconds: float) -> float:
    return 0.4 if seconds < 30 else 0.1


def hiccup(seconds: float) -> float:
    return 3.0 if 20 < seconds < 25 else 0.1


PACES = [steady, slower, faster, hiccup]


@pytest.mark.parametrize("pace", PACES)
def test_a_network_takes_its_minutes_whatever_the_pace(pace: Pace) -> None:
    machine = Machine(pace)
    trainer: Any = FakeTrainer(machine)
    seconds = train_to(trainer, Budget(minutes=2), clock=machine.monotonic)
    assert seconds == pytest.approx(120, rel=0.05)
    assert machine.now - 1000 == pytest.approx(seconds)
    falling = [rate for rate in trainer.rates if rate < 1]
    assert trainer.rates == sorted(trainer.rates, reverse=True)  # full rate, then falling
    assert falling[-1] < 0.05
    assert sum(1 for rate in trainer.rates if rate == 1) > LOOK


def test_a_number_of_steps_is_kept_to() -> None:
    trainer: Any = FakeTrainer(Machine(steady))
    train_to(trainer, Budget(steps=50), clock=trainer.machine.monotonic)
    assert trainer.state.step == 50
    assert trainer.rates[:36] == 36 * [1.0]
    assert trainer.rates[36:] == pytest.approx([1 - k / 15 for k in range(1, 15)])


@pytest.mark.parametrize("whole", [Budget(minutes=2), Budget(steps=900)])
@pytest.mark.parametrize("stopped_at", [400, 850])
def test_an_interrupted_network_goes_on_with_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Budget, stopped_at: int
) -> None:
    machine = Machine(steady)
    monkeypatch.setattr(budget, "time", machine)
    state = tmp_path / "net.state"

    def stop(_: float) -> None:
        if trainer.state.step == stopped_at:
            raise KeyboardInterrupt

    trainer: Any = FakeTrainer(machine)
    with pytest.raises(KeyboardInterrupt):
        train_to(trainer, whole, clock=machine.monotonic, after_step=stop, state=state)
    kept = trainer.saved[-1]
    assert 0 <= stopped_at - kept <= 0.1 * budget.SAVE_SECONDS / 0.01
    again: Any = FakeTrainer(machine)
    seconds = train_to(again, whole, clock=machine.monotonic, state=state)
    if whole.steps is not None:
        assert again.state.step == 900
    else:
        assert seconds == pytest.approx(120, rel=0.05)
    assert len(again.rates) == again.state.step - kept
    assert again.rates[-1] < 0.05


@pytest.mark.parametrize("told", [{}, {"seconds": [1], "segment": {}}, {"seconds": torch.ones(2)}])
def test_a_damaged_clock_is_told(tmp_path: Path, told: dict[str, Any]) -> None:
    machine, state = Machine(steady), tmp_path / "net.state"
    state.write_text("0")
    torch.save(told, clock := tmp_path / "net.state-clock")
    trainer: Any = FakeTrainer(machine)
    with pytest.raises(ScalewiseError, match=rf"{clock} is damaged \(.*; remove it"):
        train_to(trainer, Budget(minutes=2), clock=machine.monotonic, state=state)


def test_a_segment_that_learns_at_full_rate_uses_time_that_is_left_over() -> None:
    machine = Machine(steady)
    trainer: Any = FakeTrainer(machine)
    moves: list[Segment] = []
    guess = Segment(1, 0, 30, seconds=60.0)  # a tenth of the steps that fit
    run_paced(trainer, guess, lambda: machine.now - 1000, lambda loss: None, moves.append)
    assert machine.now - 1000 == pytest.approx(60, abs=1.0)
    assert moves[-1].last == trainer.state.step


def test_the_rate_goes_on_from_where_it_is_when_the_end_moves() -> None:
    segment = Segment(1, 100, 200, falling=True)
    assert segment.rate(150, 0) == pytest.approx(0.5)
    for last in (160, 200, 400):
        moved = segment.ending(last, 150)
        assert moved.rate(150, 0) == pytest.approx(0.5)
        assert moved.rate((150 + last) // 2, 0) == pytest.approx(0.25)
        assert moved.ending(last + 100, 150).rate(last + 100, 0) == 0


class FakeLevels:
    """Levels of a run by the machine's clock: steps, validation and publication take time."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, pace: Pace, validation: float = 2.0
    ) -> None:
        self.machine, self.losses, self.published = Machine(pace), dict[int, float](), 0
        monkeypatch.setattr(run, "time", self.machine)
        monkeypatch.setattr(LevelTrainer, "run", self._run)
        monkeypatch.setattr(LevelTrainer, "validate", lambda trainer: self._validate(trainer))
        self.validation = validation

    def _run(self, *arguments: Any, **options: Any) -> None:
        raise NotImplementedError

    def _validate(self, trainer: LevelTrainer) -> dict[str, float]:
        self.machine.now += self.validation
        loss = 1.0 / (1 + math.log1p(trainer.state.step))
        record = {"step": trainer.state.step, "loss": loss, "psnr": 30.0}
        trainer.state.history.append(record)
        return record

    def on_step(self, *_: Any) -> None:
        """Ignored."""

    def on_validation(self, *_: Any) -> None:
        """Ignored."""

    def on_prior(self, *_: Any) -> None:
        self.machine.now += 3.0
        self.published += 1


def planned_run(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    pace: Pace,
    minutes: float,
    validation: float = 2.0,
) -> tuple[TrainingRun, FakeLevels]:
    """A run of three levels whose steps cost nothing, but by the machine's clock."""
    levels = FakeLevels(monkeypatch, pace, validation)
    machine = levels.machine

    def take(
        trainer: LevelTrainer, segment: Segment, after_step: Any, until: int | None = None
    ) -> None:
        while trainer.state.step < (segment.last if until is None else until):
            machine.step(trainer.level)
            trainer.state.step += 1
            after_step(0.5)

    monkeypatch.setattr(LevelTrainer, "run", take)
    monkeypatch.setattr(TrainingRun, "_save", lambda self, trainer: None)
    images = ImageSet(list(torch.rand(6, 1, 64, 64)), "some")
    recipe = Recipe(
        levels=2, minutes=minutes, width=8, low_width=8, blocks=1, receptive_field=5, crop=8
    )
    made = TrainingRun(recipe, images, images, folder, torch.device("cpu"), levels)
    return made, levels


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("minutes", [3, 20])
def test_a_run_takes_its_minutes_all_included(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pace: Pace, minutes: float
) -> None:
    made, levels = planned_run(monkeypatch, tmp_path, pace, minutes)
    made.run()
    closing = 3.0  # the scores of the finished prior
    assert levels.machine.now + closing - 1000 == pytest.approx(60 * minutes, rel=0.1)
    assert made.plan.segments[-1].falling
    for level in (1, 2, 3):
        assert made.trainers[level].state.step > TIMING_STEPS


@pytest.mark.parametrize(("validation", "rounds"), [(0.01, ROUNDS), (1.0, ROUNDS), (10.0, 0)])
def test_validating_does_not_eat_a_short_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, validation: float, rounds: int
) -> None:
    made, levels = planned_run(monkeypatch, tmp_path, steady, 4, validation)
    made.run()
    assert made.plan.rounds == rounds
    assert levels.machine.now - 1000 == pytest.approx(240, rel=0.1)


def test_time_before_a_kill_counts_in_the_pace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Killed after the last step of a stretch, a run resumes it with no step left to time."""
    made, _ = planned_run(monkeypatch, tmp_path, steady, 3)
    first = Segment(3, 0, TIMING_STEPS)
    made.plan.segments.append(first)
    made.trainers[3].state.step, made.within = TIMING_STEPS, 6.0
    made._train(first)
    assert made.plan.seconds == [pytest.approx(6.0)]
    assert made.plan._pace(3) == pytest.approx(0.3)
    assert made.within == 0
