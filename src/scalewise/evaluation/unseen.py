"""How well a model denoises images of which no clean version exists.

Stein's unbiased estimate of the error of an estimate `c(y)` of the mean of `y`, whose noise has the
covariance `S`, is `|c(y) - y|^2 - tr S + 2 tr(S dc/dy)` (Stein, "Estimation of the mean of a
multivariate normal distribution", Annals of Statistics 1981), the trace from random probes (Ramani,
Blu and Unser, "Monte-Carlo SURE", IEEE TIP 2008). The noise must be known, or estimated; between
two models its level counts by little, as the first two terms do not depend on it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.evaluation.records import Callback, Record, crop_to_multiple
from scalewise.images import to_channels
from scalewise.noise import PROBES, GaussianField
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore import GRAY_GAIN, denoise_plane
from scalewise.stabilise import stabiliser_of

COUNT = 4
"""Random directions along which the derivative is taken, two estimates each."""

PUSH = 0.1
"""How far, in deviations of the noise."""

LEAST_ERROR = 1e-9
"""Least mean square error that is told as a PSNR."""


@torch.no_grad()
def evaluate_unseen(
    prior: MultiScalePrior,
    images: Mapping[str, Tensor],
    noise: Mapping[str, NoiseModel],
    *,
    probes: int = COUNT,
    seed: int = 0,
    callback: Callback | None = None,
) -> list[Record]:
    """Estimate the error of a model's denoised images without clean ones.

    Where noise grows with the intensity, errors are those of stabilised intensities.

    Args:
        prior: what denoises.
        images: noisy, in [0, 1] intensities by name, each (C, H, W); cut to what all levels need.
        noise: of each of them.
        probes: for the derivative, two estimates each.
        seed: probes of image `i` are a function of (seed, i): the same for all models.
        callback: called with every record.

    Returns:
        One record per image: `image`, `sigma` (8-bit units), `error` (mean square, may be below 0),
        `psnr` in dB and `seconds`.

    Raises:
        UsageError: an image is said to have no noise.
    """
    records = []
    for index, (name, image) in enumerate(images.items()):
        model = noise[name]
        if model.sigma == 0:
            raise UsageError(f"{name} has no noise to tell an error by; tell it with --sigma")
        start = time.perf_counter()
        noisy = crop_to_multiple(image, 1 << max(1, prior.levels))
        if bool((noisy == noisy[:1]).all()):
            noisy, model = noisy[:1], model.channel(0)  # gray: all channels have the same noise
        if stabiliser := stabiliser_of(model):
            noisy, model = stabiliser.forward(noisy), stabiliser.noise
        if prior.channels < len(noisy):
            noisy, model = to_channels(noisy, prior.channels)[0], model.as_gray(GRAY_GAIN)
        error = _stein(prior, noisy, model, probes, seed, index)
        record = {
            "image": name,
            "sigma": 255 * model.sigma,
            "error": error,
            "psnr": -10 * math.log10(max(error, LEAST_ERROR)),
            "seconds": time.perf_counter() - start,
        }
        records.append(record)
        if callback:
            callback(record)
    return records


def _stein(
    prior: MultiScalePrior, noisy: Tensor, noise: NoiseModel, probes: int, seed: int, index: int
) -> float:
    """Stein's estimate of the mean square error of one denoised image (C, H, W)."""
    channels, height, width = noisy.shape

    def estimate(image: Tensor) -> Tensor:
        return denoise_plane(image, prior, noise=noise)[0]

    levels = noise.levels(noisy[None], max(1, prior.levels), prior.wavelet)
    field = GaussianField(seed, (index,), level=PROBES, channels=channels, size=(height, width))
    trace = 0.0
    for probe in range(probes):
        towards = levels.shape(field(probe), prior.wavelet)[0]
        difference = estimate(noisy + PUSH * towards) - estimate(noisy - PUSH * towards)
        trace += float((towards * difference).mean()) / (2 * PUSH * probes)
    variance = float(levels.whole.square().mean())
    return float((estimate(noisy) - noisy).square().mean()) - variance + 2 * trace
