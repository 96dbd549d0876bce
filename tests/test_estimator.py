"""The learned estimator of noise levels: by hand, on masks and large images, stored, trained."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cli_tools import blind_prior, scalewise, stored, tiny_prior
from PIL import Image
from torch import Tensor
from zoo import randomised

from scalewise import restore, store
from scalewise.data import ImageSet
from scalewise.errors import ScalewiseError
from scalewise.estimation import LEARNT_SIDE, estimate_sigma
from scalewise.networks import NoiseEstimator
from scalewise.networks import estimator as module
from scalewise.networks.estimator import AROUND, QUIET, Places
from scalewise.reproduce.networks import Silent
from scalewise.training import Recipe, TrainingRun
from scalewise.training import estimator as training
from scalewise.training.camera import jpeg
from scalewise.training.estimator import MOST, draw_planes, train_estimator
from scalewise.wavelets import split
from scalewise.windows import Window


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def network() -> NoiseEstimator:
    return randomised(NoiseEstimator(width=6, depth=3)).double().requires_grad_(False)


def planes(count: int = 2, side: int = 24) -> Tensor:
    return torch.rand(count, 1, side, side + 6, generator=seeded()).double()


class TestNetwork:
    def test_by_hand(self, network: NoiseEstimator) -> None:
        """A level at every place, weighted by what features over the local energy say of it."""
        noisy = planes(1)
        details = split(noisy)[1]
        unit = details.square().mean().sqrt()
        features = details / unit
        for layer in (network.body[0], network.body[2]):
            features = F.conv2d(features, layer.weight, padding=1).clamp(min=0)  # type: ignore[arg-type]
        around = F.pad((details / unit).square().mean(1, keepdim=True), [4] * 4, "replicate")
        local = F.avg_pool2d(around, AROUND, 1).sqrt() + 1e-5
        quiet = local.flatten().quantile(QUIET)
        first, last = network.inner[0], network.inner[2]
        hidden = torch.cat([features / local, (local / quiet).log()], 1)
        hidden = F.conv2d(hidden, first.weight, first.bias).clamp(min=0)  # type: ignore[arg-type]
        weight = F.conv2d(hidden, last.weight, last.bias).exp()  # type: ignore[arg-type]
        level = F.conv2d(features, network.level.weight).abs()
        expected = 2 * unit * (weight * level).sum() / weight.sum()
        torch.testing.assert_close(network(noisy), expected[None])

    def test_an_image_times_a_has_a_times_the_noise(self, network: NoiseEstimator) -> None:
        noisy = planes()
        for factor in (1e-4, 255.0):
            torch.testing.assert_close(network(factor * noisy + 3), factor * network(noisy))

    def test_every_plane_is_on_its_own(self, network: NoiseEstimator) -> None:
        noisy = planes() * torch.tensor([1.0, 9.0]).view(2, 1, 1, 1)
        both = network(noisy)
        assert both.tolist() == [float(network(noisy[:1])), float(network(noisy[1:]))]

    @pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (9, 5)])
    def test_any_size(self, network: NoiseEstimator, size: tuple[int, int]) -> None:
        assert network(torch.rand(1, 1, *size).double()).isfinite().all()

    def test_what_does_not_vary_has_no_noise(self, network: NoiseEstimator) -> None:
        assert network(torch.full((1, 1, 40, 40), 0.3).double()).tolist() == [0]

    def test_what_is_not_valid_has_no_say(self) -> None:
        network = randomised(NoiseEstimator()).double().requires_grad_(False)
        noisy = planes(1, 80)
        valid = torch.ones_like(noisy, dtype=torch.bool)
        valid[..., :30, :] = False
        other = noisy.clone()
        other[..., :30, :] = 0
        torch.testing.assert_close(network(noisy, valid), network(other, valid))
        assert not torch.allclose(network(noisy), network(other), rtol=0.05)
        assert network(noisy, torch.zeros_like(valid)).isnan().all()

    def test_places_see_no_farther_than_they_say(self) -> None:
        network = randomised(NoiseEstimator()).double()
        details = torch.rand(1, 3, 41, 41).double().requires_grad_()
        level, weight = network.looked_at(details, torch.ones(1, 1, 41, 41, dtype=torch.bool))
        features = torch.autograd.grad(level[0, 0, 20, 20], details, retain_graph=True)[0]
        away = features.abs().sum(dim=(0, 1)).nonzero() - 20
        assert 2 * int(away.abs().max()) + 2 <= network.seen
        assert network.seen >= 2 * (AROUND // 2) + 2
        assert weight.shape == level.shape == (1, 1, 41, 41)

    def test_large_images_are_looked_at_in_crops(
        self, monkeypatch: pytest.MonkeyPatch, network: NoiseEstimator
    ) -> None:
        monkeypatch.setattr(module, "SIDE", 8)
        monkeypatch.setattr(module, "MOST", 4)
        large = torch.arange(40 * 24.0).view(1, 40, 24)
        crops = module.spread_crops(large)
        assert crops.shape == (4, 1, 8, 8)
        assert [float(crop[0, 0, 0]) for crop in crops] == [0, 8 * 24, 16 * 24 + 8, 24 * 24 + 16]
        assert module.spread_crops(large[:, :16, :16]).shape == (1, 1, 16, 16)
        assert module.spread_crops(torch.rand(1, 5, 80)).shape == (4, 1, 5, 8)
        assert module.spread_crops(torch.rand(1, 80, 5)).shape == (4, 1, 8, 5)
        noisy = planes(1, 40)
        assert network(noisy, torch.ones_like(noisy, dtype=torch.bool)).isfinite().all()


class Says(NoiseEstimator):
    """An estimator that says one thing, and remembers what it was shown."""

    def __init__(self, level: float) -> None:
        super().__init__(width=1, depth=2)
        self.answer, self.shown = level, list[tuple[Tensor, Tensor | None]]()
        self.widest = 0

    def forward(self, planes: Tensor, valid: Tensor | None = None) -> Tensor:
        self.shown.append((planes, valid))
        return torch.full((len(planes),), self.answer)

    def places(
        self, plane: Tensor, valid: Tensor | None = None, within: Window | None = None
    ) -> Places:
        """White noise: half as much of it in images of half the size."""
        self.widest = max(self.widest, plane.shape[-1])
        level = plane.new_tensor([self.answer * plane.shape[-1] / self.widest])
        return Places(level, torch.zeros(1), torch.full((1,), 0.5))


class TestUse:
    """Where a learned estimator is asked, and where not."""

    def test_gray_images_are_left_to_it(self) -> None:
        estimator = Says(0.03)
        noisy = torch.rand(2, 1, 40, 40)
        assert estimate_sigma(noisy, estimator=estimator).tolist() == pytest.approx([0.03, 0.03])
        assert estimator.shown[0][0].equal(noisy[:1])
        repeated = noisy.expand(-1, 3, -1, -1)
        assert estimate_sigma(repeated, estimator=estimator).tolist() == pytest.approx([0.03] * 2)

    def test_colours_and_small_images_are_not(self) -> None:
        estimator = Says(0.03)
        for shape in ((1, 3, 64, 64), (1, 1, LEARNT_SIDE - 1, 200)):
            noisy = 0.5 + 0.1 * torch.randn(shape, generator=seeded())
            found = estimate_sigma(noisy, estimator=estimator)
            assert found.equal(estimate_sigma(noisy))
        assert estimator.shown == []

    def test_an_answer_that_is_none_is_left_to_the_statistic(self) -> None:
        noisy = 0.5 + 0.1 * torch.randn(1, 1, 64, 64, generator=seeded())
        assert estimate_sigma(noisy, estimator=Says(math.nan)).equal(estimate_sigma(noisy))

    def test_borders_are_masked_and_two_values_have_no_noise(self) -> None:
        estimator = Says(0.03)
        noisy = torch.rand(1, 1, 64, 64, generator=seeded())
        noisy[..., :20, :] = 0
        estimate_sigma(noisy, estimator=estimator)
        mask = estimator.shown[0][1]
        assert mask is not None
        assert not mask[..., :20, :].any()
        assert mask[..., 20:, :].all()
        text = (noisy > 0.5).float().repeat_interleave(8, 2).repeat_interleave(8, 3)
        assert estimate_sigma(text, estimator=estimator).tolist() == [0]

    def test_priors_and_pictures_ask_that_of_the_model(self) -> None:
        prior, plain = tiny_prior(1, (8, 8), 2), tiny_prior(1, (8, 8), 2)
        prior.estimator = Says(0.04)
        noisy = torch.rand(1, 1, 40, 40, generator=seeded())
        expected = plain.denoise(noisy, 0.04)
        torch.testing.assert_close(prior.denoise(noisy), expected)
        clean, noise = restore.denoise_plane(noisy[0], prior)
        torch.testing.assert_close(clean, expected[0])
        assert noise.is_white
        assert noise.sigma == pytest.approx(0.04)


class TestStore:
    """A model folder with an estimator, and without."""

    def test_it_comes_back(self, tmp_path: Path) -> None:
        prior = tiny_prior(1, (8, 8), 1)
        prior.estimator = randomised(NoiseEstimator(width=5, depth=4))
        store.save(prior, tmp_path / "model")
        found = store.load(tmp_path / "model", device="cpu")
        assert found.estimator is not None
        assert found.estimator.settings == {"width": 5, "depth": 4}
        noisy = torch.rand(1, 1, 33, 40)
        torch.testing.assert_close(found.estimator(noisy), prior.estimator(noisy))

    def test_cards_and_info_tell_of_it(self, tmp_path: Path) -> None:
        prior = tiny_prior(1, (8, 8), 1)
        for name, estimator, told in (
            ("with", NoiseEstimator(width=5, depth=4), "a learned estimator, 631 parameters"),
            ("without", None, "a statistic of patches"),
        ):
            prior.estimator = estimator
            store.save(prior, tmp_path / name)
            text = (tmp_path / name / "README.md").read_text()
            assert f"Noise that is not told: {told}." in text
            assert told in scalewise("info", tmp_path / name).stdout
        store.save(blind_prior(), tmp_path / "blind")
        assert "not needed" in scalewise("info", tmp_path / "blind").stdout

    def test_older_folders_have_none(self, tmp_path: Path) -> None:
        store.save(tiny_prior(1, (8, 8), 1), tmp_path / "model")
        file = tmp_path / "model" / "config.json"
        config = json.loads(file.read_text())
        assert config.pop("estimator") is None
        file.write_text(json.dumps(config))
        assert store.load(tmp_path / "model", device="cpu").estimator is None

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"width": 0}, "estimator.width.*greater than or equal to 1"),
            ({"depth": 10**6}, "estimator.depth.*less than or equal to 64"),
            ({"size": 3}, "unknown field 'estimator.size'"),
            ({"width": 7, "depth": 5}, "estimator"),
        ],
    )
    def test_wrong_settings_are_named(
        self, settings: dict[str, Any], words: str, tmp_path: Path
    ) -> None:
        prior = tiny_prior(1, (8, 8), 1)
        prior.estimator = NoiseEstimator(width=5, depth=4)
        store.save(prior, tmp_path / "model")
        file = tmp_path / "model" / "config.json"
        config = json.loads(file.read_text()) | {"estimator": settings}
        file.write_text(json.dumps(config))
        with pytest.raises(ScalewiseError, match=words):
            store.load(tmp_path / "model", device="cpu")


def photos(count: int = 4) -> ImageSet:
    rough = torch.rand(count, 3, 20, 20, generator=seeded())
    smooth = F.interpolate(rough, size=(170, 180), mode="bicubic").clamp(0, 1)
    return ImageSet([*smooth], "smooth")


class TestTraining:
    def test_planes_have_the_noise_that_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(training, "JPEG", 0.0)
        monkeypatch.setattr(training, "LUMA", 0.0)
        monkeypatch.setattr(training, "STRUCTURED", 0.0)
        monkeypatch.setattr(training, "COARSER", (1.0, 0.0, 0.0))
        generator = seeded()
        drawn = [draw_planes(photos(), generator) for _ in range(16)]
        levels = torch.cat([sigma.mean(dim=(1, 2, 3)) for _, sigma in drawn])
        assert 0 < float((levels == 0).double().mean()) < 0.3
        assert 0 < float(levels[levels > 0].min()) < 0.01 < 0.2 < float(levels.max()) <= 1.3 * MOST
        for noisy, sigma in drawn:
            assert noisy.shape[1] == 1
            assert noisy.shape[-1] == 2 * sigma.shape[-1] in (128, 160)
            details = 2 * split(noisy)[1].square().mean(dim=(1, 2, 3)).sqrt()
            there = sigma.square().mean(dim=(1, 2, 3)).sqrt()
            loud = there > 0.1  # the images have details of their own
            torch.testing.assert_close(details[loud], there[loud], rtol=0.1, atol=0.002)
        again = draw_planes(photos(), seeded())
        assert again[0].equal(drawn[0][0])

    def test_compressed_planes_are_those_of_jpeg_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plane = photos().images[0][0] + 0.05 * torch.randn(170, 180, generator=seeded())
        found = jpeg(plane[None], 70)[0]
        levels = (plane * 255).round().clamp(0, 255).to(torch.uint8).numpy()
        Image.fromarray(levels).save(tmp_path / "a.jpg", quality=70)
        assert found.equal(torch.from_numpy(stored(tmp_path / "a.jpg").copy()) / 255)
        assert 0.01 < float((found - plane).abs().mean()) < 0.05
        monkeypatch.setattr(training, "STRUCTURED", 0.0)
        monkeypatch.setattr(training, "JPEG", 0.6)
        plainly = draw_planes(photos(), seeded())
        monkeypatch.setattr(training, "JPEG", 0.0)
        again = draw_planes(photos(), seeded())
        assert plainly[1].equal(again[1])
        assert 0 < int((plainly[0] != again[0]).flatten(1).any(1).sum()) < len(again[0])

    def test_it_learns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(training, "PIXELS", 40_000)
        monkeypatch.setattr(training, "STRUCTURED", 0.2)
        monkeypatch.setattr(training, "COARSER", (0.4, 0.4, 0.2))
        monkeypatch.setattr(training, "RATE", 2e-3)
        monkeypatch.setattr(training, "WARMUP", 5)
        losses = list[float]()
        images = photos()
        found = train_estimator(
            images, minutes=60, steps=60, callback=lambda _, loss: losses.append(loss)
        )
        assert len(losses) == 60
        assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
        assert not found.training
        assert not any(parameter.requires_grad for parameter in found.parameters())
        again = train_estimator(images, minutes=60, steps=1, estimator=found)
        assert again is found

    def test_time_ends_it(self) -> None:
        steps = list[int]()
        train_estimator(photos(), minutes=1e-9, callback=lambda step, _: steps.append(step))
        assert len(steps) <= 1


class TestRuns:
    """Runs learn an estimator of their own, where they can."""

    def test_a_run_ends_with_one_that_is_kept(self, tmp_path: Path) -> None:
        recipe: dict[str, Any] = {
            "levels": 1,
            "width": 8,
            "blocks": 1,
            "receptive_field": 5,
            "low_width": 8,
        }
        recipe |= {"low_multiples": (1,), "batch": 2, "low_batch": 2, "steps": 4}

        def run(**more: Any) -> TrainingRun:
            made = Recipe(**recipe | {"estimator_fraction": 0.5} | more)
            return TrainingRun(made, photos(), photos(2), tmp_path, torch.device("cpu"), Silent())

        first = run()
        trained = first.run()
        assert trained.estimator is not None
        assert first.prior().estimator is trained.estimator
        again = run()
        again.resume()
        found = again.run().estimator
        assert found is not None
        for name, value in trained.estimator.state_dict().items():
            assert found.state_dict()[name].equal(value)
        again.forget()
        for none in ({"estimator_fraction": 0.0}, {"form": "bias-free"}):
            assert run(**none).run().estimator is None
            run().forget()

    def test_time_is_kept_for_it(self, tmp_path: Path) -> None:
        recipe = Recipe(levels=1, minutes=10.0, estimator_fraction=0.1)
        small = ImageSet([torch.rand(3, 100, 100)], "small")
        for images, kept in ((photos(), 60.0), (small, 0.0)):
            run = TrainingRun(recipe, images, images, tmp_path, torch.device("cpu"), Silent())
            assert run.plan.reserve == kept

    def test_a_start_with_one_keeps_it(self, tmp_path: Path) -> None:
        start = tiny_prior(3, (8, 8), 1)
        start.estimator = randomised(NoiseEstimator(width=5, depth=4))
        recipe = Recipe(levels=1, steps=2, start="a", batch=2, low_batch=2)
        run = TrainingRun(
            recipe, photos(), photos(2), tmp_path, torch.device("cpu"), Silent(), start=start
        )
        assert run.run().estimator is start.estimator

    def test_networks_that_start_without_noise_maps_get_them(self, tmp_path: Path) -> None:
        start = tiny_prior(3, (8, 8), 1)
        recipe = Recipe(levels=1, steps=2, start="a", batch=2, low_batch=2, structured_fraction=0.5)
        run = TrainingRun(
            recipe, photos(), photos(2), tmp_path, torch.device("cpu"), Silent(), start=start
        )
        grown, noisy = run.prior(), torch.rand(1, 3, 24, 24, generator=seeded())
        assert grown.noise_maps
        assert not start.noise_maps
        with torch.no_grad():
            torch.testing.assert_close(
                grown.denoise(noisy, 0.1), start.denoise(noisy, 0.1), atol=1e-5, rtol=1e-4
            )
