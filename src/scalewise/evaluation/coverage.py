"""How often intervals hold the truth, and how wide they are, by kind of image and of pixel."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.calibration import COVERAGES, Calibration
from scalewise.evaluation.records import Record

CONTRASTS = ("flat", "weak", "medium", "strong")
"""Names of what is around a pixel, by the local deviation of the estimate."""

BOUNDS = (2 / 255, 8 / 255, 24 / 255)
"""Local deviations between them."""

TINY = 1e-9
"""Least deviation and least factor."""

WINDOW, FLOOR = 3, 0.4
"""Window of the baseline's local deviation, and its least value in deviations of the noise: the
narrowest of windows of 3, 5, 7 and values of 0.1, 0.2, 0.4 on photographs."""


class Doubt(NamedTuple):
    """One image: the error of an estimate, and what the model tells of it.

    Attributes:
        by: what kind of images it is one of: "sigma" or "factor".
        group: which, in words.
        unit: deviation of the noise, or `CONTRAST` where there is none, in [0, 1] intensities.
        mean: the estimate.
        error: the estimate less the truth.
        deviation: that the model tells.
        scales: errors and deviations of samples, at every scale.
        psnr: of the estimate in dB, told without the truth, and true; None where it is not told.
    """

    by: str
    group: str
    unit: float
    mean: Tensor
    error: Tensor
    deviation: Tensor
    scales: dict[str, tuple[Tensor, Tensor]]
    psnr: tuple[float, float] | None = None


def coverage_records(
    found: Sequence[Doubt], table: Calibration | None, samples: int
) -> list[Record]:
    """Coverage and widths, by group."""
    groups: dict[tuple[str, str], list[tuple[Tensor, int]]] = {}
    widths: dict[str, list[tuple[float, float]]] = {}
    student = _student(samples) if samples else []
    for doubt, plain in zip(found, _baseline(found), strict=True):
        halves = [_half_width(table, doubt, share) for share in COVERAGES]
        held = torch.stack([doubt.error.abs() <= half for half in halves])
        contrast = torch.bucketize(_local_deviation(doubt.mean, 7), torch.tensor(BOUNDS))
        _count(groups, ("all", "pixels"), held)
        _count(groups, (doubt.by, doubt.group), held)
        for place, name in enumerate(CONTRASTS):
            _count(groups, ("contrast", name), held[:, contrast == place])
        width = 2 * 255 * float(halves[COVERAGES.index(90)].mean())
        widths.setdefault(doubt.group, []).append((width, plain))
        for name, (error, deviation) in doubt.scales.items():
            learnt = {} if table is None else table.scales.get(name, {})
            inside = [
                error.abs() <= learnt.get(share, 1.0) * times * deviation
                for share, times in zip(COVERAGES, student, strict=True)
            ]
            _count(groups, ("scale", name), torch.stack(inside))
    records = []
    for (by, group), counts in groups.items():
        values = sum(count for _, count in counts)
        shares = torch.stack([held for held, _ in counts]).sum(0) / max(1, values)
        record: Record = {"by": by, "group": group, "values": values}
        record["coverage"] = dict(zip(COVERAGES, (100 * shares).tolist(), strict=True))
        if by not in ("contrast", "scale"):
            chosen = [one for one in found if by == "all" or one.group == group]
            pairs = [pair for name in {one.group for one in chosen} for pair in widths[name]]
            record["width"], record["baseline"] = map(float, np.mean(pairs, axis=0))
            record |= _bound(table, chosen)
        records.append(record)
    return [record for record in records if record["values"]]


def scale_factors(found: Sequence[Doubt], samples: int) -> dict[str, dict[int, float]]:
    """How many times Student's intervals hold as many of the errors of every scale as they should.

    Args:
        found: images with errors and deviations of samples.
        samples: how many there were of each.
    """
    names = dict.fromkeys(name for doubt in found for name in doubt.scales)
    student, factors = _student(samples), {}
    for name in names:
        scaled = np.concatenate(
            [
                (error.abs() / deviation.clamp(min=TINY)).flatten().numpy()
                for error, deviation in (doubt.scales[name] for doubt in found)
            ]
        )
        quantiles = np.quantile(scaled, [share / 100 for share in COVERAGES])
        factors[name] = {
            share: float(max(TINY, quantile / times))
            for share, quantile, times in zip(COVERAGES, quantiles, student, strict=True)
        }
    return factors


def _bound(table: Calibration | None, found: Sequence[Doubt]) -> Record:
    """How well the PSNR of images is told without the truth; nothing where it is not told."""
    told = [(one.psnr[0] - one.psnr[1], one.unit) for one in found if one.psnr is not None]
    if not told:
        return {}
    apart = np.array([difference for difference, _ in told])
    record: Record = {"psnr_error": float(np.quantile(np.abs(apart), 0.95))}
    if table is not None and table.margin is not None:
        below = np.array([table.margin_at(unit) for _, unit in told]) - apart
        record |= {"bound_holds": 100 * float((below >= 0).mean()), "below": float(below.mean())}
    return record


def _half_width(table: Calibration | None, doubt: Doubt, share: int) -> Tensor:
    if table is not None:
        return table.half_width(doubt.deviation, doubt.unit, share)
    return doubt.deviation * NormalDist().inv_cdf(0.5 + share / 200)


def _student(samples: int) -> list[float]:
    """Half widths of intervals in deviations that so many samples tell, the mean being known."""
    from scipy import stats  # takes long to load

    return [float(stats.t(samples).ppf(0.5 + share / 200)) for share in COVERAGES]


def _baseline(found: Sequence[Doubt]) -> list[float]:
    """Mean width of 90 % intervals of the baseline for each image, in 8-bit units."""
    scales = [
        (_local_deviation(one.mean, WINDOW) ** 2 + (FLOOR * one.unit) ** 2).sqrt() for one in found
    ]
    ratios: dict[str, list[np.ndarray]] = {}
    for doubt, scale in zip(found, scales, strict=True):
        ratio = (doubt.error.abs() / scale).flatten().numpy()
        ratios.setdefault(doubt.group, []).append(ratio)
    quantile = {group: np.quantile(np.concatenate(each), 0.9) for group, each in ratios.items()}
    return [
        2 * 255 * float(quantile[doubt.group] * scale.mean())
        for doubt, scale in zip(found, scales, strict=True)
    ]


def _local_deviation(image: Tensor, window: int) -> Tensor:
    """Standard deviation of each channel (C, H, W) over squares."""
    mean, square = (
        F.avg_pool2d(each, window, 1, window // 2, count_include_pad=False)
        for each in (image, image**2)
    )
    return (square - mean**2).clamp(min=0).sqrt()


def _count(
    groups: dict[tuple[str, str], list[tuple[Tensor, int]]], group: tuple[str, str], held: Tensor
) -> None:
    """Add how many values the intervals of each coverage held, (len(COVERAGES), ...)."""
    flat = held.flatten(1)
    groups.setdefault(group, []).append((flat.double().sum(1), flat.shape[1]))
