"""Best linear estimates of Gaussian details from square neighbourhoods, in theory and simulated.

In a Gaussian field the least-squares estimate is linear, so what an r x r neighbourhood can do is
known exactly: one linear system from the covariances. Regression on simulated fields must find the
same error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scalewise.exact import split_spectrum
from scalewise.wavelets import split


@dataclass(frozen=True)
class LevelLaw:
    """The bands of one level of a stationary Gaussian field.

    Attributes:
        covariance: of any two bands by their distance, shape (4, 4, h, w), periodic, in the order
            low, horizontal, vertical, diagonal.
        spectrum: cross-spectra of the bands, shape (h, w, 4, 4).
    """

    covariance: Tensor
    spectrum: Tensor

    @property
    def deviation(self) -> float:
        """Root mean square of the details."""
        return math.sqrt(float(self.covariance[1:, 1:, 0, 0].diagonal().mean()))

    def full_error(self, sigma: float) -> float:
        """Mean squared error of the details given all noisy details and the clean low-pass image.

        Args:
            sigma: noise of the details; infinite where only the low-pass image is seen.
        """
        cross = self.spectrum[..., 1:, :1]
        rest = self.spectrum[..., 1:, 1:] - cross @ cross.mH / self.spectrum[..., :1, :1]
        variances = torch.linalg.eigvalsh(rest).clamp(min=0)
        kept = variances if math.isinf(sigma) else variances * sigma**2 / (variances + sigma**2)
        return float(kept.mean())

    def local_error(self, field: int, sigma: float) -> float:
        """The same when only a field x field neighbourhood of both is seen."""
        bands, rows, columns = _places(field, math.isinf(sigma))
        seen = self._between((bands, rows, columns), (bands, rows, columns))
        if not math.isinf(sigma):
            seen = seen + sigma**2 * torch.diag((bands > 0).double())
        centre = (torch.arange(1, 4), torch.zeros(3).long(), torch.zeros(3).long())
        cross = self._between(centre, (bands, rows, columns))
        prior = self._between(centre, centre)
        explained = cross @ torch.linalg.solve(seen, cross.T)
        return float((prior - explained).diagonal().mean())

    def _between(
        self, one: tuple[Tensor, Tensor, Tensor], other: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        """Covariance matrix of two lists of (band, row, column)."""
        height, width = self.covariance.shape[-2:]
        down = (one[1][:, None] - other[1][None]) % height
        right = (one[2][:, None] - other[2][None]) % width
        return self.covariance[one[0][:, None], other[0][None], down, right]


def level_laws(spectrum: Tensor, levels: int, wavelet: str = "haar") -> list[LevelLaw]:
    """The laws of the bands of every level, finest first.

    Args:
        spectrum: power spectrum of the field, shape (H, W).
        levels: how many.
        wavelet: between the scales.
    """
    now = spectrum[..., None, None].to(torch.complex128)
    laws = []
    for _ in range(levels):
        bands = split_spectrum(now, wavelet)
        covariance = torch.fft.ifft2(bands, dim=(0, 1)).real.permute(2, 3, 0, 1)
        laws.append(LevelLaw(covariance, bands))
        now = bands[..., :1, :1]
    return laws


def simulated_errors(
    images: Tensor, level: int, fields: tuple[int, ...], sigma: float, seed: int, wavelet: str
) -> dict[int, tuple[float, float]]:
    """Error of regression on neighbourhoods, fitted on half of the images, taken on all.

    Regression on n rows of p values errs too little by a share of p / n where it was fitted, and
    too much by as much elsewhere, so the mean over both halves has neither bias.

    Args:
        images: zero-mean fields or images, shape (N, 1, H, W).
        level: from 1.
        fields: sides of the neighbourhoods.
        sigma: noise of the details; infinite where only the low-pass image is seen.
        seed: of the noise.
        wavelet: between the scales.

    Returns:
        By side: mean squared error, and the standard error of that mean, over images.
    """
    low = images.double()
    for _ in range(level):
        low, details = split(low, wavelet)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(details.shape, generator=generator, dtype=torch.float64)
    seen = low if math.isinf(sigma) else torch.cat([low, details + sigma * noise], dim=1)
    half = len(images) // 2
    found = {}
    for field in fields:
        values = seen.shape[1] * field**2
        gram = torch.zeros(values, values, dtype=torch.float64)
        cross = torch.zeros(values, details.shape[1], dtype=torch.float64)
        for part in range(0, half, 16):
            rows = _neighbourhoods(seen[part : min(half, part + 16)], field)
            aims = _flat(details[part : min(half, part + 16)])
            gram, cross = gram + rows.T @ rows, cross + rows.T @ aims
        ridge = 1e-9 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
        weights = torch.linalg.solve(gram + ridge, cross)
        errors = torch.stack(
            [
                (_neighbourhoods(seen[i : i + 1], field) @ weights - _flat(details[i : i + 1]))
                .square()
                .mean()
                for i in range(2 * half)
            ]
        )
        found[field] = float(errors.mean()), float(errors.std() / math.sqrt(len(errors)))
    return found


def _places(field: int, only_low: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Bands, rows and columns of all that a neighbourhood holds."""
    offsets = torch.arange(field) - field // 2
    bands = torch.arange(1 if only_low else 4)
    grid = torch.meshgrid(bands, offsets, offsets, indexing="ij")
    return grid[0].flatten(), grid[1].flatten(), grid[2].flatten()


def _neighbourhoods(images: Tensor, field: int) -> Tensor:
    """All neighbourhoods as rows, periodic: (N, C, h, w) to (N h w, C field^2)."""
    radius = field // 2
    padded = torch.nn.functional.pad(images, (radius,) * 4, mode="circular")
    windows = padded.unfold(2, field, 1).unfold(3, field, 1)
    return windows.permute(0, 2, 3, 1, 4, 5).flatten(0, 2).flatten(1)


def _flat(details: Tensor) -> Tensor:
    return details.permute(0, 2, 3, 1).flatten(0, 2)


def pixel_errors(
    spectrum: Tensor, fields: tuple[int, ...], sigma: float
) -> tuple[float, dict[int, float]]:
    """Errors of pixel-domain denoising: with the whole field seen, and by neighbourhood.

    Args:
        spectrum: power spectrum, shape (H, W).
        fields: sides of the neighbourhoods.
        sigma: noise of the pixels.
    """
    full = float((spectrum * sigma**2 / (spectrum + sigma**2)).mean())
    lags = torch.fft.ifft2(spectrum.to(torch.complex128)).real
    height, width = lags.shape
    found = {}
    for field in fields:
        offsets = torch.arange(field) - field // 2
        rows, columns = (part.flatten() for part in torch.meshgrid(offsets, offsets, indexing="ij"))
        down, right = rows[:, None] - rows[None], columns[:, None] - columns[None]
        seen = lags[down % height, right % width]
        seen = seen + sigma**2 * torch.eye(len(rows), dtype=lags.dtype)
        cross = lags[rows % height, columns % width]
        found[field] = float(lags[0, 0] - cross @ torch.linalg.solve(seen, cross))
    return full, found
