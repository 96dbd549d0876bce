"""Denoiser, residual and score are one function seen three ways; Tweedie's formula stands here.

For `noisy = clean + sigma * z` with white Gaussian `z`, the least-squares denoiser obeys
`E[clean | noisy] = noisy + sigma^2 * grad log p_sigma(noisy)` (Robbins 1956, Miyasawa 1961;
Kadkhodaie et al., ICLR 2023, equation 2).
"""

from __future__ import annotations

import torch
from torch import Tensor

Sigma = float | Tensor
"""A noise standard deviation: a number, a 0-d tensor, one value per image, shape (N,), or a map,
which broadcasts over the array, shape (N or 1, C or 1, H or 1, W or 1)."""


def per_image(sigma: Sigma, like: Tensor) -> Tensor:
    """Shape a noise level to broadcast over `like`: (1, 1, 1, 1), or (N, 1, 1, 1) for (N,)."""
    level = torch.as_tensor(sigma, dtype=like.dtype, device=like.device)
    return level if level.ndim == 4 else level.reshape(-1, 1, 1, 1)


def score_from_denoised(noisy: Tensor, denoised: Tensor, sigma: Sigma) -> Tensor:
    """Return `grad log p_sigma(noisy) = (denoised - noisy) / sigma^2`.

    Args:
        noisy: shape (N, C, H, W).
        denoised: the least-squares denoised `noisy`, same shape.
        sigma: noise standard deviation, in the units of `noisy`.

    Returns:
        The score, same shape, in the inverse of the units of `noisy`.

    Examples:
        >>> from scalewise.score import score_from_denoised
        >>> noisy, denoised = torch.full((1, 1, 2, 2), 0.7), torch.full((1, 1, 2, 2), 0.5)
        >>> score_from_denoised(noisy, denoised, 0.5).mean().round(decimals=3)
        tensor(-0.8000)
    """
    return (denoised - noisy) / per_image(sigma, noisy) ** 2


def denoised_from_score(noisy: Tensor, score: Tensor, sigma: Sigma) -> Tensor:
    """Return `E[clean | noisy] = noisy + sigma^2 * score`; the inverse of `score_from_denoised`.

    Args:
        noisy: shape (N, C, H, W).
        score: `grad log p_sigma(noisy)`, same shape.
        sigma: noise standard deviation, in the units of `noisy`.

    Examples:
        >>> from scalewise.score import denoised_from_score
        >>> noisy, score = torch.full((1, 1, 2, 2), 0.7), torch.full((1, 1, 2, 2), -0.8)
        >>> denoised_from_score(noisy, score, 0.5).mean().round(decimals=3)
        tensor(0.5000)
    """
    return noisy + per_image(sigma, noisy) ** 2 * score


def residual_sigma(noisy: Tensor, denoised: Tensor) -> Tensor:
    """Noise level read off a denoiser's own residual, shape (N,).

    The root mean square of `noisy - denoised` per image (Kadkhodaie and Simoncelli 2021,
    equation 7), which a blind network needs no other level than.

    Args:
        noisy: shape (N, C, H, W).
        denoised: the least-squares denoised `noisy`, same shape.

    Examples:
        >>> from scalewise.score import residual_sigma
        >>> noisy, denoised = torch.full((2, 1, 8, 8), 0.6), torch.full((2, 1, 8, 8), 0.5)
        >>> residual_sigma(noisy, denoised).round(decimals=3)
        tensor([0.1000, 0.1000])
    """
    return (noisy - denoised).square().mean(dim=(1, 2, 3)).sqrt()
