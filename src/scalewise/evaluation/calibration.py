"""Uncertainty measured: whether intervals hold the truth as often as they say, and how wide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.calibration import COVERAGES, Calibration
from scalewise.data.image_set import middle
from scalewise.evaluation.denoising import add_noise
from scalewise.evaluation.records import Callback, Record
from scalewise.images import to_channels
from scalewise.posterior import expected_error
from scalewise.prior import MultiScalePrior
from scalewise.wavelets import decompose

CROP = 128
"""Side of the middle part of every image that is looked at, by default."""

CONTRASTS = ("flat", "weak", "medium", "strong")
"""Names of what is around a pixel, by the local deviation of the estimate."""

BOUNDS = (2 / 255, 8 / 255, 24 / 255)
"""Local deviations between them."""

BOUND = 0.9
"""Share of images whose PSNR is to exceed its bound."""

WINDOW, FLOOR = 3, 0.4
"""Window of the baseline's local deviation, and its least value in deviations of the noise: the
narrowest of windows of 3, 5, 7 and values of 0.1, 0.2, 0.4 on photographs."""


class Doubt(NamedTuple):
    """One noisy image: the error and what the model tells of it."""

    sigma: float
    noisy: Tensor
    error: Tensor
    deviation: Tensor
    mean: Tensor
    scales: dict[str, tuple[Tensor, Tensor]]


def learn_calibration(
    prior: MultiScalePrior,
    images: Mapping[str, Tensor],
    *,
    sigmas: Sequence[float],
    seed: int = 0,
    crop: int = CROP,
    callback: Callback | None = None,
) -> Calibration:
    """Learn how far the truth is from the mean, in deviations that a prior tells.

    Args:
        prior: told the noise level.
        images: clean, that it was not trained on; each (C, H, W).
        sigmas: noise levels to add, in 8-bit units.
        seed: of the noise.
        crop: side of the middle part that is looked at.
        callback: called with a record of every image and level.
    """
    found = list(doubts(prior, images, sigmas, seed, crop, 0, callback))
    deviation = torch.cat([doubt.deviation.flatten() for doubt in found])
    error = torch.cat([doubt.error.flatten() for doubt in found])
    levels = [torch.full((doubt.error.numel(),), doubt.sigma / 255) for doubt in found]
    table = Calibration.learn(deviation, error, torch.cat(levels))
    above = sorted(estimated - true for estimated, true in map(psnr_without_truth, found))
    place = min(len(above), math.ceil(BOUND * (len(above) + 1))) - 1
    return table.model_copy(update={"margin": above[place]})


def psnr_without_truth(doubt: Doubt) -> tuple[float, float]:
    """PSNR in dB of the mean, estimated without the truth, and true."""
    expected = expected_error(
        float((doubt.noisy - doubt.mean).square().mean()),
        float(doubt.deviation.square().mean()),
        doubt.sigma / 255,
        doubt.noisy.numel(),
    )
    return -10 * math.log10(expected), -10 * math.log10(float(doubt.error.square().mean()))


def evaluate_calibration(
    prior: MultiScalePrior,
    images: Mapping[str, Tensor],
    *,
    sigmas: Sequence[float],
    samples: int = 8,
    seed: int = 0,
    crop: int = CROP,
    callback: Callback | None = None,
) -> list[Record]:
    """Count how often intervals hold the truth, and compare their width with a baseline's.

    Pixels have intervals from the derivative of the networks (`Posterior.variance`), by the prior's
    calibration where it has one, or else by the normal distribution. The details of each level and
    the low-pass image have those of Student's distribution from samples. The baseline knows the
    quantiles of these very images: |error| over a local deviation of the estimate, for each level
    of noise.

    Args:
        prior: told the noise level.
        images: clean, each (C, H, W).
        sigmas: noise levels to add, in 8-bit units.
        samples: per image, for the intervals of levels; 0 leaves them out.
        seed: of noise and samples.
        crop: side of the middle part that is looked at.
        callback: called with a record of every image and level.

    Returns:
        One record per group: `by` ("all", "sigma", "contrast", "scale"), `group`, `values` (how
        many), `coverage` (shares in percent, by nominal ones), and for groups of whole images
        `width` of 90 % intervals of pixels, in 8-bit units, `baseline`, that of the baseline,
        `psnr_error`, how far PSNR told without the truth is off in 95 % of images, in dB, and where
        the prior has learnt a margin `bound_holds`, the percentage of images better than their
        bound, and `below`, by how much on average.
    """
    table = prior.calibration
    groups: dict[tuple[str, str], list[tuple[Tensor, int]]] = {}
    widths: dict[float, list[tuple[float, float]]] = {}
    found = list(doubts(prior, images, sigmas, seed, crop, samples, callback))
    local = _baseline(found)
    for doubt, plain in zip(found, local, strict=True):
        sigma = doubt.sigma / 255
        halves = [_half_width(table, doubt.deviation, sigma, share) for share in COVERAGES]
        held = torch.stack([doubt.error.abs() <= half for half in halves])
        contrast = torch.bucketize(_local_deviation(doubt.mean, 7), torch.tensor(BOUNDS))
        _count(groups, ("all", "pixels"), held)
        _count(groups, ("sigma", f"{doubt.sigma:g}"), held)
        for place, name in enumerate(CONTRASTS):
            _count(groups, ("contrast", name), held[:, contrast == place])
        width = 2 * 255 * float(halves[COVERAGES.index(90)].mean())
        widths.setdefault(doubt.sigma, []).append((width, plain))
        for name, (error, spread) in doubt.scales.items():
            inside = [error.abs() <= times * spread for times in _student(samples)]
            _count(groups, ("scale", name), torch.stack(inside))
    pairs = {
        sigma: [psnr_without_truth(one) for one in found if one.sigma == sigma] for sigma in widths
    }
    records = []
    for (by, group), counts in groups.items():
        values = sum(count for _, count in counts)
        shares = torch.stack([held for held, _ in counts]).sum(0) / max(1, values)
        record: Record = {"by": by, "group": group, "values": values}
        record["coverage"] = dict(zip(COVERAGES, (100 * shares).tolist(), strict=True))
        if by in ("all", "sigma"):
            levels = [sigma for sigma in widths if by == "all" or f"{sigma:g}" == group]
            chosen = [pair for sigma in levels for pair in widths[sigma]]
            record["width"], record["baseline"] = map(float, np.mean(chosen, axis=0))
            record |= _bound(table, [pair for sigma in levels for pair in pairs[sigma]])
        records.append(record)
    return [record for record in records if record["values"]]


def _bound(table: Calibration | None, pairs: Sequence[tuple[float, float]]) -> Record:
    """How well the PSNR of images is told without the truth."""
    apart = np.array([estimated - true for estimated, true in pairs])
    found: Record = {"psnr_error": float(np.quantile(np.abs(apart), 0.95))}
    if table is not None and table.margin is not None:
        below = table.margin - apart
        found |= {"bound_holds": 100 * float((below >= 0).mean()), "below": float(below.mean())}
    return found


def doubts(
    prior: MultiScalePrior,
    images: Mapping[str, Tensor],
    sigmas: Sequence[float],
    seed: int,
    crop: int,
    samples: int,
    callback: Callback | None,
) -> Iterator[Doubt]:
    """Noisy images, their errors, and what the prior tells of them."""
    for index, (name, image) in enumerate(images.items()):
        clean = middle(to_channels(image, prior.channels)[0], crop)
        for sigma in sigmas:
            noisy = add_noise(clean, sigma / 255, seed, index)
            posterior = prior.posterior(noisy[None], sigma / 255)
            mean = posterior.mean()[0].cpu()
            deviation = posterior.variance()[0].sqrt().cpu()
            scales = {}
            if samples:
                drawn = posterior.samples(samples, seed=seed)[:, 0].cpu()
                scales = _by_scale(prior, mean - clean, drawn - mean)
            if callback:
                callback({"image": name, "sigma": sigma})
            yield Doubt(sigma, noisy, mean - clean, deviation, mean, scales)


def _by_scale(
    prior: MultiScalePrior, error: Tensor, apart: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """Errors of the coefficients of every scale, and the deviation of the samples there."""
    multiple = 1 << prior.levels
    height, width = (side - side % multiple for side in error.shape[-2:])
    both = torch.cat([error[None], apart])[..., :height, :width]
    low, details = decompose(both, prior.levels, prior.wavelet)
    parts = {f"details of level {level}": bands for level, bands in enumerate(details, start=1)}
    parts["low-pass image" if prior.levels else "image"] = low
    return {name: (bands[0], bands[1:].square().mean(0).sqrt()) for name, bands in parts.items()}


def _half_width(table: Calibration | None, told: Tensor, sigma: float, share: int) -> Tensor:
    if table is not None:
        return table.half_width(told, sigma, share)
    return told * NormalDist().inv_cdf(0.5 + share / 200)


def _student(samples: int) -> list[float]:
    """Half widths of intervals in deviations that so many samples tell, the mean being known."""
    from scipy import stats  # takes long to load

    return [float(stats.t(samples).ppf(0.5 + share / 200)) for share in COVERAGES]


def _baseline(found: Sequence[Doubt]) -> list[float]:
    """Mean width of 90 % intervals of the baseline for each image, in 8-bit units."""
    scales = [
        (_local_deviation(one.mean, WINDOW) ** 2 + (FLOOR * one.sigma / 255) ** 2).sqrt()
        for one in found
    ]
    ratios: dict[float, list[np.ndarray]] = {}
    for doubt, scale in zip(found, scales, strict=True):
        ratio = (doubt.error.abs() / scale).flatten().numpy()
        ratios.setdefault(doubt.sigma, []).append(ratio)
    quantile = {sigma: np.quantile(np.concatenate(each), 0.9) for sigma, each in ratios.items()}
    return [
        2 * 255 * float(quantile[doubt.sigma] * scale.mean())
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
