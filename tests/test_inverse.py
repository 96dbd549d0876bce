"""Images of which only a measurement is known: operators, exact priors, and pictures."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor
from zoo import coloured_spectrum, condition, dense_covariance, smooth_picture, smooth_spectrum

import scalewise
from scalewise import inverse
from scalewise.errors import UsageError
from scalewise.exact import gaussian_prior
from scalewise.images import Picture
from scalewise.metrics import psnr
from scalewise.noise import SAMPLES
from scalewise.noise_model import NoiseModel
from scalewise.operators import (
    Blur,
    Chain,
    Decimation,
    Demosaicking,
    Downscaling,
    Inpainting,
    MaskedFourier,
    Operator,
)
from scalewise.prior import MultiScalePrior
from scalewise.restore import deblur, enlarge, inpaint
from scalewise.samplers import Multistep, draw

SIZE = (9, 12)


def mask(size: tuple[int, ...], share: float = 0.5) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(3)) < share


def skewed() -> Tensor:
    """A kernel without any symmetry."""
    return torch.rand(3, 5, generator=torch.Generator().manual_seed(4))


OPERATORS: dict[str, Operator] = {
    "inpainting": Inpainting(mask(SIZE)),
    "inpainting by channel": Inpainting(mask((3, *SIZE))),
    "demosaicking": Demosaicking("GBRG"),
    "blur": Blur(skewed()),
    "gaussian": Blur.gaussian(0.8),
    "mean": Downscaling(SIZE, (3, 4), "mean"),
    "bicubic": Downscaling(SIZE, (4, 5), "bicubic"),
    "lanczos": Downscaling(SIZE, (5, 7), "lanczos"),
    "gaussian reduction": Downscaling(SIZE, (3, 4), "gaussian:0.5"),
    "fourier": MaskedFourier(mask(SIZE)),
    "decimation": Decimation(SIZE, 3, Blur(skewed())),
    "chain": Chain(Downscaling(SIZE, (3, 4), "mean"), Inpainting(mask((3, 4)))),
}


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
class TestOperators:
    def test_adjoint(self, operator: Operator) -> None:
        images = torch.randn(2, 3, *SIZE, dtype=torch.float64)
        seen = operator.A(images)
        other = torch.randn_like(seen)
        torch.testing.assert_close((seen * other).sum(), (images * operator.A_adjoint(other)).sum())

    def test_linear(self, operator: Operator) -> None:
        first, second = torch.randn(2, 1, 3, *SIZE, dtype=torch.float64)
        both = operator.A(2 * first - second)
        torch.testing.assert_close(both, 2 * operator.A(first) - operator.A(second))

    def test_pseudo_inverse(self, operator: Operator) -> None:
        if not hasattr(operator, "A_dagger"):
            pytest.skip("it has none")
        images = torch.randn(1, 3, *SIZE, dtype=torch.float64)
        seen = operator.A(images)
        least = operator.A_dagger(seen)
        torch.testing.assert_close(operator.A(least), seen)
        # the least image is in the row space: nothing of it is unseen
        unseen = images - least
        torch.testing.assert_close(
            (least * unseen).sum(), torch.zeros((), dtype=least.dtype), rtol=0, atol=1e-9
        )


def test_reductions_are_those_of_image_programs() -> None:
    photo = Image.fromarray(data.camera()[100:220, 100:200]).convert("F")
    for size in ((30, 25), (47, 33)):
        for name, filter in (
            ("bicubic", Image.Resampling.BICUBIC),
            ("lanczos", Image.Resampling.LANCZOS),
            ("mean", Image.Resampling.BOX),
        ):
            if name == "mean" and size != (30, 25):
                continue  # Pillow's box takes whole pixels only
            expected = torch.from_numpy(np.asarray(photo.resize(size[::-1], filter)).copy())
            images = torch.from_numpy(np.asarray(photo).copy())[None, None]
            found = Downscaling((120, 100), size, name).A(images)[0, 0]
            torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


def test_a_blur_is_a_convolution() -> None:
    impulse = torch.zeros(1, 1, 9, 9)
    impulse[0, 0, 4, 4] = 1
    found = Blur(skewed()).A(impulse)[0, 0, 3:6, 2:7]
    torch.testing.assert_close(found, skewed() / skewed().sum())


class Theirs:
    """An operator that checks nothing: a pixel-wise product."""

    share = torch.rand(8, 8, generator=torch.Generator().manual_seed(2)).double()

    def A(self, x: Tensor) -> Tensor:
        return self.share * x

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.share * y


class TestPseudoInverses:
    """By conjugate gradients, of operators that have none of their own."""

    @pytest.mark.parametrize("name", ["blur", "gaussian", "decimation", "chain"])
    def test_like_that_of_the_matrix(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inverse, "AGREED", 1e-12)
        monkeypatch.setattr(inverse, "AGREEING", 1000)
        operator = OPERATORS[name]
        assert not hasattr(operator, "A_dagger")
        units = torch.eye(SIZE[0] * SIZE[1], dtype=torch.float64).view(-1, 1, *SIZE)
        matrix = operator.A(units).flatten(1).T
        images = torch.rand(2, 1, *SIZE, dtype=torch.float64)
        seen = operator.A(images)
        found = inverse.pseudo_inverse(operator, seen).flatten(1)
        expected = seen.flatten(1) @ torch.linalg.pinv(matrix).T
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)

    def test_one_of_its_own_is_used(self) -> None:
        seen = torch.rand(1, 3, *SIZE)
        operator = Inpainting(mask(SIZE))
        assert torch.equal(inverse.pseudo_inverse(operator, seen), operator.A_dagger(seen))

    def test_images_of_a_batch_do_not_change_each_other(self) -> None:
        operator = OPERATORS["decimation"]
        seen = operator.A(torch.rand(2, 1, *SIZE, dtype=torch.float64))
        seen[1] *= 1e-3
        both = inverse.pseudo_inverse(operator, seen)
        for index in range(2):
            alone = inverse.pseudo_inverse(operator, seen[index : index + 1])
            torch.testing.assert_close(both[index : index + 1], alone)


class TestGaussianImages:
    """The exact distribution given a measurement is known there."""

    SPECTRUM = smooth_spectrum((8, 8))
    COLOURED = coloured_spectrum(channels=3)
    CASES: ClassVar[dict[str, tuple[Operator, float]]] = {
        "holes": (Inpainting(mask((8, 8))), 0.0),
        "noisy holes": (Inpainting(mask((8, 8))), 0.05),
        "blur": (Blur.gaussian(0.7), 0.05),
        "blur and decimation": (Decimation((8, 8), 2, Blur.gaussian(0.7)), 0.02),
        "means of blocks": (Downscaling((8, 8), (4, 4), "mean"), 0.0),
        "bicubic": (Downscaling((8, 8), (4, 4), "bicubic"), 0.02),
        "frequencies": (MaskedFourier(mask((8, 8), 0.7)), 0.05),
        "lanczos": (Downscaling((8, 8), (5, 3), "lanczos"), 0.02),
        "mosaic": (Demosaicking("GRBG"), 0.02),
        "blur and holes": (Chain(Blur.gaussian(0.5), Inpainting(mask((8, 8)))), 0.02),
    }
    RULE = Multistep(8.0, 0.002, steps=40, rho=5.0, eta=1.0)
    FINE = Multistep(8.0, 0.002, steps=100, rho=5.0, eta=1.0)
    STEPPED = 0.015
    """By how much so many steps make variances too large."""

    def spectrum(self, operator: Operator) -> Tensor:
        return self.COLOURED if isinstance(operator, Demosaicking) else self.SPECTRUM

    @pytest.fixture(params=CASES)
    def case(self, request: pytest.FixtureRequest) -> tuple[Operator, float, Tensor]:
        operator, noise = self.CASES[request.param]
        root = torch.linalg.cholesky(dense_covariance(self.spectrum(operator)))
        generator = torch.Generator().manual_seed(0)
        white = torch.randn(len(root), dtype=torch.float64, generator=generator)
        seen = operator.A(0.5 + (root @ white).view(1, -1, 8, 8))
        other = torch.randn(seen.shape, dtype=torch.float64, generator=generator)
        return operator, noise, seen + noise * other

    def truth(self, operator: Operator, noise: float, seen: Tensor) -> tuple[Tensor, Tensor]:
        covariance = dense_covariance(self.spectrum(operator))
        units = torch.eye(len(covariance), dtype=torch.float64)
        look = operator.A(units.view(len(units), -1, 8, 8)).flatten(1).T
        mean = torch.full((len(units),), 0.5, dtype=torch.float64)
        least = max(noise, 1e-6) ** 2
        return condition(mean, covariance, look, seen.flatten(1), least)

    def test_mean(self, case: tuple[Operator, float, Tensor]) -> None:
        operator, noise, seen = case
        prior = gaussian_prior(self.spectrum(operator), 2)
        found = prior.restore(seen, operator, noise, iterations=12, rule=self.RULE)
        mean, covariance = self.truth(*case)
        deviation = covariance.diagonal().mean().sqrt()
        error = (found.flatten(1) - mean).square().mean().sqrt()
        assert error < 0.03 * deviation

    def test_samples(self, case: tuple[Operator, float, Tensor]) -> None:
        """Their mean and covariance, within four standard errors, in the axes of the truth."""
        operator, noise, seen = case
        count = 256
        prior = gaussian_prior(self.spectrum(operator), 2)
        many = seen.expand(count, -1, -1, -1)
        start = inverse.images_of(many, operator) + 0.5
        told = inverse.MeasuredNoise.of(noise, many, operator)
        samples = draw(
            inverse.measured(prior.denoise, many, operator, told, iterations=8),
            prior.noise_field(tuple(range(count)), SAMPLES, start.shape[1], (8, 8), 0),
            self.FINE,
            mean=start,
        ).flatten(1)
        mean, covariance = self.truth(*case)
        sizes, axes = torch.linalg.eigh(covariance)
        open_axes = sizes > 1e-3 * sizes.max()
        off = (samples - mean) @ axes
        assert bool((off[:, ~open_axes].square().mean(0) < 2e-3 * sizes.max()).all())
        off = off[:, open_axes] / sizes[open_axes].sqrt()
        kept = off.shape[1]
        assert count * off.mean(0).square().mean() == pytest.approx(1, abs=4 * (2 / kept) ** 0.5)
        found = off.T @ off / count
        variances = found.diagonal()
        error = (2 / count) ** 0.5
        assert variances.mean() == pytest.approx(1, abs=4 * error / kept**0.5 + self.STEPPED)
        assert (variances - 1).abs().max() < 4.5 * error + self.STEPPED
        apart = count * (found - variances.diag()).square().sum() / (kept * (kept - 1))
        assert apart == pytest.approx(1, abs=4 * 2 / kept)

    def test_samples_of_a_batch_are_those_of_restore(self) -> None:
        """What the test above draws together is what is drawn one by one."""
        operator, noise = self.CASES["blur"]
        prior = gaussian_prior(self.SPECTRUM, 2)
        seen = operator.A(torch.rand(1, 1, 8, 8, dtype=torch.float64))
        alone = prior.restore(seen, operator, noise, samples=2)[:, 0]
        many = seen.expand(2, -1, -1, -1)
        told = inverse.MeasuredNoise.of(noise, many, operator)
        together = draw(
            inverse.measured(prior.denoise, many, operator, told),
            prior.noise_field((0, 1), SAMPLES, 1, (8, 8), 0),
            inverse.DRAWING,
            mean=torch.full((2, 1, 8, 8), 0.5, dtype=torch.float64),
        )
        torch.testing.assert_close(together, alone)

    def told(self, noise: NoiseModel, operator: Operator, seed: int) -> tuple[Tensor, Tensor]:
        """What was measured with such noise, and the covariance of that."""
        generator = torch.Generator().manual_seed(seed)
        root = torch.linalg.cholesky(dense_covariance(self.SPECTRUM))
        white = torch.randn(2, 64, 1, dtype=torch.float64, generator=generator)
        clean = 0.5 + (root @ white[0]).view(1, 1, 8, 8)
        seen = operator.A(clean)
        levels = noise.levels(seen, len(noise.scales) - 1)
        units = torch.eye(seen.numel(), dtype=torch.float64).view(-1, *seen.shape[1:])
        mix = levels.shape(units, "haar").flatten(1)
        return seen + (mix @ white[1, : len(mix)]).view_as(seen), mix @ mix.T

    @pytest.mark.parametrize("name", ["blur", "blur and decimation", "holes"])
    def test_a_spectrum_is_used(self, name: str) -> None:
        operator, _ = self.CASES[name]
        noise = NoiseModel(scales=((0.02,), (0.15,), (0.05,)))
        seen, covered = self.told(noise, operator, 0)
        units = torch.eye(64, dtype=torch.float64).view(64, 1, 8, 8)
        look = operator.A(units).flatten(1).T
        signal = dense_covariance(self.SPECTRUM)
        gained = torch.linalg.solve(look @ signal @ look.T + covered, look @ signal).T
        expected = 0.5 + (seen - operator.A(torch.full_like(units[:1], 0.5))).flatten(1) @ gained.T
        prior = gaussian_prior(self.SPECTRUM, 2)
        found = prior.restore(seen, operator, noise, iterations=12, rule=self.RULE)
        deviation = (signal - gained @ look @ signal).diagonal().mean().sqrt()
        assert (found.flatten(1) - expected).square().mean().sqrt() < 0.03 * deviation
        reduced = prior.restore(seen, operator, noise.sigma, iterations=12, rule=self.RULE)
        assert (reduced.flatten(1) - expected).square().mean().sqrt() > 0.3 * deviation

    def test_white_noise_that_is_described_is_its_number(self) -> None:
        operator, noise = self.CASES["frequencies"]
        seen, prior = operator.A(torch.rand(1, 1, 8, 8).double()), gaussian_prior(self.SPECTRUM, 2)
        found = [prior.restore(seen, operator, s) for s in (noise, NoiseModel.white(noise))]
        assert torch.equal(*found)

    def test_a_curve_is_a_map(self) -> None:
        """Each pixel has the noise of its intensity; beside holes, of what is around."""
        blur, shown = Blur.gaussian(0.5), mask((8, 8), 0.8)
        noise = NoiseModel.photons(gain=0.01, read=1.0)
        flat = torch.tensor([0.2] * 4 + [0.8] * 4, dtype=torch.float64).expand(1, 1, 8, 8)
        for operator in (blur, Inpainting(shown)):
            found = inverse.MeasuredNoise.of(noise, operator.A(flat), operator)
            assert found.levels is None
            away = torch.tensor([0, 1, 6, 7])  # from the edge between
            expected = (0.01 * flat + 0.0001).sqrt()[..., away]
            torch.testing.assert_close(found.deviation[..., away], expected, rtol=0.02, atol=0)
        prior = gaussian_prior(self.SPECTRUM, 2)
        seen = blur.A(flat)
        mapped = inverse.MeasuredNoise.of(noise, seen, blur).deviation
        assert torch.equal(*[prior.restore(seen, blur, each) for each in (noise, mapped)])

    def test_noise_of_channels_is_used(self) -> None:
        noise, operator = NoiseModel.white((0.1, 0.2, 0.3)), Blur.gaussian(0.5)
        found = inverse.MeasuredNoise.of(noise, torch.rand(1, 3, 9, 7), operator)
        expected = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
        torch.testing.assert_close(found.deviation, expected.expand(1, 3, 9, 7))

    @pytest.mark.parametrize(
        ("operator", "channels", "noise", "sentence"),
        [
            (
                MaskedFourier(torch.ones(8, 8)),
                2,
                NoiseModel.photons(0.01),
                "described for pictures",
            ),
            (Demosaicking(), 1, NoiseModel(scales=((0.1,), (0.2,))), "described for pictures"),
            (Blur.gaussian(0.5), 1, NoiseModel.white((0.1, 0.2, 0.3)), "for 3 channels, the image"),
        ],
    )
    def test_noise_that_cannot_be_used_is_refused(
        self, operator: Operator, channels: int, noise: NoiseModel, sentence: str
    ) -> None:
        gray = not isinstance(operator, Demosaicking)
        spectrum = self.SPECTRUM if gray else coloured_spectrum(channels=3)
        with pytest.raises(UsageError, match=sentence):
            gaussian_prior(spectrum, 2).restore(torch.rand(1, channels, 8, 8), operator, noise)

    def test_images_without_noise_agree_in_a_batch_that_has_noise(self) -> None:
        operator = Inpainting(mask((8, 8)))
        seen = operator.A(torch.rand(2, 1, 8, 8, dtype=torch.float64))
        prior, levels = gaussian_prior(self.SPECTRUM, 2), torch.tensor([0.0, 0.1])
        first, second = operator.A(prior.restore(seen, operator, levels)) - seen
        assert first.abs().max() < 1e-12
        assert second.abs().max() > 0.01

    @pytest.mark.parametrize("name", ["decimation", "blur", "lanczos", "chain"])
    def test_images_agree_where_the_inverse_is_found_step_by_step(self, name: str) -> None:
        operators: dict[str, Operator] = {
            "decimation": Decimation((8, 8), 2, Blur.gaussian(0.7)),
            "blur": Blur.gaussian(0.5),
            "lanczos": Downscaling((8, 8), (5, 3), "lanczos"),
            "chain": Chain(Blur.gaussian(0.5), Inpainting(mask((8, 8)))),
        }
        operator = operators[name]
        seen = operator.A(0.5 + 0.1 * torch.randn(2, 1, 8, 8, dtype=torch.float64))
        prior = gaussian_prior(self.SPECTRUM, 2)
        rough = Multistep(8.0, 0.05, steps=6, rho=5.0, eta=1.0)
        found = prior.restore(seen, operator, samples=2, rule=rough)
        for each in found:
            assert (operator.A(each) - seen).square().mean().sqrt() < inverse.AGREED

    def test_an_inverse_that_blows_noise_up_does_no_harm(self) -> None:
        class Ill(Blur):
            def A_dagger(self, y: Tensor) -> Tensor:
                return 1e6 * torch.randn_like(y)

        clean = torch.rand(1, 1, 8, 8, dtype=torch.float64)
        operator = Ill(torch.ones(3, 3, dtype=torch.float64))
        found = gaussian_prior(self.SPECTRUM, 2).restore(operator.A(clean), operator)
        assert found.abs().max() < 3

    def test_what_was_measured_without_noise_is_kept(self) -> None:
        operator = Inpainting(mask((8, 8)))
        seen = operator.A(torch.rand(1, 1, 8, 8, dtype=torch.float64))
        found = gaussian_prior(self.SPECTRUM, 2).restore(seen, operator, samples=2)
        for each in found:
            torch.testing.assert_close(operator.A(each), seen, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def photos() -> MultiScalePrior:
    return scalewise.load("photos", device="cpu")


@pytest.fixture(scope="module")
def clean() -> Tensor:
    """A photo, (1, 3, 64, 64)."""
    photo = torch.from_numpy(data.astronaut()[20:84, 180:244].copy()).permute(2, 0, 1)
    return photo[None].float() / 255


def gain(clean: Tensor, before: Tensor, after: Tensor) -> float:
    pair = (psnr(clean, image, clip=True).item() for image in (before, after))
    first, second = pair
    return second - first


class TestPictures:
    def test_scratches_are_filled(self, photos: MultiScalePrior, clean: Tensor) -> None:
        hole = torch.zeros(64, 64)
        hole[:, 30:33] = hole[10:12] = 1
        damaged = torch.where(hole > 0, 1.0, clean)
        picture = Picture(damaged, depth="float32")
        shares: list[float] = []
        filled = inpaint(picture, hole, photos, callback=shares.append).picture.pixels
        assert torch.equal(filled[..., hole == 0], damaged[..., hole == 0])
        assert gain(clean, damaged, filled) > 12
        assert shares == sorted(shares)
        assert shares[-1] == 1

    def test_holes_far_apart_are_filled_on_their_own(
        self, photos: MultiScalePrior, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes = []
        restore = MultiScalePrior.restore

        def noted(self: MultiScalePrior, seen: Tensor, *args: object, **options: object) -> Tensor:
            sizes.append(tuple(seen.shape[-2:]))
            return restore(self, seen, *args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(MultiScalePrior, "restore", noted)
        image = smooth_picture(1, 400)[None]
        hole = torch.zeros(400, 400)
        hole[2:4, 2:4] = hole[390, 380] = 1
        filled = inpaint(Picture(image), hole, photos, samples=None).picture.pixels
        assert sizes == [(52, 52), (58, 68)]
        assert (filled - image).abs().max() < 0.1

    def test_a_wide_hole_is_told(self, photos: MultiScalePrior) -> None:
        hole = torch.zeros(140, 140)
        hole[10:130, 10:130] = 1
        rule = photos.restore
        picture = Picture(smooth_picture(3, 140)[None])
        notes = inpaint(picture, hole, _quick(photos), samples=None).notes
        assert any("120 pixels wide" in note for note in notes), notes
        assert photos.restore == rule

    def test_gray_pictures_stay_gray(self, photos: MultiScalePrior, clean: Tensor) -> None:
        gray = clean.mean(1, keepdim=True)
        hole = torch.zeros(64, 64)
        hole[20:24, 5:60] = 1
        damaged = torch.where(hole > 0, 0.0, gray)
        result = inpaint(Picture(damaged), hole, photos, samples=2)
        assert result.picture.pixels.shape == gray.shape
        assert gain(gray, damaged, result.picture.pixels) > 10
        assert result.deviation is not None
        assert not bool(result.deviation.pixels[..., hole == 0].any())
        assert bool((result.deviation.pixels[..., hole > 0] > 0).all())

    def test_blur_is_undone(self, photos: MultiScalePrior, clean: Tensor) -> None:
        blur = Blur.gaussian(1.6)
        soft = blur.A(clean) + 2 / 255 * torch.randn(
            clean.shape, generator=torch.Generator().manual_seed(0)
        )
        result = deblur(Picture(soft, depth="float32"), blur, photos)
        assert gain(clean, soft, result.picture.pixels) > 1.5
        assert 0 < result.noise[0].sigma < 4 / 255

    def test_noise_that_pixels_share_is_told(self, photos: MultiScalePrior, clean: Tensor) -> None:
        """Blurred, with noise of which coarse scales have most."""
        blur, noise = Blur.gaussian(1.0), NoiseModel(scales=((0.005,), (0.03,), (0.06,)))
        generator = torch.Generator().manual_seed(0)
        white = torch.randn(clean.shape, generator=generator)
        soft = blur.A(clean) + noise.levels(clean, 2).shape(white, "haar")
        picture = Picture(soft, depth="float32")
        told, white_told = (
            deblur(picture, blur, photos, **said).picture.pixels
            for said in ({"noise": noise}, {"sigma": noise.sigma})
        )
        assert gain(clean, white_told, told) > 0.3

    def test_a_curve_that_was_found_is_told(
        self, photos: MultiScalePrior, clean: Tensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = NoiseModel.photons(gain=0.002)
        monkeypatch.setattr("scalewise.restore.inverting.noise_for", lambda *_: found)
        picture, blur = Picture(clean[..., :16, :16]), Blur.gaussian(0.5)
        result = deblur(picture, blur, photos)
        assert any("change with the light or the place, but was taken" in n for n in result.notes)
        assert result.noise == (found,)
        even = deblur(picture, blur, photos, sigma=found.sigma).picture.pixels
        torch.testing.assert_close(result.picture.pixels, even)
        told = deblur(picture, blur, photos, noise=found)
        assert not any("taken for as strong" in note for note in told.notes)
        assert not torch.equal(told.picture.pixels, even)

    @pytest.mark.parametrize("reduced_by", ["lanczos", Blur.gaussian(0.8)])
    def test_every_reduction_agrees(
        self, photos: MultiScalePrior, clean: Tensor, reduced_by: str | Blur
    ) -> None:
        size = (32, 32)
        part = clean[..., :32, :32]
        operator = (
            Decimation(size, 2, reduced_by)
            if isinstance(reduced_by, Blur)
            else Downscaling(size, (16, 16), reduced_by)
        )
        small = Picture((255 * operator.A(part)).round() / 255, depth="float32")
        large = enlarge(small, size, reduced_by, photos, samples=1).picture.pixels
        assert (operator.A(large) - small.pixels).abs().max() < 0.5 / 255

    @pytest.mark.parametrize("size", [(64, 64), (50, 45)])
    def test_enlarged_pictures_agree(
        self, photos: MultiScalePrior, clean: Tensor, size: tuple[int, int]
    ) -> None:
        operator = Downscaling((64, 64), (21, 22), "bicubic")
        small = Picture(operator.A(clean), depth="float32")
        large = enlarge(small, size, "bicubic", photos, samples=None).picture.pixels
        assert list(large.shape[-2:]) == list(size)
        again = Downscaling(size, (21, 22), "bicubic").A(large)
        torch.testing.assert_close(again, small.pixels, rtol=0, atol=1e-3)


def _quick(prior: MultiScalePrior) -> MultiScalePrior:
    """A prior of two steps: what it draws does not matter."""
    quick = MultiScalePrior(prior.low, prior.conditionals, prior.wavelet, prior.estimator)
    restore = quick.restore

    def few(*args: object, **options: object) -> Tensor:
        rule = Multistep(1.0, 0.1, steps=2, eta=1.0)
        return restore(*args, **options | {"rule": rule, "iterations": 1})  # type: ignore[arg-type]

    object.__setattr__(quick, "restore", few)
    return quick


class TestBadInput:
    def test_operators(self) -> None:
        images = torch.rand(1, 3, 8, 8)
        with pytest.raises(UsageError, match="the mask is 5x4, the image 8x8"):
            Inpainting(torch.ones(4, 5)).A(images)
        with pytest.raises(UsageError, match="nothing is known"):
            Inpainting(torch.zeros(8, 8))
        with pytest.raises(UsageError, match="shape"):
            MaskedFourier(torch.ones(8))
        with pytest.raises(UsageError, match="one red, two green and one blue"):
            Demosaicking("RGB")
        with pytest.raises(UsageError, match="odd sides, found 4x3"):
            Blur(torch.ones(4, 3))
        for kernel in (torch.zeros(3, 3), torch.full((3, 3), math.nan), -torch.ones(3, 3)):
            with pytest.raises(UsageError, match="finite and their sum above 0"):
                Blur(kernel)
        with pytest.raises(UsageError, match="above 0, found -1"):
            Blur.gaussian(-1)
        with pytest.raises(UsageError, match="must be smaller: 9x4 of 8x8"):
            Downscaling((8, 8), (9, 4))
        with pytest.raises(UsageError, match="9x8 pixels cannot be decimated by 2"):
            Decimation((9, 8), 2, Blur.gaussian(0.5))
        with pytest.raises(UsageError, match="larger than the picture"):
            Decimation((4, 4), 2, Blur.gaussian(1.0))
        for filter in ("nearest", "gaussian", "gaussian:0", "gaussian:x"):
            with pytest.raises(UsageError, match="filter of a reduction"):
                Downscaling((8, 8), (4, 4), filter)

    def test_a_kernel_that_does_not_sum_to_one_keeps_brightness(self) -> None:
        flat = torch.full((1, 1, 8, 8), 0.4)
        torch.testing.assert_close(Blur(7 * torch.ones(3, 3)).A(flat), flat)

    def test_measurements(self, photos: MultiScalePrior) -> None:
        with pytest.raises(UsageError, match=r"\(N, 3, H, W\)"):
            photos.restore(torch.rand(1, 2, 8, 8), Inpainting(torch.ones(8, 8)))
        with pytest.raises(UsageError, match="the mask is 4x4"):
            photos.restore(torch.rand(1, 3, 8, 8), Inpainting(torch.ones(4, 4)))
        with pytest.raises(UsageError, match="finite and 0 or more"):
            photos.restore(torch.rand(1, 3, 8, 8), Inpainting(torch.ones(8, 8)), -1.0)
        with pytest.raises(UsageError, match="NaN"):
            photos.restore(torch.full((1, 3, 8, 8), math.nan), Inpainting(torch.ones(8, 8)))

    @pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
    def test_arrays_of_another_kind_or_shape(self, operator: Operator) -> None:
        """No function of an operator takes them in silence, nor with somebody else's error."""
        images = torch.rand(2, 3, *SIZE)
        seen = operator.A(images)
        for name, right in (("A", images), ("A_adjoint", seen), ("A_dagger", seen)):
            function = getattr(operator, name, None)
            if function is None:
                continue
            wrong = {
                "no batch": right[0],
                "five axes": right[None],
                "integers": (255 * right).to(torch.uint8),
                "complex": right.to(torch.complex64),
                "NumPy": right.numpy(),
                "empty": right[:0],
                "no channels": right[:, :0],
                "no rows": right[..., :0, :],
                "one pixel": right[..., :1, :1],
            }
            if not isinstance(operator, Blur | Demosaicking):
                wrong |= {"a row less": right[..., 1:, :], "turned": right.transpose(-1, -2)}
            elif isinstance(operator, Demosaicking):
                wrong.pop("one pixel")
            for what, array in wrong.items():
                refused = False
                try:
                    function(array)
                except UsageError:
                    refused = True
                assert refused, f"{name} took {what}"

    @pytest.mark.parametrize(
        ("call", "sentence"),
        [
            (
                lambda: Decimation((16, 16), 2, Blur.gaussian(0.5)).A(torch.rand(1, 3, 15, 15)),
                "the operator reduces images of 16x16, the image 15x15; they must be the same size",
            ),
            (
                lambda: Downscaling((16, 12), (8, 6)).A_adjoint(torch.rand(1, 3, 8, 7)),
                "the operator reduces to 6x8, the measurement 7x8; they must be the same size",
            ),
            (
                lambda: Demosaicking().A(torch.rand(1, 1, 8, 8)),
                r"image must have shape \(N, 3, H, W\), each from 1, found \(1, 1, 8, 8\)",
            ),
            (
                lambda: Demosaicking().A_adjoint(torch.rand(1, 3, 8, 8)),
                r"measurement must have shape \(N, 1, H, W\), each from 1, found \(1, 3, 8, 8\)",
            ),
            (
                lambda: Demosaicking().fill(torch.rand(1, 1, 8, 2)),
                "a mosaic must have sides of 3 pixels or more, found 2x8",
            ),
            (
                lambda: Inpainting(torch.ones(3, 8, 8)).A(torch.rand(1, 1, 8, 8)),
                r"\(N, 3, H, W\), each from 1, found \(1, 1, 8, 8\)",
            ),
            (
                lambda: MaskedFourier(torch.ones(8, 8)).A_adjoint(torch.rand(1, 1, 8, 8)),
                "an even number of channels, real parts and then imaginary ones, found 1",
            ),
            (
                lambda: MaskedFourier(torch.ones(3, 8, 8)).A_adjoint(torch.rand(1, 4, 8, 8)),
                r"\(N, 6, H, W\), each from 1, found \(1, 4, 8, 8\)",
            ),
            (
                lambda: Blur.gaussian(2.0).A(torch.rand(1, 3, 8, 8)),
                "the kernel is 17x17, larger than the picture",
            ),
        ],
    )
    def test_misfits_are_told(self, call: Callable[[], object], sentence: str) -> None:
        with pytest.raises(UsageError, match=sentence):
            call()

    @pytest.mark.parametrize(
        ("kind", "arguments", "sentence"),
        [
            (Inpainting, (np.ones((4, 4)),), "a mask must be a tensor, found ndarray"),
            (Inpainting, (torch.full((4, 4), math.nan),), "the mask holds NaN"),
            (Blur, (np.ones((3, 3)),), "kernel must be a tensor of floats, found ndarray"),
            (Blur, (torch.ones(3, 3, dtype=torch.int64),), "kernel must hold floats, found int64"),
            (Demosaicking, (3,), "such as RGGB, found 3"),
            (Downscaling, (8, 4), "size must be height and width, found 8"),
            (Downscaling, ((8, 8), (4.5, 4)), "the height of small must be an integer"),
            (Downscaling, ((8, 8), (4, 0)), "the width of small must be 1 or more, found 0"),
            (Downscaling, ((8, 8), (4, 4), 2), "filter of a reduction must be mean"),
            (Decimation, ((8, 8), 0, Blur.gaussian(0.5)), "factor must be 1 or more"),
            (Decimation, ((8, 8), 2, "gaussian:1"), "blur must be a Blur, found str"),
            (Chain, (Blur, Demosaicking()), "first must have A and A_adjoint.*the class Blur"),
            (Chain, (Demosaicking(), None), "then must have A and A_adjoint.*NoneType"),
        ],
    )
    def test_bad_arguments(self, kind: Any, arguments: tuple[Any, ...], sentence: str) -> None:
        with pytest.raises(UsageError, match=sentence):
            kind(*arguments)

    @pytest.mark.parametrize(
        ("operator", "shape", "noise", "sentence"),
        [
            (Downscaling((8, 8), (4, 4)), (1, 1, 5, 4), 0.0, "reduces to 4x4, the measurement 4x5"),
            (
                Decimation((8, 8), 2, Blur.gaussian(0.5)),
                (1, 1, 8, 8),
                0.0,
                "reduces to 4x4, the measurement 8x8",
            ),
            (Blur.gaussian(2.0), (1, 1, 8, 8), 0.0, "larger than the picture"),
            (MaskedFourier(torch.ones(8, 8)), (1, 1, 8, 8), 0.0, "an even number of channels"),
            (Demosaicking(), (1, 1, 8, 8), 0.0, r"shape \(N, 1, H, W\)"),
            (Inpainting(torch.ones(8, 8)), (0, 1, 8, 8), 0.0, "each from 1, found"),
            (Inpainting(torch.ones(8, 8)), (1, 8, 8), 0.0, r"shape \(N, c, h, w\)"),
            (object(), (1, 1, 8, 8), 0.0, "operator must have A and A_adjoint.*found object"),
            (Blur, (1, 1, 8, 8), 0.0, "found the class Blur"),
            (
                Inpainting(torch.ones(8, 8)),
                (2, 1, 8, 8),
                torch.full((3,), 0.1),
                "one per image, found",
            ),
            (
                Inpainting(torch.ones(8, 8)),
                (1, 1, 8, 8),
                torch.full((1, 1, 4, 8), 0.1),
                r"height and width of the measurement, \(8, 8\), found \(4, 8\)",
            ),
            (Inpainting(torch.ones(8, 8)), (1, 1, 8, 8), math.nan, "finite and 0 or more"),
            (Inpainting(torch.ones(8, 8)), (1, 1, 8, 8), "much", "number or one per image"),
        ],
    )
    def test_measurements_that_do_not_fit(
        self, operator: Any, shape: tuple[int, ...], noise: Any, sentence: str
    ) -> None:
        prior = gaussian_prior(smooth_spectrum((8, 8)), 2)
        with pytest.raises(UsageError, match=sentence):
            prior.restore(torch.rand(shape, dtype=torch.float64), operator, noise)

    def test_operators_of_others_that_do_not_fit(self) -> None:
        class Short(Theirs):
            def A(self, x: Tensor) -> Tensor:
                return x[..., 1:]

        prior, seen = gaussian_prior(smooth_spectrum((8, 8)), 2), torch.rand(1, 1, 8, 8)
        with pytest.raises(UsageError, match=r"Short makes .* to a measurement of \(1, 1, 8, 7\)"):
            prior.restore(seen, Short())
        with pytest.raises(UsageError, match=r"Theirs takes no .* \(1, 1, 3, 8\) \(RuntimeError"):
            prior.restore(seen[..., :3, :], Theirs())
        wrong: Any
        for wrong in (seen.numpy(), seen.int(), None):
            with pytest.raises(UsageError, match="measurement must"):
                prior.restore(wrong, Theirs())

    def test_pictures(self, photos: MultiScalePrior) -> None:
        picture = Picture(torch.rand(1, 3, 8, 8))
        with pytest.raises(UsageError, match="the mask is 5x4, the picture 8x8"):
            inpaint(picture, torch.ones(4, 5), photos)
        with pytest.raises(UsageError, match="black everywhere"):
            inpaint(picture, torch.zeros(8, 8), photos)
        with pytest.raises(UsageError, match="white everywhere"):
            inpaint(picture, torch.ones(8, 8), photos)
        with pytest.raises(UsageError, match="larger than the picture"):
            deblur(picture, Blur.gaussian(3), photos)
        with pytest.raises(UsageError, match="sigma must be 0 or more"):
            deblur(picture, Blur.gaussian(0.5), photos, sigma=-1.0)
        with pytest.raises(UsageError, match="both say what the noise is"):
            deblur(picture, Blur.gaussian(0.5), photos, sigma=0.1, noise=NoiseModel.white(0.1))
        with pytest.raises(UsageError, match="for 3 channels, the picture has 1"):
            deblur(
                Picture(torch.rand(1, 8, 8)),
                Blur.gaussian(0.5),
                photos,
                noise=NoiseModel.white((0.1, 0.2, 0.3)),
            )
        blur: Any = "gaussian:1"
        with pytest.raises(UsageError, match=r"blur must be a Blur, such as .* found str"):
            deblur(picture, blur, photos)
        side: Any = 16
        with pytest.raises(UsageError, match="reduced_by must be the name of a filter"):
            enlarge(picture, (16, 16), side, photos)
        with pytest.raises(UsageError, match="size must be height and width, found 16"):
            enlarge(picture, side, "bicubic", photos)
