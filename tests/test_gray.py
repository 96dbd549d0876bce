"""A model of colours with another that denoises gray pictures in its place."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_tools import scalewise
from torch import Tensor

from scalewise import NoiseModel, Picture, blocks, restore, store
from scalewise.data.photos import sample_photo
from scalewise.errors import ScalewiseError, UsageError
from scalewise.images import to_channels
from scalewise.networks import (
    BiasFreeConditional,
    BiasFreeDenoiser,
    ConditionalDenoiser,
    Denoiser,
    LocalConditional,
    LocalDenoiser,
    Network,
    UNet,
    in_gray,
)
from scalewise.prior import MultiScalePrior
from scalewise.rasters import open_raster
from scalewise.store import names
from scalewise.train import train_model
from scalewise.training import Recipe


def prior_of(channels: int, seed: int, **options: object) -> MultiScalePrior:
    torch.manual_seed(seed)
    details = [LocalConditional(channels, 9, width=8, blocks=2)]
    prior = MultiScalePrior(UNet(channels, (8, 8), width=8), details, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        for tensor in prior.state_dict().values():
            tensor.add_(0.1 * torch.rand_like(tensor))
    return prior.eval().requires_grad_(False)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with a model of colours, and that of gray images that it names."""
    store.save(prior_of(1, 1, denoises_only=True), tmp_path / "grays")
    store.save(prior_of(3, 0), tmp_path / "colours", gray="grays")
    return tmp_path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Gray images to learn from."""
    file = tmp_path / "images.npy"
    np.save(file, np.random.default_rng(0).random((6, 32, 32), "float32"))
    return file


@pytest.fixture
def noisy() -> Tensor:
    return torch.rand(1, 24, 20, generator=torch.Generator().manual_seed(3))


class TestWhoDenoises:
    def test_gray_pictures_are_denoised_by_the_other_model_and_colours_by_this_one(
        self, models: Path, noisy: Tensor
    ) -> None:
        both, gray = store.load(models / "colours"), store.load(models / "grays")
        alone = prior_of(3, 0)
        expected = gray.denoise(noisy[None], 0.1)[0]
        found, _ = restore.denoise_plane(noisy, both, noise=0.1)
        torch.testing.assert_close(found, expected)
        whole = restore.denoise(Picture(noisy), both, sigma=0.1)
        torch.testing.assert_close(whole.picture.pixels[0], expected)
        colours = noisy.expand(3, -1, -1) * torch.tensor([1.0, 0.5, 0.8]).view(3, 1, 1)
        found, _ = restore.denoise_plane(colours, both, noise=0.1)
        torch.testing.assert_close(found, alone.denoise(colours[None], 0.1)[0])

    def test_no_note_says_that_gray_was_made_colours(self, models: Path, noisy: Tensor) -> None:
        both, alone = store.load(models / "colours"), prior_of(3, 0)
        with_gray = restore.denoise(Picture(noisy), both, sigma=0.1).notes
        without = restore.denoise(Picture(noisy), alone, sigma=0.1).notes
        assert set(without) - set(with_gray) == {"gray image converted to RGB for the model"}

    def test_samples_and_uncertainty_are_of_the_same_model(
        self, models: Path, noisy: Tensor
    ) -> None:
        both, gray = store.load(models / "colours"), store.load(models / "grays")
        wanted = {"sigma": 0.1, "samples": 2, "uncertainty": True, "seed": 4}
        found = restore.denoise(Picture(noisy), both, **wanted)  # type: ignore[arg-type]
        expected = restore.denoise(Picture(noisy), gray, **wanted)  # type: ignore[arg-type]
        for one, other in zip(found.pictures, expected.pictures, strict=True):
            assert torch.equal(one.pixels, other.pixels)
        assert found.deviation is not None
        assert expected.deviation is not None
        assert torch.equal(found.deviation.pixels, expected.deviation.pixels)

    def test_checking_asks_the_same_model(self, models: Path, noisy: Tensor) -> None:
        both, gray = store.load(models / "colours"), store.load(models / "grays")
        noise, picture = NoiseModel.white(0.1), Picture(noisy)
        cleaned = Picture(0.5 * noisy + 0.25)
        found = restore.check(picture, cleaned, both, noise=noise)
        assert found == restore.check(picture, cleaned, gray, noise=noise)

    def test_pictures_in_one_batch_are_each_answered_by_their_model(
        self, models: Path, noisy: Tensor
    ) -> None:
        both = store.load(models / "colours")
        colours = noisy.expand(3, -1, -1).clone()
        pictures = [Picture(each) for each in (noisy, colours, noisy.flip(2), colours.flip(2))]
        works = [restore.denoising(each, both, sigma=0.1) for each in pictures]
        together = restore.answered_together(works)
        for picture, found in zip(pictures, together, strict=True):
            assert isinstance(found, restore.Restored)
            alone = restore.denoise(picture, both, sigma=0.1)
            torch.testing.assert_close(found.picture.pixels, alone.picture.pixels)

    def test_blocks_of_a_large_image_are_denoised_by_the_same_model(
        self, models: Path, noisy: Tensor, tmp_path: Path
    ) -> None:
        both, gray = store.load(models / "colours"), store.load(models / "grays")
        np.save(tmp_path / "noisy.npy", noisy[0].numpy())
        blocks.denoise(
            open_raster(tmp_path / "noisy.npy"),
            both,
            tmp_path / "clean.npy",
            noise=NoiseModel.white(0.1),
        )
        found = torch.from_numpy(np.load(tmp_path / "clean.npy"))
        torch.testing.assert_close(
            found, gray.denoise(noisy[None], 0.1)[0, 0], atol=1e-5, rtol=1e-5
        )

    @pytest.mark.parametrize("told", [True, False])
    def test_noise_that_pixels_share_is_removed_by_the_same_model(
        self,
        models: Path,
        noisy: Tensor,
        told: bool,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        shared = NoiseModel(scales=((0.05,), (0.1,)))
        if not told:
            monkeypatch.setattr("scalewise.restore.finding.find_noise", lambda *_, **__: shared)
        noise = shared if told else None
        both, alone, picture = store.load(models / "colours"), prior_of(1, 1), Picture(noisy)
        expected, _ = restore.denoise_plane(noisy, alone, noise=shared)
        found, _ = restore.denoise_plane(noisy, both, noise=noise)
        torch.testing.assert_close(found, expected)
        whole = restore.denoise(picture, both, noise=noise).picture.pixels[0]
        torch.testing.assert_close(whole, expected)
        checked = restore.check(picture, picture, both, noise=noise).best
        assert checked == pytest.approx(restore.check(picture, picture, alone, noise=noise).best)
        np.save(tmp_path / "noisy.npy", noisy[0].numpy())
        raster = open_raster(tmp_path / "noisy.npy")
        blocks.denoise(raster, both, tmp_path / "clean.npy", noise=noise)
        part = torch.from_numpy(np.load(tmp_path / "clean.npy"))
        torch.testing.assert_close(part, expected[0], atol=1e-5, rtol=1e-5)

    def test_everything_else_is_done_by_the_model_of_colours(
        self, models: Path, noisy: Tensor
    ) -> None:
        both, alone = store.load(models / "colours"), prior_of(3, 0)
        found = restore.upscale(Picture(noisy), both, factor=2, samples=None).picture.pixels
        expected = restore.upscale(Picture(noisy), alone, factor=2, samples=None).picture.pixels
        torch.testing.assert_close(found, expected)


class TestFolders:
    def test_the_name_survives_saving_and_loading(self, models: Path, tmp_path: Path) -> None:
        config = store.read_config(models / "colours")
        assert config.gray == "grays"
        store.save(store.load(models / "colours"), tmp_path / "copy", **config.told)
        again = store.load(tmp_path / "copy").gray
        assert again is not None
        assert again.denoises_only

    def test_weights_of_the_other_model_stand_in_its_own_folder_alone(self, models: Path) -> None:
        assert (
            store.load(models / "colours").state_dict().keys() == prior_of(3, 0).state_dict().keys()
        )

    def test_it_moves_with_the_other(self, models: Path) -> None:
        both = store.load(models / "colours").double()
        assert both.gray is not None
        assert {each.dtype for each in both.gray.parameters()} == {torch.float64}

    def test_a_packaged_model_is_found_without_a_folder_beside(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        store.save(prior_of(3, 0), elsewhere / "colours", gray="grays")
        monkeypatch.setattr("scalewise.store.folders.PACKAGED", models)
        assert store.load(elsewhere / "colours").gray is not None

    def test_a_model_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        store.save(prior_of(3, 0), tmp_path / "colours", gray="lost")
        with pytest.raises(ScalewiseError, match="gray names 'lost', but no such model"):
            store.load(tmp_path / "colours")

    def test_models_that_name_each_other_are_refused(self, models: Path, tmp_path: Path) -> None:
        store.save(prior_of(3, 0), tmp_path / "others", gray="colours")
        with pytest.raises(ScalewiseError, match="not that of 3"):
            store.load(tmp_path / "others")
        store.save(prior_of(1, 1), tmp_path / "self", gray="self")
        with pytest.raises(ScalewiseError, match="not this one of 1 channel"):
            store.load(tmp_path / "self")

    @pytest.mark.parametrize("name", ["../grays", "owner/name", "", ".hidden", "a b"])
    def test_the_name_is_no_path(self, models: Path, name: str) -> None:
        file = models / "colours" / names.CONFIG
        file.write_text(file.read_text().replace('"grays"', f'"{name}"'))
        with pytest.raises(ScalewiseError, match="gray"):
            store.load(models / "colours")

    def test_the_card_tells_of_it(self, models: Path) -> None:
        assert "denoised by `grays`" in (models / "colours" / names.CARD).read_text()
        assert "it draws, enlarges and fills nothing" in (models / "grays" / names.CARD).read_text()


class TestModelsThatDenoiseAlone:
    def test_they_refuse_to_draw_and_to_enlarge(self, models: Path, noisy: Tensor) -> None:
        gray = store.load(models / "grays")
        for asked in (
            lambda: gray.sample(1),
            lambda: gray.upscale(noisy[None], 2),
            lambda: gray.upscale_mean(noisy[None], 2),
            lambda: gray.nll(noisy[None]),
        ):
            with pytest.raises(UsageError, match="learnt to remove noise alone"):
                asked()

    @pytest.mark.parametrize(
        ("fields", "alone"),
        [
            ({"denoising_fraction": 1, "mean_fraction": 0, "low_denoising_fraction": 1}, True),
            ({"denoising_fraction": 0.9, "mean_fraction": 0, "low_denoising_fraction": 1}, False),
            ({"denoising_fraction": 1, "mean_fraction": 0, "low_denoising_fraction": 0.5}, False),
            ({"levels": 0, "low_denoising_fraction": 1}, True),
            ({"form": "bias-free", "low_denoising_fraction": 1, "levels": 0}, False),
        ],
    )
    def test_a_recipe_that_teaches_nothing_else_says_so(
        self, fields: dict[str, object], alone: bool
    ) -> None:
        assert Recipe(**fields).denoises_only is alone  # type: ignore[arg-type]

    def test_what_is_trained_by_it_says_so(self, images: Path, tmp_path: Path) -> None:
        train_model(
            images,
            tmp_path / "mine",
            levels=1,
            steps=2,
            width=8,
            blocks=1,
            receptive_field=7,
            low_local=True,
            denoising_fraction=1.0,
            mean_fraction=0.0,
            low_denoising_fraction=1.0,
            estimator_fraction=0.0,
            compare=None,
        )
        assert store.load(tmp_path / "mine").denoises_only


class TestFaintNoise:
    """Networks that never saw noise so faint stay near the identity all the same."""

    @pytest.mark.parametrize("name", ["photos", "photos-gray", "photos-free"])
    def test_a_clean_picture_hardly_changes_when_told_of_hardly_any(self, name: str) -> None:
        prior = store.load(name)
        clean = to_channels(sample_photo("astronaut")[None, :, :96, 200:296], prior.channels)[0]
        for level in (0.01, 0.05, 0.2, 0.5):
            off = 255 * (prior.denoise(clean, level / 255) - clean).square().mean().sqrt()
            assert off < max(0.6 * level, 0.1)

    def test_below_the_least_level_the_features_stay(self) -> None:
        for network in (
            LocalDenoiser(1, width=8, least_sigma=0.1),
            UNet(1, (8, 8), width=8, least_sigma=0.1),
        ):
            with torch.no_grad():
                for tensor in network.state_dict().values():
                    tensor.add_(0.1 * torch.rand_like(tensor))
            image = torch.rand(1, 1, 8, 8)
            least, less, lesser = (network(image, level) - image for level in (0.1, 0.02, 0.01))
            assert 0 < less.abs().mean() < 0.3 * least.abs().mean()
            torch.testing.assert_close(lesser, less / 2, rtol=0.1, atol=1e-3)

    def test_recipes_tell_it_of_what_they_draw(self) -> None:
        alone = {"denoising_fraction": 1.0, "mean_fraction": 0.0, "low_denoising_fraction": 1.0}
        recipe = Recipe(levels=2, denoising_P_mean=-2.0, denoising_P_std=1.0, **alone)  # type: ignore[arg-type]
        expected = [round(math.exp(-6.5) * share, 6) for share in (0.5, 0.25, 0.25)]
        assert [recipe.least_sigma(level) for level in (1, 2, 3)] == expected
        assert Recipe(levels=2).least_sigma(1) == Recipe(levels=2).least_sigma(3) == 0

    def test_a_run_that_goes_on_from_a_model_of_sampling_tells_it(
        self, models: Path, images: Path, tmp_path: Path
    ) -> None:
        train_model(
            images,
            tmp_path / "mine",
            channels=1,
            start=str(models / "colours"),
            steps=1,
            denoising_fraction=1.0,
            mean_fraction=0.0,
            low_denoising_fraction=1.0,
            estimator_fraction=0.0,
            compare=None,
        )
        mine = store.load(tmp_path / "mine")
        recipe = Recipe(levels=1, denoising_fraction=1.0, mean_fraction=0.0)
        assert mine.conditionals[0].settings["least_sigma"] == recipe.least_sigma(1) > 0
        assert mine.low.settings["least_sigma"] > 0


class TestLearningFromAModelOfColours:
    """Gray images take its networks over, as those of gray images."""

    @pytest.mark.parametrize(
        "network",
        [
            LocalConditional(3, 9, width=8, blocks=2, noise_maps=True),
            LocalDenoiser(3, 9, width=8, blocks=2),
            UNet(3, (8, 8), width=8, noise_maps=True),
            BiasFreeConditional(3, [3, 1, 3], width=8),
            BiasFreeDenoiser(3, [3, 3], width=8, size=(8, 8)),
        ],
        ids=lambda network: type(network).__name__,
    )
    def test_they_make_the_mean_of_what_networks_of_colours_make(self, network: Network) -> None:
        torch.manual_seed(0)
        with torch.no_grad():
            for tensor in network.state_dict().values():
                tensor.add_(0.1 * torch.rand_like(tensor))
            if not isinstance(network, BiasFreeDenoiser | ConditionalDenoiser):
                network.mean.copy_(network.mean.mean(0, keepdim=True))  # type: ignore[operator]
        network.eval()
        gray = in_gray(network).eval()
        low, details = torch.rand(2, 1, 8, 8), torch.rand(2, 3, 8, 8) - 0.5
        sigma = 0.2 if network.noise_conditional else None
        if isinstance(network, Denoiser):
            found = gray(low, sigma)
            expected = network(low.expand(-1, 3, -1, -1), sigma).mean(1, keepdim=True)
            torch.testing.assert_close(found, expected)
            return
        repeated = details.repeat_interleave(3, dim=1), low.expand(-1, 3, -1, -1)
        told = {} if sigma is None else {"noisy_low": low + 0.1}
        all_told = {name: each.expand(-1, 3, -1, -1) for name, each in told.items()}
        found = gray(details, low, sigma, **told)
        expected = network(*repeated, sigma, **all_told)
        torch.testing.assert_close(found.details, expected.details.unflatten(1, (3, 3)).mean(2))
        torch.testing.assert_close(found.low, expected.low.mean(1, keepdim=True))

    def test_a_run_starts_with_them_and_with_new_ones_where_the_recipe_says_so(
        self, models: Path, images: Path, tmp_path: Path
    ) -> None:
        record = train_model(
            images,
            tmp_path / "mine",
            channels=1,
            start=str(models / "colours"),
            fresh=("low",),
            added_blocks=2,
            low_width=16,
            steps=1,
            learning_rate=1e-9,
            estimator_fraction=0.0,
            compare=None,
        )
        mine, colours = store.load(tmp_path / "mine"), store.load(models / "colours")
        assert mine.channels == 1
        began = in_gray(colours.conditionals[0])
        fields = began.receptive_field, mine.conditionals[0].receptive_field
        assert fields == (9, 13)
        details, low = torch.rand(1, 3, 16, 16) - 0.5, torch.rand(1, 1, 16, 16)
        found = mine.conditionals[0](details, low, 0.1, noisy_low=low)
        torch.testing.assert_close(found, began(details, low, 0.1, noisy_low=low))
        assert mine.low.settings["width"] == 16
        assert record["training"]["recipe"]["low_width"] == 16
        assert "width" not in record["training"]["recipe"]

    def test_colours_do_not_start_with_a_model_of_gray_images(
        self, models: Path, tmp_path: Path
    ) -> None:
        np.save(tmp_path / "images.npy", np.random.default_rng(0).random((6, 32, 32, 3), "float32"))
        with pytest.raises(UsageError, match="must be the same"):
            train_model(
                tmp_path / "images.npy",
                tmp_path / "mine",
                channels=3,
                start=str(models / "grays"),
                steps=1,
                compare=None,
            )

    @pytest.mark.parametrize("fields", [{"fresh": (1, 3)}, {"only_level": 3}, {"only_level": 0}])
    def test_levels_that_are_not_there_are_refused(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"must name low or a level from 1 to 2, found [03]"):
            Recipe(levels=2, **fields)


class TestCalibration:
    @pytest.fixture
    def pictures(self, tmp_path: Path) -> Path:
        np.save(tmp_path / "gray.npy", np.random.default_rng(0).random((4, 24, 24), "float32"))
        return tmp_path / "gray.npy"

    def test_of_gray_images_it_is_that_of_the_model_that_denoises_them(
        self, models: Path, pictures: Path
    ) -> None:
        given = ("--sigma", 25, "--samples", 0, "--crop", 24, "--json")
        found = []
        for model in ("colours", "grays"):
            file = pictures.with_suffix(f".{model}.json")
            done = scalewise(
                *("evaluate", "calibration", pictures, "--model", models / model), *given, file
            )
            assert done.code == 0, done.stderr
            found.append(json.loads(file.read_text())["coverage"])
        assert found[0] == found[1]

    def test_it_is_learnt_for_that_model_alone(self, models: Path, pictures: Path) -> None:
        given = ("evaluate", "calibration", pictures, "--learn", "--sigma", 25, "--crop", 24)
        refused = scalewise(*given, "--model", models / "colours")
        assert refused.code == 2
        assert "another model denoises those in the place of" in refused.stderr
        done = scalewise(*given, "--model", models / "grays", "--samples", 2)
        assert done.code == 0, done.stderr
        assert store.load(models / "colours").denoiser_of(1).calibration is not None
