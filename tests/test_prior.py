"""The factorisation: with exact networks every method is exact, and everything is reproducible."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from zoo import (
    SIZE,
    coloured_spectrum,
    condition,
    dense_covariance,
    dense_split,
    randomised,
    smooth_spectrum,
)

from scalewise.errors import UsageError
from scalewise.estimation import estimate_sigma
from scalewise.exact import GaussianConditional, GaussianDenoiser, gaussian_prior
from scalewise.networks import (
    Bands,
    BandSigma,
    BiasFreeConditional,
    BiasFreeDenoiser,
    LocalConditional,
    Network,
    UNet,
)
from scalewise.prior import MultiScalePrior
from scalewise.samplers import Multistep, StepRule, StochasticAscent, few_steps, paper_ascent
from scalewise.score import Sigma
from scalewise.wavelets import low_pass, merge, split

GRAY, COLOUR = smooth_spectrum(), coloured_spectrum()


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def learned(channels: int = 2, levels: int = 2, wavelet: str = "haar") -> MultiScalePrior:
    """A prior of our own networks with random weights, made small so that samples stay tame."""
    low = randomised(UNet(channels, (4, 6), width=16, multiples=(1, 2), blocks=1, sigma_data=0.2))
    details = [
        randomised(LocalConditional(channels, 9, width=8, blocks=3, sigma_data=0.02), seed)
        for seed in range(levels)
    ]
    with torch.no_grad():
        for network in details:
            for parameter in network.leave.parameters():
                parameter.mul_(0.01)
    return MultiScalePrior(low, details, wavelet).requires_grad_(False)


class Sizeless(UNet):
    """A network that does not say which size it learnt."""

    size = property(lambda _: None, lambda *_: None)


def published(channels: int = 1, levels: int = 2) -> MultiScalePrior:
    """A prior of blind bias-free networks with random weights."""
    low = randomised(BiasFreeDenoiser(channels, [3, 3, 3], width=8, size=(4, 4)))
    details = [
        randomised(BiasFreeConditional(channels, [3, 1, 3], width=8), seed)
        for seed in range(levels)
    ]
    return MultiScalePrior(low, details).double().requires_grad_(False)


def many_steps(network: Network) -> StepRule:
    """A solver whose error is below what the tests below can see."""
    return Multistep(*network.sigma_range, steps=80)


def quick_ascent(network: Network) -> StepRule:
    """The paper's ascent in few and large steps."""
    return StochasticAscent(*network.sigma_range, h=0.1, beta=0.5, blind=False)


class TestDenoise:
    """From the coarsest scale to the finest."""

    @pytest.mark.parametrize(
        "sigma",
        [0.0, 0.2, torch.tensor([0.0, 0.05, 3.0], dtype=torch.float64)],
        ids=["none", "one", "per image"],
    )
    @pytest.mark.parametrize("wavelet", ["haar", "db2", "sym4"])
    @pytest.mark.parametrize("levels", [0, 1, 2])
    @pytest.mark.parametrize("spectrum", [GRAY, COLOUR], ids=["gray", "colour"])
    def test_is_exact_with_exact_networks(
        self, spectrum: Tensor, levels: int, wavelet: str, sigma: Sigma
    ) -> None:
        flat = GaussianDenoiser(spectrum, 0.4)
        noisy = 0.4 + 0.3 * torch.randn(3, flat.settings["channels"], *SIZE, dtype=torch.float64)
        prior = gaussian_prior(spectrum, levels, wavelet, 0.4)
        close(prior.denoise(noisy, sigma), flat(noisy, sigma))

    def test_hands_each_level_its_estimate_its_measurement_and_its_noise(self) -> None:
        handed: list[tuple[Any, ...]] = []

        class Spy(GaussianConditional):
            def forward(
                self,
                noisy: Tensor,
                low: Tensor,
                sigma: BandSigma | None = None,
                noisy_low: Tensor | None = None,
            ) -> Bands:
                handed.append((noisy, low, sigma, noisy_low))
                return super().forward(noisy, low, sigma, noisy_low)

        prior = gaussian_prior(GRAY, 2)
        for network in prior.details:
            network.__class__ = Spy
        noisy = torch.rand(2, 1, *SIZE, dtype=torch.float64)
        prior.denoise(noisy, torch.tensor([0.4, 0.8]))
        low1, details1 = split(noisy)
        low2, details2 = split(low1)
        estimate2 = prior.low(low2, torch.tensor([0.1, 0.2]))
        estimate1 = prior.coarser.denoise(low1, torch.tensor([0.2, 0.4]))
        for found, (noisy, low, level, noisy_low) in zip(
            handed[:2],
            [(details2, estimate2, [0.1, 0.2], low2), (details1, estimate1, [0.2, 0.4], low1)],
            strict=True,
        ):
            close(found[0], noisy)
            close(found[1], low)
            assert found[2].tolist() == pytest.approx(level)
            close(found[3], noisy_low)

    def test_the_published_form_takes_the_estimate_for_clean_and_pays_for_it(self) -> None:
        class Published(GaussianConditional):
            def forward(
                self,
                noisy: Tensor,
                low: Tensor,
                sigma: BandSigma | None = None,
                noisy_low: Tensor | None = None,
            ) -> Bands:
                return super().forward(noisy, low, sigma)

        flat, sigma = GaussianDenoiser(GRAY), 0.2
        clean = flat.law.draw(500, torch.Generator().manual_seed(0))
        noisy = clean + sigma * torch.randn_like(clean)
        prior = gaussian_prior(GRAY, 1)
        exact = prior.denoise(noisy, sigma)
        prior.details[0].__class__ = Published
        found = prior.denoise(noisy, sigma)

        to_low, to_details = dense_split(SIZE, 1, "haar")
        mean, covariance = torch.full((64,), 0.5).double(), dense_covariance(GRAY)
        low_covariance = to_low @ covariance @ to_low.T
        noisy_low = noisy.flatten(1) @ to_low.T
        identity = torch.eye(16, dtype=torch.float64)
        low, _ = condition(to_low @ mean, low_covariance, identity, noisy_low, (sigma / 2) ** 2)
        bands = torch.cat([to_low, to_details])
        seen = torch.cat([low, noisy.flatten(1) @ to_details.T], dim=1)
        noise = torch.tensor([0.0] * 16 + [(sigma / 2) ** 2] * 48, dtype=torch.float64)
        identity = torch.eye(64, dtype=torch.float64)
        expected, _ = condition(
            bands @ mean, bands @ covariance @ bands.T, identity, seen, noise + 1e-14
        )
        shape = (500, 3, 4, 4)
        close(found, merge(low.view(500, 1, 4, 4), expected[:, 16:].reshape(shape)), 1e-6)
        errors = [float((image - clean).square().mean()) for image in (exact, found)]
        assert errors[1] > 1.02 * errors[0]

    @pytest.mark.parametrize("size", [(7, 8), (5, 6), (8, 5)], ids=str)
    def test_mirrors_other_sizes_and_cuts_back(self, size: tuple[int, int]) -> None:
        noisy = torch.rand(2, 2, *size, dtype=torch.float64)
        padding = [(0, 0), (0, 0), (0, 8 - size[0]), (0, 8 - size[1])]
        mirrored = torch.from_numpy(np.pad(noisy.numpy(), padding, mode="reflect"))
        expected = GaussianDenoiser(COLOUR)(mirrored, 0.1)[..., : size[0], : size[1]]
        close(gaussian_prior(COLOUR, 2).denoise(noisy, 0.1), expected)

    @pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2), (13, 10)], ids=str)
    @pytest.mark.parametrize("make", [learned, published])
    def test_takes_any_size(self, make: Any, size: tuple[int, int]) -> None:
        prior = make(channels=2)
        denoised = prior.denoise(torch.rand(2, 2, *size), 0.1)
        assert denoised.shape == (2, 2, *size)
        assert torch.isfinite(denoised).all()

    def test_estimates_the_level_where_a_network_is_told_and_none_is_given(self) -> None:
        prior = gaussian_prior(smooth_spectrum((32, 32), 0.05), 2)
        clean = gaussian_prior(smooth_spectrum((32, 32), 0.05), 0).low
        assert isinstance(clean, GaussianDenoiser)
        noisy = clean.law.draw(2) + 0.1 * torch.randn(2, 1, 32, 32)
        close(prior.denoise(noisy), prior.denoise(noisy, estimate_sigma(noisy)))
        assert float((prior.denoise(noisy) - prior.denoise(noisy, 0.01)).abs().max()) > 0.01

    def test_blind_networks_need_no_level_and_know_no_unit(self) -> None:
        prior = published()
        assert not prior.noise_conditional
        noisy = torch.rand(2, 1, 9, 16, dtype=torch.float64)
        blind = prior.denoise(noisy)
        assert torch.equal(blind, prior.denoise(noisy, 0.3))
        close(prior.denoise(30 * noisy), 30 * blind)

    @pytest.mark.parametrize("make", [learned, published])
    def test_every_image_is_on_its_own(self, make: Any) -> None:
        prior = make(channels=2).double()
        noisy, sigma = torch.rand(3, 2, 9, 12, dtype=torch.float64), torch.tensor([0.02, 0.1, 0.5])
        together = prior.denoise(noisy, sigma)
        for index in range(3):
            close(prior.denoise(noisy[index : index + 1], sigma[index])[0], together[index])

    def test_lets_gradients_through(self) -> None:
        noisy = torch.rand(1, 2, *SIZE, dtype=torch.float64, requires_grad=True)
        gaussian_prior(COLOUR, 2).denoise(noisy, 0.1).square().sum().backward()
        assert noisy.grad is not None
        assert (noisy.grad != 0).all()

    def test_follows_the_type_of_the_weights(self) -> None:
        assert gaussian_prior(GRAY, 1).denoise(torch.rand(1, 1, *SIZE)).dtype == torch.float64
        assert learned().denoise(torch.rand(1, 2, 8, 8).double(), 0.1).dtype == torch.float32


class TestScore:
    """Tweedie's formula over all scales."""

    @pytest.mark.parametrize("sigma", [0.1, torch.tensor([0.05, 1.0], dtype=torch.float64)])
    def test_is_that_of_the_gaussian(self, sigma: Sigma) -> None:
        noisy = 0.5 + 0.3 * torch.randn(2, 2, *SIZE, dtype=torch.float64)
        score = gaussian_prior(COLOUR, 2, "db2").score(noisy, sigma)
        covariance, identity = dense_covariance(COLOUR), torch.eye(128, dtype=torch.float64)
        for index, level in enumerate(torch.as_tensor(sigma).expand(2).tolist()):
            expected = -torch.linalg.solve(
                covariance + level**2 * identity, (noisy[index] - 0.5).flatten()
            )
            close(score[index].flatten(), expected, 1e-5)

    def test_is_the_pull_of_the_denoiser_over_the_variance(self) -> None:
        prior, noisy = learned(), torch.rand(2, 2, 9, 7)
        expected = (prior.denoise(noisy, 0.2) - noisy) / 0.2**2
        torch.testing.assert_close(prior.score(noisy, 0.2), expected)


def check_law(samples: Tensor, mean: Tensor, covariance: Tensor, bias: float = 0.0) -> None:
    """Compare mean and covariance of samples (N, K), within standard errors, with the true ones.

    `bias` is the relative error that the sampler itself may have.
    """
    count = len(samples)
    deviations = covariance.diagonal().clamp(min=1e-12).sqrt()
    off = ((samples.mean(0) - mean) / deviations).abs().max()
    assert float(off) < 4.5 / count**0.5
    centred = samples - mean
    error = ((deviations[:, None] ** 2 * deviations**2 + covariance**2) / count).sqrt()
    gap = centred.T @ centred / count - covariance
    allowed = 5 * error + bias * deviations[:, None] * deviations
    assert float((gap.abs() / allowed).max()) < 1
    whitened = torch.linalg.solve_triangular(
        torch.linalg.cholesky(covariance), centred.T, upper=False
    )
    total = float(whitened.square().mean())
    assert total == pytest.approx(1, abs=4 * (2 / whitened.numel()) ** 0.5 + bias)


def check_levels(prior: MultiScalePrior, samples: Tensor, bias: float) -> None:
    """Compare the samples' low-pass image and the details given it, level by level, with the law.

    Whitened by the exact law, details must be standard normal and unrelated to the low-pass image.
    """
    for network in prior.details:
        assert isinstance(network, GaussianConditional)
        samples, details = split(samples, prior.wavelet)
        rest = network.rest._modes(details - network.expected(samples))
        white = rest / network.rest.variances.sqrt()[..., None]
        spread = (1 / white.numel()) ** 0.5
        assert float(white.abs().square().mean()) == pytest.approx(1, abs=6 * spread + bias)
        frequencies = torch.fft.fft2(samples - samples.mean(0)).permute(2, 3, 1, 0)
        frequencies /= frequencies.abs().square().mean(-1, keepdim=True).sqrt()
        relation = (white[..., :, None, :] * frequencies[..., None, :, :].conj()).mean(-1)
        assert float(relation.abs().max()) < 5 / samples.shape[0] ** 0.5
    assert isinstance(prior.low, GaussianDenoiser)
    modes = prior.low.law._modes(samples - prior.low.law.mean)
    white = modes / prior.low.law.variances.sqrt()[..., None]
    spread = (1 / white.numel()) ** 0.5
    assert float(white.abs().square().mean()) == pytest.approx(1, abs=6 * spread + bias)


class TestSample:
    """Images from scratch."""

    @pytest.mark.parametrize(
        ("spectrum", "wavelet"), [(GRAY, "haar"), (COLOUR, "db2")], ids=["gray", "colour"]
    )
    def test_has_the_law_of_the_field(self, spectrum: Tensor, wavelet: str) -> None:
        prior = gaussian_prior(spectrum, 2, wavelet, 0.3)
        samples = prior.sample(1000, seed=1, sampler=many_steps, batch=500)
        covariance = dense_covariance(spectrum)
        mean = torch.full((len(covariance),), 0.3, dtype=torch.float64)
        check_law(samples.flatten(1), mean, covariance, bias=0.02)
        check_levels(prior, samples, bias=0.02)

    @pytest.mark.slow
    def test_has_the_law_of_the_field_by_the_paper_s_ascent(self) -> None:
        def small_steps(network: Network) -> StepRule:
            return StochasticAscent(*network.sigma_range, h=0.001, beta=0.5, blind=False)

        prior = gaussian_prior(GRAY, 1, "haar", 0.3)
        samples = prior.sample(500, seed=1, sampler=small_steps, batch=500)
        mean = torch.full((64,), 0.3, dtype=torch.float64)
        check_law(samples.flatten(1), mean, dense_covariance(GRAY), bias=0.1)
        check_levels(prior, samples, bias=0.1)

    @pytest.mark.parametrize(
        ("sampler", "bias"),
        [(few_steps, 0.15), pytest.param(paper_ascent, 0.3, marks=pytest.mark.slow)],
    )
    def test_the_defaults_come_near(self, sampler: Any, bias: float) -> None:
        prior = gaussian_prior(GRAY, 1, mean=0.3)
        samples = prior.sample(100, sampler=sampler, batch=100)
        power = GaussianDenoiser(GRAY, 0.3).law._modes(samples - 0.3).abs().square()
        ratio = float((power.mean(-1).squeeze(-1) / GRAY).mean())
        assert ratio == pytest.approx(1, abs=bias)
        assert float(samples.mean()) == pytest.approx(0.3, abs=0.04)

    @pytest.mark.parametrize("sampler", [few_steps, quick_ascent])
    def test_a_sample_does_not_depend_on_how_many_are_drawn(self, sampler: Any) -> None:
        prior = gaussian_prior(COLOUR, 2)
        five = prior.sample(5, seed=3, sampler=sampler)
        close(prior.sample(2, seed=3, sampler=sampler), five[:2])
        close(prior.sample(5, seed=3, sampler=sampler, batch=2), five)
        close(prior.sample(3, seed=3, sampler=sampler, first=2, batch=2), five[2:])

    def test_the_seed_is_0_unless_another_is_given(self) -> None:
        prior, small = learned(), torch.rand(1, 2, 4, 4)
        assert prior.sample(1, size=(8, 8)).equal(prior.sample(1, size=(8, 8), seed=0))
        assert prior.upscale(small).equal(prior.upscale(small, seed=0))
        assert not prior.upscale(small).equal(prior.upscale(small, seed=1))

    def test_learned_networks_are_no_different(self) -> None:
        prior = learned()
        five = prior.sample(5, seed=3)
        assert torch.isfinite(five).all()
        torch.testing.assert_close(prior.sample(3, seed=3, batch=2), five[:3], rtol=0, atol=1e-4)

    def test_samples_and_seeds_differ(self) -> None:
        prior = gaussian_prior(GRAY, 2)
        ours, theirs = prior.sample(3, seed=0), prior.sample(3, seed=1)
        images = torch.cat([ours, theirs]).flatten(1)
        distances = torch.cdist(images, images) + torch.eye(6)
        assert float(distances.min()) > 0.5

    def test_the_scales_get_noise_of_their_own(self) -> None:
        """White noise in, so every scale's sample is its noise: none may repeat another's."""
        prior = gaussian_prior(torch.ones(SIZE, dtype=torch.float64), 2, mean=0.0)
        samples = prior.sample(400, sampler=many_steps, batch=400)
        correlation = torch.corrcoef(samples.flatten(1).T) - torch.eye(64)
        assert float(correlation.abs().max()) < 5 / 400**0.5

    def test_starts_around_the_mean_image(self) -> None:
        mean = torch.linspace(0, 1, 64, dtype=torch.float64).view(1, *SIZE)
        prior = gaussian_prior(GRAY, 0, mean=mean)
        sample = prior.sample(1, sampler=lambda network: Multistep(1e-6, 1e-6, steps=1))
        close(sample[0], mean, 1e-5)

    def test_size_is_that_of_training_or_as_asked(self) -> None:
        prior = learned()
        assert prior.size == (16, 24)
        assert prior.sample(1).shape == (1, 2, 16, 24)
        assert prior.sample(1, size=(9, 14)).shape == (1, 2, 9, 14)

    def test_tells_every_scale_as_it_is_finished(self) -> None:
        seen: list[tuple[int, tuple[int, ...]]] = []
        learned().sample(3, batch=2, callback=lambda level, x: seen.append((level, tuple(x.shape))))
        sizes = {2: (4, 6), 1: (8, 12), 0: (16, 24)}
        expected = [(level, (count, 2, *sizes[level])) for count in (2, 1) for level in (2, 1, 0)]
        assert seen == expected

    def test_a_size_is_needed_where_the_model_has_none(self) -> None:
        prior = MultiScalePrior(Sizeless(1, (4, 4), width=16, multiples=(1,), blocks=1))
        assert prior.size is None
        with pytest.raises(UsageError, match="size is needed"):
            prior.sample(1)

    def test_a_bad_seed_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"seed must be .* found -1"):
            gaussian_prior(GRAY, 1).sample(1, seed=-1)


class TestUpscale:
    """Sharp images of a given low-pass image."""

    @pytest.mark.parametrize("factor", [2, 4])
    @pytest.mark.parametrize("wavelet", ["haar", "db2"])
    def test_low_pass_of_every_output_is_the_input(self, wavelet: str, factor: int) -> None:
        prior = learned(wavelet=wavelet)
        small = torch.rand(2, 2, 5, 6)
        large = prior.upscale(small, factor, samples=3)
        assert large.shape == (3, 2, 2, 5 * factor, 6 * factor)
        for sample in [*large, prior.upscale_mean(small, factor)]:
            close(low_pass(sample, factor // 2, wavelet), small, 1e-6)
        details = split(large[0], wavelet)[1]
        assert float(details.abs().mean()) > 1e-4

    @pytest.mark.parametrize("wavelet", ["haar", "db2"])
    @pytest.mark.parametrize("spectrum", [GRAY, COLOUR], ids=["gray", "colour"])
    @pytest.mark.parametrize("factor", [2, 4])
    def test_mean_is_the_exact_one(self, factor: int, spectrum: Tensor, wavelet: str) -> None:
        channels = spectrum.shape[-1] if spectrum.ndim == 4 else 1
        mean = torch.linspace(0.2, 0.8, channels * 64, dtype=torch.float64).view(channels, *SIZE)
        prior = gaussian_prior(spectrum, 2, wavelet, mean)
        small = torch.rand(2, channels, 8 // factor, 8 // factor, dtype=torch.float64)
        impulses = torch.eye(channels * 64, dtype=torch.float64).view(-1, channels, *SIZE)
        look = low_pass(impulses, factor // 2, wavelet).flatten(1).T
        covariance = dense_covariance(spectrum)
        expected, _ = condition(mean.flatten(), covariance, look, small.flatten(1))
        close(prior.upscale_mean(small, factor).flatten(1), expected)

    @pytest.mark.parametrize("factor", [2, pytest.param(4, marks=pytest.mark.slow)])
    def test_samples_have_the_exact_law(self, factor: int) -> None:
        prior, count = gaussian_prior(GRAY, 2), 200
        small = 0.5 + 0.2 * torch.randn(1, 1, 8 // factor, 8 // factor, dtype=torch.float64)
        samples = prior.upscale(
            small,
            factor,
            samples=count,
            sampler=lambda network: Multistep(*network.sigma_range, steps=30),
        )
        impulses = torch.eye(64, dtype=torch.float64).view(-1, 1, *SIZE)
        look = low_pass(impulses, factor // 2).flatten(1).T
        mean, covariance = condition(
            torch.full((64,), 0.5).double(), dense_covariance(GRAY), look, small.flatten(1)
        )
        # the directions that the low-pass image leaves open
        variances, basis = torch.linalg.eigh(covariance)
        free = variances > 1e-9
        assert int(free.sum()) == 64 - look.shape[0]
        found = samples.flatten(1) @ basis
        close(found[:, ~free], (mean @ basis)[:, ~free].expand(count, -1))
        check_law(found[:, free], (mean @ basis)[0, free], torch.diag(variances[free]), bias=0.05)
        of_mean = (samples.mean(0) - prior.upscale_mean(small, factor)).flatten()
        assert float(of_mean.norm()) < 1.5 * float(variances.sum() / count) ** 0.5

    @pytest.mark.parametrize("sampler", [few_steps, quick_ascent])
    def test_a_sample_does_not_depend_on_its_company(self, sampler: Any) -> None:
        prior = gaussian_prior(COLOUR, 2)
        small = torch.rand(3, 2, 2, 2, dtype=torch.float64)
        together = prior.upscale(small, 4, samples=2, seed=5, sampler=sampler)
        for index in range(3):
            alone = prior.upscale(small[index : index + 1], 4, samples=2, seed=5, sampler=sampler)
            close(alone[:, 0], together[:, index])
        close(prior.upscale(small, 4, samples=1, seed=5, sampler=sampler), together[:1])

    def test_samples_and_seeds_differ(self) -> None:
        prior = gaussian_prior(GRAY, 2)
        small = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
        images = torch.cat(
            [prior.upscale(small, 4, samples=2, seed=seed) for seed in (0, 1)]
        ).flatten(1)
        assert float((torch.cdist(images, images) + torch.eye(4)).min()) > 0.3

    def test_mean_of_blind_networks_is_that_of_samples(self) -> None:
        prior, small = published(), torch.rand(1, 1, 4, 4, dtype=torch.float64)
        close(prior.upscale_mean(small), prior.upscale(small, samples=16).mean(0))

    def test_tells_every_scale_as_it_is_finished(self) -> None:
        seen: list[tuple[int, tuple[int, ...]]] = []
        learned().upscale(
            torch.rand(2, 2, 3, 3),
            4,
            callback=lambda level, x: seen.append((level, tuple(x.shape))),
        )
        assert seen == [(1, (2, 2, 6, 6)), (0, (2, 2, 12, 12))]

    @pytest.mark.parametrize("factor", [-2, 0, 1, 3, 6, 8])
    @pytest.mark.parametrize("method", ["upscale", "upscale_mean"])
    def test_impossible_factors_are_refused(self, method: str, factor: int) -> None:
        expected = rf"the model's 2 levels span \(2, 4\), found {factor}$"
        with pytest.raises(UsageError, match=expected):
            getattr(gaussian_prior(GRAY, 2), method)(torch.rand(1, 1, 2, 2), factor)

    def test_a_prior_without_levels_upscales_nothing(self) -> None:
        with pytest.raises(UsageError, match=r"0 levels span \(none\), found 2"):
            gaussian_prior(GRAY, 0).upscale(torch.rand(1, 1, *SIZE))


class TestInputs:
    """What is refused, with the argument's name, and what is found out about a prior."""

    @pytest.mark.parametrize("count", [0, -1])
    def test_nothing_is_drawn_by_halves(self, count: int) -> None:
        prior = gaussian_prior(GRAY, 2)
        with pytest.raises(UsageError, match=f"^count must be 1 or more, found {count}"):
            prior.sample(count)
        with pytest.raises(UsageError, match=f"^samples must be 1 or more, found {count}"):
            prior.upscale(torch.rand(1, 1, 4, 4), samples=count)

    @pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 8, 8), (8, 8), (1, 1, 0, 8), (0, 1, 8, 8)])
    @pytest.mark.parametrize(
        ("method", "name"), [("denoise", "noisy"), ("upscale", "small"), ("upscale_mean", "small")]
    )
    def test_wrong_shapes(self, method: str, name: str, shape: tuple[int, ...]) -> None:
        found = ", ".join(str(side) for side in shape)
        expected = rf"^{name} must have shape \(N, 1, H, W\) .* found \({found}\)"
        with pytest.raises(UsageError, match=expected):
            getattr(gaussian_prior(GRAY, 2), method)(torch.zeros(shape))

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize(
        ("method", "name"), [("denoise", "noisy"), ("upscale", "small"), ("upscale_mean", "small")]
    )
    def test_values_that_are_no_numbers(self, method: str, name: str, value: float) -> None:
        images = torch.rand(2, 1, *SIZE)
        images[1, 0, 3, 4] = value
        with pytest.raises(UsageError, match=f"^{name} holds NaN or infinite values"):
            getattr(gaussian_prior(GRAY, 2), method)(images)

    def test_a_prior_says_what_it_is(self) -> None:
        prior = learned(channels=3)
        assert (prior.levels, prior.channels, prior.size) == (2, 3, (16, 24))
        assert prior.noise_conditional
        assert prior.coarser.levels == 1
        assert prior.coarser.size == (8, 12)
        assert prior.coarser.details[0] is prior.details[1]
        assert MultiScalePrior(published().low, [learned().details[0]]).noise_conditional  # type: ignore[list-item]


@pytest.mark.gpu
def test_the_device_does_not_matter() -> None:
    prior = gaussian_prior(COLOUR, 2)
    expected = prior.sample(2, seed=1), prior.denoise(torch.full((1, 2, *SIZE), 0.3), 0.1)
    prior = prior.cuda()
    found = prior.sample(2, seed=1), prior.denoise(torch.full((1, 2, *SIZE), 0.3), 0.1)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.device.type == "cuda"
        close(ours.cpu(), theirs, 1e-8)
