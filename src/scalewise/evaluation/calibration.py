"""Uncertainty measured: whether intervals hold the truth as often as they say, and how wide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from scalewise.calibration import CONTRAST, Calibration, LevelTable, Table
from scalewise.data.image_set import middle
from scalewise.evaluation.coverage import Doubt, coverage_records, scale_factors
from scalewise.evaluation.denoising import add_noise
from scalewise.evaluation.records import Callback, Record
from scalewise.images import to_channels
from scalewise.posterior import DRAWS, expected_error, spread
from scalewise.prior import MultiScalePrior
from scalewise.wavelets import decompose, low_pass

T = TypeVar("T", bound=Table)

CROP = 128
"""Side of the middle part of every image that is looked at, by default."""

BOUND = 0.9
"""Share of images whose PSNR is to exceed its bound."""


def learn_calibration(
    prior: MultiScalePrior,
    images: Mapping[str, Tensor],
    *,
    sigmas: Sequence[float],
    samples: int = 0,
    seed: int = 0,
    crop: int = CROP,
    callback: Callback | None = None,
) -> Calibration:
    """Learn how far the truth is from the mean, in deviations that a prior tells, level by level.

    Args:
        prior: told the noise level.
        images: clean, that it was not trained on; each (C, H, W).
        sigmas: noise levels to add, in 8-bit units.
        samples: per image, to learn the intervals of every scale from; 0 leaves them out.
        seed: of the noise.
        crop: side of the middle part that is looked at.
        callback: called with a record of every image and level.

    Returns:
        What a model folder keeps, by noise level in [0, 1] (`store.store_calibration`).

    Examples:
        >>> from scalewise.evaluation import learn_calibration
        >>> from scalewise.exact import gaussian_prior
        >>> prior = gaussian_prior(torch.full((16, 16), 0.01), levels=1)
        >>> images = {str(number): image.float() for number, image in enumerate(prior.sample(8))}
        >>> calibration = learn_calibration(prior, images, sigmas=[25], crop=16)
    """
    found = list(_noisy(prior, images, sigmas, seed, crop, samples, callback))
    levels = []
    for sigma in sorted(set(sigmas)):
        ones = [one for one in found if one.unit == sigma / 255]
        levels.append(_learn(LevelTable, ones, margin=_margin(ones), sigma=sigma / 255))
    return _learn(
        Calibration,
        found,
        margin=_margin(found),
        levels=tuple(levels),
        scales=scale_factors(found, samples) if samples else {},
    )


def _margin(found: Sequence[Doubt]) -> float:
    """How far above the truth the PSNR is told in a tenth of images, in dB."""
    above = sorted(one.psnr[0] - one.psnr[1] for one in found if one.psnr is not None)
    return above[min(len(above), math.ceil(BOUND * (len(above) + 1))) - 1]


def learn_upscaling(
    prior: MultiScalePrior,
    images: Mapping[str, Tensor],
    *,
    factor: int,
    samples: int = DRAWS,
    seed: int = 0,
    crop: int = CROP,
    callback: Callback | None = None,
) -> Calibration:
    """Learn how far the truth is from the least-squares enlargement, in deviations of samples.

    Args:
        prior: of the images.
        images: clean, that it was not trained on; each (C, H, W).
        factor: of enlargement.
        samples: of which the deviation is taken.
        seed: of the samples.
        crop: side of the middle part that is looked at.
        callback: called with a record of every image.
    """
    found = list(_enlarged(prior, images, factor, samples, seed, crop, callback))
    return _learn(Calibration, found, scales=scale_factors(found, samples))


def _learn(kind: type[T], found: Sequence[Doubt], **more: Any) -> T:
    deviation = torch.cat([doubt.deviation.flatten() for doubt in found])
    error = torch.cat([doubt.error.flatten() for doubt in found])
    units = [torch.full((doubt.error.numel(),), doubt.unit) for doubt in found]
    return kind.learn(deviation, error, torch.cat(units), **more)


def _psnr_without_truth(
    noisy: Tensor, mean: Tensor, error: Tensor, deviation: Tensor, sigma: float
) -> tuple[float, float]:
    """PSNR in dB of the mean, estimated without the truth, and true."""
    expected = expected_error(
        float((noisy - mean).square().mean()),
        float(deviation.square().mean()),
        sigma,
        noisy.numel(),
    )
    return -10 * math.log10(expected), -10 * math.log10(float(error.square().mean()))


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
    the low-pass image have those of Student's distribution from samples, times what the calibration
    has learnt of them. The baseline knows the quantiles of these very images: error over a local
    deviation of the estimate, for each level of noise.

    Args:
        prior: told the noise level.
        images: clean, each (C, H, W).
        sigmas: noise levels to add, in 8-bit units.
        samples: per image, for the intervals of levels; 0 leaves them out.
        seed: of noise and samples.
        crop: side of the middle part that is looked at.
        callback: called with a record of every image and level.

    Returns:
        One record per group, with `by` ("all", "sigma", "contrast", "scale"), `group`, `values`
        (how many), `coverage` (shares in percent, by nominal ones), and for groups of whole images
        `width` of 90 % intervals of pixels, in 8-bit units, `baseline`, that of the baseline,
        `psnr_error`, how far PSNR told without the truth is off in 95 % of images, in dB, and where
        the prior has learnt a margin `bound_holds`, the percentage of images better than their
        bound, and `below`, by how much on average.

    Examples:
        >>> from scalewise.evaluation import evaluate_calibration
        >>> prior = scalewise.load("photos")
        >>> images = {"ramp": torch.linspace(0, 1, 32).expand(3, 32, 32)}
        >>> records = evaluate_calibration(prior, images, sigmas=[25], samples=0, crop=32)
        >>> sorted({record["by"] for record in records})
        ['all', 'contrast', 'sigma']
    """
    found = list(_noisy(prior, images, sigmas, seed, crop, samples, callback))
    return coverage_records(found, prior.calibration, samples)


def evaluate_upscaling_calibration(
    prior: MultiScalePrior,
    images: Mapping[str, Tensor],
    *,
    factor: int,
    samples: int = DRAWS,
    seed: int = 0,
    crop: int = CROP,
    callback: Callback | None = None,
) -> list[Record]:
    """The same of enlargements: intervals around the least-squares estimate, from few samples.

    Args:
        prior: of the images.
        images: clean, each (C, H, W); means of blocks of them are enlarged.
        factor: of enlargement.
        samples: per image, of which the deviation is taken.
        seed: of the samples.
        crop: side of the middle part that is looked at.
        callback: called with a record of every image.

    Returns:
        Records as those of `evaluate_calibration`, without what is told of the PSNR.
    """
    found = list(_enlarged(prior, images, factor, samples, seed, crop, callback))
    return coverage_records(found, prior.upscaling.get(factor), samples)


def _noisy(
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
            error, unit = mean - clean, sigma / 255
            psnr = _psnr_without_truth(noisy, mean, error, deviation, unit)
            yield Doubt("sigma", f"{sigma:g}", unit, mean, error, deviation, scales, psnr)


def _enlarged(
    prior: MultiScalePrior,
    images: Mapping[str, Tensor],
    factor: int,
    samples: int,
    seed: int,
    crop: int,
    callback: Callback | None,
) -> Iterator[Doubt]:
    """Images enlarged from means of blocks, their errors, and what samples tell of them."""
    levels = prior.check_factor(factor)
    for name, image in images.items():
        clean = middle(to_channels(image, prior.channels)[0], crop)
        height, width = (side - side % factor for side in clean.shape[-2:])
        clean = clean[:, :height, :width]
        small = low_pass(clean[None], levels, prior.wavelet)
        mean = prior.upscale_mean(small, factor).cpu()
        drawn = prior.upscale(small, factor, samples=samples, seed=seed).cpu()
        scales = _by_scale(prior, mean[0] - clean, drawn[:, 0] - mean[0], levels)
        scales.pop("low-pass image")
        if callback:
            callback({"image": name, "factor": factor})
        yield Doubt(
            "factor",
            f"{factor}",
            CONTRAST,
            mean[0],
            mean[0] - clean,
            spread(drawn, mean)[0],
            scales,
        )


def _by_scale(
    prior: MultiScalePrior, error: Tensor, apart: Tensor, levels: int | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Errors of the coefficients of every scale, and the deviation of the samples there."""
    levels = prior.levels if levels is None else levels
    multiple = 1 << levels
    height, width = (side - side % multiple for side in error.shape[-2:])
    both = torch.cat([error[None], apart])[..., :height, :width]
    low, details = decompose(both, levels, prior.wavelet)
    parts = {f"details of level {level}": bands for level, bands in enumerate(details, start=1)}
    parts["low-pass image" if levels else "image"] = low
    return {name: (bands[0], bands[1:].square().mean(0).sqrt()) for name, bands in parts.items()}
