"""Bits per dimension against closed forms: Gaussian fields and a mixture."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from zoo import coloured_spectrum, smooth_spectrum

from scalewise.errors import UsageError
from scalewise.evaluation import evaluate_likelihood, mean_bits
from scalewise.exact import (
    GaussianConditional,
    GaussianDenoiser,
    StationaryGaussian,
    gaussian_prior,
    log_densities,
    power_law_spectrum,
)
from scalewise.likelihood import SIGMA_MIN, Likelihood, _believed, information, log_quadrature
from scalewise.networks import BiasFreeConditional, BiasFreeDenoiser, Denoiser
from scalewise.prior import MultiScalePrior
from scalewise.score import Sigma, per_image
from scalewise.wavelets import GAIN, split

SIZE = (32, 32)


def spectrum(colour: bool, corner: float, alpha: float) -> Tensor:
    """Fields of pixel deviation 0.2, gray or of three channels of correlation 0.8 to 0.9."""
    power = power_law_spectrum(SIZE, corner, alpha)
    correlation = torch.tensor([[1, 0.9, 0.8], [0.9, 1, 0.9], [0.8, 0.9, 1]], dtype=torch.float64)
    return 0.04 * (power[..., None, None] * correlation if colour else power)


def drawn(prior_spectrum: Tensor, count: int, seed: int = 1) -> Tensor:
    return GaussianDenoiser(prior_spectrum).law.draw(count, torch.Generator().manual_seed(seed))


def in_bits(factors: list[Tensor], images: Tensor) -> Tensor:
    """Log densities in nats of [0, 1] units as bits per dimension of 8-bit units, (N, J + 1)."""
    levels = len(factors) - 1
    shares = [3 / 4**level for level in range(1, levels + 1)] + [1 / 4**levels]
    size = images[0].numel()
    bits = [
        -factor / (math.log(2) * size) + share * math.log2(255)
        for factor, share in zip(factors, shares, strict=True)
    ]
    return torch.stack(bits, dim=1)


def smoothed(law: StationaryGaussian, field: Tensor, sigma: float) -> Tensor:
    """Mean over noise z of the log density of `field + sigma z` under the law plus that noise."""
    variances = law.variances[..., None] + sigma**2
    power = law._modes(field - law.mean).abs() ** 2 + sigma**2
    return -0.5 * (power / variances + (2 * math.pi * variances).log()).sum(dim=(0, 1, 2))


def smoothed_densities(prior: MultiScalePrior, images: Tensor, sigma: float) -> list[Tensor]:
    """What `log_densities` gives, of coefficients plus noise of `sigma` in the image."""
    factors, low, unit = [], images, 0.0
    for network in prior.details:
        assert isinstance(network, GaussianConditional)
        low, details = split(low, prior.wavelet)
        sigma, unit = GAIN * sigma, unit + math.log(GAIN)
        rest = details - network.expected(low)
        factors.append(smoothed(network.rest, rest, sigma) + unit * details[0].numel())
    assert isinstance(prior.low, GaussianDenoiser)
    return [*factors, smoothed(prior.low.law, low, sigma) + unit * low[0].numel()]


@pytest.mark.parametrize("wavelet", ["haar", "db2"])
@pytest.mark.parametrize("colour", [False, True], ids=["gray", "colour"])
@pytest.mark.parametrize(("corner", "alpha"), [(1 / 32, 1.0), (1 / 8, 1.0), (1 / 32, 1.5)])
def test_within_one_percent_of_the_density_of_gaussian_fields(
    wavelet: str, colour: bool, corner: float, alpha: float
) -> None:
    """In 8-bit units, where code lengths are far from zero; means over 6 images."""
    law = spectrum(colour, corner, alpha)
    images = drawn(law, 6)
    prior = gaussian_prior(law, 2, wavelet)
    found = prior.nll(images)
    expected = in_bits(log_densities(prior, images), images)
    assert expected.mean(0).min() > 0.4
    assert (found.bits.mean(0) / expected.mean(0) - 1).abs().max() < 0.01
    assert found.total.mean() == pytest.approx(float(expected.sum(1).mean()), rel=0.003)


@pytest.mark.parametrize("colour", [False, True], ids=["gray", "colour"])
def test_within_one_percent_of_the_entropy(colour: bool) -> None:
    """Means over as many images as their own chance leaves to 1 %."""
    law = spectrum(colour, 1 / 32, 1.0)
    images = drawn(law, 16, seed=2)
    prior = gaussian_prior(law, 2)
    entropies = [-network.rest.entropy() for network in prior.details]  # type: ignore[union-attr,operator]
    entropies.append(-prior.low.law.entropy())  # type: ignore[union-attr,operator]
    sizes = [3 / 4, 3 / 16, 1 / 16]
    units = [math.log(GAIN), 2 * math.log(GAIN), 2 * math.log(GAIN)]
    size = images[0].numel()
    nats = [e + u * s * size for e, u, s in zip(entropies, units, sizes, strict=True)]
    expected = in_bits([torch.tensor([value]) for value in nats], images)[0]
    found = prior.nll(images, draws=2)
    assert (found.bits.mean(0) / expected - 1).abs().max() < 0.01
    assert found.total.mean() == pytest.approx(float(expected.sum()), rel=0.005)


@pytest.mark.parametrize(
    ("law", "sigma"),
    [
        (smooth_spectrum(), SIGMA_MIN),
        (smooth_spectrum(), 100 / 255),
        (coloured_spectrum(), 5 / 255),
    ],
    ids=["gray", "gray, much noise", "colour"],
)
def test_each_image_is_off_by_its_standard_error(law: Tensor, sigma: float) -> None:
    """Small fields of every level of smoothing, where noise is large and bias would show."""
    images = drawn(law, 24)
    prior = gaussian_prior(law, 1, "db2")
    expected = in_bits(smoothed_densities(prior, images, sigma), images)
    found = prior.nll(images, sigma_min=sigma, draws=6)
    off = (found.bits - expected) / found.errors
    assert off.mean(0).abs().max() < 4 / math.sqrt(len(images))
    assert off.square().mean().sqrt() == pytest.approx(1.1, abs=0.5)
    off = (found.total - expected.sum(1)) / found.error
    assert off.square().mean().sqrt() == pytest.approx(1.1, abs=0.5)


class MixtureDenoiser(Denoiser):
    """Exact for images that are `mean` or `1 - mean`, by equal chance, plus noise of `spread`."""

    receptive_field = None
    noise_conditional = True

    def __init__(self, mean: Tensor, spread: float) -> None:
        super().__init__(channels=len(mean), size=list(mean.shape[1:]))
        self.mean = torch.nn.Parameter(mean, requires_grad=False)
        self.spread = spread

    @property
    def sigma_range(self) -> tuple[float, float]:
        return 30.0, 0.001

    def log_parts(self, noisy: Tensor, variance: Tensor | float) -> Tensor:
        """Log of chance times density of both components, shape (2, N)."""
        parts = []
        for mean in (self.mean, 1 - self.mean):
            square = (noisy - mean).square().sum(dim=(1, 2, 3))
            norm = torch.as_tensor(2 * math.pi * variance, dtype=noisy.dtype).log()
            parts.append(-0.5 * (square / variance + mean.numel() * norm) - math.log(2))
        return torch.stack(parts)

    def forward(self, noisy: Tensor, sigma: Sigma | None = None) -> Tensor:
        level = per_image(self.need(sigma), noisy).expand(len(noisy), 1, 1, 1)
        chance = self.log_parts(noisy, self.spread**2 + level.flatten() ** 2).softmax(dim=0)
        mean = per_image(chance[0], noisy) * self.mean + per_image(chance[1], noisy) * (
            1 - self.mean
        )
        return mean + self.spread**2 / (self.spread**2 + level**2) * (noisy - mean)


@pytest.mark.parametrize("distance", [0.02, 0.1])
def test_a_mixture_is_measured_exactly(distance: float) -> None:
    """Far from Gaussian: two clusters, near each other or well apart."""
    generator = torch.Generator().manual_seed(4)
    mean = 0.5 + distance * torch.randn(1, 6, 6, generator=generator, dtype=torch.float64)
    network = MixtureDenoiser(mean, 0.05)
    side = torch.rand(32, 1, 1, 1, generator=generator) < 0.5
    images = torch.where(side, mean, 1 - mean)
    images = images + 0.05 * torch.randn(images.shape, generator=generator, dtype=torch.float64)
    found = MultiScalePrior(network).nll(images, draws=12)
    noise = torch.randn(500, *images.shape, generator=generator, dtype=torch.float64)
    noisy = (images + SIGMA_MIN * noise).flatten(0, 1)
    density = network.log_parts(noisy, 0.05**2 + SIGMA_MIN**2).logsumexp(0).view(500, -1).mean(0)
    expected = in_bits([density], images)[:, 0]
    assert found.total.mean() == pytest.approx(float(expected.mean()), rel=0.003)
    off = (found.total - expected) / found.error
    assert off.mean().abs() < 4 / math.sqrt(len(images))
    assert off.square().mean().sqrt() == pytest.approx(1.1, abs=0.5)


def test_a_wrong_prior_costs_its_divergence() -> None:
    """The excess over the true prior is log p - log q of each image, whose mean is KL(p | q)."""
    true, wrong = smooth_spectrum(SIZE), 0.05 * torch.ones(SIZE, dtype=torch.float64)
    images = drawn(true, 16)
    right, other = gaussian_prior(true, 1), gaussian_prior(wrong, 1)
    excess = other.nll(images).bits - right.nll(images).bits
    expected = in_bits(log_densities(other, images), images) - in_bits(
        log_densities(right, images), images
    )
    assert (expected.mean(0) > 0.01).all()
    assert torch.allclose(excess.mean(0), expected.mean(0), atol=0.004)
    divergence = GaussianDenoiser(true).law.entropy(), GaussianDenoiser(wrong).law
    nats = -divergence[0] - float(divergence[1].log_density(images).mean())
    assert excess.sum(1).mean() == pytest.approx(nats / math.log(2) / 1024, rel=0.02)


def test_worse_denoisers_cost_more() -> None:
    images = drawn(smooth_spectrum(SIZE), 4)
    best = gaussian_prior(smooth_spectrum(SIZE), 1)
    bits = [best.nll(images).total.mean()]
    for factor in (1.5, 3.0, 9.0):
        worse = gaussian_prior(factor * smooth_spectrum(SIZE), 1)
        bits.append(worse.nll(images).total.mean())
    assert bits == sorted(bits)
    assert bits[-1] - bits[0] > 0.3


def test_a_denoiser_that_cannot_be_right_is_replaced_by_the_linear_one() -> None:
    """What leaves more residual than there is noise; the linear one's integral is known."""
    clean = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)).double()

    def noise(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        return torch.randn(clean.shape, generator=generator).double()

    found = information(
        lambda noisy, sigma: 9 * noisy, clean, noise, sigma_range=(1.0, 1e-3), mean=0.5
    )
    power = (clean - 0.5).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(found.nats, 128 * (1 + power / 1e-6).log())
    assert found.variance.tolist() == [0, 0, 0]
    assert found.size == 256
    found = information(lambda noisy, sigma: 9 * noisy, clean, noise, sigma_range=(1.0, 1e-3))
    power = clean.square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(found.nats, 128 * (1 + power / 1e-6).log())


@pytest.mark.parametrize(("excess", "believed"), [(1.0, True), (1.2, True), (1.25, False)])
def test_residuals_are_believed_up_to_what_noise_may_be(excess: float, believed: bool) -> None:
    """Of 1,024 values: `SLACK` deviations of their mean square, 0.22 times the noise's."""
    sigma, noisy = 0.2, torch.zeros(1, 1, 32, 32)
    denoised, linear = torch.full_like(noisy, math.sqrt(excess) * sigma), torch.ones_like(noisy)
    found = _believed(denoised, noisy, linear, sigma)
    assert found.equal(denoised if believed else linear)


def test_one_step_and_two_draws_are_enough() -> None:
    prior = gaussian_prior(smooth_spectrum(), 1)
    found = prior.nll(torch.rand(1, 1, 8, 8), steps=1, draws=2)
    assert torch.isfinite(found.bits).all()


def test_every_factor_has_noise_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of its level, in its own shape; the low-pass image comes after the details."""
    asked, noise = [], MultiScalePrior.noise_field

    def noted(prior: MultiScalePrior, keys: Any, level: int, *rest: Any) -> Any:
        asked.append((keys, level, *rest))
        return noise(prior, keys, level, *rest)

    monkeypatch.setattr(MultiScalePrior, "noise_field", noted)
    gaussian_prior(smooth_spectrum(), 2).nll(torch.rand(2, 1, 8, 8), seed=5, first=3)
    keys = (3, 4)
    sizes = [(1, 3, (4, 4)), (2, 3, (2, 2)), (3, 1, (2, 2))]
    assert asked == [(keys, *each, 5) for each in sizes]


def test_blind_networks_are_measured() -> None:
    torch.manual_seed(0)
    low = BiasFreeDenoiser(1, [3, 3], width=4)
    prior = MultiScalePrior(low, [BiasFreeConditional(1, [3, 3], width=4)]).eval()
    found = prior.nll(torch.rand(2, 1, 8, 8))
    assert found.bits.shape == (2, 2)
    assert torch.isfinite(found.bits).all()


def test_flat_images_have_finite_bits() -> None:
    prior = gaussian_prior(smooth_spectrum(), 1)
    assert torch.isfinite(prior.nll(torch.full((1, 1, 8, 8), 0.5)).bits).all()


def test_at_the_default_noise_information_and_code_length_agree() -> None:
    images = drawn(smooth_spectrum(), 2)
    prior = gaussian_prior(smooth_spectrum(), 0)
    span = prior.low.sigma_range[0], SIGMA_MIN
    noise = prior.noise_field((0, 1), 1, 1, (8, 8), 0)
    nats = information(prior.low, images, noise, sigma_range=span, mean=0.5).nats
    torch.testing.assert_close(prior.nll(images).total, nats / math.log(2) / 64)


def test_any_batch_gives_the_same() -> None:
    images = drawn(smooth_spectrum(), 5)
    prior = gaussian_prior(smooth_spectrum(), 2)
    whole = prior.nll(images, seed=3, steps=4)
    alone = [prior.nll(images[i : i + 1], seed=3, steps=4, first=i) for i in range(len(images))]
    parts = Likelihood(*map(torch.cat, zip(*alone, strict=True)))
    for found in (parts, prior.nll(images, seed=3, steps=4, batch=2)):
        torch.testing.assert_close(found.bits, whole.bits)
        torch.testing.assert_close(found.errors, whole.errors)
    assert not torch.equal(prior.nll(images, seed=4, steps=4).bits, whole.bits)


def test_sums_and_shares() -> None:
    bits = torch.tensor([[1.5, 0.75, 0.25]], dtype=torch.float64)
    found = Likelihood(bits, torch.tensor([[0.3, 0.4, 0.0]], dtype=torch.float64))
    assert found.total.tolist() == [2.5]
    assert found.error.tolist() == [0.5]
    assert found.per_coefficient.tolist() == [[2.0, 4.0, 4.0]]


def test_quadrature() -> None:
    sigmas, weights = log_quadrature((20.0, 1e-3), 16)
    assert sigmas == sorted(sigmas, reverse=True)
    assert 1e-3 < sigmas[-1] < sigmas[0] < 20
    assert sum(weights) == pytest.approx(math.log(20 / 1e-3))
    rises = [weight / (1 + sigma**2) for sigma, weight in zip(sigmas, weights, strict=True)]
    exact = 0.5 * (math.log1p(1e6) - math.log1p(1 / 400))
    assert sum(rises) == pytest.approx(exact, rel=1e-4)
    assert sum(log_quadrature((0.1, 0.5), 4)[1]) == 0


@pytest.mark.parametrize(
    ("words", "shape", "settings"),
    [
        (r"multiples of 4, found 10x8; cut them to 8x8", (1, 1, 10, 8), {}),
        (r"shape \(N, 1, H, W\)", (1, 3, 8, 8), {}),
        (r"sigma_min must be above 0 and finite.*found 0", (1, 1, 8, 8), {"sigma_min": 0.0}),
        (r"sigma_min must be above 0.*found nan", (1, 1, 8, 8), {"sigma_min": math.nan}),
        (r"found steps=0, draws=3", (1, 1, 8, 8), {"steps": 0}),
        (r"found steps=16, draws=1", (1, 1, 8, 8), {"draws": 1}),
    ],
)
def test_bad_input(words: str, shape: tuple[int, ...], settings: dict[str, float]) -> None:
    prior = gaussian_prior(smooth_spectrum(), 2)
    with pytest.raises(UsageError, match=words):
        prior.nll(torch.full(shape, 0.5), **settings)  # type: ignore[arg-type]


class TestEvaluation:
    """Records of images of any size and colour."""

    def test_images_are_cut_converted_and_numbered(self) -> None:
        torch.manual_seed(0)
        low = BiasFreeDenoiser(3, [3, 3], width=4)
        prior = MultiScalePrior(low, [BiasFreeConditional(3, [3, 3], width=4)] * 2).eval()
        images = {"a": torch.rand(3, 9, 8), "b": torch.rand(1, 8, 15)}
        seen: list[object] = []
        records = evaluate_likelihood(prior, images, seed=5, callback=seen.append)
        assert seen == records
        assert [(r["image"], r["height"], r["width"]) for r in records] == [
            ("a", 8, 8),
            ("b", 8, 12),
        ]
        gray = prior.nll(images["b"][None, :, :, :12].repeat(1, 3, 1, 1), seed=5, first=1)
        assert list(records[1]["bits"]) == ["level 1", "level 2", "low", "total"]
        assert records[1]["bits"]["level 2"] == pytest.approx(float(gray.bits[0, 1]))
        assert records[1]["bits"]["total"] == pytest.approx(float(gray.total))
        assert records[1]["error"] == pytest.approx(float(gray.error))

    def test_too_small(self) -> None:
        prior = gaussian_prior(smooth_spectrum(), 2)
        with pytest.raises(UsageError, match=r"'a' is too small: .* from 4 pixels, found \(3, 9\)"):
            evaluate_likelihood(prior, {"a": torch.rand(1, 3, 9)})

    def test_means_and_their_standard_errors(self) -> None:
        records = [
            {"bits": {"low": bits, "total": bits}, "per_coefficient": {"low": 4.0, "total": bits}}
            for bits in (1.0, 3.0)
        ]
        low, total = mean_bits(records)
        assert low["per_coefficient"] == 4.0
        assert total == {
            "part": "total",
            "bits": 2.0,
            "standard_error": 1.0,
            "per_coefficient": 2.0,
            "count": 2,
        }
        assert mean_bits(records[:1])[0]["standard_error"] is None
