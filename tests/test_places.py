"""Noise that differs by place: described, told to networks part by part, and found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_tools import scalewise
from torch import Tensor

from scalewise import MultiScalePrior, NoiseModel, Picture, load, restore
from scalewise.data import sample_photo
from scalewise.errors import UsageError
from scalewise.images import to_channels, write_image
from scalewise.metrics import psnr
from scalewise.networks import LocalDenoiser
from scalewise.places import Places
from scalewise.restore.averaging import averaged
from scalewise.windows import Window


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


GRID = Places(factors=((1.0, 4.0, 9.0), (0.25, 1.0, 16.0)))
UNEVEN = NoiseModel(scales=((0.05,),), places=GRID)


class TestDescription:
    """A grid of factors of the variance."""

    def test_factors_are_linear_in_the_variance_between_the_middles_of_parts(self) -> None:
        found = Places(factors=((1.0, 9.0),)).at((1, 8))[0]
        assert found.square().tolist() == pytest.approx([1, 1, 2, 4, 6, 8, 9, 9])
        assert Places(factors=((4.0,),)).at((2, 3)).tolist() == [[2.0] * 3] * 2

    @pytest.mark.parametrize(
        "window", [Window(0, 8, 0, 8), Window(3, 17, 5, 30), Window(8, 20, 0, 1)]
    )
    def test_a_part_of_the_picture_has_that_part_of_them(self, window: Window) -> None:
        whole = GRID.at((20, 30))
        torch.testing.assert_close(GRID.part(window, (20, 30)).at(window.size), whole[window.place])
        inner = Window(1, 3, 0, 1)
        twice = GRID.part(window, (20, 30)).part(inner, window.size)
        torch.testing.assert_close(twice.at(inner.size), whole[window.place][inner.place])

    def test_words_say_where_it_is_strongest_and_weakest(self) -> None:
        words = UNEVEN.in_words()[-1]
        assert words == "6.2 times as strong at the bottom right as at the bottom left"
        middle = Places(factors=((1.0, 1.0, 1.0), (1.0, 9.0, 1.0), (1.0, 1.0, 1.0)))
        assert middle.in_words().startswith("2.2 times as strong in the middle as at the ")
        halves = Places(factors=((0.0, 0.0, 0.0, 4.0, 4.0, 4.0),))
        assert halves.in_words() == "inf times as strong at the right as at the left"
        falling = Places(factors=((4.0, 4.1), (1.0, 1.0)))
        assert "as strong at the top as at the bottom" in falling.in_words()
        assert Places(factors=((4.0,),)).in_words() == "about as strong in all places"

    def test_it_is_written_and_read(self) -> None:
        part = UNEVEN.part(Window(1, 3, 2, 5), (7, 9))
        for noise in (UNEVEN, part):
            assert NoiseModel.from_json(noise.model_dump_json(), "a.json") == noise
        assert NoiseModel.from_json('{"scales": [[0.1]]}', "of before.json").places is None

    @pytest.mark.parametrize(
        ("places", "words"),
        [
            ('{"factors": []}', "at least 1 item"),
            ('{"factors": [[]]}', "at least 1 item"),
            ('{"factors": [[1, 2], [1]]}', "rows of one length"),
            ('{"factors": [[0, 0]]}', "above 0 somewhere"),
            ('{"factors": [[-1, 1]]}', "greater than or equal to 0"),
            ('{"factors": [[1e300, 1]]}', "less than or equal to"),
            ('{"factors": [[1]], "frame": [0, 0, 0, 1]}', "of a rectangle"),
            ('{"factors": [[1]], "frame": [0, 1]}', "Field required"),
            ("3", "valid dictionary or instance"),
        ],
    )
    def test_what_is_none_is_refused(self, places: str, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            NoiseModel.from_json(f'{{"scales": [[0.1]], "places": {places}}}', "a.json")

    def test_it_is_neither_white_nor_the_same_everywhere(self) -> None:
        assert UNEVEN.varies
        assert not UNEVEN.is_white
        assert UNEVEN.even == UNEVEN.plain.even == NoiseModel.white(0.05)  # type: ignore[union-attr]
        assert UNEVEN.times(2).places == UNEVEN.coarser(1).places == GRID


class TestTold:
    """Networks see a map of it, wherever they see a part of the picture."""

    def test_bands_have_a_map_of_it_beside_the_curve(self) -> None:
        curved = UNEVEN.model_copy(update={"curve": ((0.0, 1.0), (1.0, 4.0))})
        noisy = torch.full((1, 1, 16, 24), 1.0)
        levels = curved.levels(noisy, 2)
        white = NoiseModel.white(0.05).levels(noisy, 2)
        pairs = zip([*levels.details, levels.low], [*white.details, white.low], strict=True)
        for level, (found, alone) in zip((1, 2, 2), pairs, strict=True):
            expected = alone * 2 * GRID.at((16 >> level, 24 >> level))  # 2 at the end of the curve
            torch.testing.assert_close(found, expected)

    def test_quiet_places_are_hardly_changed_and_loud_ones_are(self) -> None:
        prior = load("photos", device="cpu")
        clean = sample_photo()[None, :, 100:228, 100:228]
        halves = NoiseModel(scales=((0.1,),), places=Places(factors=((1e-4, 1e-4, 2.0, 2.0),)))
        deviation = 0.1 * halves.places.at((128, 128)) if halves.places else 0
        noisy = clean + deviation * torch.randn(clean.shape, generator=seeded())
        cleaned = prior.denoise(noisy, halves)
        quiet, loud = Window(0, 128, 0, 44).place, Window(0, 128, 84, 128).place
        assert psnr(clean[quiet], cleaned[quiet]).item() > 40
        even = prior.denoise(noisy, halves.even)
        assert psnr(clean[loud], cleaned[loud]) > psnr(clean[loud], even[loud]) + 1
        assert psnr(clean[quiet], even[quiet]).item() < 35

    def test_mirrored_and_turned_estimates_are_told_it_turned(self) -> None:
        """An estimate that shrinks by the noise at each pixel turns with the image."""

        def shrunk(images: Tensor, noise: NoiseModel) -> Tensor:
            return images / (1 + noise.factor(images).square())

        images = torch.rand(1, 1, 12, 18)
        for count in (1, 2, 4, 8):
            found = averaged(shrunk, images, count, UNEVEN)
            torch.testing.assert_close(found, shrunk(images, UNEVEN))

    def test_uncertainty_follows_it(self) -> None:
        """Where noise is stronger, less is known."""
        halves = NoiseModel(scales=((0.1,),), places=Places(factors=((0.01, 0.01, 2.0, 2.0),)))
        assert halves.places is not None
        clean = sample_photo()[None, :, 100:164, 100:228]
        white = torch.randn(clean.shape, generator=seeded())
        noisy = clean + 0.1 * halves.places.at((64, 128)) * white
        posterior = load("photos", device="cpu").posterior(noisy, halves)
        deviation = posterior.variance().sqrt().mean(1)[0]
        left, right = deviation[:, :44].mean(), deviation[:, 84:].mean()
        assert float(right) > 1.3 * float(left)
        sample = posterior.samples(1, seed=1)[0]
        off = (sample - clean).square().mean((0, 1, 2)).sqrt()
        assert float(off[84:].mean()) > 1.3 * float(off[:44].mean())


PHOTO = sample_photo()[:, 40:360, 60:380]


def half(strong: float, weak: float, photo: Tensor = PHOTO) -> Tensor:
    """Noise of two deviations, of 255, the strong one to the right."""
    deviation = torch.full(photo.shape[1:], weak / 255)
    deviation[:, photo.shape[2] // 2 :] = strong / 255
    return photo + deviation * torch.randn(photo.shape, generator=seeded())


class TestFound:
    """In pictures of which some places are noisier than others."""

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize(("strong", "weak"), [(50, 10), (40, 20)])
    def test_two_halves(
        self, prior: MultiScalePrior, channels: int, strong: int, weak: int
    ) -> None:
        photo = to_channels(PHOTO[None], channels)[0][0]
        noisy = half(strong, weak, photo)
        even = restore.noise_for(prior, noisy, whole=False)
        found = restore.noise_for(prior, noisy)
        assert found.places is not None
        deviation = 255 * found.sigma * found.places.at((320, 320))
        assert float(deviation[:, :100].median()) == pytest.approx(weak, rel=0.15)
        assert float(deviation[:, -100:].median()) == pytest.approx(strong, rel=0.15)
        assert "as strong at the" in found.in_words()[-1]
        scores = [
            float(psnr(photo[None], restore.denoise_plane(noisy, prior, noise=noise)[0][None]))
            for noise in (even, found)
        ]
        assert scores[1] > scores[0] + 1.5

    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_clean_half_is_left_alone_and_the_noisy_one_is_cleaned(
        self, prior: MultiScalePrior, channels: int
    ) -> None:
        photo = to_channels(PHOTO[None], channels)[0][0]
        noisy = half(30, 0, photo)
        cleaned, noise = restore.denoise_plane(noisy, prior)
        assert noise.places is not None
        left, right = Window(0, 320, 0, 140).place, Window(0, 320, 160, 320).place
        assert float(psnr(photo[left][None], cleaned[left][None])) > 38
        before, after = (psnr(photo[right][None], one[right][None]) for one in (noisy, cleaned))
        assert float(after - before) > 7

    def test_light_falls_off_towards_the_corners(self, prior: MultiScalePrior) -> None:
        """What was made even by a flat field has more noise there."""
        rows, columns = torch.meshgrid(
            *(torch.linspace(-1, 1, 320) for _ in range(2)), indexing="ij"
        )
        deviation = 25 / 255 * (0.5 + 0.5 * (rows**2 + columns**2))
        noisy = PHOTO + deviation * torch.randn(PHOTO.shape, generator=seeded())
        found = restore.noise_for(prior, noisy)
        assert found.places is not None
        there = found.sigma * found.places.at((320, 320))
        inner = (slice(32, -32), slice(32, -32))
        assert float((there / deviation)[inner].log().abs().median()) < 0.15

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("sigma", [0, 2, 5, 10, 25, 50])
    def test_not_in_white_noise(self, prior: MultiScalePrior, channels: int, sigma: int) -> None:
        photo = to_channels(PHOTO[None], channels)[0][0]
        assert restore.noise_for(prior, half(sigma, sigma, photo)).places is None

    def test_not_in_noise_of_photons(self, prior: MultiScalePrior) -> None:
        """It differs by place since the light does."""
        for gain in (0.001, 0.01):
            noisy = PHOTO + (gain * PHOTO).sqrt() * torch.randn(PHOTO.shape, generator=seeded())
            assert restore.noise_for(prior, noisy).places is None

    @pytest.mark.parametrize("size", [(1, 1), (31, 200), (127, 127), (128, 128), (130, 2100)])
    def test_pictures_of_any_size(self, prior: MultiScalePrior, size: tuple[int, int]) -> None:
        noisy = 0.5 + 0.1 * torch.randn(3, *size, generator=seeded())
        assert restore.noise_for(prior, noisy).places is None

    def test_hidden_and_constant_parts_do_not_count(self, prior: MultiScalePrior) -> None:
        noisy = half(50, 10)
        noisy[:, :60] = 0
        valid = torch.ones(1, 320, 320, dtype=torch.bool)
        valid[:, -60:] = False
        noisy[:, -60:] = torch.rand(3, 60, 320, generator=seeded())
        found = restore.noise_for(prior, noisy, valid)
        assert found.places is not None
        deviation = 255 * found.sigma * found.places.at((320, 320))
        assert float(deviation[100:220, :100].median()) == pytest.approx(10, rel=0.2)
        assert float(deviation[:, -100:].max()) < 80

    def test_parts_and_montages_are_not_looked_at(self, prior: MultiScalePrior) -> None:
        assert restore.noise_for(prior, half(50, 10), whole=False).places is None

    def test_networks_that_see_no_maps_are_told_none(self, prior: MultiScalePrior) -> None:
        network = LocalDenoiser(channels=3, receptive_field=9, width=8, blocks=2)
        flat = MultiScalePrior(network, estimator=prior.estimator)
        assert restore.noise_for(flat, half(50, 10)).places is None


@pytest.fixture(scope="module")
def prior() -> MultiScalePrior:
    return load("photos", device="cpu")


def test_the_command_writes_it_and_denoises_by_it(tmp_path: Path) -> None:
    write_image(tmp_path / "noisy.tif", Picture(half(50, 10), depth="float32"))
    done = scalewise("noise", tmp_path / "noisy.tif", tmp_path / "noise.json")
    assert done.code == 0
    assert "as strong at the" in done.stdout
    found = NoiseModel.from_json((tmp_path / "noise.json").read_text(), "noise.json")
    assert found.places is not None
    for name, options in (("told", ("--noise", tmp_path / "noise.json")), ("blind", ())):
        out = scalewise("denoise", tmp_path / "noisy.tif", tmp_path / f"{name}.tif", *options)
        assert out.code == 0
    told, blind = ((tmp_path / f"{name}.tif").read_bytes() for name in ("told", "blind"))
    assert told == blind
