"""The memory that training is said to need, beside what it takes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from scalewise.data import ImageSet
from scalewise.device import memory_of
from scalewise.errors import UsageError
from scalewise.networks import LocalConditional
from scalewise.networks.memory import weights_bytes
from scalewise.prior import MultiScalePrior
from scalewise.speed.memory import STATUS, peak_bytes
from scalewise.speed.timing import Work
from scalewise.training import Recipe, TrainingRun
from scalewise.training import memory as training_memory
from scalewise.training.memory import check_memory, training_bytes

CPU = torch.device("cpu")
SMALL = {"width": 8, "low_width": 8, "batch": 2, "low_batch": 2, "crop": 8, "low_crop": 8}


class Silent:
    def on_step(self, level: int, step: int, last: int, loss: float, images: int) -> None: ...

    def on_validation(self, level: int, record: dict[str, float]) -> None: ...

    def on_prior(self, prior: MultiScalePrior, summary: dict[str, Any]) -> None: ...


def images(count: int) -> ImageSet:
    generator = torch.Generator().manual_seed(count)
    shape = (3, 96, 96)
    made = [torch.randint(0, 256, shape, generator=generator).byte() for _ in range(count)]
    return ImageSet(made, "noise")


def recipe(**choices: Any) -> Recipe:
    return Recipe(levels=1, steps=2, precision="float32", **choices)


def run(**choices: Any) -> Work:
    def work() -> None:
        with torch.enable_grad(), tempfile.TemporaryDirectory() as folder:
            state = Path(folder) / "state"
            TrainingRun(recipe(**choices), images(6), images(2), state, CPU, Silent()).run()

    return work


def make(text: str) -> tuple[Work, Work]:
    return run(**SMALL), run(**json.loads(text))


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="the peak is known on Linux only")
@pytest.mark.parametrize(
    "choices",
    [
        {"batch": 48, "crop": 48, "low_batch": 4},
        {**SMALL, "width": 16, "low_width": 32, "low_batch": 32, "low_crop": 24},
        {**SMALL, "width": 512, "low_width": 128},
    ],
    ids=["features of details", "features of the low-pass image", "weights"],
)
def test_estimate_within_a_factor_of_two(choices: dict[str, Any]) -> None:
    peak = peak_bytes(make, json.dumps(choices))
    assert peak is not None
    estimate, _ = training_bytes(recipe(**choices), images(6), CPU)
    assert estimate / 2 < peak < 2 * estimate


def test_it_grows_with_the_batch_and_the_width() -> None:
    small, level = training_bytes(recipe(batch=64, low_batch=1), images(6), CPU)
    large, _ = training_bytes(recipe(batch=128, low_batch=1), images(6), CPU)
    assert level == 1
    assert 1.8 < large / small < 2
    assert training_bytes(recipe(low_batch=512), images(6), CPU)[1] == 2
    with torch.device("meta"):
        wide, narrow = (weights_bytes(LocalConditional(3, width=w)) for w in (256, 128))
    assert 3.5 < wide / narrow < 4


def test_small_images_make_small_crops() -> None:
    """So that a recipe of large crops is not refused for nothing."""
    huge = training_bytes(recipe(crop=10**6), images(6), CPU)
    assert huge == training_bytes(recipe(crop=48), images(6), CPU)


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_memory(recipe(), images(6), CPU)
    monkeypatch.setattr(training_memory, "memory_of", lambda _: 10**9)
    check_memory(recipe(), images(6), CPU)
    words = "needs about 19.* GB of memory, most of it for level 1, and cpu has 1 GB"
    with pytest.raises(UsageError, match=words):
        check_memory(recipe(batch=4096), images(6), CPU)
    with pytest.raises(UsageError, match=r"for the low-pass image, and cpu has 1 GB; give smaller"):
        check_memory(recipe(low_batch=65536), images(6), CPU)
    monkeypatch.setattr(training_memory, "memory_of", lambda _: None)
    check_memory(recipe(batch=4096), images(6), CPU)


def test_memory_of_this_machine() -> None:
    there = memory_of(CPU)
    assert there is not None
    assert 2**28 < there < 2**50
