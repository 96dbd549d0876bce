"""Single faults in the heart that no test noticed before: each has the test that does."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from zoo import randomised

from scalewise import scales
from scalewise.estimation import estimate_sigma
from scalewise.exact import gaussian_prior, power_law_spectrum
from scalewise.networks import LocalConditional, UNet
from scalewise.networks.base import noise_features
from scalewise.noise import GaussianField
from scalewise.prior import MultiScalePrior
from scalewise.samplers import Multistep, StochasticAscent, few_steps, karras_schedule
from scalewise.score import per_image
from scalewise.wavelets import merge


def fields(*shape: int) -> Any:
    return lambda step: torch.randn(shape, generator=torch.Generator().manual_seed(step))


def test_the_solver_extrapolates_by_the_ratio_of_steps() -> None:
    """DPM-Solver++(2M): D + h / (2 h_last) (D - D_last), in steps of log sigma that differ."""
    rule = Multistep(10.0, 0.1, steps=4, rho=3.0)
    levels = karras_schedule(4, 10.0, 0.1, rho=3.0)
    noisy, now, last = (fields(1, 1, 2, 2)(seed) for seed in (1, 2, 3))
    step = math.log(levels[1] / levels[2])
    before = math.log(levels[0] / levels[1])
    assert abs(step / before - 1) > 0.2
    aim = now + step / (2 * before) * (now - last)
    ratio = levels[2] / levels[1]
    moved, sigma, memory = rule.move(1, noisy, now, torch.tensor([levels[1]]), last, fields(1))
    torch.testing.assert_close(moved, ratio * noisy + (1 - ratio) * aim)
    assert float(sigma) == pytest.approx(levels[2])
    assert torch.equal(memory, now)


@pytest.mark.parametrize("step", [0, 3])
def test_the_ascent_adds_the_noise_of_the_next_step(step: int) -> None:
    """Not that which the first state was made of."""
    rule = StochasticAscent(1.0, 0.01, h=0.2, beta=0.5, blind=False, growing=False)
    noisy, clean, noise = fields(2, 1, 3, 3)(7), fields(2, 1, 3, 3)(8), fields(2, 1, 3, 3)
    sigma = torch.tensor([0.5, 0.8])
    moved, following, _ = rule.move(step, noisy, clean, sigma, None, noise)
    gamma = per_image(sigma, noisy) * math.sqrt((1 - 0.5 * 0.2) ** 2 - (1 - 0.2) ** 2)
    torch.testing.assert_close(moved, 0.8 * noisy + 0.2 * clean + gamma * noise(step + 1))
    torch.testing.assert_close(following, 0.9 * sigma)


def test_every_scale_has_noise_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []

    def spy(seed: int, samples: tuple[int, ...], **options: Any) -> GaussianField:
        made.append((options["level"], options["channels"]))
        return GaussianField(seed, samples, **options)

    monkeypatch.setattr(scales, "GaussianField", spy)
    gaussian_prior(power_law_spectrum((16, 16)), 2).sample(1)
    assert made == [(3, 1), (2, 3), (1, 3)]


def test_squares_of_noise_of_two_scales_are_independent() -> None:
    """A linear correlation does not see two halves of one Box-Muller pair."""
    low = GaussianField(0, tuple(range(64)), level=2, channels=1, size=(32, 32))(0)
    details = GaussianField(0, tuple(range(64)), level=1, channels=3, size=(32, 32))(0)
    for band in details.unbind(1):
        pair = torch.stack([low[:, 0].flatten(), band.flatten()]).square()
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 0.02


def test_details_start_at_their_mean_given_the_low_pass_image() -> None:
    """With no noise to speak of, the first state is all that there is."""
    prior = gaussian_prior(0.04 * power_law_spectrum((16, 16)), 1)
    small = 0.5 + 0.2 * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    still = prior.upscale(small, sampler=lambda _: Multistep(1e-9, 1e-9, steps=1))[0]
    torch.testing.assert_close(still, prior.upscale_mean(small), atol=1e-6, rtol=0)
    assert float((still - merge(small, torch.zeros(2, 3, 8, 8).double())).abs().max()) > 0.02


def test_a_conditional_network_is_told_whether_it_denoises() -> None:
    network = randomised(LocalConditional(1, 5, width=8, blocks=1), 0).requires_grad_(False)
    noisy, low = torch.randn(1, 3, 6, 6), torch.rand(1, 1, 6, 6)
    sampling = network(noisy, low, 0.1).details
    denoising = network(noisy, low, 0.1, low).details  # the measurement says nothing new
    assert float((sampling - denoising).abs().max()) > 1e-3


@pytest.mark.parametrize(("low", "high"), [(0.002, 0.01), (0.01, 0.05), (20.0, 100.0)])
def test_noise_features_tell_levels_apart_over_six_decades(low: float, high: float) -> None:
    features = noise_features(torch.tensor([low, high]), 1.0)
    assert float((features[0] - features[1]).abs().max()) > 0.1


def test_the_u_net_keeps_the_mean_image() -> None:
    """Not its mean: the brightness of every part of the samples rests on it."""
    network, mean = UNet(2, (8, 8), width=8, multiples=(1,), blocks=1), torch.rand(2, 8, 8)
    network.set_mean(mean)
    assert torch.equal(network.prior_mean((8, 8)), mean[None])
    noisy = mean[None] + 0.0
    assert float((network(noisy, 0.01).detach() - mean).abs().max()) < 0.05


@pytest.mark.parametrize("sigma", [0.02, 0.2])
def test_levels_of_small_images_are_unbiased(sigma: float) -> None:
    noise = torch.randn(4000, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    found = estimate_sigma(sigma * noise)
    assert float(found.median()) == pytest.approx(sigma, rel=0.05)


def test_forty_steps_with_fresh_noise_keep_the_contrast_of_the_law() -> None:
    """Why the default has so many, and noise a hundredth larger: the spectrum within 0.2 dB."""
    spectrum = 0.04 * power_law_spectrum((16, 16), 1 / 8)
    prior = gaussian_prior(spectrum, 0)
    samples = prior.sample(512, seed=1, sampler=few_steps, batch=512)
    power = torch.fft.fft2(samples - 0.5, norm="ortho").abs().square().mean(dim=(0, 1))
    rings = _rings(power / spectrum)
    assert float((10 * rings.log10()).abs().max()) < 0.35


def _rings(ratio: Tensor) -> Tensor:
    """Means over rings of frequencies."""
    frequency = torch.fft.fftfreq(16)
    radius = (frequency[:, None] ** 2 + frequency**2).sqrt().mul(16).round().long().flatten()
    sums = torch.bincount(radius, weights=ratio.flatten())
    return (sums / torch.bincount(radius))[1:9]


def test_a_prior_without_levels_is_its_low_pass_network() -> None:
    prior = gaussian_prior(power_law_spectrum((8, 8)), 0)
    assert isinstance(prior, MultiScalePrior)
    noisy = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    assert torch.equal(prior.denoise(noisy, 0.1), prior.low(noisy, 0.1))
