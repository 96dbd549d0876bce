"""Training pictures of other colours, and reduced."""

import math

import pytest
import torch

from scalewise.data import ImageSet
from scalewise.training import Recipe
from scalewise.training.batches import draw_batch
from scalewise.training.chance import Chance
from scalewise.training.variety import (
    BRIGHTEST,
    FARTHEST,
    NEAREST,
    PALEST,
    draw_distance,
    other_colours,
    reduced,
)


def chance(count: int, seed: int = 0) -> Chance:
    return Chance.of(count, torch.Generator().manual_seed(seed))


def muted(count: int) -> torch.Tensor:
    """Images whose colours stay within [0, 1] however bright they become."""
    return 0.5 + 0.05 * torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def ramp(channels: int, side: int) -> ImageSet:
    """An image that brightens from left to right by 1 / 256 in each pixel."""
    return ImageSet([(torch.arange(side) / 256).expand(channels, side, side).contiguous()], "ramp")


class TestOtherColours:
    def test_the_mean_of_the_channels_stays(self) -> None:
        images = muted(40)
        changed = other_colours(images, 1.0, chance(40))
        torch.testing.assert_close(changed.mean(1), images.mean(1))

    def test_hues_turn_all_around_and_colours_become_paler_or_brighter(self) -> None:
        images = muted(400)
        changed = other_colours(images, 1.0, chance(400))
        before, after = (each - each.mean(1, keepdim=True) for each in (images, changed))
        times = (after.square().sum((1, 2, 3)) / before.square().sum((1, 2, 3))).sqrt()
        assert PALEST <= times.min() < 1.1 * PALEST
        assert BRIGHTEST / 1.1 < times.max() <= 1.0001 * BRIGHTEST
        cosine = (before * after).sum((1, 2, 3)) / times / before.square().sum((1, 2, 3))
        assert cosine.min() < -0.99
        assert abs(float(cosine.mean())) < 0.15

    def test_a_share_of_the_images_is_changed(self) -> None:
        images = muted(400)
        changed = other_colours(images, 0.3, chance(400))
        same = (changed == images).flatten(1).all(1)
        assert float(same.float().mean()) == pytest.approx(0.7, abs=4 * math.sqrt(0.21 / 400))
        assert torch.equal(other_colours(images, 0.0, chance(400)), images)

    def test_gray_stays_and_what_is_beyond_white_is_clipped(self) -> None:
        gray = torch.rand(1, 1, 4, 4).expand(20, 3, 4, 4)
        torch.testing.assert_close(other_colours(gray, 1.0, chance(20)), gray)
        red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(20, 3, 4, 4)
        changed = other_colours(red, 1.0, chance(20))
        assert changed.min() == 0
        assert changed.max() == 1


class TestReduced:
    def test_batches_have_the_size_of_others_and_steeper_ramps(self) -> None:
        images = ramp(1, 96)
        recipe = Recipe(levels=1, crop=8, reduced_fraction=1.0, rotate=False)
        steps = set()
        for seed in range(30):
            batch = draw_batch(images, recipe, 1, chance(3, seed)).images
            assert batch.shape == (3, 1, 16, 16)
            slope = (batch[..., 4:12].diff(dim=-1).abs() * 256).mean((1, 2, 3))
            torch.testing.assert_close(slope, slope[:1].expand(3), atol=1e-3, rtol=0)
            steps.add(round(float(slope[0]), 2))
        assert NEAREST - 0.05 <= min(steps) < 1.4
        assert FARTHEST - 0.3 < max(steps) <= FARTHEST + 0.05

    @pytest.mark.parametrize(("side", "most"), [(16, 1.0), (18, 1.0), (24, 1.5)])
    def test_small_images_are_reduced_less_or_not_at_all(self, side: int, most: float) -> None:
        recipe = Recipe(levels=1, crop=8, reduced_fraction=1.0)
        for seed in range(10):
            batch = draw_batch(ramp(1, side), recipe, 1, chance(2, seed)).images
            assert batch.shape == (2, 1, 16, 16)
            slopes = batch[..., 4:12, 4:12].diff(dim=-1).abs(), batch[..., 4:12, 4:12].diff(dim=-2)
            assert max(float(each.abs().mean()) for each in slopes) * 256 <= most + 0.02

    def test_a_share_of_the_batches(self) -> None:
        times = torch.tensor([draw_distance(0.25, chance(2, seed), 9.0) for seed in range(400)])
        assert float((times > 1).float().mean()) == pytest.approx(0.25, abs=0.09)
        assert {draw_distance(0.0, chance(2, seed), 9.0) for seed in range(9)} == {1.0}

    def test_one_value_stays(self) -> None:
        torch.testing.assert_close(
            reduced(torch.full((1, 3, 40, 40), 0.7), 16)[0, 0, 0, 0].item(), 0.7
        )


def test_validation_images_are_as_they_are() -> None:
    images = ImageSet([torch.rand(3, 64, 64)], "colours")
    plain = Recipe(levels=1, crop=8, gray_fraction=0.0)
    recipe = plain.model_copy(update={"colour_fraction": 1.0, "reduced_fraction": 1.0})
    drawn, varied = (
        draw_batch(images, recipe, 1, chance(4), varied=varied).images for varied in (False, True)
    )
    expected = draw_batch(images, plain, 1, chance(4)).images
    assert torch.equal(drawn, expected)
    assert not torch.equal(varied, expected)
