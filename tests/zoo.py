"""Problems with a known answer, and dense linear algebra as a second way to each answer."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from scalewise.exact import power_law_spectrum
from scalewise.networks.bias_free import BiasFreeNorm
from scalewise.wavelets import split

SIZE = (8, 8)

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def smooth_spectrum(size: tuple[int, int] = SIZE, deviation: float = 0.2) -> Tensor:
    """A one-channel spectrum of mild dynamic range, of pixels of the given deviation."""
    return deviation**2 * power_law_spectrum(size, corner=1 / 8)


def coloured_spectrum(size: tuple[int, int] = SIZE, channels: int = 2) -> Tensor:
    """Cross-spectra of correlated channels without any symmetry, full rank at every frequency."""
    generator = torch.Generator().manual_seed(7)
    filters = torch.randn(channels, channels, *size, generator=generator, dtype=torch.float64)
    filters[:, :, 3:] = 0
    transfer = torch.fft.fft2(filters).permute(2, 3, 0, 1)
    return 0.002 * (transfer @ transfer.mH + torch.eye(channels))


def dense_covariance(spectrum: Tensor) -> Tensor:
    """Covariance matrix of all values of a field, (C H W, C H W), from its spectrum."""
    if spectrum.ndim == 2:
        spectrum = spectrum[..., None, None]
    height, width, channels, _ = spectrum.shape
    lags = torch.fft.ifft2(spectrum.to(torch.complex128), dim=(0, 1)).real
    rows, columns = torch.arange(height), torch.arange(width)
    down = (rows[:, None] - rows[None, :]) % height
    right = (columns[:, None] - columns[None, :]) % width
    values = lags[down[:, None, :, None], right[None, :, None, :]]  # y, x, y', x', c, c'
    return values.permute(4, 0, 1, 5, 2, 3).reshape(2 * [channels * height * width])


def dense_split(size: tuple[int, int], channels: int, wavelet: str) -> tuple[Tensor, Tensor]:
    """Matrices of `split`: image (C H W) to low-pass image and to details."""
    count = channels * size[0] * size[1]
    impulses = torch.eye(count, dtype=torch.float64).reshape(count, channels, *size)
    low, details = split(impulses, wavelet)
    return low.flatten(1).T, details.flatten(1).T


def condition(
    mean: Tensor, covariance: Tensor, look: Tensor, seen: Tensor, noise: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """Mean (N, K) and covariance (K, K) of a Gaussian vector given `seen = look @ it + noise`.

    `mean` has shape (K,), `look` (L, K), `seen` (N, L), `noise` (L,) or a number: variances.
    """
    noisy = look @ covariance @ look.T + torch.diag(
        torch.as_tensor(noise, dtype=torch.float64).expand(len(look))
    )
    gain = torch.linalg.solve(noisy, look @ covariance).T
    return mean + (seen - look @ mean) @ gain.T, covariance - gain @ look @ covariance


def error_of_details(
    spectrum: Tensor, seen: list[int], ratio: float, wavelet: str = "haar"
) -> float:
    """Mean squared error of a gray field's details of level 1 at one place, the first.

    Args:
        spectrum: of the field.
        seen: places of the half-size grid where the low-pass image is known, and noisy details.
        ratio: noise in deviations of the details; infinite where they are not known at all.
        wavelet: between the scales.
    """
    size = (spectrum.shape[0], spectrum.shape[1])
    places = spectrum.numel() // 4
    transform = torch.cat(dense_split(size, 1, wavelet))  # low, then three bands
    bands = transform @ dense_covariance(spectrum) @ transform.T
    sigma = ratio * float(bands.diagonal()[places:].mean().sqrt())
    details = [] if math.isinf(ratio) else [b * places + s for b in (1, 2, 3) for s in seen]
    noise = [0.0] * len(seen) + [sigma**2] * len(details)
    look = torch.eye(4 * places, dtype=torch.float64)[[*seen, *details]]
    nothing = torch.zeros(1, len(look), dtype=torch.float64)
    mean = torch.zeros(4 * places, dtype=torch.float64)
    left = condition(mean, bands, look, nothing, torch.tensor(noise, dtype=torch.float64))[1]
    return float(left.diagonal()[places::places].mean())


def randomised(network: AnyModule, seed: int = 0, positive: bool = False) -> AnyModule:
    """Give a network random weights, gains and deviations, in evaluation mode.

    With `positive`, all weights are above zero, so that no unit is ever cut off and no two paths
    through the network cancel.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                values = torch.randn(parameter.shape, generator=generator)
                values /= parameter[0].numel() ** 0.5
            else:
                values = 1 + 0.3 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(values.abs() + 1e-3 if positive else values)
        for module in network.modules():
            if isinstance(module, BiasFreeNorm):
                module.running_sd.uniform_(0.5, 2, generator=generator)
    return network.eval()


def smooth_picture(channels: int, side: int, seed: int = 0) -> Tensor:
    """A picture (C, side, side) of soft shapes and some edges, from 0.1 to 0.9."""
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(1, channels, 6, 6, generator=generator)
    smooth = nn.functional.interpolate(rough, size=(side, side), mode="bicubic")[0].clamp(0, 1)
    rows = torch.arange(side)
    square = ((rows - side // 3).abs() < side // 6).float()
    edges = 0.3 * square[:, None] * square[None, :]
    return (0.1 + 0.5 * smooth + edges).clamp(0, 0.9)
