"""Images of which only a measurement is known: operators, exact priors, and pictures."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor
from zoo import condition, dense_covariance, smooth_picture, smooth_spectrum

import scalewise
from scalewise.errors import UsageError
from scalewise.exact import gaussian_prior
from scalewise.images import Picture
from scalewise.metrics import psnr
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
from scalewise.samplers import Multistep

SIZE = (9, 12)


def mask(size: tuple[int, ...], share: float = 0.5) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(3)) < share


def skewed() -> Tensor:
    """A kernel without any symmetry."""
    return torch.rand(3, 5, generator=torch.Generator().manual_seed(4))


OPERATORS = {
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


class TestGaussianImages:
    """The exact distribution given a measurement is known there."""

    SPECTRUM = smooth_spectrum((8, 8))
    CASES: ClassVar[dict[str, tuple[Operator, float]]] = {
        "holes": (Inpainting(mask((8, 8))), 0.0),
        "noisy holes": (Inpainting(mask((8, 8))), 0.05),
        "blur": (Blur.gaussian(0.7), 0.05),
        "blur and decimation": (Decimation((8, 8), 2, Blur.gaussian(0.7)), 0.02),
        "means of blocks": (Downscaling((8, 8), (4, 4), "mean"), 0.0),
        "bicubic": (Downscaling((8, 8), (4, 4), "bicubic"), 0.02),
        "frequencies": (MaskedFourier(mask((8, 8), 0.7)), 0.05),
    }
    RULE = Multistep(8.0, 0.002, steps=40, rho=5.0, eta=1.0)

    @pytest.fixture(params=CASES)
    def case(self, request: pytest.FixtureRequest) -> tuple[Operator, float, Tensor]:
        operator, noise = self.CASES[request.param]
        root = torch.linalg.cholesky(dense_covariance(self.SPECTRUM))
        clean = 0.5 + (root @ torch.randn(64, dtype=torch.float64)).view(1, 1, 8, 8)
        seen = operator.A(clean)
        return operator, noise, seen + noise * torch.randn_like(seen)

    def truth(self, operator: Operator, noise: float, seen: Tensor) -> tuple[Tensor, Tensor]:
        units = torch.eye(64, dtype=torch.float64).view(64, 1, 8, 8)
        look = operator.A(units).flatten(1).T
        mean = torch.full((64,), 0.5, dtype=torch.float64)
        least = max(noise, 1e-6) ** 2
        return condition(mean, dense_covariance(self.SPECTRUM), look, seen.flatten(1), least)

    def test_mean(self, case: tuple[Operator, float, Tensor]) -> None:
        operator, noise, seen = case
        prior = gaussian_prior(self.SPECTRUM, 2)
        found = prior.restore(seen, operator, noise, iterations=12, rule=self.RULE)
        mean, covariance = self.truth(*case)
        deviation = covariance.diagonal().mean().sqrt()
        error = (found.flatten(1) - mean).square().mean().sqrt()
        assert error < 0.03 * deviation

    def test_samples(self, case: tuple[Operator, float, Tensor]) -> None:
        operator, noise, seen = case
        prior = gaussian_prior(self.SPECTRUM, 2)
        count = 12
        samples = prior.restore(
            seen, operator, noise, samples=count, iterations=8, rule=self.RULE
        ).flatten(1)
        mean, covariance = self.truth(*case)
        variance = covariance.diagonal().mean()
        off = (samples.mean(0) - mean).square().mean() * count / variance
        assert off < 3  # 1 on average
        spread = (samples - mean).square().mean() / variance
        assert spread == pytest.approx(1, abs=0.3)

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
