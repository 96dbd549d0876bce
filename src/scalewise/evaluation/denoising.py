"""Denoising measured: PSNR and SSIM at known noise levels, the prior blind to them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from torch import Tensor

from scalewise.evaluation.records import Callback, Record
from scalewise.images import to_channels
from scalewise.metrics import psnr, ssim
from scalewise.noise import GaussianField
from scalewise.prior import MultiScalePrior
from scalewise.restore import denoise_plane

SIGMAS = (15.0, 25.0, 50.0, 100.0)
"""Noise levels of the denoising literature, in 8-bit units."""


def add_noise(clean: Tensor, sigma: float, seed: int, index: int) -> Tensor:
    """Add white Gaussian noise that depends on the seed and the number of the image alone.

    Args:
        clean: one image, shape (C, H, W).
        sigma: noise standard deviation, in the units of `clean`.
        seed: see `GaussianField`.
        index: number of the image.

    Returns:
        The noisy image, same shape, not clipped.
    """
    height, width = clean.shape[-2:]
    field = GaussianField(seed, (index,), level=0, channels=clean.shape[0], size=(height, width))
    return clean + sigma * field(0)[0]


def evaluate_denoise(
    prior: MultiScalePrior,
    images: Mapping[str, Tensor],
    *,
    sigmas: Sequence[float] = SIGMAS,
    seed: int = 0,
    blind: bool = True,
    callback: Callback | None = None,
) -> list[Record]:
    """Denoise images at several noise levels and compare with the clean ones.

    For a prior of RGB images, a noisy gray image is repeated in three channels, and its estimate
    converted back; for a gray prior, RGB images are converted before noise is added. Estimates
    are clipped to [0, 1] before they are compared.

    Args:
        prior: what denoises.
        images: clean images in [0, 1] by name, each (C, H, W) of any size.
        sigmas: noise levels in 8-bit units.
        seed: noise of image `i` is a function of (seed, i).
        blind: do not tell the prior the noise level.
        callback: called with every record.

    Returns:
        One record per image and level, with `image`, `sigma`, `psnr_noisy` (of the unclipped noisy
        image), `psnr`, `ssim`, `error` (mean square), `sigma_estimated` (8-bit units; None unless
        blind) and `seconds`.
        `records.means(records, "sigma")` averages them.

    Examples:
        >>> from scalewise.evaluation import evaluate_denoise
        >>> images = {"ramp": torch.linspace(0, 1, 32).expand(3, 32, 32)}
        >>> (record,) = evaluate_denoise(scalewise.load("photos"), images, sigmas=[25], blind=False)
        >>> record["psnr"] > record["psnr_noisy"] + 5
        True
    """
    records = []
    for index, (name, image) in enumerate(images.items()):
        clean = to_channels(image, min(image.shape[0], prior.channels))[0]
        for sigma in sigmas:
            noisy = add_noise(clean, sigma / 255, seed, index)
            start = time.perf_counter()
            given = None if blind else sigma / 255
            denoised, noise = denoise_plane(noisy, prior, noise=given)
            seconds = time.perf_counter() - start
            record = {
                "image": name,
                "sigma": sigma,
                "psnr_noisy": psnr(clean[None], noisy[None]).item(),
                **compare(clean, denoised),
                "sigma_estimated": 255 * noise.sigma if blind else None,
                "seconds": seconds,
            }
            records.append(record)
            if callback:
                callback(record)
    return records


def compare(clean: Tensor, estimate: Tensor) -> Record:
    """PSNR, SSIM and mean square error of one estimate (C, H, W), clipped to [0, 1]."""
    pair = clean[None], estimate[None]
    error = (clean - estimate.clamp(0, 1)).square().mean().item()
    return {
        "psnr": psnr(*pair, clip=True).item(),
        "ssim": ssim(*pair, clip=True).item(),
        "error": error,
    }
