"""Chance of batches that several processes share: each draws, and reads, what is its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from scalewise import processes
from scalewise.data import Reading, Streamed, open_image_set
from scalewise.data.streaming import Cut
from scalewise.training import Recipe
from scalewise.training.batches import draw_batch
from scalewise.training.chance import Chance
from scalewise.training.structured import structured_noise


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shares(count: int, of: int, patch: pytest.MonkeyPatch) -> list[Chance]:
    """That of each of so many processes."""
    found = []
    patch.setattr(processes, "count", lambda: of)
    for number in range(of):
        patch.setattr(processes, "rank", lambda number=number: number)
        found.append(Chance.of(count, seeded(3), shared=True))
    return found


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_shares_are_those_of_the_whole(of: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(chance: Chance, images: Tensor) -> list[Tensor]:
        ours, part = chance.part(2, 5)
        white = chance.white_noise(images)
        sigma = 0.1 + 0.1 * chance.uniform(1, 1, 1)
        chosen = chance.some(3).view(-1, 1, 1, 1)
        noise = structured_noise(images, white, sigma, chosen, 1, "haar", chance)
        assert noise.noise.isfinite().all()
        return [white, sigma, noise.noise, part.normal(images[ours]), part.uniform()]

    images = torch.rand(6, 3, 16, 16, generator=seeded())
    whole = drawn(Chance.of(6, seeded(3)), images)
    seen = 0
    for chance in shares(6, of, monkeypatch):
        own = list(chance.places)
        within = [place - 2 for place in own if 2 <= place < 5]
        seen += len(own)
        for place, (found, expected) in enumerate(
            zip(drawn(chance, images[own]), whole, strict=True)
        ):
            assert torch.equal(found, expected[own if place < 3 else within])
    assert seen == 6


def test_parts_of_a_mean_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.arange(5.0)

    def part(chance: Chance) -> Tensor | float:
        return chance.mean(lambda: values[list(chance.places)].mean())

    parts = [part(chance) for chance in shares(5, 7, monkeypatch)]
    assert sum(map(float, parts)) == pytest.approx(2.0)
    assert parts[5] == parts[6] == 0.0


@pytest.mark.parametrize("channels", [1, 3])
def test_a_process_reads_its_own_images_alone(
    tmp_path: Path, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.random.default_rng(0).integers(0, 255, (64, 32, 32, channels), np.uint8)
    np.save(tmp_path / "images.npy", array)
    images = open_image_set(tmp_path / "images.npy", None, Reading(stream=True))
    assert isinstance(images.images, Streamed)
    recipe = Recipe(levels=1, crop=8, gray_fraction=0.4, colour_fraction=0.5, reduced_fraction=0.5)
    read = list[int]()
    get = images.images.kept.get

    def noted(number: int, cut: Cut) -> Tensor | None:
        read.append(number)
        return get(number, cut)

    monkeypatch.setattr(images.images.kept, "get", noted)
    for level in (1, 2):
        whole = draw_batch(images, recipe, level, Chance.of(7, seeded(3))).images
        for chance in shares(7, 3, monkeypatch):
            read.clear()
            own = draw_batch(images, recipe, level, chance).images
            assert torch.equal(own, whole[list(chance.places)])
            assert len(read) == len(own) in (2, 3)
