"""Noise levels read off images."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor

from scalewise import estimation
from scalewise.estimation import (
    _patch_covariance,
    counting_channels,
    estimate_sigma,
    quiet_sigma,
    usable_pixels,
)


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
        clean = picture(name)[..., -320:, -320:]
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
        sides, covariance = [], estimation._patch_covariance

        def noted(image: Tensor, patch: int, usable: Tensor | None) -> Tensor:
            sides.append(patch)
            return covariance(image, patch, usable)

        monkeypatch.setattr(estimation, "_patch_covariance", noted)
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
        monkeypatch.setattr(estimation, "_patch_covariance", lambda *_: covariance)
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

    def test_small_images_by_hand(self) -> None:
        """The median absolute diagonal difference over that of unit noise, from 2x2 pixels."""
        image = torch.tensor([[1.0, 2, 5], [4, 9, 7], [0, 3, 3]])
        differences = [
            abs(1 - 2 - 4 + 9),
            abs(2 - 5 - 9 + 7),
            abs(4 - 9 - 0 + 3),
            abs(9 - 7 - 3 + 3),
        ]
        expected = sorted(differences)[1] / 2 / 0.6745
        assert float(estimate_sigma(image[None, None])) == pytest.approx(expected)
        assert float(estimate_sigma(image[None, None, :2, :2])) == pytest.approx(4 / 2 / 0.6745)
        assert float(estimate_sigma(image[None, None, :1])) == 0

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

    @pytest.mark.parametrize("lost", [(1, 2), (0,), (2,)])
    def test_channels_in_which_nothing_is_left(self, lost: tuple[int, ...]) -> None:
        """A picture of one dye; flowers and signs of a bright colour."""
        noisy = self.noisy()
        for channel in lost:
            noisy[:, channel] = (noisy[:, channel] - 1).clamp(min=0) if channel else 1.0
        usable = usable_pixels(noisy[0], None)
        assert usable is not None
        assert counting_channels(usable) == [channel for channel in range(3) if channel not in lost]
        assert float(estimate_sigma(noisy)) == pytest.approx(self.LEVEL, rel=0.1)

    def test_a_channel_that_is_cut_off_in_part(self) -> None:
        """Where it is, the others count, and elsewhere all three do."""
        noisy = self.noisy()
        noisy[:, 0, :150] = 1.0
        usable = usable_pixels(noisy[0], None)
        assert usable is not None
        assert usable[1:].all()
        assert not usable[0, :150].any()
        assert usable[0, 150:].double().mean() > 0.97  # noise takes others to white
        assert float(estimate_sigma(noisy)) == pytest.approx(self.LEVEL, rel=0.08)

    def test_squares_of_one_value_count_by_channel(self) -> None:
        noisy = self.noisy()[0]
        noisy[1, 20:60, 30:47] = noisy[1, 20:37, 30:70] = 0.4
        noisy[2, 20:36, 30:70] = 0.4  # not as high as a square
        usable = usable_pixels(noisy, None)
        assert usable is not None
        assert usable[[0, 2]].all()
        assert int((~usable[1]).sum()) == 40 * 17 + 17 * 40 - 17 * 17

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
        usable = usable_pixels(image, None)
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

    @pytest.mark.parametrize(("columns", "noisy"), [(3, False), (4, True), (5, True)])
    def test_some_pixels_besides_black_and_white_are_noise(self, columns: int, noisy: bool) -> None:
        """From one in fifty on."""
        image = (
            torch.rand(1, 1, 200, 200, generator=torch.Generator().manual_seed(0)) > 0.5
        ).float()
        image[..., :columns] = 0.3 + 0.4 * torch.rand(1, 1, 200, columns)
        assert (float(estimate_sigma(image)) > 0) == noisy

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
        assert quiet_sigma(torch.rand(1, 1, 50, 50)).isfinite().all()  # just 16 blocks
        assert quiet_sigma(torch.rand(1, 1, 49, 200)).isfinite().all()
        assert quiet_sigma(torch.rand(1, 1, 49, 65)).isinf().all()  # 15
        assert quiet_sigma(torch.rand(2, 1, 13, 200)).isinf().all()
        assert quiet_sigma(torch.rand(1, 1, 40, 40)).isinf().all()

    def test_white_noise_is_not_underestimated(self) -> None:
        for channels in (1, 3):
            noise = torch.randn(8, channels, 128, 128, generator=torch.Generator().manual_seed(2))
            found = estimate_sigma(0.1 * noise)
            assert float(found.mean()) == pytest.approx(0.1, rel=0.04)
