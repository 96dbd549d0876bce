"""The description of noise: spectrum, channels and curve; estimated, given, stabilised."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cli_tools import tiny_prior
from torch import Tensor

from scalewise import restore, store
from scalewise.data.photos import sample_photo
from scalewise.errors import UsageError
from scalewise.images import Intensities, Picture, to_channels
from scalewise.images.srgb import to_linear, to_srgb
from scalewise.metrics import psnr
from scalewise.networks import NoiseEstimator
from scalewise.noise import NoiseLevels
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore import find_noise, noise_of_frame, photon_noise, spectrum_of
from scalewise.spectrum import Estimate
from scalewise.stabilise import Stabiliser
from scalewise.training.camera import Camera, demosaiced, draw_camera, jpeg
from scalewise.training.camera import blurred as blurred_by_lens
from scalewise.wavelets import decompose


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blurred(noise: Tensor) -> Tensor:
    """Noise (C, H, W) through [1 2 1] / 4 along both axes."""
    kernel = torch.tensor([0.25, 0.5, 0.25])
    padded = F.pad(noise[:, None], [1] * 4, "circular")
    return F.conv2d(padded, kernel.outer(kernel)[None, None])[:, 0]


BLURRED = NoiseModel(scales=((0.1,), (0.2,), (0.3,)))
GROWING = NoiseModel(scales=((0.05,),), curve=((0.0, 0.25), (0.5, 1.0), (1.0, 4.0)))


class TestModel:
    def test_white_noise_is_what_a_number_says(self) -> None:
        model = NoiseModel.white(0.2)
        assert model.is_white
        assert model.sigma == pytest.approx(0.2)
        levels = model.levels(torch.rand(1, 3, 16, 16), 3)
        assert [float(level) for level in levels.details] == pytest.approx([0.1, 0.05, 0.025])
        assert float(levels.low) == pytest.approx(0.025)
        assert float(levels.whole) == pytest.approx(0.2)

    def test_every_scale_has_its_own_and_coarser_ones_the_last(self) -> None:
        levels = BLURRED.levels(torch.rand(1, 1, 32, 32), 4)
        assert [float(level) for level in levels.details] == pytest.approx(
            [0.05, 0.05, 0.0375, 0.01875]
        )
        assert float(levels.low) == pytest.approx(0.3 / 16)
        assert float(levels.whole) == pytest.approx(BLURRED.sigma)
        assert not BLURRED.is_white

    def test_channels(self) -> None:
        model = NoiseModel.white([0.1, 0.2, 0.3])
        assert model.channels == 3
        assert model.sigma == pytest.approx(0.3)
        there: Any = model.levels(torch.rand(1, 3, 8, 8), 1).details[0]
        assert there.shape == (1, 3, 1, 1)
        with pytest.raises(UsageError, match="described for 3 channels, the image has 1"):
            model.levels(torch.rand(1, 1, 8, 8), 1)
        assert model.as_gray(0.5).scales[0][0] == pytest.approx(0.5 * math.sqrt(0.14 / 3))

    def test_the_curve_is_linear_in_the_variance(self) -> None:
        places = torch.tensor([[-1.0, 0.0, 0.25], [0.75, 1.0, 3.0]])
        expected = torch.tensor([[0.25, 0.25, 0.625], [2.5, 4.0, 4.0]]).sqrt()
        torch.testing.assert_close(GROWING.at(places), expected)
        one = NoiseModel(scales=((1.0,),), curve=((0.3, 4.0),))
        assert one.at(torch.rand(3, 4)).eq(2).all()
        there = GROWING.levels(torch.full((1, 2, 8, 8), 0.25), 1)
        torch.testing.assert_close(
            there.details[0], torch.full((1, 2, 4, 4), 0.025 * math.sqrt(0.625))
        )

    def test_photons(self) -> None:
        model = NoiseModel.photons(0.01, 0.1, 2.0)
        for place in (0.1, 0.3, 0.8, 1.0):
            variance = (model.sigma * float(model.at(torch.tensor([place])))) ** 2
            assert variance == pytest.approx(0.01 * (place - 0.1) + 0.0004, rel=1e-5)
        assert float(model.at(torch.tensor([0.0]))) == float(model.at(torch.tensor([0.1])))
        assert model.grows
        assert not NoiseModel.white(0.1).grows
        wrong: list[tuple[float, ...]] = [(0, 0, 1), (-1, 0, 1), (math.nan, 0, 1), (1, 0, -1)]
        wrong += [(1e300, 0, 0), (1, 0, 1e300), (1, 1e300, 0), (1e-20, 1.5, 0), (1e-20, 0.5, 0)]
        for numbers in wrong:
            with pytest.raises(UsageError, match="gain must be above 0, read noise 0 or more"):
                NoiseModel.photons(*numbers)
        assert math.isfinite(NoiseModel.photons(1e-9, 0.5).sigma)

    def test_times(self) -> None:
        assert BLURRED.times(0.5).scales == ((0.05,), (0.1,), (0.15,))
        assert GROWING.times(2).curve == GROWING.curve

    def test_it_comes_back_from_json(self) -> None:
        for model in (BLURRED, GROWING, NoiseModel.white([0.1, 0.2, 0.3])):
            assert NoiseModel.from_json(json.dumps(model.model_dump()), "a") == model

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "Expecting value"),
            ("[1]", "a.json holds no description of noise"),
            ("{}", "scales: Field required"),
            ('{"scales": []}', "at least 1"),
            ('{"scales": [[-0.1]]}', "greater than or equal to 0"),
            ('{"scales": [[0.1, 0.1]]}', "one number each, or three"),
            ('{"scales": [[0.1], [0.1, 0.1, 0.1]]}', "one number each, or three"),
            ('{"scales": [[NaN]]}', "finite"),
            ('{"scales": [[1e200]]}', "less than or equal to 1000000000"),
            ('{"scales": [[0.1]], "curve": [[0.5, 1e300]]}', "less than or equal to"),
            ('{"scales": [[0.1]], "curve": [[1e300, 1]]}', "less than or equal to"),
            ('{"scales": [[0.1]], "curve": [[0.5, -1]]}', "greater than or equal to 0"),
            ('{"scales": [[0.1]], "curve": [[0.5, 1], [0.5, 2]]}', "rising intensity"),
            ('{"scales": [[0.1]], "curve": [[0.5, 0]]}', "above 0 somewhere"),
            ('{"scales": [[0.1]], "gain": 2}', "gain: Extra inputs"),
        ],
    )
    def test_what_is_no_description(self, text: str, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            NoiseModel.from_json(text, "a.json")

    @pytest.mark.parametrize(
        ("model", "words"),
        [
            (NoiseModel.white(0.0), ["no noise was found"]),
            (NoiseModel.white(10 / 255), ["standard deviation 10 of 255", "white"]),
            (BLURRED, ["correlated: 3 times as strong at structures of 8 pixels"]),
            (NoiseModel(scales=((0.3,), (0.1,))), ["sharpened: strongest at single pixels"]),
            (NoiseModel.white([0.1, 0.1, 0.3]), ["blue 3 times red"]),
            (GROWING, ["2.9 times as strong in the lights"]),
            (
                NoiseModel(scales=((0.1,),), curve=((0.1, 4.0), (0.9, 1.0))),
                ["2 times as strong in the shadows"],
            ),
        ],
    )
    def test_words(self, model: NoiseModel, words: list[str]) -> None:
        told = "; ".join(model.in_words())
        for word in words:
            assert word in told


class TestPrior:
    """Networks are told what each band has."""

    def test_white_noise_of_a_model_and_of_a_number_are_one(self) -> None:
        prior, noisy = tiny_prior(3, (8, 8), 2), torch.rand(1, 3, 20, 28)
        with torch.no_grad():
            told = prior.denoise(noisy, NoiseModel.white(0.1))
            torch.testing.assert_close(told, prior.denoise(noisy, 0.1))
            levels = NoiseLevels((0.05, 0.05), 0.075)
            torch.testing.assert_close(prior.denoise(noisy, BLURRED), prior.denoise(noisy, levels))

    def test_a_level_that_is_no_level_is_refused(self) -> None:
        prior = tiny_prior(3, (8, 8), 2)
        with pytest.raises(UsageError, match="in the units of the images, found 25"):
            prior.denoise(torch.rand(1, 3, 8, 8), NoiseModel.white(25.0))


class TestStabiliser:
    @pytest.mark.parametrize("place", [0.05, 0.1, 0.4, 0.9])
    @pytest.mark.parametrize("read", [0.5, 1.0, 3.0])
    def test_photons_have_one_deviation_and_no_bias(self, place: float, read: float) -> None:
        model = NoiseModel.photons(1 / 60, 0.0, read)
        stabiliser = Stabiliser(model)
        counts = torch.poisson(torch.full((200_000,), 60 * place), seeded())
        noisy = (counts + read * torch.randn(counts.shape, generator=seeded(1))) / 60
        stable = stabiliser.forward(noisy)
        assert float(stable.std()) == pytest.approx(stabiliser.noise.sigma, rel=0.03)
        assert float(stabiliser.inverse(stable.mean()[None])) == pytest.approx(place, rel=0.03)
        plain = torch.tensor([float(stable.mean())])
        biased = torch.tensor(stabiliser.places)[
            (torch.tensor(stabiliser.values) - plain).abs().argmin()
        ]
        assert float(biased) < place - 0.001  # what the inverse of f itself would give

    def test_it_keeps_order_black_and_white(self) -> None:
        stabiliser = Stabiliser(GROWING)
        steps = stabiliser.forward(torch.linspace(-0.5, 1.5, 400))
        assert (steps.diff() > 0).all()
        torch.testing.assert_close(
            stabiliser.forward(torch.tensor([0.0, 1.0])), torch.tensor([0.0, 1.0])
        )
        assert stabiliser.noise.curve == ()

    def test_without_noise_it_is_its_own_inverse(self) -> None:
        stabiliser = Stabiliser(GROWING.times(1e-6))
        values = torch.rand(3, 40, generator=seeded())
        torch.testing.assert_close(
            stabiliser.inverse(stabiliser.forward(values)), values, atol=1e-4, rtol=0
        )


class TestCamera:
    def test_tone_curves_are_inverse(self) -> None:
        values = torch.rand(1000, generator=seeded())
        torch.testing.assert_close(to_srgb(to_linear(values)), values, atol=1e-5, rtol=1e-4)
        assert float(to_linear(torch.tensor(0.5))) == pytest.approx(0.21404, rel=1e-4)

    def test_an_even_colour_and_a_ramp_survive_the_mosaic(self) -> None:
        even = torch.tensor([0.2, 0.5, 0.8]).view(3, 1, 1).expand(3, 12, 16)
        torch.testing.assert_close(demosaiced(even), even)
        ramp = torch.linspace(0, 1, 16).expand(3, 12, 16)
        torch.testing.assert_close(demosaiced(ramp)[..., 2:-2], ramp[..., 2:-2])

    def test_photons_and_read_noise_are_as_large_as_told(self) -> None:
        even = torch.tensor([0.25, 0.5, 0.9]).view(3, 1, 1).expand(3, 128, 128)
        for tone, within in ((False, 0.03), (True, 0.15)):
            camera = Camera(electrons=500, read=5.0, tone=tone)
            taken = camera.take(even, seeded())
            found = taken.flatten(1).std(1)
            torch.testing.assert_close(found, camera.noise_at(even[:, 0, 0]), rtol=within, atol=0)
            assert (taken.flatten(1).mean(1) - even[:, 0, 0]).abs().max() < 0.02
        assert torch.equal(Camera(electrons=50).take(even, None), even)

    def test_a_lens_is_part_of_the_scene_and_a_mosaic_is_not(self) -> None:
        picture = torch.rand(3, 32, 32, generator=seeded())
        lens = Camera(electrons=math.inf, lens=1.0)
        assert lens.scene(picture).std() < 0.5 * picture.std()
        bayer = Camera(electrons=1e9, read=0.0, bayer=True)
        assert torch.equal(bayer.scene(picture), picture)
        assert psnr(picture[None], bayer.take(picture, None)[None]).item() < 30

    @pytest.mark.parametrize("filter", ["bicubic", "lanczos"])
    @pytest.mark.parametrize("reduced", [1.2, 2.0, 2.5])
    def test_pictures_that_were_reduced(self, reduced: float, filter: str) -> None:
        """Even areas stay; noise is about so much less, and neighbours share it."""
        even = torch.full((3, 96, 128), 0.5)
        camera = Camera(electrons=200, read=0.0, reduced=reduced, filter=filter)
        assert torch.allclose(camera.take(even, None), even, atol=1e-5)
        noise = camera.take(even, seeded()) - 0.5
        assert noise.shape == even.shape
        expected = float(camera.noise_at(torch.tensor(0.5)))
        assert expected == pytest.approx(math.sqrt(0.5 / 200) / reduced)
        assert float(noise.std()) == pytest.approx(expected, rel=0.25)
        scales = spectrum_of(noise, 2).scales
        assert sum(scales[1]) > 1.03 * sum(scales[0])
        jpegs = Camera(electrons=200, reduced=reduced, quality=80)
        assert jpegs.take(even[:1], seeded()).shape == (1, 96, 128)

    def test_developed_pictures_have_smooth_colours_and_a_sharp_luma(self) -> None:
        even = torch.tensor([0.3, 0.5, 0.6]).view(3, 1, 1).expand(3, 64, 64)
        cameras = {
            "plain": Camera(electrons=400, read=0.0),
            "smooth": Camera(electrons=400, read=0.0, colours=2.0),
            "sharp": Camera(electrons=400, read=0.0, sharpened=0.5),
        }
        noise = {name: camera.take(even, seeded()) - even for name, camera in cameras.items()}
        luma = {name: to_channels(each[None], 1)[0][0] for name, each in noise.items()}
        colours = {name: (each - luma[name]).std() for name, each in noise.items()}
        torch.testing.assert_close(luma["smooth"], luma["plain"])
        assert colours["smooth"] < 0.25 * colours["plain"]
        assert luma["sharp"].std() > 1.3 * luma["plain"].std()
        torch.testing.assert_close(colours["sharp"], colours["plain"])
        for camera in cameras.values():
            torch.testing.assert_close(camera.take(even, None), even)

    def test_cameras_that_denoise_leave_the_scene_and_coarse_noise(self) -> None:
        even = torch.tensor([0.3, 0.5, 0.6]).view(3, 1, 1).expand(3, 128, 128)
        plain = Camera(electrons=400, read=0.0)
        cleaning = Camera(electrons=400, read=0.0, hidden=0.8, grain=1.0)
        torch.testing.assert_close(cleaning.take(even, None), even)
        before, after = (camera.take(even, seeded()) - even for camera in (plain, cleaning))
        expected = 0.2 * before + 0.8 * blurred_by_lens(before, 1.0)
        torch.testing.assert_close(after, expected, atol=1e-6, rtol=0)
        finest, _, coarse = (
            sum(now) / sum(then)
            for now, then in zip(
                spectrum_of(after, 3).scales, spectrum_of(before, 3).scales, strict=True
            )
        )
        assert finest < 0.35 < 0.65 < coarse

    def test_some_cameras_that_are_drawn_reduce_their_pictures(self) -> None:
        picture, generator = torch.full((3, 32, 32), 0.4), seeded()
        drawn = [draw_camera(picture, 0.05, generator) for _ in range(400)]
        times = [camera.reduced for camera in drawn if camera.reduced > 1]
        assert len(times) / 400 == pytest.approx(0.15, abs=0.06)  # three standard errors
        for field in ("colours", "sharpened"):
            share = sum(getattr(camera, field) > 0 for camera in drawn) / 400
            assert share == pytest.approx(0.28, abs=0.07)
        cleaning = [camera.hidden for camera in drawn if camera.hidden]
        assert len(cleaning) / 400 == pytest.approx(0.35, abs=0.08)
        assert 0.3 <= min(cleaning) < 0.4 < 0.85 < max(cleaning) <= 0.95
        assert 1.2 <= min(times) < 1.4 < 2.3 < max(times) <= 2.5
        told = [float(one.noise_at(picture).square().mean().sqrt()) for one in drawn]
        smaller = [level for level, one in zip(told, drawn, strict=True) if one.reduced > 1]
        assert sorted(smaller)[len(smaller) // 2] == pytest.approx(0.05, rel=0.2)

    def test_gray_pictures(self) -> None:
        gray = torch.rand(1, 32, 32, generator=seeded())
        camera = Camera(electrons=300, bayer=True, tone=True, quality=90)
        taken = camera.take(gray, seeded())
        in_colours = camera.take(gray.repeat(3, 1, 1), seeded())
        assert torch.equal(taken, to_channels(in_colours, 1)[0])
        noise = Camera(electrons=300, bayer=True).take(torch.full_like(gray, 0.5), seeded()) - 0.5
        double = camera.take(gray.double(), seeded())
        torch.testing.assert_close(double.float(), taken, atol=0.2, rtol=0)  # other photons
        beside = (noise[..., 1:] * noise[..., :-1]).mean() / noise.square().mean()
        assert beside > 0.2, "noise of a mosaic is shared by pixels side by side"
        assert jpeg(gray, 95).shape == gray.shape


@pytest.fixture(scope="module")
def photos() -> MultiScalePrior:
    return store.load("photos", device="cpu")


def scene(side: int = 192) -> Tensor:
    """Soft shapes in colour, dark to bright, (3, side, side)."""
    coarse = torch.rand(1, 3, 7, 7, generator=seeded(4))
    return F.interpolate(coarse, size=(side, side), mode="bicubic")[0].clamp(0.05, 0.95)


def textured() -> Tensor:
    """A photograph whose texture hides noise in its channels, (3, 192, 192)."""
    return sample_photo("astronaut")[:, 100:292, 100:292]


def untaught(prior: MultiScalePrior) -> NoiseEstimator:
    """The estimator of a prior without what it has learnt of spectra."""
    assert prior.estimator is not None
    found = NoiseEstimator(prior.estimator.settings["width"], prior.estimator.settings["depth"])
    found.load_state_dict(prior.estimator.state_dict(), strict=False)
    return found.eval().requires_grad_(False)


class TestFinding:
    def test_without_an_estimator_noise_is_white(self) -> None:
        noisy = scene() + 0.1 * torch.randn(3, 192, 192, generator=seeded())
        found = find_noise(noisy, 3)
        assert found.is_white
        assert found.sigma == pytest.approx(0.1, rel=0.05)

    def test_white_noise_is_found_white_by_the_statistic(self, photos: MultiScalePrior) -> None:
        noisy = scene() + 0.1 * torch.randn(3, 192, 192, generator=seeded())
        found = find_noise(noisy, 3, estimator=photos.estimator)
        assert found == find_noise(noisy, 3)

    def test_blurred_noise_has_a_spectrum(self, photos: MultiScalePrior) -> None:
        noise = 0.1 * blurred(torch.randn(3, 192, 192, generator=seeded()))
        found = find_noise(scene() + noise, 3, estimator=photos.estimator)
        _, details = decompose(noise[None], 3)
        for level, bands in enumerate(details, start=1):
            there = float(bands.square().mean().sqrt()) * 2**level
            within = {1: 0.15, 2: 0.4, 3: 0.6}[level]
            for deviation in found.scale(level):
                assert deviation == pytest.approx(there, rel=within)
        assert any("correlated" in words for words in found.in_words())

    @pytest.mark.parametrize("colours", [(1.0, 1.0, 1.0), (1.0, 0.8, 1.25)])
    def test_texture_does_not_hide_noise_that_channels_do_not_share(
        self, photos: MultiScalePrior, colours: tuple[float, ...]
    ) -> None:
        noise = 0.1 * blurred(torch.randn(3, 192, 192, generator=seeded()))
        noise = noise * torch.tensor(colours).view(3, 1, 1)
        found = find_noise(textured() + noise, 3, estimator=photos.estimator)
        _, details = decompose(noise[None], 3)
        for level, bands in enumerate(details, start=1):
            there = bands.unflatten(1, (3, 3)).square().mean(dim=(0, 1, 3, 4)).sqrt() * 2**level
            for deviation, one in zip(found.scale(level), there.tolist(), strict=True):
                assert deviation == pytest.approx(one, rel=0.4)

    def test_noise_that_channels_share_is_not_taken_for_less(
        self, photos: MultiScalePrior, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Their differences do not have it: what single channels show stays."""
        shared = 0.1 * blurred(torch.randn(1, 192, 192, generator=seeded()))
        own = 0.01 * torch.randn(3, 192, 192, generator=seeded(1))
        noisy = scene() + shared + own
        found = find_noise(noisy, 3, estimator=untaught(photos))
        monkeypatch.setattr("scalewise.spectrum.estimating.compared", lambda *_: None)
        assert found == find_noise(noisy, 3, estimator=untaught(photos))

    def test_white_noise_does_not_become_correlated_by_texture(
        self, photos: MultiScalePrior, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the differences have as much as a statistic of white noise, it is white."""
        rising = [[level] * 3 for level in (0.045, 0.08, 0.1)]
        monkeypatch.setattr("scalewise.spectrum.estimating.plausible_scales", lambda *_: rising)
        noisy = textured() + 0.04 * torch.randn(3, 192, 192, generator=seeded())
        found = find_noise(noisy, 3, estimator=untaught(photos))
        assert found.is_white
        assert found.sigma == pytest.approx(0.04, rel=0.05)
        shared = textured() + 0.04 * torch.randn(1, 192, 192, generator=seeded())
        found = find_noise(shared, 3, estimator=untaught(photos))
        assert [list(scale) for scale in found.scales[:3]] == rising

    def test_a_quiet_channel_beside_a_noisy_one_stays_quiet(self, photos: MultiScalePrior) -> None:
        deviations = torch.tensor([0.04, 0.02, 0.16]).view(3, 1, 1)
        noisy = textured() + deviations * torch.randn(3, 192, 192, generator=seeded())
        found = find_noise(noisy, 3, estimator=photos.estimator)
        for level in range(1, len(found.scales) + 1):
            assert found.scale(level)[1] < 0.03

    @pytest.mark.parametrize("level", [40, 60, 100])
    @pytest.mark.parametrize("name", ["camera", "brick", "moon"])
    def test_strong_white_noise_of_gray_images_is_found_to_two_percent(
        self, name: str, level: int, photos: MultiScalePrior
    ) -> None:
        """The estimator alone finds 2 to 4 percent too little."""
        clean = sample_photo(name)[:1, 100:356, 100:356]
        noisy = clean + level / 255 * torch.randn(1, 256, 256, generator=seeded())
        found = find_noise(noisy, 3, estimator=photos.estimator)
        assert found.is_white
        assert 255 * found.sigma == pytest.approx(level, rel=0.02)

    @pytest.mark.parametrize(
        ("level", "statistic", "expected"),
        [
            (0.2, 0.19, 0.2),  # finds less: there is other noise
            (0.2, 0.205, 0.205),
            (0.2, 0.22, 0.2),  # finds far more: texture
            (0.1, 0.102, 0.1),  # weak noise, by which texture misleads it
        ],
    )
    def test_when_a_statistic_tells_the_noise_of_a_gray_image(
        self,
        level: float,
        statistic: float,
        expected: float,
        photos: MultiScalePrior,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        seen = Estimate(NoiseModel(scales=((level,), (level,), (level,))), 0.9)
        finding = "scalewise.restore.finding"
        monkeypatch.setattr(f"{finding}.estimate_noise", lambda *_, **__: seen)
        told = torch.tensor([statistic])
        monkeypatch.setattr(f"{finding}.estimate_sigma", lambda *_, **__: told)
        found = find_noise(scene()[:1], 3, estimator=photos.estimator)
        assert found.is_white
        assert found.sigma == pytest.approx(expected)

    def test_texture_of_clean_pictures_is_no_noise(self, photos: MultiScalePrior) -> None:
        assert find_noise(textured(), 3, estimator=photos.estimator).sigma < 2 / 255

    def test_photon_noise_grows(self, photos: MultiScalePrior) -> None:
        camera = Camera(electrons=200)
        noisy = camera.take(scene(256), seeded())
        found = find_noise(noisy, 3, estimator=photos.estimator)
        assert found.grows
        for place in (0.2, 0.5, 0.8):
            there = float(camera.noise_at(torch.tensor([place])))
            assert found.sigma * float(found.at(torch.tensor([place]))) == pytest.approx(
                there, rel=0.25
            )

    @pytest.mark.parametrize(
        ("finest", "confidence", "believed"),
        [
            ((0.04, 0.04, 0.04), 0.1, True),
            ((0.04, 0.01, 0.04), 0.1, False),  # texture that is one channel's
            ((0.02, 0.02, 0.02), 0.1, False),
            ((0.02, 0.02, 0.02), 0.3, True),
            ((0.04, 0.04, 0.04), 0.04, False),
        ],
    )
    def test_clear_noise_is_believed_with_little_confidence(
        self,
        photos: MultiScalePrior,
        monkeypatch: pytest.MonkeyPatch,
        finest: tuple[float, ...],
        confidence: float,
        believed: bool,
    ) -> None:
        noise = NoiseModel(scales=(finest, tuple(2 * each for each in finest)))
        told = Estimate(noise, confidence)
        monkeypatch.setattr("scalewise.restore.finding.estimate_noise", lambda *_, **__: told)
        found = find_noise(scene(), 3, estimator=photos.estimator)
        assert (found == noise) is believed

    def test_noise_of_shadows_falls_ever_more_slowly(self, photos: MultiScalePrior) -> None:
        light = torch.linspace(0.05, 0.95, 256).expand(3, 256, 256)
        deviation = 0.06 * (-0.8 * light).exp()
        noisy = light + deviation * torch.randn(3, 256, 256, generator=seeded())
        found = find_noise(noisy, 3, estimator=photos.estimator)
        wrong = (found.sigma * found.at(light) / deviation - 1).abs()
        assert float(wrong.max()) < 0.14

    def test_clean_constant_and_tiny_images_have_none(self, photos: MultiScalePrior) -> None:
        for image in (torch.full((3, 64, 64), 0.4), torch.full((1, 1, 1), 0.4), scene(96)):
            found = find_noise(image, 3, estimator=photos.estimator)
            assert found.sigma < 1 / 255

    def test_frames_that_show_nothing(self) -> None:
        frame = 0.1 + 0.02 * blurred(torch.randn(1, 128, 128, generator=seeded()))
        found = noise_of_frame(frame, 3)
        spectrum = [0.02 * 0.2344, 0.02 * 0.55, 0.02 * 0.78]
        for (deviation,), there in zip(found.scales, spectrum, strict=True):
            assert deviation == pytest.approx(there, rel=0.1)
        shapes = (torch.rand(1, 16, 16, generator=seeded(1)) > 0.9).float()
        shapes = shapes.repeat_interleave(8, 1).repeat_interleave(8, 2).roll((1, 1), (1, 2))
        with pytest.raises(UsageError, match="the frame shows more than noise"):
            noise_of_frame(shapes + frame, 3)
        with pytest.raises(UsageError, match="16x128 is too small to tell its noise; at least 64"):
            noise_of_frame(frame[:, :16], 3)


class TestPhotons:
    def test_in_the_unit_of_the_file(self) -> None:
        pixels = torch.rand(1, 1, 32, 32, generator=seeded())
        picture = Picture(pixels, depth="uint16", intensities=Intensities((100.0,), (1100.0,)))
        found = photon_noise(picture, gain=2.0, offset=100.0, read=3.0)
        half = (found.sigma * float(found.at(torch.tensor([0.5])))) * 1000
        assert half**2 == pytest.approx(2 * 500 + 36)
        with pytest.raises(UsageError, match="the offset, 5000, is above most of the picture"):
            photon_noise(picture, gain=2.0, offset=5000.0, read=3.0)

    def test_counts_are_denoised_without_bias(self, photos: MultiScalePrior) -> None:
        clean = 0.1 + 0.8 * scene(160)[:1]
        noisy = torch.poisson(30 * clean, seeded()) / 30
        told = NoiseModel.photons(1 / 30)
        result, found = restore.denoise_plane(noisy, photos, noise=told)
        assert found is told
        white, _ = restore.denoise_plane(noisy, photos, noise=told.sigma)
        assert psnr(clean[None], result[None]) > psnr(clean[None], white[None])
        assert float(result.mean()) == pytest.approx(float(clean.mean()), abs=0.005)


@pytest.mark.parametrize("sigma", [-1, math.inf, 1e200, math.nan, (0.1, 0.2), (0.1, -0.1, 0.1)])
def test_levels_of_white_noise_that_cannot_be(sigma: Any) -> None:
    with pytest.raises(UsageError, match="0 or more, one number or three"):
        NoiseModel.white(sigma)
