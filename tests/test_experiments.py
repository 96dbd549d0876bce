"""What experiments measure, on exact priors, where every number is known."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from scalewise.exact import (
    GaussianDenoiser,
    StationaryGaussian,
    gaussian_prior,
    power_law_spectrum,
    split_spectrum,
)
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.experiments import generalisation
from scalewise.reproduce.measure import white
from scalewise.wavelets import low_pass

SIDE, LEVELS = 32, 2
SPECTRUM = 0.15**2 * power_law_spectrum((SIDE, SIDE), 1 / 8)


def law_of_low(prior: MultiScalePrior) -> StationaryGaussian:
    assert isinstance(prior.low, GaussianDenoiser)
    return prior.low.law


@pytest.fixture(scope="module")
def images() -> Tensor:
    law = GaussianDenoiser(SPECTRUM, 0.5).law
    return law.draw(96, torch.Generator().manual_seed(0))


class TestGeneralisation:
    """Two priors that know the law of the images, or one that knows another."""

    def prior(self, scale: float = 1.0, mean: float = 0.5) -> MultiScalePrior:
        return gaussian_prior(scale * SPECTRUM, LEVELS, mean=mean)

    def test_a_prior_agrees_with_itself(self, images: Tensor) -> None:
        found, _ = generalisation.agreement((self.prior(), self.prior()), images, seed=3)
        for by in found.values():
            assert by["denoised"] == pytest.approx(0, abs=1e-12)
            assert by["correlation"] == pytest.approx(1, abs=1e-6)

    def test_errors_are_those_of_least_squares(self, images: Tensor) -> None:
        """A swapped set, a wrong sign or another noise level would miss them."""
        found, _ = generalisation.agreement((self.prior(), self.prior()), images, seed=3)
        spectrum = SPECTRUM
        for _ in range(LEVELS):
            bands = split_spectrum(spectrum[..., None, None].to(torch.complex128))
            spectrum = bands[..., 0, 0].real
        power = float(spectrum.mean())
        exact = float((spectrum * power / (spectrum + power)).mean()) / power
        assert found["low"]["error"] == pytest.approx(exact, rel=0.05)
        assert all(0.1 < found[name]["error"] < 0.5 for name in generalisation.DETAILS)

    def test_samples_have_the_deviation_of_the_law(self, images: Tensor) -> None:
        """Noise that is the same at every step gives a deviation several times as large."""
        prior = self.prior()
        _, drawn = generalisation.agreement((prior, prior), images, seed=3)
        expected = float(law_of_low(prior).draw(4000).std())
        for samples in drawn:
            assert float(samples.std()) == pytest.approx(expected, rel=0.06)
            assert float(samples.mean()) == pytest.approx(0.5, abs=0.03)
        assert torch.equal(*drawn)

    def test_difference_of_two_laws(self, images: Tensor) -> None:
        """Against the two Wiener filters, applied by FFT."""
        pair = self.prior(), self.prior(4.0)
        found, _ = generalisation.agreement(pair, images, seed=5)
        low = low_pass(images, LEVELS)
        sigma = float((low - low.mean(0)).square().mean().sqrt())
        noisy = torch.fft.fft2(low + sigma * white(low, 5) - 0.5)
        estimates = []
        for prior in pair:
            spectrum = _spectrum_of(prior)
            estimates.append(torch.fft.ifft2(spectrum / (spectrum + sigma**2) * noisy).real)
        error = sum(float((e + 0.5 - low).square().mean()) for e in estimates) / 2
        between = float((estimates[0] - estimates[1]).square().mean())
        assert found["low"]["denoised"] == pytest.approx(between / error, rel=1e-6)

    def test_unlike_priors_draw_unlike_samples(self, images: Tensor) -> None:
        white_prior = gaussian_prior(0.15**2 * torch.ones(SIDE, SIDE), LEVELS)
        found, _ = generalisation.agreement((self.prior(), white_prior), images, seed=3)
        assert found["low"]["denoised"] > 0.1
        assert max(by["correlation"] for by in found.values()) < 0.98

    @pytest.mark.parametrize(
        ("details", "low", "error", "verdict"),
        [
            ((0.1, 0.9), (0.2, 0.8), 0.3, "holds"),
            ((0.1, 0.7), (0.2, 0.8), 0.3, "partly"),
            ((0.3, 0.7), (0.2, 0.8), 0.3, "does not hold"),
            ((0.1, 0.9), (0.2, 0.8), 0.46, "not tested"),
        ],
    )
    def test_the_rule(
        self, details: tuple[float, float], low: tuple[float, float], error: float, verdict: str
    ) -> None:
        found = {
            name: {"denoised": denoised, "correlation": correlation, "error": error}
            for name, (denoised, correlation) in {
                "low": low,
                **dict.fromkeys(generalisation.DETAILS, details),
            }.items()
        }
        assert generalisation.decide(found)[0] == verdict
        measured = generalisation.Measured({8: found}, [[torch.zeros(1, 4, 4)]] * 2, 3)
        assert replace(measured, images=4).last == found
        assert math.isclose(found["low"]["error"], error)


def _spectrum_of(prior: MultiScalePrior) -> Tensor:
    """Power spectrum of a gray low-pass image."""
    law = law_of_low(prior)
    impulse = torch.zeros(1, 1, SIDE >> LEVELS, SIDE >> LEVELS, dtype=torch.float64)
    impulse[..., 0, 0] = 1
    gain = torch.fft.fft2(law.denoise(law.mean[None] + impulse, 1.0) - law.mean[None]).real
    return gain / (1 - gain)
