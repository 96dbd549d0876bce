"""Impulses and stripes: recognised, removed, and not mistaken."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import scalewise
from scalewise import restore
from scalewise.data.photos import sample_photo
from scalewise.errors import UsageError
from scalewise.restore.defects import bands, find_defects, impulses, remove_defects, stripes


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene() -> Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 3, 96), torch.linspace(0, 4, 128), indexing="ij")
    clean = torch.stack([0.5 + 0.3 * torch.sin(x + y), 0.5 + 0.3 * torch.cos(x - y), 0.4 + 0 * x])
    return clean + 0.02 * torch.randn(clean.shape, generator=seeded())


def test_impulses_are_named_and_replaced() -> None:
    clean = scene()
    hit = torch.rand(clean.shape, generator=seeded(1)) < 0.02
    spoilt = torch.where(hit, (torch.rand(clean.shape, generator=seeded(2)) > 0.5).float(), clean)
    found = impulses(spoilt)
    assert float(found[hit].float().mean()) > 0.95
    assert float(found[~hit].float().mean()) < 0.002
    (words,) = find_defects(spoilt)
    assert "% of the values are impulses" in words
    assert "fix impulses" in words
    mended = remove_defects(spoilt, ["impulses"])
    assert (mended == spoilt)[~hit].float().mean() > 0.998
    assert (mended - clean).square().mean() < 0.01 * (spoilt - clean).square().mean()


@pytest.mark.parametrize("axis", [1, 2])
def test_stripes_are_named_and_removed(axis: int) -> None:
    clean = scene()
    lines = clean.shape[axis]
    shape = [3, 1, 1]
    shape[axis] = lines
    shifts = 0.02 * torch.randn(shape, generator=seeded(3))
    striped = clean + shifts
    (words,) = find_defects(striped)
    assert ("rows" if axis == 1 else "columns") in words
    assert stripes(striped, 3 - axis) is None
    mended = remove_defects(striped, ["stripes"])
    left = (mended - clean).square().mean() / shifts.square().mean()
    assert left < 0.25


def waves(height: int = 288, width: int = 320) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 4, width), indexing="ij")
    clean = torch.stack([0.5 + 0.3 * torch.sin(x + y), 0.5 + 0.3 * torch.cos(x - y), 0.4 + 0 * x])
    return clean + 0.02 * torch.randn(clean.shape, generator=seeded())


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("width", [3, 4, 8])
def test_bands_are_named_with_their_width(axis: int, width: int) -> None:
    clean = waves()
    levels = 0.02 * torch.randn(-(-clean.shape[axis] // width), generator=seeded(3))
    each = levels.repeat_interleave(width)[: clean.shape[axis]]
    banded = clean + (each[:, None] if axis == 1 else each)
    assert bands(banded, axis) == width
    assert bands(banded, 3 - axis) is None
    name = "rows" if axis == 1 else "columns"
    words = f"the {name} are shifted in bands of {width} (banding); they are left as they are"
    assert find_defects(banded) == [words]
    assert remove_defects(banded, ["impulses", "stripes"]).equal(banded)


@pytest.mark.parametrize("axis", [1, 2])
def test_bands_of_two_are_named_one_way_or_the_other(axis: int) -> None:
    shifts = 0.02 * torch.randn(144, generator=seeded(3)).repeat_interleave(2)
    clean = waves(width=288)
    (words,) = find_defects(clean + (shifts[:, None] if axis == 1 else shifts))
    name = "rows" if axis == 1 else "columns"
    assert words.startswith(f"the {name} are shifted")


@pytest.mark.parametrize("period", [12, 16])
def test_waves_over_the_rows_are_bands_of_half_a_period(period: int) -> None:
    wave = 0.01 * torch.sin(2 * torch.pi * torch.arange(288) / period)
    assert bands(waves() + wave[:, None], 1) == period // 2


@pytest.mark.parametrize("name", ["astronaut", "camera", "coffee", "cat", "rocket"])
def test_photos_have_no_bands(name: str) -> None:
    photo = sample_photo(name)
    for image in (photo, photo + 0.04 * torch.randn(photo.shape, generator=seeded())):
        assert bands(image, 1) is None
        assert bands(image, 2) is None


def test_shapes_that_go_all_the_way_are_no_bands() -> None:
    """A door frame: few edges, and shades between them."""
    across = torch.linspace(0, 1, 256)
    frame = 0.4 + 0.2 * torch.sin(5 * across) + 0.3 * (across > 0.3) - 0.2 * (across > 0.55)
    door = frame.expand(3, 256, 256) + 0.01 * torch.randn(3, 256, 256, generator=seeded())
    assert bands(door, 1) is None
    assert bands(door, 2) is None


@pytest.mark.parametrize("kind", ["clean", "noisy", "edges", "small", "constant"])
def test_what_has_none_is_left_alone(kind: str) -> None:
    image = {
        "clean": scene(),
        "noisy": scene() + 0.2 * torch.randn(3, 96, 128, generator=seeded(5)),
        "edges": (torch.arange(96)[:, None] // 12 % 2).float().expand(3, 96, 128)
        + 0.01 * torch.randn(3, 96, 128, generator=seeded(6)),
        "small": torch.rand(1, 2, 2),
        "constant": torch.full((1, 64, 64), 0.5),
    }[kind]
    assert find_defects(image) == []
    if kind != "edges":
        mended = remove_defects(image, ["impulses", "stripes"])
        assert (mended != image).float().mean() < 0.001


def test_other_kinds_are_refused() -> None:
    with pytest.raises(UsageError, match="fix must name impulses or stripes, found 'dust'"):
        remove_defects(torch.rand(1, 8, 8), ["dust"])


@pytest.mark.parametrize("share", [0.003, 0.01, 0.03])
@pytest.mark.parametrize("sigma", [5, 10])
def test_dead_pixels_are_not_taken_for_noise(share: float, sigma: float) -> None:
    """The noise that is found is that of the pixels that live."""
    prior = scalewise.load("photos")
    clean = sample_photo("moon")[:, 100:356, 100:356]
    generator = torch.Generator().manual_seed(0)
    noisy = clean + sigma / 255 * torch.randn(clean.shape, generator=generator)
    dead = torch.rand(clean.shape, generator=generator) < share
    values = (torch.rand(clean.shape, generator=generator) < 0.5).float()
    found = restore.noise_for(prior, torch.where(dead, values, noisy).clamp(0, 1))
    assert 255 * found.sigma == pytest.approx(sigma, rel=0.08)


def test_impulses_on_the_border_go_too() -> None:
    image = torch.full((1, 20, 30), 0.4) + 0.01 * torch.randn(1, 20, 30, generator=seeded())
    spoilt = image.clone()
    for row, column in ((0, 0), (0, 12), (9, 0), (19, 29), (19, 5), (7, 29)):
        spoilt[0, row, column] = 1.0
    mended = remove_defects(spoilt, ["impulses"])
    assert int((impulses(spoilt)).sum()) == 6
    assert float((mended - image).abs().max()) < 0.06


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 2)])
def test_tiny_images_stay(size: tuple[int, int]) -> None:
    image = torch.rand(3, *size)
    assert torch.equal(remove_defects(image, ["impulses", "stripes"]), image)


def test_photos_in_gray_and_in_colour() -> None:
    assert sample_photo("camera").shape == (1, 512, 512)
    assert sample_photo("coffee").shape == (3, 400, 600)
