"""Exact priors against dense linear algebra, which knows nothing of spectra."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal
from zoo import (
    SIZE,
    coloured_spectrum,
    condition,
    dense_covariance,
    dense_split,
    smooth_spectrum,
)

from scalewise.exact import (
    GaussianConditional,
    GaussianDenoiser,
    gaussian_prior,
    log_densities,
    power_law_spectrum,
    split_spectrum,
)
from scalewise.wavelets import low_pass, split

SPECTRA = {"gray": smooth_spectrum((8, 4)), "colour": coloured_spectrum((8, 4))}
WAVELETS = ["haar", "db2", "sym4"]


def ramp(channels: int, size: tuple[int, int]) -> Tensor:
    """A mean image that differs everywhere."""
    values = torch.linspace(0.2, 0.8, channels * size[0] * size[1], dtype=torch.float64)
    return values.reshape(channels, *size)


@pytest.fixture(params=SPECTRA)
def denoiser(request: pytest.FixtureRequest) -> GaussianDenoiser:
    spectrum = SPECTRA[request.param]
    return GaussianDenoiser(spectrum, ramp(spectrum.shape[-1] if spectrum.ndim == 4 else 1, (8, 4)))


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def covariance_of(denoiser: GaussianDenoiser) -> Tensor:
    channels = denoiser.settings["channels"]
    return dense_covariance(SPECTRA["gray" if channels == 1 else "colour"])


def test_denoiser_equals_dense_conditioning(denoiser: GaussianDenoiser) -> None:
    mean, covariance = denoiser.law.mean, covariance_of(denoiser)
    noisy = mean + 0.3 * torch.randn(2, *mean.shape, dtype=torch.float64)
    look = torch.eye(len(covariance), dtype=torch.float64)
    expected, _ = condition(mean.flatten(), covariance, look, noisy.flatten(1), 0.1**2)
    close(denoiser(noisy, 0.1).flatten(1), expected)


def test_denoiser_takes_any_noise_level(denoiser: GaussianDenoiser) -> None:
    mean = denoiser.law.mean
    noisy = mean + torch.randn(4, *mean.shape, dtype=torch.float64)
    levels = torch.tensor([0.0, 0.1, 1e9, math.inf], dtype=torch.float64)
    together = denoiser(noisy, levels)
    close(together[0], noisy[0])
    close(together[2:], mean.expand(2, *mean.shape))
    for index, level in enumerate(levels):
        close(denoiser(noisy, level)[index], together[index])
        close(denoiser(noisy, float(level))[index], together[index])


def test_log_density_entropy_and_samples_agree_with_the_dense_normal(
    denoiser: GaussianDenoiser,
) -> None:
    law, covariance = denoiser.law, covariance_of(denoiser)
    normal = MultivariateNormal(law.mean.flatten().detach(), covariance)
    samples = law.draw(4000, torch.Generator().manual_seed(1))
    close(law.log_density(samples), normal.log_prob(samples.flatten(1)), 1e-8)
    assert law.entropy() == pytest.approx(float(normal.entropy()), abs=1e-9)
    centred = (samples - law.mean).flatten(1)
    measured = centred.T @ centred / len(samples)
    diagonal = covariance.diagonal()
    error = ((diagonal[:, None] * diagonal + covariance**2) / len(samples)).sqrt()
    assert ((measured - covariance) / error).abs().max() < 5
    assert ((measured - covariance) / error).std() == pytest.approx(1, abs=0.3)


def test_least_error_of_the_denoiser_is_the_known_one() -> None:
    spectrum = power_law_spectrum((64, 64))
    law = GaussianDenoiser(spectrum).law
    clean = law.draw(50, torch.Generator().manual_seed(2))
    noisy = clean + 0.3 * torch.randn_like(clean)
    error = float((law.denoise(noisy, 0.3) - clean).square().mean())
    known = float((spectrum * 0.09 / (spectrum + 0.09)).mean())
    assert known == pytest.approx(0.07193, abs=1e-5)
    assert error == pytest.approx(known, rel=0.01)


@pytest.mark.parametrize(("lattice", "nats"), [(False, 1.0211), (True, 1.1389)])
def test_power_law_has_the_known_entropy(lattice: bool, nats: float) -> None:
    spectrum = power_law_spectrum((64, 64), lattice=lattice)
    assert float(spectrum.mean()) == pytest.approx(1, abs=1e-12)
    assert GaussianDenoiser(spectrum).law.entropy() / 64**2 == pytest.approx(nats, abs=1e-4)


def test_lattice_field_is_markov_on_four_neighbours() -> None:
    covariance = dense_covariance(power_law_spectrum((16, 16), lattice=True))
    precision = torch.linalg.inv(covariance)
    weights = (-precision[0] / precision[0, 0]).reshape(16, 16)
    neighbours = weights[[0, 0, 1, 15], [1, 15, 0, 0]]
    close(neighbours, torch.full((4,), 0.24761, dtype=torch.float64), 2e-5)
    weights[[0, 0, 0, 1, 15], [0, 1, 15, 0, 0]] = 0
    assert weights.abs().max() < 1e-10


@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
def test_split_spectrum_is_the_covariance_of_the_bands(spectrum: Tensor, wavelet: str) -> None:
    channels = spectrum.shape[-1] if spectrum.ndim == 4 else 1
    low, details = dense_split((8, 4), channels, wavelet)
    bands = torch.cat([low, details])
    found = dense_covariance(split_spectrum(spectrum.reshape(8, 4, channels, channels), wavelet))
    close(found, bands @ dense_covariance(spectrum) @ bands.T, 1e-14)


class TestConditional:
    """One level of the factorisation."""

    @pytest.fixture(params=[(name, wavelet) for name in SPECTRA for wavelet in WAVELETS], ids=str)
    def level(self, request: pytest.FixtureRequest) -> tuple[GaussianConditional, Tensor, Tensor]:
        """The network, and dense mean and covariance of its bands, low-pass image first."""
        name, wavelet = request.param
        spectrum = SPECTRA[name]
        channels = spectrum.shape[-1] if spectrum.ndim == 4 else 1
        mean = ramp(channels, (8, 4))
        prior = gaussian_prior(spectrum, 1, wavelet, mean)
        network = prior.details[0]
        assert isinstance(network, GaussianConditional)
        bands = torch.cat(dense_split((8, 4), channels, wavelet))
        return network, bands @ mean.flatten(), bands @ dense_covariance(spectrum) @ bands.T

    @pytest.fixture
    def noisy(self, level: tuple[GaussianConditional, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """A low-pass image and details, two of each."""
        channels = level[0].channels
        values = 0.5 + 0.2 * torch.randn(2, 4 * channels, 4, 2, dtype=torch.float64)
        return values[:, :channels], values[:, channels:]

    @pytest.mark.parametrize("sigma", [0.0, 0.05, 1.0, math.inf])
    def test_given_the_clean_low(
        self,
        level: tuple[GaussianConditional, Tensor, Tensor],
        noisy: tuple[Tensor, Tensor],
        sigma: float,
    ) -> None:
        network, mean, covariance = level
        low, details = noisy
        seen = torch.cat([low, details], dim=1).flatten(1)
        count = low[0].numel()
        noise = torch.full((len(mean),), min(sigma, 1e4) ** 2, dtype=torch.float64)
        noise[:count] = 0
        look = torch.eye(len(mean), dtype=torch.float64)
        expected, _ = condition(mean, covariance, look, seen, noise)
        bands = network(details, low, sigma)
        close(bands.details.flatten(1), expected[:, count:], 1e-8)
        assert bands.low is low

    @pytest.mark.parametrize("sigma", [0.0, 0.05, 1.0])
    def test_given_the_noisy_low(
        self,
        level: tuple[GaussianConditional, Tensor, Tensor],
        noisy: tuple[Tensor, Tensor],
        sigma: float,
    ) -> None:
        network, mean, covariance = level
        low, details = noisy
        seen = torch.cat([low, details], dim=1).flatten(1)
        look = torch.eye(len(mean), dtype=torch.float64)
        expected, _ = condition(mean, covariance, look, seen, sigma**2)
        bands = network(details, torch.zeros_like(low), sigma, low)
        close(torch.cat([bands.low, bands.details], dim=1).flatten(1), expected, 1e-8)

    def test_log_density(
        self, level: tuple[GaussianConditional, Tensor, Tensor], noisy: tuple[Tensor, Tensor]
    ) -> None:
        network, mean, covariance = level
        low, details = noisy
        count = low[0].numel()
        look = torch.eye(len(mean), dtype=torch.float64)[:count]
        middle, spread = condition(mean, covariance, look, low.flatten(1))
        for index in range(2):
            normal = MultivariateNormal(middle[index, count:], spread[count:, count:])
            expected = normal.log_prob(details[index].flatten())
            close(network.log_density(details, low)[index], expected, 1e-5 * abs(float(expected)))

    def test_every_image_has_its_own_noise_level(
        self, level: tuple[GaussianConditional, Tensor, Tensor], noisy: tuple[Tensor, Tensor]
    ) -> None:
        low, details = noisy
        levels = torch.tensor([0.02, 0.5], dtype=torch.float64)
        for noisy_low in (None, low):
            together = level[0](details, low, levels, noisy_low)
            for index, sigma in enumerate(levels):
                alone = level[0](details, low, sigma, noisy_low)
                close(together.details[index], alone.details[index])
                close(together.low[index], alone.low[index])


@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("spectrum", [smooth_spectrum(), coloured_spectrum()], ids=SPECTRA)
def test_factors_multiply_to_the_joint_density(spectrum: Tensor, wavelet: str) -> None:
    flat = GaussianDenoiser(spectrum, 0.4).law
    images = flat.draw(3, torch.Generator().manual_seed(3))
    prior = gaussian_prior(spectrum, 2, wavelet, 0.4)
    factors = log_densities(prior, images)
    assert len(factors) == 3
    close(torch.stack(factors).sum(0), flat.log_density(images), 1e-7)


def test_low_pass_laws_are_those_of_the_low_pass_images() -> None:
    spectrum, mean = coloured_spectrum(), ramp(2, SIZE)
    prior = gaussian_prior(spectrum, 2, "db2", mean)
    assert isinstance(prior.low, GaussianDenoiser)
    assert prior.size == SIZE
    assert prior.channels == 2
    impulses = torch.eye(128, dtype=torch.float64).reshape(128, 2, *SIZE)
    matrix = low_pass(impulses, 2, "db2").flatten(1).T
    close(prior.low.law.mean.flatten(), matrix @ mean.flatten())
    covariance = matrix @ dense_covariance(spectrum) @ matrix.T
    count = len(covariance)
    zero = torch.zeros(1, count, dtype=torch.float64)
    normal = MultivariateNormal(zero[0], covariance)
    images = torch.randn(3, 2, 2, 2, dtype=torch.float64)
    expected = normal.log_prob((images - prior.low.law.mean).flatten(1))
    close(prior.low.law.log_density(images), expected, 1e-6)


def test_white_noise_halves_per_level_and_predicts_nothing() -> None:
    prior = gaussian_prior(torch.ones(SIZE, dtype=torch.float64), 2, "db2")
    for level, network in enumerate(prior.details, start=1):
        assert isinstance(network, GaussianConditional)
        ones = torch.ones_like(network.rest.variances)
        close(network.rest.variances, ones * 0.25**level)
        close(network.regression, torch.zeros_like(network.regression))


def test_single_precision_follows_double_precision() -> None:
    spectrum = coloured_spectrum()
    double, single = gaussian_prior(spectrum, 2), gaussian_prior(spectrum, 2).float()
    noisy = torch.rand(2, 2, *SIZE)
    found = single.denoise(noisy, 0.1)
    assert found.dtype == torch.float32
    close(found.double(), double.denoise(noisy, 0.1), 1e-6)
    low, details = split(noisy)
    network = single.details[0]
    close(
        network(details, low, 0.1).details.double(),
        double.details[0](details.double(), low.double(), 0.1).details,
        1e-6,
    )


def test_level_is_needed() -> None:
    with pytest.raises(Exception, match="sigma is needed: GaussianDenoiser is told"):
        GaussianDenoiser(smooth_spectrum())(torch.zeros(1, 1, *SIZE, dtype=torch.float64))
