"""One network trained to a budget: of steps, or of time by any clock, on however busy a machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from scalewise.errors import ScalewiseError
from scalewise.training.files import load_plain, save_state
from scalewise.training.level import LevelTrainer
from scalewise.training.plan import Segment

SAVE_SECONDS = 30.0
"""Training state is written at least this often."""

LOOK = 10
"""Least number of steps between two looks at the clock."""

Clock = Callable[[], float]
"""Tells seconds."""

AfterStep = Callable[[float], None]
"""Called after every step with its loss."""


@dataclass(frozen=True)
class Budget:
    """What one network may cost: minutes by a clock, or steps."""

    minutes: float | None = None
    steps: int | None = None

    def times(self, share: float) -> Budget:
        """The budget, multiplied."""
        if self.steps is not None:
            return Budget(steps=max(2, round(share * self.steps)))
        return Budget(minutes=share * (self.minutes or 0.0))

    def __str__(self) -> str:
        """In words."""
        if self.steps is not None:
            return f"{self.steps} steps"
        return f"{self.minutes:.3g} minutes of processor time"


def run_paced(
    trainer: LevelTrainer,
    segment: Segment,
    spent: Clock,
    after_step: AfterStep,
    replanned: Callable[[Segment], None],
) -> None:
    """Run a segment until `spent()` is its `seconds`: its last step moves as the pace does.

    Args:
        trainer: of the segment's level, at or after its first step.
        segment: with `seconds`, and a first guess of its last step.
        spent: tells seconds so far.
        after_step: called with the loss.
        replanned: called with the segment whenever its end has moved.
    """
    while (step := trainer.state.step) < segment.last:
        before, until = spent(), min(segment.last, step + max(LOOK, (segment.last - step) // 4))
        trainer.run(segment, after_step, until)
        now = spent()
        pace = max(now - before, 1e-6) / (until - step)
        if until < segment.last or not segment.falling:
            left = max(0.0, (segment.seconds or 0.0) - now)
            segment = segment.ending(until + round(left / pace), until)
            replanned(segment)


def train_to(
    trainer: LevelTrainer,
    budget: Budget,
    *,
    clock: Clock = time.process_time,
    after_step: AfterStep = lambda loss: None,
    state: Path | None = None,
) -> float:
    """Train one network to the end of a budget, at full rate and then with the rate falling to 0.

    Args:
        trainer: of the network; its recipe's `decay` is the share of the budget that falls.
        budget: steps, or minutes by the clock.
        clock: seconds of the budget go by as this one's do: processor time of this process by
            default, which other work on the machine does not take from.
        after_step: called with the loss.
        state: file for the training state, from which to go on if it is there; that of the clock
            is written beside it.

    Returns:
        Seconds by the clock, those before an interruption included.
    """
    began, before, saved_at = clock(), 0.0, time.monotonic()
    segment = _first(trainer, budget)
    times = None if state is None else state.with_name(f"{state.name}-clock")
    if state is not None and times is not None and state.exists() and times.exists():
        trainer.restore(state)
        before, segment = _read_clock(times)

    def spent() -> float:
        return before + clock() - began

    def watched(loss: float) -> None:
        nonlocal saved_at
        after_step(loss)
        if state is not None and times is not None and time.monotonic() - saved_at > SAVE_SECONDS:
            trainer.save(state)
            save_state(times, asdict(_Clock(spent(), segment)))
            saved_at = time.monotonic()

    def moved(planned: Segment) -> None:
        nonlocal segment
        segment = planned

    def run() -> None:
        if segment.seconds is None:
            trainer.run(segment, watched)
        else:
            run_paced(trainer, segment, spent, watched, moved)

    if not segment.falling:
        run()
        segment = _falling(trainer, budget, spent())
    run()
    return spent()


@dataclass(frozen=True)
class _Clock:
    """What is written of the clock: seconds so far, and the segment in work."""

    seconds: float
    segment: Segment


_CLOCK = TypeAdapter(_Clock)


def _read_clock(path: Path) -> tuple[float, Segment]:
    """Read what is written of the clock.

    Raises:
        ScalewiseError: it is damaged.
    """
    try:
        clock = _CLOCK.validate_python(load_plain(path))
    except ValueError as error:
        raise ScalewiseError(
            f"the training state {path} is damaged (no seconds and segment); remove it to train "
            "anew"
        ) from error
    return clock.seconds, clock.segment


def _first(trainer: LevelTrainer, budget: Budget) -> Segment:
    """The part at full rate."""
    share = 1 - trainer.recipe.decay
    if budget.steps is not None:
        return Segment(trainer.level, 0, max(1, round(share * budget.steps)))
    return Segment(trainer.level, 0, LOOK, seconds=share * 60 * (budget.minutes or 0.0))


def _falling(trainer: LevelTrainer, budget: Budget, spent: float) -> Segment:
    """The part of falling rate, once the first is over."""
    step = trainer.state.step
    if budget.steps is not None:
        return Segment(trainer.level, step, max(step + 1, budget.steps), falling=True)
    seconds = 60 * (budget.minutes or 0.0)
    left = max(1, round((seconds - spent) * step / max(spent, 1e-6)))
    return Segment(trainer.level, step, step + left, falling=True, seconds=seconds)
