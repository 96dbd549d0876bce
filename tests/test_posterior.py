"""What a noisy image leaves open, against closed forms of Gaussian images."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor
from zoo import coloured_spectrum, condition, dense_covariance, randomised, smooth_spectrum

import scalewise
from scalewise.errors import UsageError
from scalewise.exact import gaussian_prior
from scalewise.networks import BiasFreeConditional, BiasFreeDenoiser
from scalewise.noise import NoiseLevels
from scalewise.noise_model import NoiseModel
from scalewise.posterior import SPACING, Posterior, expected_error
from scalewise.prior import MultiScalePrior
from scalewise.samplers import Multistep
from scalewise.wavelets import GAIN, decompose

SIGMA = 0.1
SPECTRA = {"gray": smooth_spectrum((8, 8)), "colour": coloured_spectrum((8, 8))}


@pytest.fixture(params=SPECTRA)
def spectrum(request: pytest.FixtureRequest) -> Tensor:
    return SPECTRA[request.param]


def channels_of(spectrum: Tensor) -> int:
    return 1 if spectrum.ndim == 2 else spectrum.shape[-1]


def noisy_field(spectrum: Tensor, count: int = 1) -> Tensor:
    covariance = dense_covariance(spectrum)
    root = torch.linalg.cholesky(covariance)
    white = torch.randn(2, count, len(covariance), dtype=torch.float64)
    fields = 0.5 + white[0] @ root.T + SIGMA * white[1]
    return fields.view(count, channels_of(spectrum), 8, 8)


def truth(spectrum: Tensor, noisy: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (N, K) and covariance (K, K) of the clean field."""
    covariance = dense_covariance(spectrum)
    mean = torch.full((len(covariance),), 0.5, dtype=torch.float64)
    look = torch.eye(len(covariance), dtype=torch.float64)
    return condition(mean, covariance, look, noisy.flatten(1), SIGMA**2)


class TestGaussianImages:
    """All of it is known there."""

    def test_mean(self, spectrum: Tensor) -> None:
        noisy = noisy_field(spectrum, 2)
        found = gaussian_prior(spectrum, 2).posterior(noisy, SIGMA).mean()
        torch.testing.assert_close(found.flatten(1), truth(spectrum, noisy)[0])

    def test_samples_have_the_mean_and_the_covariance(self, spectrum: Tensor) -> None:
        noisy, count = noisy_field(spectrum), 160
        rule = Multistep(1.0, 0.005, steps=32, rho=5.0, eta=1.0)
        posterior = gaussian_prior(spectrum, 2).posterior(noisy, SIGMA)
        samples = posterior.samples(count, rule=rule).flatten(1)
        mean, covariance = truth(spectrum, noisy)
        root = torch.linalg.cholesky(covariance)
        white = torch.linalg.solve_triangular(root, (samples - mean).T, upper=False).T
        error = white.mean(0) * math.sqrt(count)  # standard normal
        assert error.square().mean() < 1 + 4 * math.sqrt(2 / len(mean[0]))
        variance = white.square().mean()
        assert variance == pytest.approx(1, abs=0.03 + 4 * math.sqrt(2 / white.numel()))
        across = (white[:, 1:] * white[:, :-1]).mean()
        assert abs(across) < 4 / math.sqrt(white.numel())

    def test_a_dozen_steps_do(self, spectrum: Tensor) -> None:
        noisy = noisy_field(spectrum)
        posterior = gaussian_prior(spectrum, 2).posterior(noisy, SIGMA)
        mean, covariance = truth(spectrum, noisy)
        samples = posterior.samples(100).flatten(1)
        spread = (samples - mean).square().mean()
        assert spread / covariance.diagonal().mean() == pytest.approx(1, abs=0.1)

    def test_covariance(self, spectrum: Tensor) -> None:
        noisy = noisy_field(spectrum, 3)
        images = torch.randn_like(noisy)
        found = gaussian_prior(spectrum, 2).posterior(noisy, SIGMA).covariance(images)
        _, covariance = truth(spectrum, noisy)
        torch.testing.assert_close(found.flatten(1), images.flatten(1) @ covariance)

    def test_variance(self) -> None:
        spectrum = SPECTRA["gray"]
        noisy = noisy_field(spectrum, 2)
        found = gaussian_prior(spectrum, 2).posterior(noisy, SIGMA).variance(spacing=8)
        _, covariance = truth(spectrum, noisy)
        torch.testing.assert_close(found.flatten(1), covariance.diagonal().expand(2, -1))

    def test_directions(self, spectrum: Tensor) -> None:
        noisy = noisy_field(spectrum, 2)
        found = gaussian_prior(spectrum, 2).posterior(noisy, SIGMA).directions(3)
        _, covariance = truth(spectrum, noisy)
        expected = torch.linalg.eigvalsh(covariance).flip(0)[:3].expand(2, -1)
        torch.testing.assert_close(found.variances, expected, rtol=0.02, atol=0)
        flat = found.images.flatten(2).transpose(0, 1)
        torch.testing.assert_close(flat @ flat.mT, torch.eye(3, dtype=flat.dtype).expand(2, 3, 3))
        along = torch.einsum("nik,kl,nil->ni", flat, covariance, flat)
        torch.testing.assert_close(along, expected, rtol=0.02, atol=0)

    def test_directions_of_a_region(self) -> None:
        spectrum = SPECTRA["gray"]
        noisy = noisy_field(spectrum)
        posterior = gaussian_prior(spectrum, 2).posterior(noisy, SIGMA)
        found = posterior.directions(1, region=(2, 3, 4, 2))
        _, covariance = truth(spectrum, noisy)
        places = torch.zeros(8, 8, dtype=torch.bool)
        places[2:6, 3:5] = True
        inside = covariance[places.flatten()][:, places.flatten()]
        expected = torch.linalg.eigvalsh(inside)[-1]
        assert float(found.variances) == pytest.approx(float(expected), rel=0.02)
        assert not bool(found.images[0, 0, 0][~places].any())

    def test_the_flow_is_the_optimal_transport_of_the_mean(self, spectrum: Tensor) -> None:
        noisy = noisy_field(spectrum, 2)
        covariance = dense_covariance(spectrum)
        rule = Multistep(1.0, 0.002, steps=40, rho=3.0)
        found = gaussian_prior(spectrum, 2).posterior(noisy, SIGMA).faithful(0, rule=rule)
        variances, basis = torch.linalg.eigh(covariance)
        # the mean has variance v^2 / (v + s^2) in each direction; its transport has v
        mean = truth(spectrum, noisy)[0] - 0.5
        gain = ((variances + SIGMA**2) / variances).sqrt()
        expected = 0.5 + (mean @ basis * gain) @ basis.T
        error = (found.flatten(1) - expected).square().mean()
        assert error < 1e-3 * (expected - 0.5 - mean).square().mean()

    def test_fidelity_is_a_straight_line(self, spectrum: Tensor) -> None:
        noisy = noisy_field(spectrum)
        posterior = gaussian_prior(spectrum, 2).posterior(noisy, SIGMA)
        sharp, middle, mean = (posterior.faithful(fidelity) for fidelity in (0, 0.25, 1))
        torch.testing.assert_close(middle, 0.75 * sharp + 0.25 * mean)
        torch.testing.assert_close(mean, posterior.mean())


class TestNoiseOfOtherKinds:
    """Noise that is told by level, channel and place."""

    LEVELS = NoiseLevels((torch.tensor([0.1, 0.3]).view(1, 2, 1, 1), 0.4), 0.05)

    def test_it_is_shaped_band_by_band(self) -> None:
        white = torch.randn(1, 2, 256, 256)
        low, details = decompose(self.LEVELS.shape(white, "haar"), 2)
        first = details[0].unflatten(1, (3, 2)).std(dim=(0, 1, 3, 4))
        torch.testing.assert_close(first, torch.tensor([0.1, 0.3]), rtol=0.02, atol=0)
        assert float(details[1].std()) == pytest.approx(0.4, rel=0.02)
        assert float(low.std()) == pytest.approx(0.05, rel=0.03)

    def test_white_noise_is_white(self) -> None:
        white = torch.randn(1, 2, 16, 16)
        levels = NoiseLevels(tuple(0.2 * GAIN**j for j in (1, 2)), 0.2 * GAIN**2)
        torch.testing.assert_close(levels.shape(white, "db2"), 0.2 * white, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("wavelet", ["haar", "db2"])
    def test_it_is_its_own_transpose(self, wavelet: str) -> None:
        first, second = torch.randn(2, 1, 2, 16, 16)
        one = (self.LEVELS.shape(first, wavelet) * second).sum()
        other = (first * self.LEVELS.shape(second, wavelet)).sum()
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)

    def test_a_share_of_it(self) -> None:
        half = self.LEVELS.times(torch.tensor([0.5, 1.0]))
        torch.testing.assert_close(
            torch.as_tensor(half.details[1]).flatten(), torch.tensor([0.2, 0.4])
        )
        assert torch.as_tensor(half.low).flatten().tolist() == pytest.approx([0.025, 0.05])


@pytest.fixture(scope="module")
def photos() -> MultiScalePrior:
    return scalewise.load("photos", device="cpu")


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    """A clean photo and a noisy one."""
    photo = torch.from_numpy(data.astronaut()[20:84, 180:244].copy()).permute(2, 0, 1)
    clean = photo[None].float() / 255
    generator = torch.Generator().manual_seed(1)
    return clean, clean + SIGMA * torch.randn(clean.shape, generator=generator)


@pytest.fixture(scope="module")
def posterior(photos: MultiScalePrior, pair: tuple[Tensor, Tensor]) -> Posterior:
    return photos.posterior(pair[1], SIGMA)


class TestLearnedPriors:
    """Networks, whose derivative and samples say the same of the error."""

    def test_variance_is_that_of_samples(self, posterior: Posterior) -> None:
        calls = []

        def counted(noisy: Tensor, share: Tensor) -> Tensor:
            calls.append(len(noisy))
            return posterior.denoise(noisy, share)

        counting = replace(posterior, denoise=counted)
        slow = counting.samples(16).var(0)
        of_200 = 200 * len(calls) / 16
        calls.clear()
        fast = counting.variance()
        assert len(calls) == SPACING**2 + 1 < of_200 / 20
        assert fast.mean() / slow.mean() == pytest.approx(1, abs=0.15)
        both = [F.avg_pool2d(each.mean(1), 4).sqrt().flatten() for each in (fast, slow)]
        assert torch.corrcoef(torch.stack(both))[0, 1] > 0.9

    def test_variance_is_the_error(self, posterior: Posterior, pair: tuple[Tensor, Tensor]) -> None:
        error = (posterior.mean() - pair[0]).square().mean()
        assert posterior.variance().mean() / error == pytest.approx(1, abs=0.2)

    def test_one_sample_costs_three_decibels(
        self, posterior: Posterior, pair: tuple[Tensor, Tensor]
    ) -> None:
        errors = (posterior.samples(2)[:, 0] - pair[0]).square().mean(dim=(1, 2, 3))
        least = (posterior.mean() - pair[0]).square().mean()
        assert (errors / least).tolist() == pytest.approx([2, 2], rel=0.15)

    def test_a_sample_is_the_same_whatever_else_is_drawn(self, posterior: Posterior) -> None:
        torch.testing.assert_close(posterior.samples(2)[1], posterior.samples(1, first=1)[0])
        assert not torch.allclose(posterior.samples(1), posterior.samples(1, seed=1))

    @pytest.mark.parametrize(
        "sigma",
        [
            NoiseModel(scales=((0.05,), (0.1,), (0.15,))),
            NoiseModel(scales=((0.05, 0.1, 0.2),)),
            NoiseModel(scales=((0.1,),), curve=((0.0, 0.5), (1.0, 1.5))),
            torch.linspace(0.02, 0.1, 60).view(1, 1, 1, 60),
            None,
        ],
    )
    def test_odd_sizes_and_noise_of_any_kind(
        self, photos: MultiScalePrior, pair: tuple[Tensor, Tensor], sigma: NoiseModel
    ) -> None:
        noisy = pair[1][..., :61, :60]
        posterior = photos.posterior(noisy, sigma)
        torch.testing.assert_close(posterior.mean(), photos.denoise(noisy, sigma))
        found = posterior.samples(1), posterior.variance()[None], posterior.faithful(0)[None]
        for each in found:
            assert each.shape == (1, *noisy.shape)
            assert bool(each.isfinite().all())
        assert posterior.directions(1, rounds=2).images.shape == (1, *noisy.shape)

    def test_gray_images_stay_gray(
        self, photos: MultiScalePrior, pair: tuple[Tensor, Tensor]
    ) -> None:
        clean = pair[0].mean(1, keepdim=True)
        noisy = clean + SIGMA * torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
        gray = photos.posterior(noisy.expand(-1, 3, -1, -1), SIGMA).gray
        error = (gray.mean() - clean).square().mean()
        assert gray.samples(1).shape == (1, 1, 1, 64, 64)
        assert gray.variance().mean() / error == pytest.approx(1, abs=0.3)
        spread = (gray.samples(4) - gray.mean()).square().mean()
        assert spread / error == pytest.approx(1, abs=0.3)

    def test_blind_networks_read_their_level_off(self) -> None:
        low = randomised(BiasFreeDenoiser(1, [3, 3, 3], width=4))
        details = randomised(BiasFreeConditional(1, [3, 3, 3], width=4))
        noisy = torch.rand(1, 1, 16, 16)
        samples = MultiScalePrior(low, [details]).posterior(noisy).samples(2)
        assert bool(samples.isfinite().all())
        assert not torch.allclose(samples[0], samples[1])


def test_without_noise_nothing_is_open(
    photos: MultiScalePrior, pair: tuple[Tensor, Tensor]
) -> None:
    posterior = photos.posterior(pair[0][..., :16, :16], 0.0)
    assert not bool(posterior.variance().any())
    assert not bool(posterior.covariance(torch.ones(1, 3, 16, 16)).any())
    for each in (*posterior.samples(2), posterior.faithful(0)):
        torch.testing.assert_close(each, posterior.mean(), rtol=0, atol=1e-3)


class TestBadInput:
    def test_what_is_out_of_range(self, photos: MultiScalePrior) -> None:
        posterior = photos.posterior(torch.rand(1, 3, 16, 16), 0.1)
        with pytest.raises(UsageError, match="fidelity must be from 0 to 1"):
            posterior.faithful(1.5)
        with pytest.raises(UsageError, match="samples must be 1 or more"):
            posterior.samples(0)
        with pytest.raises(UsageError, match="fewer than 1 values"):
            posterior.directions(1, region=(20, 0, 4, 4))
        with pytest.raises(UsageError, match="spacing must be 1 or more"):
            posterior.variance(spacing=0)


class TestErrorWithoutTruth:
    """`expected_error`: the variance that is told, and Stein's formula."""

    def test_exact_variances_need_no_correction(self) -> None:
        spectrum = SPECTRA["gray"]
        noisy = noisy_field(spectrum, 400)
        posterior = gaussian_prior(spectrum, 2).posterior(noisy, SIGMA)
        _, covariance = truth(spectrum, noisy)
        rest = float((noisy - posterior.mean()).square().mean())
        variance = float(covariance.diagonal().mean())
        found = expected_error(rest, variance, SIGMA, noisy.numel())
        assert found == pytest.approx(variance, rel=0.03)

    def test_stein_corrects_a_wrong_variance_of_many_values(self) -> None:
        # a denoiser that does nothing: its error is the noise, and its derivative is one
        assert expected_error(0.0, SIGMA**2, SIGMA, 10**9) == pytest.approx(SIGMA**2)
        # one that answers with the truth: no derivative, and the rest is the noise
        assert expected_error(SIGMA**2, 0.0, SIGMA, 10**9) < 1e-9
        # the truth is a constant off, which the told variance does not know
        found = expected_error(SIGMA**2 + 0.01, 0.002, SIGMA, 10**9)
        assert found == pytest.approx(0.014, rel=0.01)

    def test_of_few_values_the_variance_counts(self) -> None:
        assert expected_error(0.05, 0.002, SIGMA, 4) == pytest.approx(0.002, rel=0.02)
