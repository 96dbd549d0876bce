"""Pictures restored: units, noise levels, hidden colours, and agreement with the input."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import tifffile
import torch
from cli_tools import blind_prior
from PIL import Image
from torch import Tensor
from zoo import smooth_picture

import scalewise
from scalewise.data.photos import sample_photo
from scalewise.errors import UsageError
from scalewise.evaluation import psnr
from scalewise.exact import gaussian_prior, power_law_spectrum
from scalewise.images import Intensities, Picture, read_image, to_channels
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore import (
    Strength,
    denoise,
    denoise_plane,
    find_noise,
    fit_to_type,
    noise_levels,
    upscale,
)
from scalewise.wavelets import low_pass, split

LEVEL = 25 / 255


@pytest.fixture(scope="module")
def photos() -> MultiScalePrior:
    return scalewise.load("photos", device="cpu")


def gain(clean: Tensor, noisy: Tensor, restored: Tensor) -> float:
    """PSNR won, in dB."""
    before, after = (psnr(clean[None], x[None], clip=True).item() for x in (noisy, restored))
    return after - before


def with_noise(clean: Tensor, sigma: float | tuple[float, ...], seed: int = 0) -> Tensor:
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    return clean + torch.as_tensor(sigma).reshape(-1, 1, 1) * noise


@pytest.mark.parametrize(
    "options", [{}, {"samples": 2}, {"fidelity": 0.5}, {"uncertainty": True}, {"average": 2}]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_without_noise_a_picture_stays_as_it_is(
    photos: MultiScalePrior, channels: int, options: dict[str, Any]
) -> None:
    """Bit for bit."""
    pixels = torch.rand(1, channels, 24, 20, generator=torch.Generator().manual_seed(0))
    for told in ({"sigma": 0.0}, {"noise": NoiseModel.white(0.0)}):
        result = denoise(Picture(pixels), photos, **told, **options)
        assert len(result.pictures) == options.get("samples", 1)
        for picture in result.pictures:
            assert picture.pixels.equal(pixels)
        if result.deviation is not None:
            assert not result.deviation.pixels.any()


def test_without_noise_colour_comes_back_gray_from_a_gray_prior() -> None:
    pixels = torch.rand(1, 3, 24, 20, generator=torch.Generator().manual_seed(0))
    gray = gaussian_prior(power_law_spectrum((24, 20), 1 / 8), 1)
    result = denoise(Picture(pixels), gray, sigma=0.0)
    assert result.picture.pixels.equal(to_channels(pixels, 1)[0])
    assert "RGB image converted to gray for the model" in result.notes


class TestUnits:
    """The same picture, the same result, whatever the unit."""

    @pytest.mark.parametrize(
        ("scale", "offset", "dtype"),
        [
            (65535, 0, "uint16"),
            (16383, 0, "uint16"),
            (4095, 0, "uint16"),
            (1023, 0, "uint16"),
            (255, 0, "uint16"),
            (300, 100, "uint16"),
            (2000, -1000, "int16"),
            (1e-3, 0, "float32"),
            (65535, 0, "float32"),
            (1, 0, "float64"),
        ],
    )
    def test_gain(
        self, scale: float, offset: float, dtype: str, tmp_path: Path, photos: MultiScalePrior
    ) -> None:
        clean = smooth_picture(1, 96)
        noisy = with_noise(clean, LEVEL).clamp(0, 1)
        stored = offset + scale * noisy[0].double().numpy()
        stored = stored.round().astype(dtype) if "int" in dtype else stored.astype(dtype)
        tifffile.imwrite(tmp_path / "counts.tif", stored)
        picture = read_image(tmp_path / "counts.tif")
        restored = denoise(picture, photos).picture
        values = (restored.intensities.stored(restored.pixels)[0] - offset) / scale
        expected, _ = denoise_plane(noisy, photos)
        assert gain(clean, noisy, values) == pytest.approx(gain(clean, noisy, expected), abs=0.2)
        assert gain(clean, noisy, values) > 5
        scalewise.write_image(tmp_path / "out.tif", restored)
        written = tifffile.imread(tmp_path / "out.tif")
        assert written.dtype == stored.dtype
        assert abs(float(written.mean()) - float(stored.mean())) < 0.01 * scale

    def test_a_range_that_is_given(self, tmp_path: Path, photos: MultiScalePrior) -> None:
        noisy = with_noise(smooth_picture(1, 64), LEVEL)
        counts = (500 + 1000 * noisy[0]).numpy().round().astype("uint16")
        tifffile.imwrite(tmp_path / "counts.tif", counts)
        picture = read_image(tmp_path / "counts.tif", black=500, white=1500)
        assert denoise(picture, photos).sigma[0] == pytest.approx(LEVEL, rel=0.15)

    def test_planes_have_levels_of_their_own(self, photos: MultiScalePrior) -> None:
        clean = smooth_picture(1, 96)
        noisy = torch.stack([with_noise(clean, 0.02), with_noise(clean, 0.1)])
        done: list[None] = []
        restored = denoise(Picture(noisy), photos, callback=lambda: done.append(None))
        assert restored.sigma == pytest.approx((0.02, 0.1), rel=0.2)
        assert len(done) == 2
        for before, after in zip(noisy, restored.picture.pixels, strict=True):
            assert gain(clean, before, after) > 1


class TestNoiseLevels:
    """One level, or one per channel; noise that chroma subsampling hides."""

    def test_channels_alike(self) -> None:
        (level,) = noise_levels(with_noise(smooth_picture(3, 128), LEVEL).clamp(0, 1))
        assert level == pytest.approx(LEVEL, rel=0.05)

    @pytest.mark.parametrize("levels", [(10.0, 5.0, 40.0), (30.0, 10.0, 10.0)])
    def test_uneven_channels_all_gain(
        self, levels: tuple[float, ...], photos: MultiScalePrior
    ) -> None:
        clean = smooth_picture(3, 128)
        noisy = with_noise(clean, tuple(level / 255 for level in levels)).clamp(0, 1)
        found = find_noise(noisy, 3, estimator=photos.estimator).scales[0]
        assert [255 * level for level in found] == pytest.approx(list(levels), rel=0.3)
        restored, level = denoise_plane(noisy, photos)
        assert level.scales[0] == found
        for channel in range(3):
            part = slice(channel, channel + 1)
            assert gain(clean[part], noisy[part], restored[part]) > 3

    @pytest.mark.parametrize("quality", [75, 95])
    def test_jpeg_of_a_noisy_photo(self, quality: int, photos: MultiScalePrior) -> None:
        clean = smooth_picture(3, 160)
        noisy = with_noise(clean, LEVEL).clamp(0, 1)
        file = BytesIO()
        pixels = (255 * noisy.movedim(0, -1).numpy()).round().astype(np.uint8)
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        stored = torch.from_numpy(np.array(Image.open(file))).movedim(-1, 0) / 255
        found = find_noise(stored, 3, estimator=photos.estimator)
        assert 14 / 255 < found.sigma < 29 / 255
        (level,) = noise_levels(stored)
        assert 15 / 255 < level < 27 / 255
        assert gain(clean, stored, denoise_plane(stored, photos)[0]) > 5

    def test_clean_pictures_are_left_alone(self, photos: MultiScalePrior) -> None:
        clean = smooth_picture(3, 128)
        restored, noise = denoise_plane(clean, photos)
        assert noise.sigma < 1 / 255
        assert psnr(clean[None], restored[None]).item() > 45

    def test_given_levels_are_used(self, photos: MultiScalePrior) -> None:
        noisy = with_noise(smooth_picture(3, 64), LEVEL)
        restored, noise = denoise_plane(noisy, photos, noise=0.05)
        assert noise == NoiseModel.white(0.05)
        assert torch.allclose(restored, photos.denoise(noisy[None], 0.05)[0])

    @pytest.mark.parametrize(("sigma", "strength"), [(-0.1, 1.0), (float("nan"), 1.0), (0.1, 4.5)])
    def test_bad_settings(self, sigma: float, strength: float, photos: MultiScalePrior) -> None:
        with pytest.raises(UsageError, match=r"sigma must be 0 or more|strength must be from 0"):
            denoise(Picture(torch.rand(3, 16, 16)), photos, sigma=sigma, strength=strength)


class TestStrengthByLevel:
    """Each level comes from an image that was told its share of the noise."""

    def test_each_level_is_that_of_an_image_told_its_share(self, photos: MultiScalePrior) -> None:
        noisy = with_noise(smooth_picture(3, 32), 0.1)
        strength = Strength(0.5, 0.5, levels=(1.0, 0.4, 2.0))
        left = denoise_plane(noisy, photos, noise=0.1, strength=strength)[0][None]
        expected = [denoise_plane(noisy, photos, noise=0.1 * t)[0][None] for t in (0.5, 0.2, 1.0)]
        for level, image in enumerate(expected, 1):
            left, details = split(left)
            torch.testing.assert_close(details, split(low_pass(image, level - 1))[1])
        torch.testing.assert_close(
            left, low_pass(denoise_plane(noisy, photos, noise=0.05)[0][None], 3)
        )

    @pytest.mark.parametrize("size", [(36, 31), (9, 2), (1, 1)])
    def test_levels_of_any_size(self, photos: MultiScalePrior, size: tuple[int, int]) -> None:
        noisy = torch.rand(3, *size)
        whole, _ = denoise_plane(noisy, photos, noise=0.1)
        told = Strength(levels=(0.99999, 1.00001))
        found, _ = denoise_plane(noisy, photos, noise=0.1, strength=told)
        torch.testing.assert_close(found, whole, atol=1e-4, rtol=0)

    def test_brightness_and_colours_have_shares_of_their_own(self, photos: MultiScalePrior) -> None:
        noisy = with_noise(smooth_picture(3, 32), 0.1)

        def told(luma: float, chroma: float) -> Tensor:
            strength = Strength(luma, chroma, levels=(0.6,))
            return denoise_plane(noisy, photos, noise=0.1, strength=strength)[0]

        found, bright, coloured = told(0.5, 1.0), told(0.5, 0.5), told(1.0, 1.0)
        luma, expected = (to_channels(x, 1)[0] for x in (found, bright))
        torch.testing.assert_close(luma, expected)
        torch.testing.assert_close(found - luma, coloured - to_channels(coloured, 1)[0])

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("noise", [NoiseModel.white(0.1), NoiseModel.photons(0.02)])
    def test_a_level_of_nothing_stays_and_coarser_ones_lose_their_noise(
        self, photos: MultiScalePrior, channels: int, noise: NoiseModel
    ) -> None:
        clean = 0.2 + 0.6 * smooth_picture(channels, 96)
        noisy = with_noise(clean, 1.0, seed=1)
        noisy = clean + noise.sigma * noise.at(clean) * (noisy - clean)
        kept, _ = denoise_plane(noisy, photos, noise=noise, strength=Strength(levels=(0.0,)))
        (low, _), (before, original), (after, details) = (
            split(x[None]) for x in (clean, noisy, kept)
        )
        torch.testing.assert_close(details, original)
        assert (after - low).square().mean() < 0.12 * (before - low).square().mean()

    def test_blind_networks_leave_levels_too(self) -> None:
        prior, noisy = blind_prior(), torch.rand(1, 16, 16)
        kept, _ = denoise_plane(noisy, prior, strength=Strength(levels=(0.0,)))
        (low, details), (_, original) = (split(x[None]) for x in (kept, noisy))
        expected, _ = split(denoise_plane(noisy, prior)[0][None])
        torch.testing.assert_close(details, original)
        torch.testing.assert_close(low, expected)

    @pytest.mark.parametrize("levels", [(1.0, 1.0, 1.0, 0.5), (-0.1,), (float("nan"),), (1.0, 5.0)])
    def test_levels_that_cannot_be(
        self, photos: MultiScalePrior, levels: tuple[float, ...]
    ) -> None:
        words = r"strength names level 4, the model has 3|strength must be from 0 to 4"
        with pytest.raises(UsageError, match=words):
            denoise(Picture(torch.rand(3, 16, 16)), photos, strength=Strength(levels=levels))


class TestGrayTexture:
    """What texture looks like is taken for faint noise only where the second scale agrees."""

    @pytest.mark.parametrize("name", ["brick", "grass", "gravel", "coins", "text"])
    def test_it_is_left_alone_where_clean_and_no_worse_where_noisy(
        self, photos: MultiScalePrior, name: str
    ) -> None:
        clean = torch.from_numpy(getattr(skimage.data, name)()[None, :160, :160] / 255.0).float()
        restored, _ = denoise_plane(clean, photos)
        assert psnr(clean[None], restored[None]).item() > 50
        for level, least in ((1, -0.1), (3, 0.15)):
            noisy = with_noise(clean, level / 255, seed=level)
            restored, _ = denoise_plane(noisy, photos)
            assert gain(clean, noisy, restored) > least

    def test_faint_noise_is_found_where_there_is_hardly_texture(
        self, photos: MultiScalePrior
    ) -> None:
        clean = to_channels(sample_photo("astronaut")[None, :, :160, :160], 1)[0][0]
        for level in (1, 2, 3):
            noisy = with_noise(clean, level / 255, seed=level)
            assert 255 * denoise_plane(noisy, photos)[1].sigma == pytest.approx(level, abs=0.6)


class TestAreasWithoutNoise:
    """What is of one value says nothing of the noise, and stays about so."""

    LEVELS = (10, 25)

    def photo(self, channels: int) -> Tensor:
        return to_channels(sample_photo("astronaut")[None, :, :160, 128:288], channels)[0][0]

    @pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_constant_picture_stays_and_a_note_says_why(
        self, photos: MultiScalePrior, channels: int, value: float
    ) -> None:
        picture = Picture(torch.full((channels, 40, 52), value))
        result = denoise(picture, photos)
        assert result.picture.pixels.equal(picture.pixels)
        assert result.sigma == (0.0,)
        assert "no noise was found; sigma says how much to remove all the same" in result.notes

    @pytest.mark.parametrize(("channels", "value"), [(1, 0.5), (3, 0.0), (3, 1.0)])
    @pytest.mark.parametrize("level", LEVELS)
    def test_bars_beside_noise(
        self, photos: MultiScalePrior, channels: int, value: float, level: int
    ) -> None:
        clean = self.photo(channels)
        noisy = with_noise(clean, level / 255, seed=1).clamp(0, 1)
        bars = torch.zeros_like(noisy, dtype=torch.bool)
        bars[:, :40] = bars[:, -40:] = True
        barred = torch.where(bars, value, noisy)
        result = denoise(Picture(barred, depth="float32"), photos)
        between, dirty = clean[:, 40:-40], noisy[:, 40:-40]
        alone, there_is = denoise_plane(dirty, photos)
        assert result.sigma[0] == pytest.approx(there_is.sigma, rel=0.06)
        assert 255 * result.sigma[0] == pytest.approx(level, rel=0.1)
        assert result.noise[0].is_white
        (found,) = result.picture.pixels
        assert 255 * float((found - barred).abs()[bars].mean()) < 0.1 * level
        there = gain(between, dirty, found[:, 40:-40])
        assert there > gain(between, dirty, alone) - 0.3

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("level", LEVELS)
    def test_a_saturated_sky(self, photos: MultiScalePrior, channels: int, level: int) -> None:
        """From twice as bright as white down to just below it."""
        scene = self.photo(channels)
        scene[:, :64] = torch.linspace(2.2, 0.9, 64)[:, None]
        noisy = with_noise(scene, level / 255, seed=2).clamp(0, 1)
        assert noisy[:, :40].eq(1).all()
        result = denoise(Picture(noisy, depth="float32"), photos)
        assert 255 * result.sigma[0] == pytest.approx(level, rel=0.08)
        (found,) = result.picture.pixels
        assert 255 * float((found - 1).abs()[:, :40].mean()) < 0.1 * level
        assert gain(scene[:, 64:], noisy[:, 64:], found[:, 64:]) > 4


class TestBrightColours:
    """One dye, flowers, signs: channels that are black or white hold no noise, others do."""

    @pytest.mark.parametrize(
        "gains", [(0.9, 0, 0), (0, 0.9, 0), (1, 0.35, 0), (2, 1, 0.3), (0, 0.3, 0.9)]
    )
    @pytest.mark.parametrize("level", [6, 25])
    def test_noise_is_that_of_the_channels_that_have_some(
        self, photos: MultiScalePrior, gains: tuple[float, ...], level: int
    ) -> None:
        scene = (self.photo() * torch.tensor(gains).view(3, 1, 1)).clamp(0, 1)
        noisy = (with_noise(scene, level / 255, seed=3).clamp(0, 1) * 255).round() / 255
        result = denoise(Picture(noisy, depth="float32"), photos)
        assert 255 * result.sigma[0] == pytest.approx(level, rel=0.2)
        assert gain(scene, noisy, result.picture.pixels[0]) > 2

    def test_channels_beside_that_of_a_dye_stay(self, photos: MultiScalePrior) -> None:
        """As microscopes store them: nothing in the others, or one value."""
        noisy = torch.zeros(3, 96, 96)
        noisy[1] = with_noise(self.photo()[1:2, :96, :96], 12 / 255, seed=3)[0].clamp(0, 1)
        noisy[2] = 0.25
        asked: tuple[dict[str, Any], ...] = ({}, {"samples": 2}, {"mask": torch.ones(96, 96)})
        for wanted in asked:
            result = denoise(Picture(noisy, depth="float32"), photos, **wanted)
            assert 255 * result.sigma[0] == pytest.approx(12, rel=0.15)
            for picture in result.pictures:
                assert picture.pixels[0, [0, 2]].equal(noisy[[0, 2]])
                assert not picture.pixels[0, 1].equal(noisy[1])

    @pytest.mark.parametrize("gains", [(0.9, 0, 0), (1, 0.35, 0), (3, 1.5, 0.4)])
    def test_clean_ones_stay(self, photos: MultiScalePrior, gains: tuple[float, ...]) -> None:
        scene = (self.photo() * torch.tensor(gains).view(3, 1, 1)).clamp(0, 1)
        stored = (scene * 255).round() / 255
        result = denoise(Picture(stored, depth="float32"), photos)
        assert 255 * float((result.picture.pixels[0] - stored).abs().mean()) < 0.5

    def photo(self) -> Tensor:
        return torch.from_numpy(skimage.data.astronaut()[100:292, 100:292]).movedim(-1, 0) / 255


class TestHiddenColours:
    """What is visible does not depend on what is hidden."""

    def sprites(self) -> list[Picture]:
        alpha = torch.zeros(1, 48, 48)
        alpha[:, 12:36, 12:36] = 1
        colour = torch.tensor([0.9, 0.2, 0.2]).view(3, 1, 1)
        hidden = (0.0, 1.0, 0.5)
        return [
            Picture(torch.where(alpha > 0, colour, torch.full((3, 48, 48), value)), alpha)
            for value in hidden
        ]

    def test_denoised(self, photos: MultiScalePrior) -> None:
        sprites = self.sprites()
        results = [denoise(sprite, photos, sigma=0.1).picture for sprite in sprites]
        alpha = results[0].alpha
        assert alpha is not None
        visible = alpha == 1
        for sprite, result in zip(sprites, results, strict=True):
            assert torch.equal(
                torch.where(visible, result.pixels, 0), torch.where(visible, results[0].pixels, 0)
            )
            assert torch.equal(
                torch.where(visible, 0, result.pixels), torch.where(visible, 0, sprite.pixels)
            )
        inner = results[0].pixels[0, :, 12:36, 12:36]
        assert float((inner - sprites[0].pixels[0, :, 12:36, 12:36]).abs().max()) < 0.05

    def test_upscaled(self, photos: MultiScalePrior) -> None:
        results = [upscale(sprite, photos, factor=2).picture for sprite in self.sprites()]
        assert all(torch.equal(result.pixels, results[0].pixels) for result in results)


class TestAgreement:
    """Reduced by averaging, an enlarged file is the file."""

    @pytest.mark.parametrize("depth", ["uint8", "uint16"])
    @pytest.mark.parametrize("factor", [2, 4])
    @pytest.mark.parametrize("samples", [None, 1])
    def test_black_and_white(
        self, depth: str, factor: int, samples: int | None, tmp_path: Path, photos: MultiScalePrior
    ) -> None:
        rng = np.random.default_rng(0)
        top = np.iinfo(depth).max
        text = (rng.random((24, 20)) > 0.5).astype(depth) * depth_one(depth, top)
        text[:8] = rng.integers(0, top, (8, 20), dtype=depth)
        tifffile.imwrite(tmp_path / "text.tif", text)
        picture = read_image(tmp_path / "text.tif")
        large = upscale(picture, photos, factor=factor, samples=samples).picture
        scalewise.write_image(tmp_path / "large.tif", large)
        written = tifffile.imread(tmp_path / "large.tif").astype(np.float64)
        blocks = written.reshape(24, factor, 20, factor).mean(axis=(1, 3))
        assert np.array_equal(blocks, text.astype(np.float64))
        assert np.ptp(written[16:]) == top

    def test_the_projection_is_the_nearest(self) -> None:
        """Against SciPy's constrained least squares, on one block."""
        from scipy.optimize import minimize

        rng = np.random.default_rng(1)
        block, mean = rng.normal(0.8, 0.5, 4), 0.9
        found = fit_to_type(
            torch.from_numpy(block).view(1, 1, 2, 2),
            torch.full((1, 1, 1, 1), mean, dtype=torch.float64),
            Picture(
                torch.zeros(1, 1, 1), depth="uint16", intensities=Intensities((0.0,), (65535.0,))
            ),
            2,
        )
        best = minimize(
            lambda x: ((x - block) ** 2).sum(),
            np.full(4, mean),
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda x: x.mean() - mean},
            tol=1e-12,
        )
        assert found.flatten().numpy() == pytest.approx(best.x, abs=2e-5)

    def test_floats_are_not_clipped(self) -> None:
        prior = gaussian_prior(power_law_spectrum((16, 16)), 1)
        small = Picture(torch.randn(1, 1, 8, 8), depth="float32")
        large = upscale(small, prior).picture.pixels
        means = torch.nn.functional.avg_pool2d(large, 2)
        assert torch.allclose(means.to(small.pixels), small.pixels, atol=1e-5)

    def test_another_wavelet_is_told(self) -> None:
        prior = gaussian_prior(power_law_spectrum((16, 16)), 1, "db2")
        notes = upscale(Picture(torch.rand(1, 8, 8)), prior).notes
        assert any("wavelet is db2" in note for note in notes)

    def test_samples_and_their_deviation(self, photos: MultiScalePrior) -> None:
        picture = Picture(torch.rand(2, 1, 8, 8), depth="uint8")
        result = upscale(picture, photos, samples=3, uncertainty=True)
        assert len(result.pictures) == 3
        assert result.deviation is not None
        assert result.deviation.pixels.shape == (2, 1, 16, 16)
        again = upscale(replace(picture, pixels=picture.pixels[:1]), photos, samples=1)
        assert torch.allclose(again.picture.pixels[0], result.picture.pixels[0], atol=1 / 255)


def depth_one(depth: str, top: int) -> np.ndarray:
    return np.array(top, dtype=depth)
