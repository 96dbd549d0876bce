"""Timing side by side: works take turns, and medians are compared."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

Work = Callable[[], object]

BURST = 0.2
"""Seconds that a turn lasts at least; a shorter work is repeated, and the turn gives its mean."""

IMPATIENCE = 3


@dataclass(frozen=True)
class Timing:
    """How long one call of a work takes.

    Attributes:
        seconds: median over the turns.
        spread: distance of the quartiles over the median.
        turns: how many there were.
    """

    seconds: float
    spread: float
    turns: int


@dataclass(frozen=True)
class Clock:
    """Times works in turns: first, second, ..., first, second, ...

    So what slows the machine down for a while slows all of them. Each is called once before, not
    timed.

    Attributes:
        device: what is waited for before the time is read.
        turns: of every work.
        least: turns that there should be.
        patience: seconds after which no turn begins, once there were `least`; after
            `IMPATIENCE` times as many there is none in any case.
        burst: see `BURST`.
        deadline: of `time.perf_counter`, after which every work has one turn.
    """

    device: torch.device
    turns: int = 7
    least: int = 3
    patience: float = 20.0
    burst: float = BURST
    deadline: float = math.inf

    def compare(self, works: Mapping[str, Work], warm: bool = True) -> dict[str, Timing]:
        """Time several works side by side.

        Args:
            works: by name.
            warm: call each once before; False where all were called already.
        """
        times: dict[str, list[float]] = {name: [] for name in works}
        if warm:
            for work in works.values():
                work()
        begin = time.perf_counter()
        for turn in range(self.turns):
            patience = self.patience * (1 if turn >= self.least else IMPATIENCE)
            if turn > 0 and time.perf_counter() > min(begin + patience, self.deadline):
                break
            for name, work in works.items():
                times[name].append(self._turn(work))
        return {name: summary(values) for name, values in times.items()}

    def seconds(self, work: Work) -> float:
        """Seconds of one call."""
        self._wait()
        begin = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - begin

    def _turn(self, work: Work) -> float:
        """Seconds of a call: of the first, where it is long, else the mean of those after it."""
        first = self.seconds(work)
        if first >= self.burst:
            return first
        count = math.ceil(self.burst / max(first, 1e-6))

        def burst() -> None:
            for _ in range(count):
                work()

        return self.seconds(burst) / count

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def summary(seconds: list[float]) -> Timing:
    """Median and spread of several times."""
    low, median, high = np.percentile(seconds, (25, 50, 75)).tolist()
    return Timing(median, (high - low) / median if median else 0.0, len(seconds))
