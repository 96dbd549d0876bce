"""Learning from noisy images alone, and telling models apart on them."""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cli_tools import scalewise, tiny_prior
from PIL import Image
from skimage import data as photos
from test_training import TINY, Silent, dead_leaves
from torch import Tensor
from zoo import smooth_picture, smooth_spectrum

from scalewise import store
from scalewise.data import ImageSet
from scalewise.errors import ScalewiseError, UsageError
from scalewise.evaluation import add_noise, compare_models, evaluate_unseen
from scalewise.exact import gaussian_prior
from scalewise.images import Picture
from scalewise.metrics import psnr
from scalewise.noise import NoiseLevels
from scalewise.noise_field import NoiseField
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore import denoise, denoise_plane, measured_photons, spectrum_of
from scalewise.stabilise import Stabiliser
from scalewise.train.noisy import with_noise
from scalewise.training import Recipe, TrainingRun, saved_options
from scalewise.training.batches import Noise, draw_batch
from scalewise.training.chance import Chance
from scalewise.training.objectives import LowObjective, estimated_psnr
from scalewise.training.recorrupted import recorrupted

SIGMA = 0.1
WHITE = NoiseModel.white(SIGMA)
CORRELATED = NoiseModel(scales=((0.05,), (0.15,)))
EVENED = 255 * Stabiliser(NoiseModel.photons(2 / 255, read=1.0)).noise.sigma
KINDS = {"white": WHITE, "correlated": CORRELATED, "photons": NoiseModel.photons(0.02)}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def looking() -> MultiScalePrior:
    """The packaged model that looks at noise."""
    return store.load("photos", device="cpu")


def noise_like(images: Tensor, noise: NoiseModel, seed: int = 1) -> Tensor:
    """Noise of a description, whose strength follows the clean images."""
    return noise.levels(images, 2).shape(torch.randn(images.shape, generator=seeded(seed)), "haar")


def told(images: Tensor, noise: NoiseModel, seed: int = 2) -> Noise:
    """What images have, and other noise like it."""
    return Noise(noise.levels(images, 2), noise_like(images, noise, seed))


def blurred(seed: int, side: int = 192) -> Tensor:
    """White noise (1, H, W) through [1 2 1] along both axes."""
    white = SIGMA * torch.randn(1, 1, side, side, generator=seeded(seed))
    kernel = torch.tensor([0.25, 0.5, 0.25])
    padded = F.pad(white, [1] * 4, "circular")
    return F.conv2d(padded, kernel.outer(kernel)[None, None])[0]


def noisy_leaves(
    count: int, seed: int, noise: NoiseModel = WHITE, field: NoiseField | None = None
) -> ImageSet:
    clean = dead_leaves(count, 40, seed)
    images = [
        image[None].float() / 255 + noise_like(image[None].float() / 255, noise, 100 * seed + place)
        for place, image in enumerate(clean.images)
    ]
    return with_noise(ImageSet([i[0] for i in images], "noisy"), noise, looking(), print, field)


class TestPairs:
    @pytest.mark.parametrize("kind", KINDS)
    def test_noises_of_a_pair_are_uncorrelated_and_as_strong_as_told(self, kind: str) -> None:
        clean = torch.full((64, 1, 32, 32), 0.5)
        noise = KINDS[kind]
        images = clean + noise_like(clean, noise)
        pair = recorrupted(images, told(clean, noise), Chance.of(64, seeded()))
        first, second = (
            pair.noisy - clean.repeat(2, 1, 1, 1),
            pair.target - clean.repeat(2, 1, 1, 1),
        )
        products = (first * second).mean(dim=(1, 2, 3))
        products = (products[:64] + products[64:]) / 2  # pairs of one image belong together
        assert products.mean().abs() < 4 * products.std() / 8
        ratio = first.square().mean(dim=(1, 2, 3)) / pair.told.whole.square().mean(dim=(1, 2, 3))
        assert ratio.mean() == pytest.approx(1, abs=0.02)

    def test_what_is_added_is_added_in_both_directions(self) -> None:
        images = torch.rand(3, 1, 8, 8, generator=seeded())
        pair = recorrupted(images, told(images, WHITE), Chance.of(3, seeded()))
        torch.testing.assert_close(pair.noisy[:3] + pair.noisy[3:], 2 * images)
        torch.testing.assert_close(pair.target[:3] + pair.target[3:], 2 * images)
        torch.testing.assert_close(pair.target, images.repeat(2, 1, 1, 1) + pair.added)

    def test_of_gray_images_channels_stay_alike(self) -> None:
        gray = [torch.rand(1, 16, 16, generator=seeded()).expand(3, -1, -1) for _ in range(2)]
        images = ImageSet(gray, "x", noise=(WHITE, WHITE))
        chance = Chance.of(4, seeded())
        batch = draw_batch(images, Recipe(**TINY), 1, chance)
        assert batch.noise is not None
        pair = recorrupted(batch.images, batch.noise, chance)
        assert torch.equal(pair.noisy[:, 0], pair.noisy[:, 2])

    def test_the_loss_tells_denoisers_apart_as_that_of_clean_images_does(self) -> None:
        """Shrinking towards the mean, of white fields: the error is known for every factor."""
        deviation, clean = 0.2, 0.2 * torch.randn(4000, 1, 8, 8, generator=seeded())
        images = clean + SIGMA * torch.randn(clean.shape, generator=seeded(1))
        pair = recorrupted(images, told(images, WHITE, 2), Chance.of(len(images), seeded(3)))

        def loss(factor: float) -> Tensor:
            error = (factor * pair.noisy - pair.target).square() - pair.added.square()
            return error.mean(dim=(1, 2, 3)).view(2, -1).mean(0) - SIGMA**2

        for factor in (0.3, 0.8, 1.0):
            share = (pair.told.whole.square() / SIGMA**2).mean()
            expected = (1 - factor) ** 2 * deviation**2 + factor**2 * SIGMA**2 * share
            found = loss(factor)
            assert abs(found.mean() - expected) < 4 * found.std() / math.sqrt(4000)

    def test_estimated_psnr_is_the_true_one(self) -> None:
        clean = torch.rand(200, 1, 16, 16, generator=seeded())
        images = clean + SIGMA * torch.randn(clean.shape, generator=seeded(1))
        pair = recorrupted(images, told(images, WHITE, 2), Chance.of(len(images), seeded(3)))
        found = estimated_psnr(0.7 * pair.noisy, pair)
        true = psnr(clean.repeat(2, 1, 1, 1), 0.7 * pair.noisy).mean().item()
        assert found == pytest.approx(true, abs=0.1)


class TestBatches:
    def test_levels_are_told_their_own_noise(self) -> None:
        recipe = Recipe(**TINY | {"levels": 2})
        for level in (1, 2, 3):
            batch = draw_batch(noisy_leaves(4, 0), recipe, level, Chance.of(6, seeded()))
            assert batch.noise is not None
            assert len(batch.noise.levels.details) == 3 - level
            whole = batch.noise.levels.whole
            torch.testing.assert_close(whole, torch.full_like(whole, SIGMA / 2 ** (level - 1)))

    def test_noise_goes_with_its_image(self) -> None:
        models = [NoiseModel.white(level) for level in (0.1, 0.2, 0.3)]
        images = ImageSet([torch.full((1, 16, 16), m.sigma) for m in models], "x", noise=(*models,))
        batch = draw_batch(images, Recipe(**TINY), 1, Chance.of(20, seeded()))
        assert batch.noise is not None
        found = batch.noise.levels.whole.expand(20, 1, 1, 1).flatten()
        torch.testing.assert_close(found, batch.images[:, 0, 0, 0])
        assert images.part([2, 0]).noise == (models[2], models[0])
        assert images.to(torch.device("cpu")).noise == images.noise

    def test_noise_of_other_images_is_refused(self) -> None:
        with pytest.raises(ScalewiseError, match="noise of 1 images is told, 'x' holds 2"):
            ImageSet([torch.zeros(1, 8, 8)] * 2, "x", noise=(WHITE,))

    def test_levels_of_one_image_each_are_joined(self) -> None:
        flat = NoiseLevels((0.1,), 0.2)
        uneven = NoiseLevels((torch.rand(1, 3, 4, 4),), torch.rand(1, 3, 4, 4))
        joined = NoiseLevels.joined([flat, uneven])
        assert torch.as_tensor(joined.low).shape == (2, 3, 4, 4)
        last = torch.as_tensor(joined.details[0])[1:]
        assert torch.equal(last, torch.as_tensor(uneven.details[0]))
        assert bool((torch.as_tensor(joined.low)[0] == 0.2).all())


class TestNoiseOfASet:
    def test_photon_noise_is_made_even(self) -> None:
        noise = NoiseModel.photons(0.01, read=1.0)
        clean = torch.linspace(0.1, 0.9, 64).expand(1, 64, 64)
        added = noise_like(clean[None], noise)[0]
        found = with_noise(ImageSet([clean + added], "x"), noise, looking(), print)
        (even,) = found.noise
        assert not even.curve
        still = with_noise(ImageSet([clean.clone()], "x"), noise, looking(), print)
        rest = found.images[0] - still.images[0]
        assert float(rest.std()) == pytest.approx(even.sigma, rel=0.03)
        dark, bright = rest[..., :20].std(), rest[..., -20:].std()
        assert float(bright / dark) == pytest.approx(1, abs=0.08)

    def test_white_noise_leaves_images_as_they_are(self) -> None:
        image = torch.rand(1, 16, 16, generator=seeded())
        found = with_noise(ImageSet([image], "x"), WHITE, looking(), print)
        assert found.images[0] is image
        assert (found.noise, found.field) == ((WHITE,), None)

    def test_how_pixels_share_noise_is_measured(self) -> None:
        """Of smooth pictures with blurred noise: as strong as told, related as it is."""
        ramp = torch.linspace(0.3, 0.7, 192).expand(1, 192, 192)
        pictures = [ramp + blurred(place) for place in range(4)]
        noise = spectrum_of(blurred(9, 512), 2)
        found = with_noise(ImageSet(pictures, "x"), noise, looking(), print)
        assert found.field is not None
        drawn = noise.sigma * found.field.shape(torch.randn(1, 1, 256, 256, generator=seeded()))[0]
        assert float(drawn.std() / blurred(9, 512).std()) == pytest.approx(1, abs=0.12)
        for apart in ((0, 1), (1, 1), (0, 3)):
            expected, same = (
                float((each * each.roll(apart, (1, 2))).mean() / each.square().mean())
                for each in (blurred(9, 512), drawn)
            )
            assert same == pytest.approx(expected, abs=0.15)
        assert found.noise[0].sigma == pytest.approx(noise.sigma)
        assert sum(found.noise[0].scales[1]) > 1.5 * sum(found.noise[0].scales[0])

    def test_the_curve_of_photons_is_that_of_all_images_together(self) -> None:
        """Each alone has no flat dark part and no flat bright one."""
        gain, read, pictures = 0.01, 2.0, []
        for place in range(12):
            dark = 0.05 + 0.8 * place / 12
            clean = (dark + 0.1 * smooth_picture(1, 96, place)[None]).clamp(0, 1)
            counts = torch.poisson(clean / gain, seeded(place))
            pictures.append(gain * (counts + read * torch.randn(clean.shape, generator=seeded(99))))
        true = NoiseModel.photons(gain, read=read)
        notes: list[str] = []
        images = ImageSet([picture.reshape(1, 96, 96) for picture in pictures], "x")
        places = torch.tensor([0.1, 0.3, 0.5, 0.8])
        found_alone = [NoiseModel.white(true.sigma)] * 12
        for model in measured_photons(images.images, found_alone, looking()):
            found = model.sigma * model.at(places)
            torch.testing.assert_close(found, true.sigma * true.at(places), rtol=0.16, atol=0)
        with_noise(images, None, looking(), notes.append)
        assert "noise of the images" in notes[0]

    def test_channels_that_share_noise_go_on_sharing_it(self) -> None:
        white = torch.randn(400, 1, 32, 32, generator=seeded())
        blocks = torch.cat([white, 0.5 * white, torch.zeros_like(white)], dim=1)
        drawn = NoiseField.of(blocks).shape(torch.randn(1, 3, 64, 64, generator=seeded(1)))[0]
        torch.testing.assert_close(drawn[1], 0.5 * drawn[0], atol=0.02, rtol=0)
        assert float(drawn[2].abs().max()) < 0.02
        assert float(drawn[0].std()) == pytest.approx(1, abs=0.05)

    def test_too_few_pixels_to_measure_it_are_refused(self) -> None:
        small = ImageSet([torch.rand(1, 40, 40, generator=seeded())] * 3, "x")
        with pytest.raises(UsageError, match="at least 16 blocks of 32x32 pixels in all"):
            with_noise(small, CORRELATED, looking(), print)


class TestTraining:
    @pytest.mark.parametrize("kind", KINDS)
    def test_learns_to_denoise_what_it_never_saw_clean(self, tmp_path: Path, kind: str) -> None:
        noise = KINDS[kind]
        recipe = Recipe(
            **TINY | {"steps": 150, "width": 16, "batch": 8, "low_batch": 8},
            denoising_fraction=1.0,
            low_denoising_fraction=1.0,
            mean_fraction=0.0,
            structured_fraction=0.0 if kind == "white" else 1.0,
            estimator_fraction=0.0,
        )
        listener = Silent()
        training = noisy_leaves(40, 0, noise)
        run = TrainingRun(
            recipe,
            training,
            noisy_leaves(8, 1, noise, training.field),
            tmp_path,
            torch.device("cpu"),
            listener,
        )
        prior = run.run()
        assert prior.noise_floor == run.images.noise[0].sigma
        clean = torch.stack(list(dead_leaves(16, 40, 5).images)).float() / 255
        noisy = clean + noise_like(clean, noise, 7)
        cleaned = torch.stack([denoise_plane(one, prior, noise=noise)[0] for one in noisy])
        gain = psnr(clean, cleaned) - psnr(clean, noisy)
        assert gain.mean() > 2
        told = [record["psnr"] for level, record in listener.records if level == 1]
        assert told[-1] > told[0] - 0.2  # estimated, of 16 crops

    def test_a_batch_of_one_is_served(self) -> None:
        objective = LowObjective(tiny_prior(1, (8, 8), 0).low, Recipe(**TINY), 2, 0.1)
        images = torch.rand(1, 1, 8, 8, generator=seeded())
        loss = objective(images, Chance.of(1, seeded()), told(images, WHITE))
        assert loss.isfinite()

    def test_all_of_a_batch_may_train_denoising(self, tmp_path: Path) -> None:
        recipe = Recipe(**TINY, steps=2, denoising_fraction=1.0, mean_fraction=0.0)
        run = TrainingRun(
            recipe,
            dead_leaves(3, 40, 0),
            dead_leaves(1, 40, 1),
            tmp_path,
            torch.device("cpu"),
            Silent(),
        )
        assert run.run().noise_floor == 0


class TestPriorOfNoisyImages:
    @pytest.fixture
    def prior(self) -> MultiScalePrior:
        prior = tiny_prior(1, (8, 8), 1)
        prior.noise_floor = 20 / 255
        return prior

    def test_denoises_and_tells_the_variance(self, prior: MultiScalePrior) -> None:
        noisy = torch.rand(1, 1, 16, 16, generator=seeded())
        assert prior.denoise(noisy, SIGMA).shape == noisy.shape
        assert prior.posterior(noisy, SIGMA).variance().shape == noisy.shape

    def test_draws_nothing(self, prior: MultiScalePrior) -> None:
        small = torch.rand(1, 1, 16, 16, generator=seeded())
        posterior = prior.posterior(small, WHITE)
        for work in (
            lambda: prior.sample(1),
            lambda: prior.upscale(small),
            lambda: prior.upscale_mean(small),
            lambda: prior.nll(small),
            lambda: posterior.samples(1),
            lambda: posterior.faithful(0.5),
            lambda: posterior.gray.samples(1),
        ):
            with pytest.raises(UsageError, match=r"noisy images alone \(.* 20 of 255\)"):
                work()

    def test_weaker_noise_gets_a_note(self, prior: MultiScalePrior) -> None:
        picture = Picture(torch.rand(1, 1, 32, 32, generator=seeded()))
        for sigma, told in ((10, True), (20, False)):
            notes = denoise(picture, prior, noise=NoiseModel.white(sigma / 255)).notes
            assert any("learnt from images with noise of 20" in n for n in notes) == told

    def test_card_and_info_say_so(self, prior: MultiScalePrior, tmp_path: Path) -> None:
        store.save(prior, tmp_path / "model")
        card = (tmp_path / "model" / "README.md").read_text()
        assert "from noisy images alone: it denoises noise of 20 of 255 and more" in card
        assert "prior.sample" not in card
        assert "prior.upscale" not in card
        told = scalewise("info", tmp_path / "model")
        assert "learnt from noisy ones alone, of 20 of 255" in told.stdout

    def test_is_stored_and_read(self, prior: MultiScalePrior, tmp_path: Path) -> None:
        store.save(prior, tmp_path / "model")
        assert store.load(tmp_path / "model").noise_floor == 20 / 255


class TestUnseen:
    def test_error_is_the_true_one_of_gaussian_images(self) -> None:
        """Also of an estimate that is not the best, and of noise that is not white."""
        spectrum = smooth_spectrum((64, 64))
        prior = gaussian_prior(spectrum, 2)
        field = torch.fft.fft2(torch.randn(24, 64, 64, generator=seeded(), dtype=torch.float64))
        clean = (0.5 + torch.fft.ifft2(field * spectrum.sqrt()).real)[:, None]
        for noise in (WHITE, NoiseModel.white(0.3)):
            noisy = clean + noise_like(clean.float(), noise, 3).double()
            images = {str(place): image for place, image in enumerate(noisy)}
            records = evaluate_unseen(prior, images, dict.fromkeys(images, noise))
            estimates = torch.stack([prior.denoise(one[None], noise.sigma)[0] for one in noisy])
            true = (estimates - clean).square().mean(dim=(1, 2, 3))
            off = torch.tensor([record["error"] for record in records]) - true
            assert abs(off.mean()) < 4 * off.std() / math.sqrt(24)
            assert off.std() < 0.1 * true.mean() + 0.03 * noise.sigma**2

    def test_tells_apart_models_as_the_truth_does(self) -> None:
        good, rough = store.load("photos", device="cpu"), store.load("photos-free", device="cpu")
        picture = torch.from_numpy(photos.astronaut()).permute(2, 0, 1).float() / 255
        crops = [picture[:, y : y + 96, x : x + 96] for y in (0, 200) for x in (100, 300)]
        noisy = [add_noise(crop, SIGMA, 0, place) for place, crop in enumerate(crops)]
        images = {str(place): image for place, image in enumerate(noisy)}
        told = dict.fromkeys(images, WHITE)
        first, second = (evaluate_unseen(prior, images, told) for prior in (good, rough))
        found = compare_models(first, second)
        errors = [
            [float((prior.denoise(one[None], SIGMA)[0] - crop).square().mean()) for one, crop in
             zip(noisy, crops, strict=True)]
            for prior in (good, rough)
        ]  # fmt: skip
        true = 10 * math.log10(sum(errors[1]) / sum(errors[0]))
        assert found.error is not None
        assert found.gain == pytest.approx(true, abs=0.1)

    def test_gray_of_three_channels_is_gray(self) -> None:
        prior = tiny_prior(3, (8, 8), 1)
        gray = torch.rand(1, 32, 32, generator=seeded())
        one, three = (
            evaluate_unseen(prior, {"x": image}, {"x": WHITE})[0]["error"]
            for image in (gray, gray.repeat(3, 1, 1))
        )
        assert one == three

    def test_no_noise_is_refused(self) -> None:
        with pytest.raises(UsageError, match="x has no noise to tell an error by"):
            evaluate_unseen(
                tiny_prior(1, (8, 8), 1), {"x": torch.zeros(1, 16, 16)}, {"x": NoiseModel.white(0)}
            )


class TestComparison:
    @staticmethod
    def records(*errors: float) -> list[dict[str, Any]]:
        return [{"error": error} for error in errors]

    def test_gain_is_of_the_mean_error(self) -> None:
        found = compare_models(self.records(1e-3, 3e-3), self.records(2e-3, 6e-3))
        assert found.gain == pytest.approx(10 * math.log10(2))
        assert (found.better, found.images) == (2, 2)

    def test_standard_error_is_that_of_paired_differences(self) -> None:
        ours, theirs = (1e-3, 2e-3, 3e-3), (1.2e-3, 2.2e-3, 3.2e-3)
        found = compare_models(self.records(*ours), self.records(*theirs))
        assert found.error == pytest.approx(0, abs=1e-9)
        assert found.told
        assert "first is better than second by 0.41 dB" in found.in_words("first", "second")
        assert "second is worse" in compare_models(
            self.records(*theirs), self.records(*ours)
        ).in_words("second", "first")

    def test_chance_is_called_chance(self) -> None:
        found = compare_models(self.records(1e-3, 2e-3), self.records(2e-3, 1.1e-3))
        assert not found.told
        words = found.in_words("a", "b")
        assert f"do not differ by more than chance ({found.gain:+.2f} dB, standard" in words

    def test_one_image_tells_no_chance(self) -> None:
        found = compare_models(self.records(1e-3), self.records(2e-3))
        assert found.error is None
        assert found.in_words("a", "b") == "a has +3.01 dB over b on the one image there is"


@pytest.fixture
def noisy_folder(tmp_path: Path) -> Path:
    """Six noisy pictures of 48 pixels a side."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "noisy"
    folder.mkdir()
    for place in range(6):
        clean = np.kron(rng.integers(60, 200, (6, 6)), np.ones((8, 8)))
        noisy = clean + 20 * rng.standard_normal(clean.shape)
        Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8)).save(folder / f"{place}.png")
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    recipe = tmp_path / "tiny.json"
    small = {"blocks": 1, "low_width": 8, "low_multiples": [1], "low_blocks": 1, "low_crop": 8}
    recipe.write_text(json.dumps(small | {"low_batch": 2}))
    return ["--recipe", str(recipe), *"--levels 1 --width 8 --receptive-field 5".split(),
            *"--batch 4 --crop 8 --steps 4".split()]  # fmt: skip


class TestCommands:
    def test_trains_on_noisy_images_and_tells_what_it_is_worth(
        self, tmp_path: Path, noisy_folder: Path, tiny: list[str]
    ) -> None:
        out = tmp_path / "mine"
        told = scalewise("train", noisy_folder, "--out", out, "--noisy", *tiny)
        assert told.code == 0, told.stderr
        assert "noise of the images: standard deviation" in told.stderr
        assert "own noise, estimated" in told.stdout
        assert "this model is worse than photos" in told.stdout
        assert 10 / 255 < store.load(out).noise_floor < 30 / 255
        config = json.loads((out / "config.json").read_text())
        assert config["estimator"] is not None
        assert config["training"]["recipe"]["denoising_fraction"] == 1
        refused = scalewise("upscale", noisy_folder / "0.png", tmp_path / "x.png", "--model", out)
        assert (refused.code, "learnt from noisy images alone" in refused.sentence) == (2, True)
        assert not (tmp_path / "x.png").exists()

    @pytest.mark.parametrize(
        ("options", "sigma"),
        [(["--sigma", "20"], 20.0), (["--gain", "2", "--read-noise", "1"], EVENED)],
    )
    def test_noise_that_is_told_is_kept_for_resuming(
        self, tmp_path: Path, noisy_folder: Path, tiny: list[str], options: list[str], sigma: float
    ) -> None:
        out = tmp_path / "mine"
        words = ["--noisy", "--compare", "none", *options]
        told = scalewise("train", noisy_folder, "--out", out, *words, *tiny)
        assert told.code == 0, told.stderr
        assert 255 * store.load(out).noise_floor == pytest.approx(sigma, abs=0.1)
        assert saved_options(out / "training")["noisy"] is True
        more = [*tiny[:-1], "8"]
        again = scalewise(
            "train", noisy_folder, "--out", out, "--resume", "--compare", "none", *more
        )
        assert again.code == 0, again.stderr
        assert 255 * store.load(out).noise_floor == pytest.approx(sigma, abs=0.1)

    def test_clean_images_are_not_noisy_ones(self, tmp_path: Path, tiny: list[str]) -> None:
        folder = tmp_path / "clean"
        folder.mkdir()
        ramp = np.tile(np.arange(0, 192, 4, dtype=np.uint8), (48, 1))
        for place in range(4):
            Image.fromarray(np.roll(ramp, place, 1)).save(folder / f"{place}.png")
        told = scalewise("train", folder, "--out", tmp_path / "x", "--noisy", *tiny)
        assert told.code == 2
        assert "hardly any noise was found in" in told.sentence
        assert not (tmp_path / "x").exists()

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (["--sigma", "20"], "--sigma, --noise and --gain are of noisy images"),
            (["--noisy", "--sigma", "0"], "images without noise are clean ones"),
            (["--noisy", "--sigma", "20", "--gain", "2"], "--sigma and --gain both say"),
            (["--noisy", "--offset", "5"], "--offset and --read-noise belong to --gain"),
            (["--noisy", "--gain", "0"], "--gain must be above 0"),
            (["--noisy", "--gain", "1", "--offset", "900"], "the offset, 900, is above most"),
            (["--noisy", "--form", "bias-free"], "networks learn by being told their noise"),
            (["--noisy", "--noise", "{colour}"], "described for 3 channels, the images have 1"),
        ],
    )
    def test_bad_input_is_a_sentence(
        self,
        tmp_path: Path,
        noisy_folder: Path,
        tiny: list[str],
        options: list[str],
        sentence: str,
    ) -> None:
        colour = tmp_path / "colour.json"
        colour.write_text(json.dumps({"scales": [[0.1, 0.2, 0.3]]}))
        words = [option.format(colour=colour) for option in options]
        told = scalewise("train", noisy_folder, "--out", tmp_path / "x", *tiny, *words)
        assert (told.code, sentence in told.sentence) == (2, True), told.stderr
        assert not (tmp_path / "x").exists()

    def test_counts_of_an_array_need_a_file(self, tmp_path: Path, tiny: list[str]) -> None:
        array = tmp_path / "images.npy"
        np.save(array, np.random.default_rng(0).integers(0, 255, (4, 48, 48), dtype=np.uint8))
        told = scalewise("train", array, "--out", tmp_path / "x", "--noisy", "--gain", "2", *tiny)
        assert (told.code, "needs image files" in told.sentence) == (2, True)

    def test_noise_that_images_have_less_of_is_refused(
        self, tmp_path: Path, noisy_folder: Path, tiny: list[str]
    ) -> None:
        words = ["--noisy", "--sigma", "45", *tiny]
        told = scalewise("train", noisy_folder, "--out", tmp_path / "x", *words)
        assert (told.code, "other noise than was told" in told.sentence) == (2, True)
        assert not (tmp_path / "x").exists()

    def test_frames_of_one_camera_share_their_noise(self, tmp_path: Path) -> None:
        folder = tmp_path / "frames"
        folder.mkdir()
        for place in range(6):
            clean = (0.05 + 0.12 * place + 0.1 * smooth_picture(1, 96, place)[0]).clamp(0, 1)
            counts = torch.poisson(60 * clean, seeded(place))
            pixels = (255 * counts / 60).clamp(0, 255).round().byte().numpy()
            Image.fromarray(pixels).save(folder / f"{place}.png")
        (folder / "5.png").write_bytes(b"no picture")
        words = [folder, tmp_path / "out", "--json"]
        alone = scalewise("denoise", *words)
        told = scalewise("denoise", folder, tmp_path / "all", "--json", "--one-camera")
        assert (alone.code, told.code) == (1, 1)  # of the bad file
        levels = [record["sigma"] for record in told.records if "sigma" in record]
        assert len(levels) == 5
        assert max(levels) < 1.3 * min(levels)
        single = scalewise("denoise", folder / "0.png", tmp_path / "y.png", "--one-camera")
        assert (single.code, "several images; give a folder" in single.sentence) == (2, True)
        twice = scalewise("denoise", folder, tmp_path / "z", "--one-camera", "--sigma", "5")
        assert (twice.code, "both say what the noise is" in twice.sentence) == (2, True)

    def test_models_are_compared_without_the_truth(
        self, tmp_path: Path, noisy_folder: Path
    ) -> None:
        store.save(tiny_prior(1, (8, 8), 1), tmp_path / "worse")
        out = tmp_path / "compared.json"
        told = scalewise(
            "evaluate", "compare", noisy_folder, "--model", "photos", "--against",
            tmp_path / "worse", "--sigma", "20", "--json", out,
        )  # fmt: skip
        assert told.code == 0, told.stderr
        assert "photos is better than" in told.stdout
        found = json.loads(out.read_text())
        assert found["gain"] > 2 * found["error"] > 0
        assert len(found["records"]) == 12

    def test_comparing_without_noise_is_refused(self, noisy_folder: Path) -> None:
        told = scalewise("evaluate", "compare", noisy_folder, "--sigma", "0")
        assert (told.code, "has no noise to tell an error by" in told.sentence) == (2, True)
