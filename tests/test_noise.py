"""Noise that is a function of its place, and levels to train with."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.noise import BLOCK, GaussianField, LogNormalLevels

FIELD = GaussianField(seed=3, samples=(0,), level=1, channels=2, size=(100, 90))


def changed(**keys: Any) -> GaussianField:
    return dataclasses.replace(FIELD, **keys)


class TestGaussianField:
    """Position-keyed noise."""

    def test_has_the_shape_and_type_of_a_batch(self) -> None:
        values = changed(samples=(4, 7, 1))(0)
        assert values.shape == (3, 2, 100, 90)
        assert values.dtype == torch.float32

    def test_a_sample_is_the_same_in_any_batch_and_order(self) -> None:
        batch = changed(samples=(9, 0, 5))(2)
        for index, sample in enumerate((9, 0, 5)):
            assert torch.equal(changed(samples=(sample,))(2)[0], batch[index])

    def test_calls_do_not_disturb_each_other(self) -> None:
        field = changed()
        first = field(1)
        field(7)
        assert torch.equal(field(1), first)

    @settings(max_examples=40)
    @given(
        top=st.integers(0, 99),
        left=st.integers(0, 89),
        height=st.integers(1, 100),
        width=st.integers(1, 90),
    )
    def test_a_tile_is_a_part_of_the_whole(
        self, top: int, left: int, height: int, width: int
    ) -> None:
        size = (min(height, 100 - top), min(width, 90 - left))
        tile = changed(origin=(top, left), size=size)(3)
        assert torch.equal(tile, FIELD(3)[..., top : top + size[0], left : left + size[1]])

    def test_a_larger_image_begins_with_the_smaller_one(self) -> None:
        assert torch.equal(changed(size=(120, 200))(0)[..., :100, :90], FIELD(0))

    @pytest.mark.parametrize(
        "other", [{"seed": 4}, {"seed": 3 + 2**32}, {"samples": (1,)}, {"level": 2}, {"step": 1}]
    )
    def test_every_key_gives_another_field(self, other: dict[str, Any]) -> None:
        step = other.pop("step", 0)
        ours, theirs = FIELD(0).flatten(), changed(**other)(step).flatten()
        correlation = float((ours * theirs).mean())
        assert abs(correlation) < 5 / len(ours) ** 0.5

    def test_keys_do_not_stand_in_for_each_other(self) -> None:
        fields = [
            changed(seed=seed, samples=(sample,), level=level, size=(4, 4), origin=origin)(step)
            for seed in (0, 1)
            for sample in (0, 1)
            for level in (0, 1)
            for step in (0, 1)
            for origin in ((0, 0), (0, BLOCK), (BLOCK, 0))
        ]
        values = torch.stack(fields).flatten()
        assert len(values.unique()) == len(values)

    def test_values_are_standard_normal(self) -> None:
        values = changed(samples=(0, 1), channels=3, size=(256, 256))(0).flatten().double()
        count = len(values)
        assert abs(float(values.mean())) < 4 / count**0.5
        assert abs(float(values.var()) - 1) < 4 * (2 / count) ** 0.5
        assert abs(float((values**3).mean())) < 4 * (15 / count) ** 0.5
        assert abs(float((values**4).mean()) - 3) < 4 * (96 / count) ** 0.5
        assert stats.kstest(values.numpy(), "norm").pvalue > 1e-3
        assert 4.3 < float(values.abs().max()) < 6.5

    def test_values_are_white_within_and_across_blocks_and_channels(self) -> None:
        values = changed(channels=4, size=(8 * BLOCK, 8 * BLOCK))(0)[0].double()
        power = torch.fft.fftn(values).abs() ** 2
        correlation = torch.fft.ifftn(power).real / values.numel()
        assert float(correlation[0, 0, 0]) == pytest.approx(1, abs=0.02)
        correlation[0, 0, 0] = 0
        assert float(correlation.abs().max()) < 6 / values.numel() ** 0.5

    def test_the_two_halves_of_box_and_muller_are_independent_in_size_too(self) -> None:
        values = changed(channels=2, size=(8 * BLOCK, 8 * BLOCK))(0)[0].double().square() - 1
        correlation = float((values[0] * values[1]).mean()) / 2
        assert abs(correlation) < 5 / values[0].numel() ** 0.5

    def test_the_stream_never_changes(self) -> None:
        """Published samples are remade from their seeds: a change here is a new major version."""
        golden = {
            GaussianField(0, (0,), level=0, channels=1, size=(1, 4)): (
                0,
                [0.07793501, 0.39162603, -0.22062322, -1.27145255],
            ),
            GaussianField(42, (3,), level=1, channels=1, size=(2, 3), origin=(31, 63)): (
                5,
                [-0.15177095, 0.27334067, -0.85423595, 1.70307052, -0.07541046, 1.33845627],
            ),
            GaussianField(2**63 - 1, (7,), level=4, channels=3, size=(1, 2), origin=(0, 40)): (
                2**20,
                [0.6384483, -0.67908156, 0.45699206, -0.25272265, -0.29850554, -0.66417215],
            ),
        }
        for field, (step, values) in golden.items():
            assert field(step).flatten().tolist() == pytest.approx(values, abs=1e-6)

    @pytest.mark.parametrize("seed", [-1, 2**63, 2**64, 1.5])
    def test_a_seed_out_of_range_is_refused(self, seed: Any) -> None:
        with pytest.raises(UsageError, match=rf"seed must be .* 0 to 2\^63 - 1, found {seed}"):
            changed(seed=seed)(0)


class TestLogNormalLevels:
    """Noise levels to train with."""

    levels = LogNormalLevels(median=0.1, spread=1.2, low=0.001, high=3.0)

    def draw(self, count: int, seed: int = 0) -> Tensor:
        return self.levels.draw(count, torch.Generator().manual_seed(seed))

    def test_are_log_normal_within_their_range(self) -> None:
        drawn = self.draw(20_000)
        assert drawn.shape == (20_000,)
        assert float(drawn.min()) >= 0.001
        assert float(drawn.max()) <= 3.0
        assert float(drawn.median()) == pytest.approx(0.1, rel=0.01)
        inner = drawn.log().sub(math.log(0.1)).div(1.2)
        assert float((inner.abs() < 1).float().mean()) == pytest.approx(0.6827, abs=0.002)

    def test_are_clamped_at_both_ends(self) -> None:
        narrow = dataclasses.replace(self.levels, low=0.05, high=0.2)
        drawn = narrow.draw(100, torch.Generator().manual_seed(0))
        assert float(drawn.min()) == pytest.approx(0.05)
        assert float(drawn.max()) == pytest.approx(0.2)

    @pytest.mark.parametrize("count", [1, 2, 7, 64])
    def test_every_stratum_gives_one(self, count: int) -> None:
        logs = (self.draw(count).double().log() - math.log(0.1)) / 1.2
        places = stats.norm.cdf(np.sort(logs.numpy())) * count
        slack = 1e-4 * count
        assert (places >= np.arange(count) - slack).all()
        assert (places <= np.arange(count) + 1 + slack).all()

    def test_seeds_repeat_and_differ(self) -> None:
        assert torch.equal(self.draw(8), self.draw(8))
        assert not torch.equal(self.draw(8), self.draw(8, seed=1))
