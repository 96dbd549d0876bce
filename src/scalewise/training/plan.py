"""How a run's time is split over its levels, decided as it goes and remembered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter

from scalewise.training.recipe import Recipe

ROUNDS = 6
"""How often the time that is left is split again, at most."""

BESIDE = 0.25
"""Share of a time budget that validating and writing may take; fewer rounds where it is more."""

TIMING_STEPS = 20
"""Steps of each level that tell its pace."""

FLOOR = 0.25
"""Least share of a round, over that of the level whose validation error falls fastest."""


LEFT_OVER = 0.1
"""Share of a time budget that must be left for a further turn."""


@dataclass(frozen=True)
class Segment:
    """A stretch of steps of one level, planned before it runs.

    Attributes:
        level: from 1 (finest); `levels + 1` is the low-pass image.
        first: step at which it starts.
        last: step at which it ends.
        falling: whether the learning rate falls to zero in it.
        seconds: what it may take; None where only its steps count.
        since: step from which the rate falls as it does now; `first` by default.
        high: rate at that step, over its peak.
    """

    level: int
    first: int
    last: int
    falling: bool = False
    seconds: float | None = None
    since: int | None = None
    high: float = 1.0

    def rate(self, step: int, warmup: int) -> float:
        """Learning rate at a step, over its peak."""
        return min(1.0, (step + 1) / max(1, warmup)) * self._fall(step)

    def ending(self, last: int, step: int) -> Segment:
        """The same, to end at another step; a falling rate goes on falling from `step`."""
        return replace(self, last=last, since=step, high=self._fall(step))

    def _fall(self, step: int) -> float:
        if not self.falling:
            return 1.0
        since = self.first if self.since is None else self.since
        return self.high * (self.last - step) / max(1, self.last - since)


_SEGMENTS, _TIMES = TypeAdapter(list[Segment]), TypeAdapter(list[float])
_ROUNDS: TypeAdapter[int | None] = TypeAdapter(int | None)


@dataclass
class Plan:
    """Segments so far, and the seconds of those that are finished.

    Levels take turns, the coarsest first. With a number of steps every level has two turns: at
    full rate, and with it falling. With a time budget there is a turn to time the levels, then
    up to `ROUNDS` turns at full rate, each split by how fast validation error last fell, and a last
    one with the rate falling, split as all time before. A budget that is enlarged afterwards gives
    further turns with the rate falling.

    Attributes:
        recipe: of the run.
        segments: in the order in which they run.
        seconds: of the finished ones.
        elapsed: seconds since the run began, by the clock: validating and writing included.
        beside: seconds that validating and writing took after each finished segment.
        reserve: seconds to keep for what comes after the last segment.
        rounds: turns at full rate after the one that times the levels; None until that is over.
    """

    recipe: Recipe
    segments: list[Segment] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0
    beside: list[float] = field(default_factory=list)
    reserve: float = 0.0
    rounds: int | None = None

    def next(self, losses: Mapping[int, list[float]]) -> Segment | None:
        """The segment to run now: one that is not finished, or a new one; None at the end.

        Args:
            losses: validation losses of each level so far, one per finished segment.
        """
        if len(self.segments) == len(self.seconds):
            turn, place = divmod(len(self.segments), len(self.recipe.trained))
            level = self.recipe.trained[place]
            planned = self._by_steps(level, turn) or self._by_minutes(level, turn, losses)
            if planned is None:
                return None
            self.segments.append(planned)
        return self.segments[-1]

    def spent(self, level: int) -> float:
        """Seconds of a level so far."""
        return sum(seconds for _, seconds in self._finished(level))

    def state(self) -> dict[str, Any]:
        """What cannot be computed again, as plain values."""
        return {
            "segments": [asdict(s) for s in self.segments],
            "seconds": list(self.seconds),
            "beside": list(self.beside),
            "rounds": self.rounds,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state`; `KeyError`, `TypeError` or `ValueError` if it is none."""
        segments = _SEGMENTS.validate_python(state["segments"])
        seconds = _TIMES.validate_python(state["seconds"])
        beside = _TIMES.validate_python(state.get("beside", []))
        rounds = _ROUNDS.validate_python(state.get("rounds", ROUNDS))
        self._check(segments, seconds)
        self.segments, self.seconds, self.beside, self.rounds = segments, seconds, beside, rounds

    def _check(self, segments: list[Segment], seconds: list[float]) -> None:
        """Raise a `ValueError` if they are not those of a run of this recipe."""
        unfinished = len(segments) - len(seconds)
        trained = self.recipe.trained
        order = [trained[place % len(trained)] for place in range(len(segments))]
        if unfinished not in (0, 1) or order != [segment.level for segment in segments]:
            raise ValueError("segments and their seconds disagree")
        if any(not 0 <= segment.first <= segment.last for segment in segments):
            raise ValueError("a segment ends before it begins")
        if not all(map(math.isfinite, seconds)):
            raise ValueError("seconds are not finite")

    def _by_steps(self, level: int, turn: int) -> Segment | None:
        if self.recipe.steps is None:
            return None
        if turn == 0:
            return Segment(level, 0, round(self.recipe.steps * (1 - self.recipe.decay)))
        first = self._finished(level)[-1][0].last
        if turn > 1 and first >= self.recipe.steps:
            return None
        return Segment(level, first, self.recipe.steps, falling=True)

    def _by_minutes(
        self, level: int, turn: int, losses: Mapping[int, list[float]]
    ) -> Segment | None:
        if self.recipe.minutes is None:
            return None
        if turn == 0:
            return Segment(level, 0, TIMING_STEPS)
        whole = 60 * self.recipe.minutes - self.reserve
        elapsed = max(self.elapsed, sum(self.seconds))
        if self.rounds is None:
            self.rounds = self._affordable(whole - elapsed)
        falling = turn > self.rounds
        budget = whole * (1.0 if falling else 1 - self.recipe.decay)
        turns_left = 1 if falling else self.rounds - turn + 1
        begun = turn * len(self.recipe.trained)
        within = sum(self.seconds[begun:]) + sum(self.beside[begun:])
        left = budget - elapsed + within
        if turn > self.rounds + 1 and left < LEFT_OVER * budget:
            return None
        weights = self._weights(turn, losses, by_time=falling)
        to_come = [each for each in reversed(self.recipe.trained) if each <= level]
        left = left / turns_left - within - sum(self._beside(each) for each in to_come)
        seconds = max(0.0, left) * weights[level] / sum(weights[each] for each in to_come)
        first = self._finished(level)[-1][0].last
        steps = max(1, round(seconds / self._pace(level)))
        return Segment(level, first, first + steps, falling, seconds)

    def _affordable(self, left: float) -> int:
        """Rounds whose validating and writing, and that of the last turn, take not too much."""
        turn = sum(self._beside(level) for level in reversed(self.recipe.trained))
        return max(0, min(ROUNDS, int(BESIDE * left / max(turn, 1e-3)) - 1))

    def _beside(self, level: int) -> float:
        """Seconds that validating and writing last took after a level's segment."""
        segments = reversed(list(zip(self.segments, self.beside, strict=False)))
        return next((seconds for found, seconds in segments if found.level == level), 0.0)

    def _weights(
        self, turn: int, losses: Mapping[int, list[float]], by_time: bool
    ) -> dict[int, float]:
        """Parts of the levels in a turn: by the time that they had, or by how fast they learn."""
        levels = self.recipe.trained[::-1]
        if by_time:
            return {level: sum(s for _, s in self._finished(level)[:turn]) for level in levels}
        favour = {level: self.recipe.level_weight(level) for level in levels}
        if turn <= 2:
            return favour
        speeds = {}
        for level in levels:
            before, now = losses[level][turn - 2 : turn]
            seconds = max(self._finished(level)[turn - 1][1], 1e-3)
            speeds[level] = max(0.0, math.log(before / now) / seconds)
        least = FLOOR * max(*speeds.values(), 1e-12)
        return {level: favour[level] * max(speed, least) for level, speed in speeds.items()}

    def _pace(self, level: int) -> float:
        """Seconds per step in the level's last finished segment."""
        segment, seconds = self._finished(level)[-1]
        return max(seconds, 1e-3) / max(1, segment.last - segment.first)

    def _finished(self, level: int) -> list[tuple[Segment, float]]:
        done = zip(self.segments, self.seconds, strict=False)
        return [(segment, seconds) for segment, seconds in done if segment.level == level]
