"""Noise that is a function of its place, levels to train with, and levels read off images."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from skimage import data
from torch import Tensor

from scalewise import noise as noise_module
from scalewise.errors import UsageError
from scalewise.noise import (
    BLOCK,
    GaussianField,
    LogNormalLevels,
    _patch_covariance,
    _usable,
    estimate_sigma,
    quiet_sigma,
)

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


def picture(name: str) -> Tensor:
    """A picture that scikit-image ships, (1, C, H, W) in [0, 1]."""
    values = torch.from_numpy(np.asarray(getattr(data, name)()) / 255).float()
    return values[None, None] if values.ndim == 2 else values.permute(2, 0, 1)[None]


SMOOTH = ["camera", "astronaut", "coffee", "moon"]
TEXTURED = ["brick", "gravel"]


class TestEstimateSigma:
    """Noise levels read off noisy images alone."""

    @pytest.mark.parametrize("level", [15, 40, 100])
    @pytest.mark.parametrize("name", SMOOTH + TEXTURED)
    def test_is_within_a_tenth_on_pictures(self, name: str, level: int) -> None:
        clean = picture(name)
        noisy = clean + level / 255 * torch.randn(clean.shape)
        assert float(estimate_sigma(noisy)) * 255 == pytest.approx(level, rel=0.1)

    @pytest.mark.parametrize("level", [50, 100])
    def test_is_within_a_tenth_where_texture_is_noise_like(self, level: int) -> None:
        clean = picture("grass")
        noisy = clean + level / 255 * torch.randn(clean.shape)
        assert float(estimate_sigma(noisy)) * 255 == pytest.approx(level, rel=0.1)

    @pytest.mark.parametrize(
        ("shape", "patch"), [((3, 40, 57), 5), ((1, 33, 71), 9), ((1, 9, 9), 2)]
    )
    def test_covariance_is_that_of_all_patches(
        self, shape: tuple[int, int, int], patch: int
    ) -> None:
        image = torch.rand(shape)
        patches = image.unfold(1, patch, 1).unfold(2, patch, 1).permute(1, 2, 3, 0, 4)
        expected = torch.cov(patches.flatten(0, 1).flatten(1).double().T)
        torch.testing.assert_close(_patch_covariance(image, patch), expected)

    @pytest.mark.parametrize(
        ("shape", "side"),
        [
            ((3, 64, 64), 5),
            ((3, 35, 41), 4),
            ((1, 45, 45), 9),
            ((1, 44, 44), 9),
            ((1, 43, 43), 8),
            ((1, 24, 45), 6),
            ((1, 45, 24), 6),
            ((2, 13, 13), 2),
            ((2, 12, 12), None),
            ((3, 8, 8), None),
            ((1, 13, 13), None),
            ((9, 5, 400), 2),
            ((9, 13, 13), None),
        ],
    )
    def test_sides_of_patches(
        self, shape: tuple[int, int, int], side: int | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The largest of which there are 16 times as many as each has values, from 8 values."""
        sides, covariance = [], noise_module._patch_covariance

        def noted(image: Tensor, patch: int, usable: Tensor | None) -> Tensor:
            sides.append(patch)
            return covariance(image, patch, usable)

        monkeypatch.setattr(noise_module, "_patch_covariance", noted)
        estimate_sigma(torch.rand(1, *shape, generator=torch.Generator().manual_seed(0)))
        assert sides == [] if side is None else sides == [side]

    @pytest.mark.parametrize(
        ("eigenvalues", "variance"),
        [
            ([1.0, 1, 1, 1, 1, 1, 1, 1], 1.0),
            ([1.0, 2, 3, 4, 5, 6, 7, 8], 4.5),
            ([1.0, 2, 3, 4, 5, 6, 7, 90], 4.0),
            ([1.0, 2, 3, 4, 6, 90, 91, 92], 2.5),
            ([1.0, 1, 1, 1, 1, 1, 1, 9], 1.0),
        ],
    )
    def test_small_eigenvalues_whose_mean_is_at_most_their_median(
        self, eigenvalues: list[float], variance: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The largest such set, by hand (Chen, Zhu and Heng 2015, algorithm 1)."""
        covariance = torch.tensor(eigenvalues).double().diag()
        monkeypatch.setattr(noise_module, "_patch_covariance", lambda *_: covariance)
        found = estimate_sigma(torch.rand(1, 2, 13, 13))
        assert float(found) == pytest.approx(math.sqrt(variance))

    @pytest.mark.parametrize("level", [15, 50])
    def test_gray_pictures_in_three_channels_are_measured_too(self, level: int) -> None:
        clean = picture("camera")
        noisy = clean + level / 255 * torch.randn(clean.shape)
        found = float(estimate_sigma(noisy.expand(1, 3, -1, -1)))
        assert found == pytest.approx(float(estimate_sigma(noisy)), rel=0.02)

    def test_every_image_of_a_batch_is_on_its_own(self) -> None:
        clean = picture("camera")[..., 100:228, 100:228]
        noisy = torch.cat([clean + level * torch.randn(clean.shape) for level in (0.05, 0.2)])
        together = estimate_sigma(noisy)
        assert together.shape == (2,)
        for index in range(2):
            assert float(estimate_sigma(noisy[index : index + 1])) == float(together[index])
        assert together.tolist() == pytest.approx([0.05, 0.2], rel=0.1)

    @pytest.mark.parametrize("scale", [1e-3, 255.0])
    def test_follows_the_units_of_the_image(self, scale: float) -> None:
        noisy = torch.rand(1, 1, 64, 64) + 0.1 * torch.randn(1, 1, 64, 64)
        expected = scale * float(estimate_sigma(noisy))
        assert float(estimate_sigma(scale * noisy)) == pytest.approx(expected, rel=1e-3)

    def test_a_flat_image_has_no_noise(self) -> None:
        assert float(estimate_sigma(torch.full((1, 3, 64, 64), 0.7))) < 1e-3

    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (3, 2), (5, 40), (9, 9), (24, 24)])
    @pytest.mark.parametrize("channels", [1, 3, 5])
    def test_small_images_are_bounded(self, size: tuple[int, int], channels: int) -> None:
        noisy = 0.5 + 0.1 * torch.randn(20, channels, *size)
        found = estimate_sigma(noisy)
        assert found.shape == (20,)
        assert torch.isfinite(found).all()
        assert float(found.min()) >= 0
        assert float(found.max()) < 0.4
        if min(size) >= 5:
            assert float(found.mean()) == pytest.approx(0.1, rel=0.25)

    def test_keeps_type_and_asks_for_no_gradient(self) -> None:
        noisy = torch.rand(1, 1, 32, 32, dtype=torch.float64, requires_grad=True)
        found = estimate_sigma(noisy)
        assert found.dtype == torch.float64
        assert not found.requires_grad

    @pytest.mark.gpu
    def test_the_device_does_not_matter(self) -> None:
        noisy = torch.rand(1, 3, 128, 128)
        found = estimate_sigma(noisy.cuda())
        assert found.device.type == "cuda"
        assert float(found) == pytest.approx(float(estimate_sigma(noisy)), rel=1e-4)


class TestAreasWithoutNoise:
    """Borders, masks and saturated areas do not count; quiet blocks bound gray levels."""

    LEVEL = 25 / 255

    def photo(self, channels: int = 3) -> Tensor:
        """A smooth picture with a textured half."""
        generator = torch.Generator().manual_seed(0)
        rough = torch.rand(1, channels, 12, 12, generator=generator)
        smooth = F.interpolate(rough, size=(192, 192), mode="bicubic") * 0.4 + 0.3
        smooth[..., 96:] += 0.1 * torch.rand(192, 96, generator=generator).sign().cumsum(0).sin()
        return smooth

    def noisy(self, channels: int = 3) -> Tensor:
        clean = self.photo(channels)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
        return (clean + self.LEVEL * noise).clamp(0, 1)

    @pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
    @pytest.mark.parametrize("share", [0.1, 0.4, 0.6])
    def test_bars(self, value: float, share: float) -> None:
        noisy, rows = self.noisy(), round(96 * share)
        noisy[..., :rows, :] = noisy[..., 192 - rows :, :] = value
        assert float(estimate_sigma(noisy)) == pytest.approx(self.LEVEL, rel=0.06)

    def test_a_round_field_of_view(self) -> None:
        y, x = torch.meshgrid(torch.arange(192), torch.arange(192), indexing="ij")
        inside = (y - 96) ** 2 + (x - 96) ** 2 < 70**2
        assert float(estimate_sigma(self.noisy() * inside)) == pytest.approx(self.LEVEL, rel=0.06)
        gray = estimate_sigma(self.noisy(1) * inside)
        assert float(gray) == pytest.approx(self.LEVEL, rel=0.1)

    def test_what_is_hidden(self) -> None:
        noisy, valid = self.noisy(), torch.ones(1, 1, 192, 192, dtype=torch.bool)
        noisy[..., :120] = self.photo()[..., :120]
        valid[..., :120] = False
        assert float(estimate_sigma(noisy, valid=valid)) == pytest.approx(self.LEVEL, rel=0.08)
        assert float(estimate_sigma(noisy)) < 0.7 * self.LEVEL

    def test_noise_that_was_clipped(self) -> None:
        """A dark picture, a third of whose pixels are black."""
        dark = (self.photo() - 0.3).clamp(min=0) * 2
        noise = torch.randn(dark.shape, generator=torch.Generator().manual_seed(1))
        found = float(estimate_sigma((dark + self.LEVEL * noise).clamp(0, 1)))
        assert found == pytest.approx(self.LEVEL, rel=0.12)

    @pytest.mark.parametrize(
        ("size", "pixels", "lost"), [(20, 8, 0), (20, 9, 9), (50, 12, 0), (50, 13, 13)]
    )
    def test_a_crowd_is_more_than_8_pixels_and_1_in_200(
        self, size: int, pixels: int, lost: int
    ) -> None:
        image = 0.5 + 0.4 * torch.rand(2, size, size, generator=torch.Generator().manual_seed(0))
        image[1].view(-1)[:pixels] = 0
        usable = _usable(image, None)
        assert (0 if usable is None else int((~usable).sum())) == lost

    @pytest.mark.parametrize(
        ("side", "usable", "counts"),
        [(120, 6, False), (120, 7, True), (20, 7, False), (20, 8, True)],
    )
    def test_patches_that_are_left_must_be_enough(
        self, side: int, usable: int, counts: bool
    ) -> None:
        """One in twenty, and 16 times the values of one."""
        image = torch.rand(2, side, side, generator=torch.Generator().manual_seed(0))
        whole = torch.zeros(side, side, dtype=torch.bool)
        whole[:, :usable] = True
        patches = image[:, :, :usable].unfold(1, 2, 1).unfold(2, 2, 1).permute(1, 2, 3, 0, 4)
        expected = torch.cov(patches.flatten(0, 1).flatten(1).double().T)
        found = _patch_covariance(image, 2, whole)
        assert torch.allclose(found, expected) == counts

    def test_an_image_of_two_values_has_no_noise(self) -> None:
        text = (torch.rand(1, 1, 24, 24) > 0.5).float().repeat_interleave(8, 2)
        assert float(estimate_sigma(text.repeat_interleave(8, 3))) < 1e-3

    @pytest.mark.parametrize("size", [64, 256])
    def test_quiet_blocks_of_white_noise(self, size: int) -> None:
        noise = torch.randn(16, 1, size, size, generator=torch.Generator().manual_seed(0))
        found = quiet_sigma(0.1 * noise)
        assert float(found.mean()) == pytest.approx(0.1, rel=0.03)

    def test_texture_has_no_say_in_quiet_blocks(self) -> None:
        generator = torch.Generator().manual_seed(3)
        texture = 0.3 * torch.rand(1, 1, 192, 192, generator=generator)
        texture[..., 96:] = 0.15
        noise = 0.02 * torch.randn(texture.shape, generator=generator)
        assert float(quiet_sigma(texture + noise)) == pytest.approx(0.02, rel=0.1)
        assert float(estimate_sigma(texture + noise)) == pytest.approx(0.02, rel=0.1)

    def test_too_small_for_blocks(self) -> None:
        assert quiet_sigma(torch.rand(2, 1, 13, 200)).isinf().all()
        assert quiet_sigma(torch.rand(1, 1, 40, 40)).isinf().all()

    def test_white_noise_is_not_underestimated(self) -> None:
        for channels in (1, 3):
            noise = torch.randn(8, channels, 128, 128, generator=torch.Generator().manual_seed(2))
            found = estimate_sigma(0.1 * noise)
            assert float(found.mean()) == pytest.approx(0.1, rel=0.04)
