"""How close an estimate is to the clean image: PSNR and SSIM.

All take intensities in [0, 1], so the peak is 1. They compute in float64 on the CPU.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW, SPREAD = 11, 1.5
"""Side and standard deviation, in pixels, of the Gaussian window of SSIM."""


def psnr(clean: Tensor, estimate: Tensor, clip: bool = False) -> Tensor:
    """Peak signal-to-noise ratio, `10 log10(1 / MSE)`, over all pixels and channels.

    Args:
        clean: images in [0, 1], shape (N, C, H, W).
        estimate: estimates of them, same shape.
        clip: clip the estimate to [0, 1] first, as writing it to a file would.

    Returns:
        Decibels per image, shape (N,); infinite where the estimate is exact.

    Examples:
        >>> from scalewise.metrics import psnr
        >>> psnr(torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.1)).round(decimals=2)
        tensor([20.], dtype=torch.float64)
    """
    clean, estimate = _pair(clean, estimate, clip)
    return -10 * (clean - estimate).square().mean(dim=(1, 2, 3)).log10()


def pooled_psnr(clean: Tensor, estimate: Tensor) -> float:
    """Peak signal-to-noise ratio in decibels, of all images (N, C, H, W) as one.

    What training and validation follow: the mean squared error is the loss.
    """
    clean, estimate = _pair(clean, estimate, clip=False)
    return float(-10 * (clean - estimate).square().mean().log10())


def ssim(clean: Tensor, estimate: Tensor, clip: bool = False) -> Tensor:
    """Structural similarity, with a Gaussian window of 11x11 pixels and standard deviation 1.5.

    Channels are compared one by one and averaged; only places where the whole window fits count.
    Images narrower than the window get a narrower one. Source: Wang, Bovik, Sheikh and
    Simoncelli, "Image quality assessment: from error visibility to structural similarity", IEEE
    TIP 2004, equation 13, with their K1 = 0.01 and K2 = 0.03.

    Args:
        clean: images in [0, 1], shape (N, C, H, W).
        estimate: estimates of them, same shape.
        clip: clip the estimate to [0, 1] first.

    Returns:
        Similarity per image, shape (N,); 1 where the estimate is exact.

    Examples:
        >>> from scalewise.metrics import ssim
        >>> image = torch.rand(1, 3, 32, 32)
        >>> ssim(image, image).round(decimals=4)
        tensor([1.], dtype=torch.float64)
    """
    clean, estimate = _pair(clean, estimate, clip)
    mean_clean, mean_estimate = _smooth(clean), _smooth(estimate)
    product = mean_clean * mean_estimate
    squares = mean_clean**2 + mean_estimate**2
    covariance = _smooth(clean * estimate) - product
    variances = _smooth(clean**2 + estimate**2) - squares
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * product + c1) * (2 * covariance + c2)
    return (similarity / ((squares + c1) * (variances + c2))).mean(dim=(1, 2, 3))


def _pair(clean: Tensor, estimate: Tensor, clip: bool) -> tuple[Tensor, Tensor]:
    clean, estimate = clean.detach().cpu().double(), estimate.detach().cpu().double()
    return clean, estimate.clamp(0, 1) if clip else estimate


def _smooth(images: Tensor) -> Tensor:
    """Weighted means under the Gaussian window, where it fits."""
    side = min(WINDOW, *images.shape[-2:])
    places = torch.arange(side - 1 + side % 2, dtype=images.dtype)
    window = (-((places - places.mean()) ** 2) / (2 * SPREAD**2)).exp()
    window = window / window.sum()
    planes = images.flatten(0, 1)[:, None]
    planes = F.conv2d(F.conv2d(planes, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    return planes.view(*images.shape[:2], *planes.shape[-2:])
