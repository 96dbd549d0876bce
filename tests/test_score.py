"""Tweedie's formula against a prior whose score is known exactly."""

import pytest
import torch
from torch import Tensor
from zoo import SIZE, coloured_spectrum, dense_covariance

from scalewise.exact import GaussianDenoiser
from scalewise.score import (
    Sigma,
    denoised_from_score,
    per_image,
    residual_sigma,
    score_from_denoised,
)

LEVELS: list[Sigma] = [
    0.3,
    torch.tensor(0.3, dtype=torch.float64),
    torch.tensor([0.05, 0.3, 2.0], dtype=torch.float64),
]


@pytest.fixture
def noisy() -> Tensor:
    """Three images of two channels."""
    return 0.5 + 0.3 * torch.randn(3, 2, *SIZE, dtype=torch.float64)


@pytest.mark.parametrize("sigma", LEVELS, ids=["number", "0-d", "per image"])
def test_score_of_a_gaussian_is_the_known_one(noisy: Tensor, sigma: Sigma) -> None:
    spectrum = coloured_spectrum()
    score = score_from_denoised(noisy, GaussianDenoiser(spectrum)(noisy, sigma), sigma)
    for index, level in enumerate(torch.as_tensor(sigma).expand(3)):
        covariance = dense_covariance(spectrum) + float(level) ** 2 * torch.eye(
            128, dtype=torch.float64
        )
        centred = (noisy[index] - 0.5).flatten()
        expected = -torch.linalg.solve(covariance, centred).reshape(2, *SIZE)
        torch.testing.assert_close(score[index], expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0])
def test_score_is_the_gradient_of_the_log_density(noisy: Tensor, sigma: float) -> None:
    spectrum = coloured_spectrum()
    blurred = GaussianDenoiser(spectrum + sigma**2 * torch.eye(2, dtype=torch.float64)).law
    variable = noisy.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(blurred.log_density(variable).sum(), variable)
    score = score_from_denoised(noisy, GaussianDenoiser(spectrum)(noisy, sigma), sigma)
    torch.testing.assert_close(score, gradient, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("sigma", LEVELS, ids=["number", "0-d", "per image"])
def test_the_two_directions_are_inverse(noisy: Tensor, sigma: Sigma) -> None:
    denoised = torch.rand_like(noisy)
    score = score_from_denoised(noisy, denoised, sigma)
    torch.testing.assert_close(denoised_from_score(noisy, score, sigma), denoised)


def test_score_points_from_noisy_to_denoised_and_goes_with_the_inverse_variance() -> None:
    noisy, denoised = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    assert torch.equal(score_from_denoised(noisy, denoised, 0.5), torch.full((1, 1, 2, 2), -4.0))
    assert torch.equal(denoised_from_score(noisy, torch.ones(1, 1, 2, 2), 0.5), noisy + 0.25)


def test_per_image_follows_the_array_it_scales() -> None:
    like = torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    cases: list[tuple[Sigma, int]] = [
        (0.1, 1),
        (torch.tensor(0.1), 1),
        (torch.tensor([0.1, 0.2]), 2),
    ]
    for sigma, count in cases:
        shaped = per_image(sigma, like)
        assert shaped.shape == (count, 1, 1, 1)
        assert shaped.dtype == torch.float64
        assert float(shaped.flatten()[0]) == pytest.approx(0.1)


def test_residual_is_the_noise_level_per_image() -> None:
    clean = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    levels = torch.tensor([0.1, 0.7], dtype=torch.float64)
    noisy = clean + levels.view(2, 1, 1, 1) * torch.randn_like(clean)
    measured = residual_sigma(noisy, clean)
    assert measured.shape == (2,)
    torch.testing.assert_close(measured, levels, rtol=5 / (2 * 3 * 64**2) ** 0.5, atol=0)
    assert residual_sigma(clean, clean - 0.25).tolist() == pytest.approx([0.25, 0.25])
