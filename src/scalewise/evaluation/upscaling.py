"""Super-resolution measured: closeness to the truth, consistency, and honesty of the spread."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.evaluation.records import Callback, Record, crop_to_multiple
from scalewise.images import to_channels
from scalewise.metrics import psnr, ssim
from scalewise.prior import MultiScalePrior
from scalewise.wavelets import low_pass

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
"""Interpolations to compare with, those of Pillow."""


def interpolate(small: Tensor, factor: int, method: str = "bicubic") -> Tensor:
    """Enlarge an image by interpolation, in floating point.

    Args:
        small: shape (C, H, W).
        factor: how much larger.
        method: a name of `FILTERS`.

    Returns:
        Shape (C, factor * H, factor * W), float32, not clipped.
    """
    if method not in FILTERS:
        raise UsageError(f"method must be one of {', '.join(FILTERS)}, found {method!r}")
    size = (factor * small.shape[-1], factor * small.shape[-2])
    planes = [Image.fromarray(plane.cpu().float().numpy()) for plane in small]
    large = [np.asarray(plane.resize(size, FILTERS[method])) for plane in planes]
    return torch.from_numpy(np.stack(large))


def evaluate_upscale(
    prior: MultiScalePrior,
    images: Mapping[str, Tensor],
    *,
    factor: int = 2,
    samples: int = 8,
    seed: int = 0,
    callback: Callback | None = None,
) -> list[Record]:
    """Take the low-pass image of each image, enlarge it again, and compare.

    Images are cut so that `2 ** levels` of the prior divides their sides. For a prior of RGB
    images, a small gray image is repeated in three channels and the large one converted back;
    for a gray prior, RGB images are converted first. Estimates are clipped to [0, 1] before they
    are compared.

    Args:
        prior: what draws the details.
        images: sharp images in [0, 1] by name, each (C, H, W).
        factor: 2, 4, ... up to `2 ** levels`.
        samples: how many to draw of each image.
        seed: the same seed draws the same samples.
        callback: called with every record.

    Returns:
        One record per image, with `image`, `factor`, `samples`; `psnr_` and `ssim_` of `bicubic`,
        `lanczos`, `least_squares`, `mean` (of the samples) and `sample` (the first one);
        `consistency`, the largest difference between the low-pass image of an output and the
        given one; `rms_error` of the mean of the samples; `spread`, the root mean square over
        pixels of the samples' standard deviation; `calibration`, the error that this spread
        promises over the true one, 1 if the prior is right; and `seconds` per sample.
        `records.means(records, "factor")` averages them.

    Raises:
        UsageError: an image is smaller than `2 ** levels` pixels, or the prior does not enlarge by
            `factor`.

    Examples:
        >>> from scalewise.evaluation import evaluate_upscale
        >>> images = {"ramp": torch.linspace(0, 1, 64).expand(3, 64, 64)}
        >>> (record,) = evaluate_upscale(scalewise.load("photos"), images, factor=2, samples=2)
        >>> record["consistency"] < 1e-5
        True
    """
    records = []
    for name, image in images.items():
        clean = to_channels(image, min(image.shape[0], prior.channels))[0]
        clean = crop_to_multiple(clean, 1 << prior.levels)
        if 0 in clean.shape:
            raise UsageError(
                f"image {name!r} is too small: the model needs sides from {1 << prior.levels} "
                f"pixels, found {tuple(image.shape[-2:])}"
            )
        made = _evaluate_one(prior, clean, factor, samples, seed)
        record = {"image": name, "factor": factor, "samples": samples, **made}
        records.append(record)
        if callback:
            callback(record)
    return records


def _evaluate_one(
    prior: MultiScalePrior, clean: Tensor, factor: int, samples: int, seed: int
) -> Record:
    """Measure everything on one image (C, H, W)."""
    level, channels = factor.bit_length() - 1, clean.shape[0]
    small = low_pass(clean[None], level, prior.wavelet)
    given = to_channels(small, prior.channels)[0]
    start = time.perf_counter()
    drawn = prior.upscale(given, factor, samples=samples, seed=seed)[:, 0].cpu()
    seconds = (time.perf_counter() - start) / samples
    least_squares = prior.upscale_mean(given, factor).cpu()
    outputs = torch.cat([drawn, least_squares])
    again = low_pass(outputs, level, prior.wavelet)
    drawn = to_channels(drawn, channels)[0]
    estimates = {name: interpolate(small[0], factor, name) for name in FILTERS}
    estimates["least_squares"] = to_channels(least_squares[0], channels)[0]
    estimates["mean"], estimates["sample"] = drawn.mean(0), drawn[0]
    record: Record = {}
    for name, measure in (("psnr", psnr), ("ssim", ssim)):
        for kind, estimate in estimates.items():
            record[f"{name}_{kind}"] = measure(clean[None], estimate[None], clip=True).item()
    record["consistency"] = (again - given).abs().max().item()
    return record | _calibration(clean, drawn) | {"seconds": seconds}


def _calibration(clean: Tensor, drawn: Tensor) -> Record:
    """Compare the spread of K samples with the error of their mean.

    If truth and samples have one distribution of variance v, the error of the mean has variance
    `v * (1 + 1 / K)`.
    """
    error = (drawn.mean(0) - clean).square().mean().sqrt().item()
    if len(drawn) < 2:
        return {"rms_error": error, "spread": None, "calibration": None}
    spread = drawn.var(dim=0).mean().sqrt().item()
    promised = spread * (1 + 1 / len(drawn)) ** 0.5
    return {
        "rms_error": error,
        "spread": spread,
        "calibration": promised / error if error > 0 else None,
    }
