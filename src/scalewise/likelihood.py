"""Bits per dimension, from denoising errors over all noise levels.

What a measurement `clean + sigma * z` says of `clean` grows, with the signal-to-noise ratio
`1 / sigma^2`, by half the error of the least-squares denoiser (Guo, Shamai and Verdu, "Mutual
information and minimum mean-square error in Gaussian channels", IEEE TIT 2005, theorem 1; for each
`clean` on its own, Kong, Brekelmans and Ver Steeg, "Information-theoretic diffusion", ICLR 2023,
equation 6). So the information down to `sigma_min` is

    integral over log sigma > log sigma_min of E_z |denoise(clean + sigma z) - clean|^2 / sigma^2

and with it the code length of `clean + sigma_min * z`, its negative log density averaged over z:

    code length = information + d / 2 log(2 pi e sigma_min^2)   in nats, for d coefficients.

A denoiser that is not the least-squares one has a larger error and so costs bits: the mean over
images bounds the true code length from above.

No scales here: one denoiser, one array. `MultiScalePrior.nll` adds up the factors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.score import per_image

SIGMA_MIN = 1 / (255 * math.sqrt(2 * math.pi * math.e))
"""Noise of differential entropy zero in 8-bit units, 0.242 of a step: as uniform noise of a step.

Images of 8 bits have no density; with noise they have. At this level code length and information
are the same number, so every factor's share is positive and the sum compares with file sizes.
"""

SLACK = 5.0
"""Standard deviations by which a residual may exceed the noise and still be believed."""


class Likelihood(NamedTuple):
    """Code lengths in bits per dimension of the images, per factor.

    Attributes:
        bits: negative log2 density of each factor over the number of values C * H * W of an image,
            so that they add up; shape (N, J + 1): details of levels 1 (finest) to J, then `x_J`.
        errors: their standard errors by the noise that was drawn, same shape.

    Examples:
        >>> likelihood = scalewise.load("photos").nll(torch.rand(1, 3, 32, 32), steps=4, draws=2)
        >>> likelihood.bits.shape, likelihood.total.shape
        (torch.Size([1, 4]), torch.Size([1]))
    """

    bits: Tensor
    errors: Tensor

    @property
    def total(self) -> Tensor:
        """Bits per dimension, shape (N,)."""
        return self.bits.sum(dim=1)

    @property
    def error(self) -> Tensor:
        """Standard error of `total`, shape (N,)."""
        return self.errors.square().sum(dim=1).sqrt()

    @property
    def per_coefficient(self) -> Tensor:
        """Bits per coefficient of each factor's own, shape (N, J + 1)."""
        levels = self.bits.shape[1] - 1
        shares = [3 / 4**level for level in range(1, levels + 1)] + [1 / 4**levels]
        return self.bits / self.bits.new_tensor(shares)


class Information(NamedTuple):
    """What noisy measurements say of each clean array, in nats.

    Attributes:
        nats: shape (N,), float64.
        variance: of `nats`, by the noise that was drawn, shape (N,).
        size: number of coefficients of one array.
    """

    nats: Tensor
    variance: Tensor
    size: int


def information(
    denoise: Callable[[Tensor, Tensor], Tensor],
    clean: Tensor,
    noise: Callable[[int], Tensor],
    *,
    sigma_range: tuple[float, float],
    mean: Tensor | float = 0.0,
    steps: int = 16,
    draws: int = 3,
) -> Information:
    """Integrate a denoiser's error over the noise levels.

    Rather than the error, its gain over a linear denoiser is integrated, that of a white Gaussian
    signal about `mean` with the array's own mean square: its integral is known, and the gain
    vanishes towards both ends. Above `sigma_range` it is taken for zero. So it is where a denoiser
    leaves more residual than there is noise, which no least-squares estimate does: networks that
    never learnt low noise would otherwise cost bits without bound.

    Args:
        denoise: maps (noisy, sigma of shape (N,)) to the least-squares clean estimate.
        clean: shape (N, M, h, w).
        noise: standard Gaussian field of each step, of the shape of `clean`.
        sigma_range: noise levels that hide everything, and down to which to measure.
        mean: best guess of `clean` that needs no measurement, to broadcast with it.
        steps: number of noise levels, nodes of Gauss-Legendre quadrature in log sigma.
        draws: fields per noise level, from 2, to know the standard error.
    """
    sigmas, weights = log_quadrature(sigma_range, steps)
    spread = (clean - mean).square().mean(dim=(1, 2, 3)).double()
    size = clean[0].numel()
    nats = 0.5 * size * (spread / min(sigma_range) ** 2).log1p()
    variance = torch.zeros_like(nats)
    for step, (sigma, weight) in enumerate(zip(sigmas, weights, strict=True)):
        level = torch.full((len(clean),), sigma, dtype=clean.dtype, device=clean.device)
        gains = []
        for draw in range(draws):
            noisy = clean + sigma * noise(step * draws + draw)
            linear = mean + per_image(spread / (spread + sigma**2), clean) * (noisy - mean)
            better = _believed(denoise(noisy, level), noisy, linear, sigma)
            gain = (linear - better) * (linear + better - 2 * clean) / sigma**2
            gains.append(gain.sum(dim=(1, 2, 3), dtype=torch.float64))
        gained = torch.stack(gains)
        nats = nats - weight * gained.mean(dim=0)
        variance = variance + weight**2 * gained.var(dim=0) / draws
    return Information(nats, variance, size)


def bits_per_dimension(factors: Sequence[Information], sigma_min: float) -> Likelihood:
    """Turn the information of all factors of images into their code lengths.

    Args:
        factors: details of levels 1 to J, then `x_J`, down to noise of `sigma_min` in the image.
        sigma_min: in [0, 1] units; densities are those over intensities from 0 to 255.
    """
    size = sum(factor.size for factor in factors)
    constant = math.log(255 * sigma_min) + 0.5 * math.log(2 * math.pi * math.e)
    unit = math.log(2) * size
    bits = [(factor.nats + constant * factor.size) / unit for factor in factors]
    errors = [factor.variance.sqrt() / unit for factor in factors]
    return Likelihood(torch.stack(bits, dim=1), torch.stack(errors, dim=1))


def log_quadrature(sigma_range: tuple[float, float], steps: int) -> tuple[list[float], list[float]]:
    """Nodes and weights of Gauss-Legendre quadrature over log sigma, highest sigma first.

    Args:
        sigma_range: highest and lowest noise level; if the first is not the higher, all weights
            are zero.
        steps: number of nodes.
    """
    high, low = (math.log(sigma) for sigma in sigma_range)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    half = max(0.0, (high - low) / 2)
    return np.exp(low + half * (1 - nodes)).tolist(), (half * weights).tolist()


def check_settings(sigma_min: float, steps: int, draws: int) -> None:
    """Refuse settings from which no likelihood can be had."""
    if not 0 < sigma_min < math.inf:
        raise UsageError(
            f"sigma_min must be above 0 and finite, in [0, 1] intensities, found {sigma_min}: "
            "without noise, quantised images have no density"
        )
    if steps < 1 or draws < 2:
        raise UsageError(
            f"steps must be 1 or more and draws 2 or more, found steps={steps}, draws={draws}"
        )


def _believed(denoised: Tensor, noisy: Tensor, linear: Tensor, sigma: float) -> Tensor:
    """`denoised`, or `linear` for the images whose residual is larger than noise can be."""
    residual = (noisy - denoised).square().mean(dim=(1, 2, 3))
    limit = sigma**2 * (1 + SLACK * math.sqrt(2 / noisy[0].numel()))
    return torch.where((residual <= limit).view(-1, 1, 1, 1), denoised, linear)
