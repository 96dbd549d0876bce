"""Exactly solvable priors: periodic Gaussian fields, the yardstick of all that is estimated.

The frequencies of a stationary periodic Gaussian field are independent. So are those of the four
bands of one wavelet level, taken together, on their half-size grid: a band is a filtered image of
which every second pixel is kept, which folds four frequencies of the image onto one. Hence every
denoiser, conditional and density of the factorisation is one small matrix per frequency (4C x 4C),
in closed form. The networks here hold them, with the interfaces of learned ones.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from scalewise.errors import UsageError
from scalewise.networks import Bands, BandSigma, ConditionalDenoiser, Denoiser
from scalewise.prior import MultiScalePrior
from scalewise.score import Sigma
from scalewise.wavelets import GAIN, merge, split


class StationaryGaussian(nn.Module):
    """A periodic Gaussian field of M channels with the same statistics everywhere.

    Args:
        spectrum: cross-spectra `E[X X^H]` of the centred field's orthonormal Fourier transform X,
            shape (H, W, M, M), Hermitian; the identity for white noise of variance 1.
        mean: shape (M, H, W).
    """

    variances: Tensor
    basis: Tensor

    def __init__(self, spectrum: Tensor, mean: Tensor) -> None:
        super().__init__()
        variances, basis = torch.linalg.eigh(spectrum)
        self.mean = nn.Parameter(mean, requires_grad=False)
        self.register_buffer("variances", variances.clamp(min=0))
        self.register_buffer("basis", torch.view_as_real(basis))

    def denoise(self, noisy: Tensor, sigma: Sigma) -> Tensor:
        """Return `E[clean | noisy]`, the Wiener filter `S / (S + sigma^2)` about the mean.

        Args:
            noisy: shape (N, M, H, W).
            sigma: noise standard deviation from 0 to infinity, a number or shape (N,).
        """
        noise = torch.as_tensor(sigma, dtype=noisy.dtype, device=noisy.device).reshape(-1) ** 2
        variances = self.variances[..., None]
        gain = torch.where(noise == 0, 1, variances / (variances + noise))
        return self.mean + self._filtered(gain, noisy - self.mean)

    def log_density(self, fields: Tensor) -> Tensor:
        """Log density in nats of each field (N, M, H, W), shape (N,)."""
        variances = self.variances[..., None]
        power = self._modes(fields - self.mean).abs() ** 2
        return -0.5 * (power / variances + (2 * math.pi * variances).log()).sum(dim=(0, 1, 2))

    def entropy(self) -> float:
        """Differential entropy of a field in nats, the mean of `-log_density`."""
        return float(0.5 * (2 * math.pi * math.e * self.variances).log().sum())

    def draw(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw exact samples, shape (count, M, H, W): white noise filtered by `S^(1/2)`."""
        white = torch.randn(count, *self.mean.shape, generator=generator, dtype=self.mean.dtype)
        deviations = self.variances.sqrt()[..., None]
        return self.mean + self._filtered(deviations, white.to(self.mean.device))

    @property
    def sigma_range(self) -> tuple[float, float]:
        """Noise levels that hide all coefficients, and (almost) none."""
        deviations = self.variances.sqrt()
        largest = float(deviations.max())
        return 20 * largest, max(0.05 * float(deviations.min()), 1e-4 * largest)

    def _modes(self, centred: Tensor) -> Tensor:
        """Independent coefficients, of variance `variances`: (N, M, H, W) to (H, W, M, N)."""
        return torch.view_as_complex(self.basis).mH @ _frequencies(centred)

    def _filtered(self, gain: Tensor, centred: Tensor) -> Tensor:
        """Multiply every coefficient of centred fields by its gain."""
        return _field(torch.view_as_complex(self.basis) @ (gain * self._modes(centred)))


class GaussianDenoiser(Denoiser):
    """Exact `E[image | noisy]` of a stationary periodic Gaussian field; for one size only.

    Args:
        spectrum: power spectrum on the FFT grid, shape (H, W), or cross-spectra of C channels,
            shape (H, W, C, C); 1 for white noise of variance 1.
        mean: mean intensity, a number or shape (C, H, W).

    Examples:
        >>> from scalewise.exact import GaussianDenoiser
        >>> denoiser = GaussianDenoiser(torch.full((8, 8), 0.04))  # white, of deviation 0.2
        >>> denoiser(torch.full((1, 1, 8, 8), 0.7).double(), 0.2).mean().round(decimals=3)
        tensor(0.6000, dtype=torch.float64)
    """

    receptive_field = None
    noise_conditional = True
    of_whole_images = True

    def __init__(self, spectrum: Tensor, mean: float | Tensor = 0.5) -> None:
        spectrum, mean = _as_cross_spectrum(spectrum, mean)
        super().__init__(channels=len(mean), size=list(mean.shape[1:]))
        self.law = StationaryGaussian(spectrum, mean)

    def forward(self, noisy: Tensor, sigma: Sigma | None = None) -> Tensor:
        """Denoise images (N, C, H, W); `sigma` from 0 to infinity, a number or (N,)."""
        return self.law.denoise(noisy, self.need(sigma))

    def prior_mean(self, size: tuple[int, int]) -> Tensor:
        """The mean image, shape (1, C, H, W).

        Args:
            size: not looked at: a field has one size.

        Examples:
            >>> from scalewise.exact import GaussianDenoiser
            >>> GaussianDenoiser(torch.ones(8, 8), mean=0.25).prior_mean((8, 8)).unique()
            tensor([0.2500], dtype=torch.float64)
        """
        return self.law.mean[None]

    @property
    def sigma_range(self) -> tuple[float, float]:
        """From noise that hides everything to noise that hides (almost) nothing."""
        return self.law.sigma_range


class GaussianConditional(ConditionalDenoiser):
    """Exact denoiser of details given the low-pass image, for a stationary Gaussian field.

    Args:
        spectrum: cross-spectra of the bands (low, horizontal, vertical, diagonal) of one level, as
            `split_spectrum` returns them, shape (h, w, 4C, 4C).
        mean: mean of the bands, shape (4C, h, w).

    Examples:
        >>> from scalewise.exact import gaussian_prior, power_law_spectrum
        >>> network = gaussian_prior(0.04 * power_law_spectrum((16, 16)), levels=1).conditionals[0]
        >>> noisy, low = torch.rand(1, 3, 8, 8).double(), torch.rand(1, 1, 8, 8).double()
        >>> network(noisy, low, 0.1).details.shape
        torch.Size([1, 3, 8, 8])
    """

    receptive_field = None
    noise_conditional = True
    regression: Tensor

    def __init__(self, spectrum: Tensor, mean: Tensor) -> None:
        channels = len(mean) // 4
        super().__init__(channels=channels)
        cross = spectrum[..., channels:, :channels]
        inverse = torch.linalg.pinv(spectrum[..., :channels, :channels], hermitian=True)
        regression = cross @ inverse
        rest = spectrum[..., channels:, channels:] - regression @ cross.mH
        self.bands = StationaryGaussian(spectrum, mean)
        self.rest = StationaryGaussian(rest, torch.zeros_like(mean[channels:]))
        self.register_buffer("regression", torch.view_as_real(regression))

    def forward(
        self,
        noisy: Tensor,
        low: Tensor,
        sigma: BandSigma | None = None,
        noisy_low: Tensor | None = None,
    ) -> Bands:
        """Denoise details (N, 3C, h, w); `sigma` from 0 to infinity, the same for both bands.

        Without `noisy_low`, `low` is taken for clean. With it, both bands are their mean given
        `noisy` and `noisy_low`, to which the estimate `low`, made from the latter, adds nothing.
        """
        if isinstance(sigma, tuple):
            raise UsageError("exact priors know white noise; give one sigma, not one per level")
        sigma = self.need(sigma)
        if noisy_low is None:
            expected = self.expected(low)
            return Bands(expected + self.rest.denoise(noisy - expected, sigma), low)
        bands = self.bands.denoise(torch.cat([noisy_low, noisy], dim=1), sigma)
        return Bands(bands[:, self.channels :], bands[:, : self.channels])

    def expected(self, low: Tensor) -> Tensor:
        """Return `E[details | low]`, shape (N, 3C, h, w).

        Args:
            low: shape (N, C, h, w).

        Examples:
            >>> from scalewise.exact import gaussian_prior
            >>> network = gaussian_prior(torch.full((16, 16), 0.04), levels=1).conditionals[0]
            >>> expected = network.expected(torch.rand(1, 1, 8, 8).double())
            >>> bool((expected.abs() < 1e-9).all())  # nothing, of independent pixels
            True
        """
        low_mean, details_mean = self.bands.mean.tensor_split([self.channels])
        predicted = torch.view_as_complex(self.regression) @ _frequencies(low - low_mean)
        return details_mean + _field(predicted)

    def log_density(self, details: Tensor, low: Tensor) -> Tensor:
        """Log density in nats of the details given each low-pass image, shape (N,).

        Args:
            details: shape (N, 3C, h, w).
            low: shape (N, C, h, w).

        Examples:
            >>> from scalewise.exact import gaussian_prior
            >>> network = gaussian_prior(torch.full((4, 4), 0.04), levels=1).conditionals[0]
            >>> details, low = torch.zeros(1, 3, 2, 2), torch.full((1, 1, 2, 2), 0.5)
            >>> network.log_density(details.double(), low.double()).round(decimals=2)
            tensor([16.6000], dtype=torch.float64)
        """
        return self.rest.log_density(details - self.expected(low))

    @property
    def sigma_range(self) -> tuple[float, float]:
        """From noise that hides everything to noise that hides (almost) nothing."""
        return self.rest.sigma_range


def split_spectrum(spectrum: Tensor, wavelet: str = "haar") -> Tensor:
    """Cross-spectra of the bands of one level of the wavelet transform.

    From (H, W, C, C), H and W even, to (H/2, W/2, 4C, 4C), bands in the order low, horizontal,
    vertical, diagonal; the first C x C block is the spectrum of the low-pass image.
    """
    height, width, channels, _ = spectrum.shape
    impulses = torch.zeros(4, 4, height // 2, width // 2, dtype=torch.float64)
    impulses[:, :, 0, 0] = torch.eye(4)
    looks_at = GAIN**2 * merge(impulses[:, :1], impulses[:, 1:], wavelet)  # adjoint of `split`
    transfer = torch.fft.fft2(looks_at[:, 0]).conj().to(spectrum.device)
    full = torch.einsum("ahw,hwcd,bhw->hwacbd", transfer, spectrum, transfer.conj())
    aliases = full.reshape(2, height // 2, 2, width // 2, 4 * channels, 4 * channels)
    return aliases.sum(dim=(0, 2)) / 4


def gaussian_prior(
    spectrum: Tensor, levels: int, wavelet: str = "haar", mean: float | Tensor = 0.5
) -> MultiScalePrior:
    """Make the exact multi-scale prior of a stationary periodic Gaussian field, in float64.

    `spectrum` and `mean` are those of `GaussianDenoiser`, H and W multiples of `2 ** levels`.

    Examples:
        >>> from scalewise.exact import gaussian_prior, power_law_spectrum
        >>> prior = gaussian_prior(0.04 * power_law_spectrum((32, 32)), levels=2)
        >>> prior.sample(2).shape
        torch.Size([2, 1, 32, 32])
    """
    spectrum, mean = _as_cross_spectrum(spectrum, mean)
    details, channels = [], len(mean)
    for _ in range(levels):
        spectrum = split_spectrum(spectrum, wavelet)
        mean = torch.cat(split(mean[None], wavelet), dim=1)[0]
        details.append(GaussianConditional(spectrum, mean))
        spectrum, mean = spectrum[..., :channels, :channels], mean[:channels]
    return MultiScalePrior(GaussianDenoiser(spectrum, mean), details, wavelet)


def log_densities(prior: MultiScalePrior, images: Tensor) -> list[Tensor]:
    """Exact log density of each factor of `gaussian_prior`, in nats.

    In the units of the orthonormal transform (a band of level j divided by `GAIN ** j`), so that
    they add up to the log density of images (N, C, H, W). Returns one tensor of shape (N,) for the
    details of each level, finest first, and one for `x_J`.

    Examples:
        >>> from scalewise.exact import gaussian_prior, log_densities
        >>> prior = gaussian_prior(torch.full((4, 4), 0.04), levels=1)
        >>> sum(log_densities(prior, torch.full((1, 1, 4, 4), 0.5).double())).round(decimals=2)
        tensor([11.0500], dtype=torch.float64)
    """
    factors, per_value = [], 0.0
    for network in prior.details:
        images, details = split(images, prior.wavelet)
        per_value += math.log(GAIN)
        density = cast(GaussianConditional, network).log_density(details, images)
        factors.append(density + per_value * details[0].numel())
    density = cast(GaussianDenoiser, prior.low).law.log_density(images)
    return [*factors, density + per_value * images[0].numel()]


def power_law_spectrum(
    size: tuple[int, int], corner: float = 1 / 32, alpha: float = 1.0, lattice: bool = False
) -> Tensor:
    """Power spectrum `1 / (corner^2 + f^2)^alpha`, scaled to pixels of variance 1.

    Args:
        size: height and width.
        corner: frequency below which it is flat, in cycles per pixel.
        alpha: 1 is about that of natural images.
        lattice: take `sin(pi f) / pi` for f; with `alpha` 1 the field is then exactly Markov on the
            4 nearest neighbours.

    Returns:
        Shape (H, W), float64, on the grid of `torch.fft.fft2`.

    Examples:
        >>> from scalewise.exact import power_law_spectrum
        >>> power_law_spectrum((32, 32)).mean().round(decimals=3)
        tensor(1., dtype=torch.float64)
    """
    rows, columns = (torch.fft.fftfreq(side, dtype=torch.float64) for side in size)
    if lattice:
        rows, columns = torch.sin(math.pi * rows) / math.pi, torch.sin(math.pi * columns) / math.pi
    power = (corner**2 + rows[:, None] ** 2 + columns[None, :] ** 2) ** -alpha
    return power / power.mean()


def _as_cross_spectrum(spectrum: Tensor, mean: float | Tensor) -> tuple[Tensor, Tensor]:
    """Give a spectrum the shape (H, W, C, C) and a mean the shape (C, H, W)."""
    if spectrum.ndim == 2:
        spectrum = spectrum[..., None, None]
    height, width, channels, _ = spectrum.shape
    mean = torch.as_tensor(mean, dtype=torch.float64, device=spectrum.device)
    return spectrum.to(torch.complex128), mean.expand(channels, height, width).clone()


def _frequencies(fields: Tensor) -> Tensor:
    """Orthonormal Fourier transform, (N, M, H, W) to (H, W, M, N)."""
    return torch.fft.fft2(fields, norm="ortho").permute(2, 3, 1, 0)


def _field(frequencies: Tensor) -> Tensor:
    """Inverse of `_frequencies`."""
    return torch.fft.ifft2(frequencies.permute(3, 2, 0, 1), norm="ortho").real
