"""Training: recipes, plans, resume to the bit, and learning for real."""

import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, Literal

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from scalewise.data import ImageSet
from scalewise.errors import ScalewiseError, UsageError
from scalewise.networks import LocalDenoiser, UNet
from scalewise.prior import MultiScalePrior
from scalewise.training import Recipe, TrainingRun, run, saved_recipe
from scalewise.training.batches import crop_side, draw_batch
from scalewise.training.chance import Chance
from scalewise.training.files import held, load_state
from scalewise.training.level import LevelTrainer, one_thread
from scalewise.training.plan import TIMING_STEPS, Plan, Segment

Form = Literal["noise-conditional", "bias-free"]

TINY: dict[str, Any] = {
    "levels": 1,
    "width": 8,
    "blocks": 1,
    "receptive_field": 5,
    "low_width": 8,
    "low_multiples": (1, 1),
    "low_blocks": 1,
    "batch": 4,
    "crop": 8,
    "low_batch": 2,
    "low_crop": 8,
    "warmup": 3,
}


def dead_leaves(count: int, side: int, seed: int, channels: int = 1) -> ImageSet:
    """Images of overlapping rectangles, sharp-edged and far from Gaussian."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        image = np.full((channels, side, side), 0.5, np.float32)
        for _ in range(40):
            top, left = rng.integers(-side // 4, side, 2)
            height, width = rng.integers(side // 8, side // 2, 2)
            color = rng.uniform(0.1, 0.9, (channels, 1, 1))
            image[:, max(0, top) : top + height, max(0, left) : left + width] = color
        images.append(torch.from_numpy((255 * image).round().astype(np.uint8)))
    return ImageSet(images, "leaves")


class Silent:
    """A listener that remembers, and can stop a run as a kill would."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.steps, self.stop_at = 0, stop_at
        self.records: list[tuple[int, dict[str, float]]] = []

    def on_step(self, level: int, step: int, last: int, loss: float, images: int) -> None:
        self.steps += 1
        assert np.isfinite(loss)
        if self.steps == self.stop_at:
            raise KeyboardInterrupt

    def on_validation(self, level: int, record: dict[str, float]) -> None:
        self.records.append((level, record))

    def on_prior(self, prior: MultiScalePrior, summary: dict[str, Any]) -> None:
        self.summary = summary


def make_run(
    folder: Path, recipe: Recipe, listener: Silent | None = None, channels: int = 1
) -> TrainingRun:
    return TrainingRun(
        recipe,
        dead_leaves(6, 40, 0, channels),
        dead_leaves(2, 40, 1, channels),
        folder,
        torch.device("cpu"),
        listener or Silent(),
    )


def same_weights(a: MultiScalePrior, b: MultiScalePrior) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize(
    ("form", "precision", "stops"),
    [
        ("noise-conditional", "float32", (5, 11)),
        ("bias-free", "bfloat16", (7,)),
        pytest.param("noise-conditional", "float32", (1, 7, 16), marks=pytest.mark.slow),
        pytest.param("noise-conditional", "bfloat16", (7,), marks=pytest.mark.slow),
        pytest.param("bias-free", "float32", (11,), marks=pytest.mark.slow),
    ],
)
def test_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: Literal["noise-conditional", "bias-free"],
    precision: Literal["float32", "bfloat16"],
    stops: tuple[int, ...],
) -> None:
    """Stopped at the first step, within a stretch, at its end, and at the last step of all."""
    monkeypatch.setattr(run, "SAVE_SECONDS", 0.0)
    recipe = Recipe(
        **TINY, form=form, steps=8, seed=3, low_dropout=0.25, precision=precision, rotate=False
    )
    whole = make_run(tmp_path / "whole", recipe).run()
    for stop_at in stops:
        folder = tmp_path / str(stop_at)
        with pytest.raises(KeyboardInterrupt):
            make_run(folder, recipe, Silent(stop_at)).run()
        resumed = make_run(folder, recipe)
        resumed.resume()
        assert same_weights(resumed.run(), whole), f"stopped at {stop_at}"


def test_kill_and_resume_give_the_weights_of_an_uninterrupted_run(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        "import sys, time, torch\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_training import *\n"
        "run.SAVE_SECONDS = 0.0\n"
        "torch.set_num_threads(1)\n"
        "class Slow(Silent):\n"
        "    def on_step(self, *args):\n"
        "        super().on_step(*args)\n"
        "        time.sleep(0.05)\n"
        f"make_run(Path({str(tmp_path / 'cut')!r}), Recipe(**TINY, steps=40), Slow()).run()\n"
    )
    job = subprocess.Popen([sys.executable, script])
    state = tmp_path / "cut" / "level-2.pt"
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    job.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    torch.set_num_threads(1)
    recipe = Recipe(**TINY, steps=40)
    resumed = make_run(tmp_path / "cut", recipe)
    resumed.resume()
    assert 0 < resumed.trainers[2].state.step < 40
    whole = make_run(tmp_path / "whole", recipe).run()
    assert same_weights(resumed.run(), whole)


def test_half_precision_learns_what_float32_learns(tmp_path: Path) -> None:
    finals = {}
    for precision in ("float32", "bfloat16"):
        listener = Silent()
        recipe = Recipe(**(TINY | {"steps": 40, "precision": precision}))
        prior = make_run(tmp_path / precision, recipe, listener).run()
        assert listener.summary["precision"] == precision
        assert {weight.dtype for weight in prior.state_dict().values()} == {torch.float32}
        finals[precision] = {level: record["psnr"] for level, record in listener.records}
    assert finals["float32"] != finals["bfloat16"]
    assert finals["bfloat16"] == pytest.approx(finals["float32"], abs=0.5)


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize(("form", "tolerance"), [("noise-conditional", 0.05), ("bias-free", 0.75)])
def test_half_precision_descends_where_float32_does(
    tmp_path: Path, form: Form, tolerance: float, level: int
) -> None:
    """The random blind network magnifies what rounding changes from layer to layer."""
    gradients = {}
    for precision in ("float32", "bfloat16"):
        recipe = Recipe(**(TINY | {"form": form, "steps": 1, "precision": precision}))
        trainer = make_run(tmp_path / precision, recipe).trainers[level]
        trainer.network.train()
        trainer._descend(*trainer._draw(0))
        parts = [p.grad.flatten() for p in trainer.network.parameters() if p.grad is not None]
        gradients[precision] = torch.cat(parts)
    assert not torch.equal(*gradients.values())
    error = gradients["bfloat16"] - gradients["float32"]
    assert float(error.norm()) < tolerance * float(gradients["float32"].norm())


@pytest.mark.parametrize(
    ("known", "precision"),
    [
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True, "avx512_bf16": False}, "bfloat16"),
        ({"avx2": True}, "float32"),
        ({}, "float32"),
    ],
)
def test_precision_suits_the_processor(
    known: dict[str, bool], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert Recipe().precision_on(torch.device("cpu")) == precision
    assert Recipe(precision="float32").precision_on(torch.device("cpu")) == "float32"
    assert Recipe().precision_on(torch.device("mps")) == "float32"


def test_batches_are_drawn_by_one_thread_beside_those_of_the_step() -> None:
    threads = torch.get_num_threads()
    with one_thread() as loader:
        assert loader.submit(torch.get_num_threads).result() == 1
        loader.submit(torch.rand(512, 512).sum).result()
        assert loader.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == threads
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == threads


def test_dropout_is_of_training_alone() -> None:
    torch.manual_seed(0)
    network = UNet(1, (8, 8), width=8, multiples=(1,), blocks=1, dropout=0.5)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    noisy = torch.rand(2, 1, 8, 8)
    first, second = (network.train()(noisy, 0.1) for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (network.eval()(noisy, 0.1) for _ in range(2))
    assert torch.equal(first, second)


def test_a_local_network_learns_in_the_pixel_domain(tmp_path: Path) -> None:
    recipe = Recipe(levels=0, receptive_field=9, width=8, low_local=True, steps=2, low_crop=16)
    run = make_run(tmp_path / "run", recipe)
    prior = run.run()
    assert isinstance(prior.low, LocalDenoiser)
    assert prior.low.receptive_field == 9
    assert prior.low.mean.shape == (prior.channels, 1, 1)
    assert not torch.equal(prior.low.mean, torch.full_like(prior.low.mean, 0.5))
    assert prior.sample(2, seed=0, size=(16, 24)).shape == (2, prior.channels, 16, 24)


def test_a_local_low_pass_network_has_sizes_of_its_own() -> None:
    recipe = Recipe(levels=2, low_local=True, receptive_field=(5, 7, 11), width=(4, 8, 12))
    low = recipe.low_network(1, (8, 8), 0.2)
    assert (low.receptive_field, low.settings["width"]) == (11, 12)
    assert recipe.details_network(1, 2, 0.1).receptive_field == 7
    assert low.stationary


def test_seeds_differ_and_repeat(tmp_path: Path) -> None:
    priors = [
        make_run(tmp_path / str(place), Recipe(**TINY, steps=4, seed=seed)).run()
        for place, seed in enumerate((0, 0, 1))
    ]
    assert same_weights(priors[0], priors[1])
    assert not same_weights(priors[0], priors[2])


def test_time_budget_is_kept_and_spent_on_all_levels(tmp_path: Path) -> None:
    listener = Silent()
    began = time.monotonic()
    trained = make_run(tmp_path / "run", Recipe(**TINY, minutes=0.03), listener, channels=3)
    trained.run()
    assert time.monotonic() - began < 30
    levels = listener.summary["levels"]
    assert set(levels) == {"1", "low"}
    assert all(facts["steps"] > TIMING_STEPS for facts in levels.values())
    assert sum(trained.plan.seconds) == pytest.approx(1.8, rel=0.7)
    assert trained.plan.segments[-1].falling


def test_resume_says_what_differs(tmp_path: Path) -> None:
    recipe = Recipe(**TINY, steps=2)
    make_run(tmp_path, recipe).run()
    assert saved_recipe(tmp_path)["steps"] == 2
    other = make_run(tmp_path, recipe.model_copy(update={"width": 12}))
    with pytest.raises(UsageError, match="other choices \\(width\\)"):
        other.resume()
    images = TrainingRun(
        recipe,
        dead_leaves(6, 40, 9),
        dead_leaves(2, 40, 1),
        tmp_path,
        torch.device("cpu"),
        Silent(),
    )
    with pytest.raises(UsageError, match="other images"):
        images.resume()


def test_a_damaged_state_is_never_read(tmp_path: Path) -> None:
    recipe = Recipe(**TINY, steps=2)
    make_run(tmp_path, recipe).run()
    path = tmp_path / "level-1.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ScalewiseError, match=r"level-1\.pt is damaged"):
        make_run(tmp_path, recipe).resume()
    with pytest.raises(ScalewiseError, match="no training state"):
        make_run(tmp_path / "none", recipe).resume()


def test_a_full_disk_keeps_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(**TINY, steps=6)
    monkeypatch.setattr(run, "SAVE_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        make_run(tmp_path, recipe, Silent(stop_at=3)).run()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.pt")}

    def full(state: dict[str, Any], file: BinaryIO) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    resumed = make_run(tmp_path, recipe)
    resumed.resume()
    with pytest.raises(ScalewiseError, match="No space left on device; make room"):
        resumed.run()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_images_too_small_for_the_levels() -> None:
    with pytest.raises(ScalewiseError, match=r"too small for 3 levels: at least 64 pixels"):
        crop_side(dead_leaves(2, 40, 0), Recipe(levels=3), 3)


def test_crops_fit_the_level_and_faces_are_taken_whole() -> None:
    photos, faces = dead_leaves(2, 300, 0), dead_leaves(2, 96, 0)
    assert crop_side(photos, Recipe(crop=32), 1) == 64
    assert crop_side(photos, Recipe(crop=32), 3) == 256
    assert crop_side(faces, Recipe(levels=2, low_crop=24), 3) == 96
    batch = draw_batch(photos, Recipe(), 2, Chance.of(3, torch.Generator())).images
    assert batch.shape == (3, 1, 64, 64)


def test_gray_images_get_gray_noise() -> None:
    images = dead_leaves(4, 40, 0, channels=3)
    recipe = Recipe(gray_fraction=0.5, levels=1, crop=8)
    for level in (1, 2):
        chance = Chance.of(4, torch.Generator())
        batch = draw_batch(images, recipe, level, chance).images
        gray = (batch == batch[:, :1]).flatten(1).all(1)
        assert gray.sum() == 2
        noise = chance.white_noise(batch)
        assert ((noise == noise[:, :1]).flatten(1).all(1) == gray).all()
    assert gray.tolist() == [False, False, True, True]  # of low-pass images the last


def test_learning_rate_rises_stays_and_falls() -> None:
    constant, falling = Segment(1, 0, 100), Segment(1, 100, 200, falling=True)
    assert constant.rate(0, 10) == 0.1
    assert constant.rate(50, 10) == 1.0
    assert [falling.rate(step, 10) for step in (100, 150, 199)] == [1.0, 0.5, 0.01]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"minutes": 1, "steps": 3}, "give one of them"),
        ({"levels": -1}, "greater than or equal to 0"),
        ({"denoising": 0.8, "averaging": 0.4}, "sum is above 1"),
        ({"form": "bias-free", "low_local": True}, "leave one or the other out"),
        ({"width": [4, 8, 12, 16]}, "a list of 3, one per level, finest first; found 4"),
        ({"colour": 3}, "Extra inputs"),
        ({"added_blocks": 2}, "added to networks of details of start; give blocks"),
        ({"added_blocks": 2, "start": "photos", "levels": 0}, "networks of details of start"),
        (
            {"added_blocks": [2, 0, 1], "start": "photos", "fresh": [3]},
            "level 3 begins with a new network; give its blocks, not added_blocks",
        ),
    ],
)
def test_bad_recipes(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Recipe(**choices)


def wiener(noisy: torch.Tensor, training: ImageSet, sigma: float) -> torch.Tensor:
    """The best linear stationary denoiser, from the training images' mean and spectrum."""
    images = torch.stack(list(training.images)).float() / 255
    mean = images.mean()
    power = torch.fft.fft2(images - mean).abs().square().mean(0) / images[0, 0].numel()
    gain = power / (power + sigma**2)
    return mean + torch.fft.ifft2(gain * torch.fft.fft2(noisy - mean)).real


@pytest.mark.slow
def test_training_beats_the_best_linear_denoiser(tmp_path: Path) -> None:
    training, held_out = dead_leaves(60, 64, 0), dead_leaves(8, 64, 1)
    recipe = Recipe(
        levels=1,
        width=24,
        blocks=3,
        receptive_field=9,
        low_width=8,
        steps=500,
        crop=16,
        low_crop=16,
    )
    prior = TrainingRun(recipe, training, held_out, tmp_path, torch.device("cpu"), Silent()).run()
    clean = torch.stack(list(dead_leaves(16, 64, 2).images)).float() / 255
    sigma = 25 / 255
    noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = prior.denoise(noisy)
    error, linear = (
        (ours - clean).square().mean(),
        (wiener(noisy, training, sigma) - clean).square().mean(),
    )
    assert 10 * torch.log10(linear / error) > 1.5, (error, linear)


class TestPerLevel:
    """Fields of a recipe that may differ by level."""

    def test_each_level_has_its_own(self) -> None:
        recipe = Recipe(levels=2, width=(8, 16), receptive_field=(5, 9), batch=(4, 6), blocks=2)
        details = [recipe.details_network(3, level, 0.1) for level in (1, 2)]
        assert [network.settings["width"] for network in details] == [8, 16]
        assert [network.receptive_field for network in details] == [5, 9]
        assert [recipe.at("batch", level) for level in (1, 2)] == [4, 6]
        assert recipe.at("width", 3) == 16
        assert recipe.at("crop", 2) == Recipe().crop

    @pytest.mark.parametrize(
        ("levels", "width", "expected"),
        [(2, (8, 16, 32), "a list of 2"), (2, (), "found 0"), (0, (8, 8), "a list of 1")],
    )
    def test_lists_of_another_length(
        self, levels: int, width: tuple[int, ...], expected: str
    ) -> None:
        with pytest.raises(ValueError, match=expected):
            Recipe(levels=levels, width=width)

    def test_json_keeps_lists(self) -> None:
        recipe = Recipe(levels=2, width=(8, 16))
        assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe

    def test_wrong_receptive_field_of_one_level(self) -> None:
        with pytest.raises(ValueError, match="found 8"):
            Recipe(levels=2, receptive_field=(9, 8))


class TestWhoseState:
    """Training state belongs to one run."""

    def test_state_of_another_run_is_never_taken(self, tmp_path: Path) -> None:
        old, new = (Recipe(**TINY, steps=4, seed=seed) for seed in (1, 2))
        make_run(tmp_path / "old", old).run()
        with pytest.raises(KeyboardInterrupt):
            make_run(tmp_path / "new", new, Silent(1)).run()
        for level in (1, 2):
            (tmp_path / "new" / f"level-{level}.pt").write_bytes(
                (tmp_path / "old" / f"level-{level}.pt").read_bytes()
            )
        resumed = make_run(tmp_path / "new", new)
        resumed.resume()
        assert all(trainer.state.step == 0 for trainer in resumed.trainers.values())
        assert same_weights(resumed.run(), make_run(tmp_path / "whole", new).run())

    def test_runs_from_before_identities_and_new_names_resume(self, tmp_path: Path) -> None:
        recipe = Recipe(**TINY, steps=4)
        made = make_run(tmp_path / "run", recipe)
        weights = made.run()
        for path in (tmp_path / "run").glob("*.pt"):
            state = torch.load(path, weights_only=True)
            del state["identity"]
            if path.name == "run.pt":
                state["recipe"]["average"] = state["recipe"].pop("ema_gamma")
                state["recipe"]["form"] = "told"
                del state["options"], state["elapsed"]
            torch.save(state, path)
        resumed = make_run(tmp_path / "run", recipe)
        resumed.resume()
        assert same_weights(resumed.run(), weights)
        assert saved_recipe(tmp_path / "run")["ema_gamma"] == recipe.ema_gamma

    def test_a_second_training_in_a_folder_is_refused(self, tmp_path: Path) -> None:
        lock = tmp_path / "lock"
        with held(tmp_path):
            assert lock.exists()
            words = f"a training is running there .process {os.getpid()} on"
            with pytest.raises(ScalewiseError, match=words):
                make_run(tmp_path, Recipe(**TINY, steps=2)).run()
        assert not lock.exists()

    def test_the_lock_of_a_process_that_is_gone_is_taken_over(self, tmp_path: Path) -> None:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        holder = {"process": gone.pid, "host": platform.node(), "since": "yesterday"}
        (tmp_path / "lock").write_text(json.dumps(holder))
        with held(tmp_path):
            assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()
        (tmp_path / "lock").write_text(json.dumps(holder | {"host": "elsewhere"}))
        with pytest.raises(ScalewiseError, match="on elsewhere, since yesterday"), held(tmp_path):
            pass

    def test_damaged_contents_are_told(self, tmp_path: Path) -> None:
        recipe = Recipe(**TINY, steps=2)
        make_run(tmp_path, recipe).run()
        state = torch.load(tmp_path / "level-1.pt", weights_only=True)
        torch.save(state | {"optimiser": {"state": 3}}, tmp_path / "level-1.pt")
        with pytest.raises(ScalewiseError, match=r"level-1\.pt is damaged"):
            make_run(tmp_path, recipe).resume()
        torch.save({"recipe": {"levels": "many"}}, tmp_path / "run.pt")
        with pytest.raises(ScalewiseError, match="no valid recipe"):
            saved_recipe(tmp_path)

    def test_random_state_of_the_caller_stays(self, tmp_path: Path) -> None:
        torch.manual_seed(5)
        before = torch.get_rng_state()
        make_run(tmp_path, Recipe(**TINY, steps=3, low_dropout=0.2)).run()
        assert torch.equal(torch.get_rng_state(), before)


class TestFaults:
    """Faults that no test noticed before."""

    def trainer(self, tmp_path: Path, **choices: Any) -> LevelTrainer:
        return make_run(tmp_path, Recipe(**TINY, steps=4, **choices)).trainers[1]

    def test_the_running_average_is_a_power_law(self, tmp_path: Path) -> None:
        """Weights t at step t: the mean of s under the density (g + 1) s^g / t^(g + 1)."""
        trainer = self.trainer(tmp_path, ema_gamma=3.0)
        weight = next(trainer.network.parameters())
        mean = next(trainer.average.parameters())
        for step in range(1, 400):
            trainer.state.step = step
            with torch.no_grad():
                weight.fill_(float(step))
            trainer._update_average()
        expected = 399 * 4 / 5
        assert float(mean.flatten()[0]) == pytest.approx(expected, rel=0.01)

    def test_best_weights_are_those_of_the_least_loss(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trainer = self.trainer(tmp_path)
        current = [0.0]
        forward = type(trainer.objective), "forward"
        monkeypatch.setattr(*forward, lambda *_: torch.tensor(current[0]))
        kept = []
        for loss in (3.0, 1.0, 2.0):
            current[0] = loss
            with torch.no_grad():
                next(trainer.average.parameters()).fill_(loss)
            trainer.state.step += 1
            trainer.validate()
            kept.append(float(next(iter(trainer.best.values())).flatten()[0]))
        assert kept == [3.0, 1.0, 1.0]
        assert trainer.state.best == 1.0

    @pytest.mark.parametrize("sigma", [0.01, 0.3, 4.0])
    def test_losses_are_weighted_as_in_edm(self, tmp_path: Path, sigma: float) -> None:
        """Karras et al. 2022, table 1: (sigma^2 + sigma_data^2) / (sigma sigma_data)^2."""
        objective = self.trainer(tmp_path).objective
        data = objective.sigma_data
        found = objective.weighted(torch.ones(2, 1, 3, 3), torch.full((2, 1, 1, 1), sigma))
        assert float(found) == pytest.approx((sigma**2 + data**2) / (sigma * data) ** 2, rel=1e-5)


class TestSmallImages:
    """One odd image does not change how all others are cropped."""

    def images(self, *sides: int) -> ImageSet:
        files = tuple(f"{index}.png" for index in range(len(sides)))
        return ImageSet([torch.rand(1, side, 200) for side in sides], "mine", files)

    def test_the_odd_one_is_left_out_and_named(self) -> None:
        kept, small = self.images(*[192] * 8, 40).without_small(256)
        assert small == ["8.png (200x40)"]
        assert kept.smallest == (192, 200)
        assert len(kept.files) == 8

    def test_none_is_left_out_where_crops_fit(self) -> None:
        images = self.images(*[192] * 8, 40)
        assert images.without_small(40) == (images, [])

    def test_few_images_are_all_kept(self) -> None:
        images = self.images(192, 192, 40)
        assert images.without_small(256)[0] is images

    def test_many_small_ones_decide(self) -> None:
        kept, small = self.images(*[192] * 12, *[64] * 8).without_small(256)
        assert (len(kept), small) == (20, [])

    def test_arrays_are_named_by_number(self) -> None:
        images = ImageSet([torch.rand(1, side, 90) for side in (80, 80, 80, 9, 80)], "array")
        assert images.without_small(64)[1] == ["image 4 of array (90x9)"]


def test_time_budget_counts_the_clock() -> None:
    """What validating and writing take is taken off the stretches that follow."""
    recipe = Recipe(levels=1, minutes=1)
    lengths = []
    for elapsed in (0.0, 30.0):
        plan = Plan(recipe, [Segment(2, 0, 20), Segment(1, 0, 20)], [0.1, 0.1], elapsed)
        segment = plan.next({1: [1.0], 2: [1.0]})
        assert segment is not None
        lengths.append(segment.last - segment.first)
    assert lengths[1] < 0.4 * lengths[0]


def test_the_running_average_is_that_of_its_closed_form() -> None:
    """With gamma = 1, step k of n counts 2 (k - 1) / (n (n - 1))."""
    live, mean, n = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1), 7
    values = torch.tensor([3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0])
    trainer: Any = SimpleNamespace(
        network=live, average=mean, recipe=Recipe(ema_gamma=1), state=SimpleNamespace(step=0)
    )
    for step, value in enumerate(values, start=1):
        trainer.state.step = step
        torch.nn.init.constant_(live.weight, float(value))
        LevelTrainer._update_average(trainer)
    expected = sum(2 * (k - 1) / (n * (n - 1)) * float(values[k - 1]) for k in range(1, n + 1))
    assert mean.weight.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("key", ["low", 3, "3"])
def test_the_low_pass_image_is_weighted_by_its_name(key: Any) -> None:
    recipe = Recipe(levels=2, level_weights={key: 4.0, 1: 2.0})
    assert [recipe.level_weight(level) for level in (1, 2, 3)] == [2.0, 1.0, 4.0]
    assert Recipe(**json.loads(recipe.model_dump_json())) == recipe


def _at(state: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Set, or remove if `value` is `...`, an entry of a nested state."""
    inner: Any = state
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return state


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe]:
    """The folder of a run that ended, and its recipe."""
    folder, recipe = tmp_path_factory.mktemp("run"), Recipe(**TINY, steps=4, estimator_fraction=0)
    make_run(folder, recipe).run()
    make_run(folder, recipe).resume()
    return folder, recipe


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("level-2.pt", ("best",), 3),
        ("level-2.pt", ("best", "mean"), ...),
        ("level-1.pt", ("best",), {}),
        ("level-1.pt", ("state", "history"), torch.zeros(0)),
        ("level-1.pt", ("state", "history", 0, "loss"), ...),
        ("level-1.pt", ("state", "history", 0), 5),
        ("level-1.pt", ("state", "step"), "many"),
        ("level-1.pt", ("state", "step"), -1),
        ("level-1.pt", ("optimiser", "others", 0, "exp_avg"), torch.zeros(7)),
        ("level-1.pt", ("optimiser", "others", 0, "step"), torch.zeros(2)),
        ("level-1.pt", ("optimiser", "others", 0, "more"), 1),
        ("level-1.pt", ("optimiser", "kernels", 0, "momentum"), torch.zeros(3, 3)),
        ("level-1.pt", ("optimiser", "kernels", 0, "momentum"), ...),
        ("level-1.pt", ("optimiser", "kernels"), ...),
        ("level-1.pt", ("optimiser",), {"state": {}, "param_groups": []}),
        ("run.pt", ("segments", 0, "level"), 9),
        ("run.pt", ("segments", 0, "first"), 99),
        ("run.pt", ("segments", 0), None),
        ("run.pt", ("seconds",), [1.0]),
        ("run.pt", ("seconds", 0), math.nan),
        ("run.pt", ("rounds",), "two"),
        ("run.pt", ("beside",), {}),
        ("run.pt", ("data",), torch.zeros(2)),
        ("run.pt", ("data",), 7),
        ("run.pt", ("options",), []),
        ("run.pt", ("elapsed",), torch.zeros(2)),
        ("run.pt", ("identity",), torch.zeros(2)),
        ("estimator.pt", ("nothing",), 1),
    ],
)
def test_state_that_is_no_state_is_refused(
    finished: tuple[Path, Recipe], tmp_path: Path, name: str, path: tuple[Any, ...], value: Any
) -> None:
    """Valid files of wrong content, which the fuzzer finds; they stay as they are."""
    folder, recipe = finished
    for saved in folder.glob("*.pt"):
        shutil.copy(saved, tmp_path)
    file = tmp_path / name
    state = load_state(file) if file.exists() else {}
    torch.save(_at(state, path, value), file)
    content = file.read_bytes()
    with pytest.raises(ScalewiseError, match=r"is damaged \(.*; remove") as caught:
        make_run(tmp_path, recipe).resume()
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == content
