"""How far the truth is from the mean, in deviations that a model tells: learnt from clean images.

A model that holds the right distribution needs little of it: the factors are 1. What is left is
learnt on images that are kept apart from the training (conformal prediction with scaled residuals:
Angelopoulos and Bates, "Conformal prediction: a gentle introduction", 2023, section 2.3), by how
much of the noise is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Self

import numpy as np
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from scalewise.errors import UsageError

COVERAGES = (50, 80, 90, 95)
"""Shares of pixels, in percent, that the intervals are to hold."""

EDGES = (0.03, 0.045, 0.06, 0.09, 0.13, 0.18, 0.25, 0.33, 0.45, 0.6, 0.8, 1.1)
"""Deviations over that of the noise, between which the table has its rows."""

LEAST = 0.02
"""Least deviation over that of the noise: what is less is taken for as much."""

CONTRAST = 0.1
"""What takes the place of the noise's deviation where there is none, in [0, 1] intensities: a usual
contrast of details."""

FEWEST = 1000
"""Pixels that a row needs to be learnt from."""

DIGITS = 6
"""Digits that numbers of a table have; more are not known, and stored models hold thousands."""


def _rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Learnt = Annotated[Positive, AfterValidator(_rounded)]


class Table(BaseModel):
    """Half widths of intervals around the mean, in deviations that a model tells.

    Attributes:
        ratios: deviations over that of the noise, rising, at which the others hold; linear between
            their logarithms, constant beyond.
        factors: the root mean square error over the deviation.
        quantiles: per coverage in percent, how many deviations hold so many of the errors.
        margin: decibels by which the estimated PSNR of an image is above the true one in a tenth of
            images (`posterior.expected_error`), if that was learnt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ratios: Annotated[tuple[Learnt, ...], Field(min_length=1, max_length=64)]
    factors: tuple[Learnt, ...]
    quantiles: dict[int, tuple[Learnt, ...]]
    margin: Annotated[float, Field(allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if list(self.ratios) != sorted(set(self.ratios)):
            raise ValueError("ratios must rise")
        if any(len(row) != len(self.ratios) for row in (self.factors, *self.quantiles.values())):
            raise ValueError("factors and quantiles must have one number per ratio")
        return self

    @classmethod
    def learn(cls, deviation: Tensor, error: Tensor, unit: Tensor, **more: Any) -> Self:
        """Learn from images whose truth is known.

        Args:
            deviation: that a model tells, any shape.
            error: the mean less the truth, same shape.
            unit: deviation of the noise, broadcasting; `CONTRAST` where there is none.
            more: other attributes.

        Raises:
            UsageError: there are too few pixels.
        """
        deviation = torch.maximum(deviation, LEAST * unit)
        ratio = (deviation / unit).flatten()
        scaled = (error.abs() / deviation).flatten()
        row = torch.bucketize(ratio, torch.tensor(EDGES, dtype=ratio.dtype))
        places, factors, quantiles = [], [], []
        for one in row.unique().tolist():
            ratios, errors = ratio[row == one], scaled[row == one].double().numpy()
            if len(errors) >= FEWEST:
                places.append(float(ratios.median()))
                factors.append(float(np.sqrt(np.mean(errors**2))))
                quantiles.append(np.quantile(errors, [share / 100 for share in COVERAGES]))
        if not places:
            raise UsageError(f"a calibration needs at least {FEWEST} pixels of noisy images")
        columns = np.maximum(np.stack(quantiles, axis=1), np.finfo(np.float32).tiny).tolist()
        table = dict(zip(COVERAGES, columns, strict=True))
        return cls(ratios=tuple(places), factors=tuple(factors), quantiles=table, **more)

    def scaled(self, told: Tensor, sigma: float, row: tuple[float, ...]) -> Tensor:
        """What a model tells under noise of `sigma`, times `factors` or a row of `quantiles`."""
        told = told.clamp(min=LEAST * sigma)
        places = np.log(self.ratios)
        found = np.interp((told / sigma).log().double().cpu().numpy(), places, row)
        return told * torch.from_numpy(found).to(told)


class LevelTable(Table):
    """The same, learnt at one level of noise.

    Attributes:
        sigma: its standard deviation in [0, 1] intensities.
    """

    sigma: Positive


class Calibration(Table):
    """Half widths of intervals around the mean, at all levels of noise.

    Attributes:
        levels: tables of single levels, rising; linear between the logarithms of their noise, and
            constant beyond. Without them the one table, of all levels together, counts.
        scales: per scale and coverage in percent, how many times the interval of Student's
            distribution from samples holds so many of the errors of its coefficients.
    """

    levels: tuple[LevelTable, ...] = ()
    scales: dict[str, dict[int, Learnt]] = {}

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        sigmas = [level.sigma for level in self.levels]
        if sigmas != sorted(set(sigmas)):
            raise ValueError("levels must be of rising noise")
        if any(set(level.quantiles) != set(self.quantiles) for level in self.levels):
            raise ValueError("levels must have the same coverages")
        return self

    def deviation(self, told: Tensor, sigma: float) -> Tensor:
        """The standard deviation of the error, where a model tells `told` under such noise."""
        return self._between(told, sigma, lambda table: table.factors)

    def half_width(self, told: Tensor, sigma: float, coverage: int) -> Tensor:
        """How far from the mean the truth is in so many percent of pixels, at most.

        Raises:
            UsageError: the coverage is none that was learnt.
        """
        self.check_coverage(coverage)
        return self._between(told, sigma, lambda table: table.quantiles[coverage])

    def check_coverage(self, coverage: int) -> None:
        """Refuse a coverage that was not learnt."""
        if coverage not in self.quantiles:
            raise UsageError(
                f"confidence must be one of {', '.join(map(str, self.quantiles))}, found {coverage}"
            )

    def margin_at(self, sigma: float) -> float | None:
        """The margin under noise of `sigma`; None where none was learnt."""
        if sigma <= 0 or any(table.margin is None for table in self.levels):
            return self.margin
        found = [(share, table.margin) for share, table in self._near(sigma)]
        return sum(share * margin for share, margin in found if margin is not None)

    def _between(
        self, told: Tensor, sigma: float, row: Callable[[Table], tuple[float, ...]]
    ) -> Tensor:
        if sigma <= 0:
            return torch.zeros_like(told)
        found = torch.zeros_like(told)
        for share, table in self._near(sigma):
            found = found + share * table.scaled(told, sigma, row(table))
        return found

    def _near(self, sigma: float) -> list[tuple[float, Table]]:
        """The tables that count under noise of `sigma`, and their shares."""
        if not self.levels:
            return [(1.0, self)]
        places = np.log([level.sigma for level in self.levels])
        place = float(np.interp(math.log(sigma), places, np.arange(len(places))))
        lower = min(int(place), len(places) - 1)
        upper = min(lower + 1, len(places) - 1)
        share = place - lower
        return [(1 - share, self.levels[lower]), (share, self.levels[upper])]
