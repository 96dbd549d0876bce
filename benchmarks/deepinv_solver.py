"""Scalewise for the public benchmarks of deepinv, in the form of their solvers.

Their repository, https://github.com/deepinv/benchmarks, has a folder for each benchmark; copied
into its `solvers/`, this file is an entry of the leaderboard.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from benchopt import BaseSolver

import scalewise
from scalewise.deepinv import DeepinvReconstructor


class Solver(BaseSolver):  # type: ignore[misc]
    """The mean given the measurement, by the packaged prior of photographs."""

    name = "Scalewise"
    parameters: ClassVar = {"model": ["photos"]}
    requirements: ClassVar = ["pip::scalewise"]

    def set_objective(self, train_dataset: Any = None, physics: Any = None) -> None:
        """Load the prior; nothing is trained."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.method: Any = DeepinvReconstructor(scalewise.load(self.model, device=device))
        setattr(self.method, "device", torch.device(device))  # noqa: B010

    def run(self, _: Any) -> None:
        """Do nothing: the objective calls the method."""

    def get_result(self) -> dict[str, Any]:
        """The method, `(y, physics) -> x`."""
        return {"model": self.method}
