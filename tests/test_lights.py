"""Noise that grows with the light, found in single pictures: the right line, or none at all."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import scalewise
from scalewise import NoiseModel
from scalewise.data.photos import sample_photo
from scalewise.images import to_channels
from scalewise.images.srgb import to_linear
from scalewise.metrics import psnr
from scalewise.restore import denoise_plane, noise_for
from scalewise.restore.lights import (
    ALIKE,
    CUT,
    DARKEST,
    STEEP,
    Line,
    flat_spreads,
    light_line,
    seen_in_lights,
    variance_line,
)

PLACES = torch.tensor([0.2, 0.5, 0.8], dtype=torch.double)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(channels: int = 1, side: int = 256) -> Tensor:
    """A linear photograph."""
    photo = sample_photo("astronaut")[:, 20 : 20 + side, 120 : 120 + side]
    return to_linear(to_channels(photo, channels)[0])


def steps(side: int = 256) -> Tensor:
    """Even areas from dark to bright."""
    return torch.linspace(0.05, 0.95, 16).repeat_interleave(side // 16).expand(1, side, side)


def counted(clean: Tensor, gain: float, read: float = 2.0, seed: int = 0) -> Tensor:
    """Photons, and read noise of so many electrons."""
    counts = torch.poisson(clean / gain, seeded(seed))
    return gain * (counts + read * torch.randn(clean.shape, generator=seeded(seed + 1)))


def same(image: Tensor) -> Tensor:
    return image


FOUND = NoiseModel.white(0.031)
"""What was found before."""


def looked_at(noisy: Tensor, valid: Tensor | None, denoise: Any) -> NoiseModel | None:
    """What is seen in the lights; None where that is nothing else than was found."""
    noise = seen_in_lights(FOUND, noisy, valid, denoise)
    return None if noise == FOUND else noise


@cache
def photos() -> Any:
    return scalewise.load("photos", device="cpu")


class TestTheLine:
    @pytest.mark.parametrize("gain", [0.0005, 0.002, 0.02])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_of_known_photons(self, gain: float, channels: int) -> None:
        clean = steps().expand(channels, -1, -1)
        found = looked_at(counted(clean, gain), None, lambda _: clean)
        true = NoiseModel.photons(gain, read=2.0)
        assert found is not None
        assert found.grows
        expected = true.sigma * true.at(PLACES)
        torch.testing.assert_close(found.sigma * found.at(PLACES), expected, rtol=0.08, atol=0)

    def test_its_deviation_is_that_of_a_typical_pixel(self) -> None:
        """As that of all that is found: not at middle gray, which dark pictures do not have."""
        clean = 0.3 * steps()
        noisy = counted(clean, 0.002)
        found = looked_at(noisy, None, lambda _: clean)
        assert found is not None
        assert found.sigma == pytest.approx(float((noisy - clean).std()), rel=0.05)

    def test_between_where_it_was_measured_and_beyond(self) -> None:
        line = Line(0.2, 0.6, 0.0004, 0.0084)
        at = torch.tensor([0.0, 0.2, 0.4, 0.6, 1.0], dtype=torch.double)
        expected = torch.tensor([0.0004, 0.0004, 0.0044, 0.0084, 0.0164], dtype=torch.double)
        torch.testing.assert_close(line.at(at), expected)
        noise = line.noise(torch.tensor([0.2, 0.6]))
        assert noise.sigma == pytest.approx(0.0044**0.5)  # of a typical one of these
        torch.testing.assert_close((noise.sigma * noise.at(at)).square(), expected)
        assert line.noise(at, 2.0).sigma == pytest.approx(2 * line.noise(at).sigma)

    def test_of_counts_above_an_offset(self) -> None:
        """As cameras of microscopes store them: nothing is darker than the offset."""
        clean = 0.4 + 0.3 * steps()
        gain, read = 0.008, 1.5
        found = looked_at(counted(clean - 0.4, gain, read) + 0.4, None, lambda _: clean)
        true = NoiseModel.photons(gain, offset=0.4, read=read)
        at = torch.tensor([0.42, 0.5, 0.6, 0.68], dtype=torch.double)
        assert found is not None
        expected = true.sigma * true.at(at)
        torch.testing.assert_close(found.sigma * found.at(at), expected, rtol=0.1, atol=0)

    def test_fits_exactly_what_is_a_line(self) -> None:
        places = PLACES.numpy()
        assert variance_line(places, 0.001 + 0.02 * places) == pytest.approx((0.02, 0.001))

    def test_is_not_far_below_what_was_measured(self) -> None:
        """Variances that rise faster than the light, whose line would go to nothing."""
        places = torch.linspace(0.1, 0.8, 8, dtype=torch.double)
        line = light_line(places, 0.01 * (places - 0.095) ** 2)
        assert line.dark >= DARKEST * 0.01 * 0.005**2
        assert float(line.at(torch.zeros(1, dtype=torch.double))) > 0

    def test_values_that_do_not_count_are_left_out(self) -> None:
        clean = steps()
        noisy = counted(clean, 0.002)
        noisy[:, :64] = torch.rand(1, 64, 256, generator=seeded())
        valid = torch.ones(1, 256, 256, dtype=torch.bool)
        valid[:, :64] = False
        found = looked_at(noisy, valid, lambda _: clean)
        true = NoiseModel.photons(0.002, read=2.0)
        assert found is not None
        expected = true.sigma * true.at(PLACES)
        torch.testing.assert_close(found.sigma * found.at(PLACES), expected, rtol=0.08, atol=0)


class TestNothingIsFound:
    @pytest.mark.parametrize("sigma", [0.0, 2.0, 10.0, 40.0])
    @pytest.mark.parametrize("name", ["astronaut", "cat", "coffee", "camera"])
    @pytest.mark.parametrize("linear", [False, True])
    def test_in_photographs_with_white_noise(self, sigma: float, name: str, linear: bool) -> None:
        photo = sample_photo(name)[:, :256, :256]
        clean = to_linear(photo) if linear else photo
        noisy = clean + sigma / 255 * torch.randn(clean.shape, generator=seeded())
        assert looked_at(noisy, None, lambda _: clean) is None

    def test_where_the_darks_are_cut_off(self) -> None:
        """White noise, of which half is left at black."""
        clean = torch.cat([torch.zeros(1, 256, 96), steps()[..., :160]], dim=-1)
        noisy = (clean + 0.08 * torch.randn(clean.shape, generator=seeded())).clamp(0, 1)
        assert float((noisy == 0).float().mean()) > CUT
        assert looked_at(noisy, None, lambda _: clean) is None

    @pytest.mark.parametrize("size", [(1, 1), (7, 300), (8, 8), (12, 40), (72, 80)])
    def test_in_tiny_pictures(self, size: tuple[int, int]) -> None:
        noisy = torch.rand(1, *size, generator=seeded())
        assert looked_at(noisy, None, same) is None

    @pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
    def test_in_constant_pictures(self, value: float) -> None:
        assert looked_at(torch.full((3, 64, 64), value), None, same) is None

    def test_where_nothing_counts(self) -> None:
        valid = torch.zeros(1, 64, 64, dtype=torch.bool)
        assert looked_at(torch.rand(1, 64, 64, generator=seeded()), valid, same) is None
        assert flat_spreads(torch.rand(1, 16, 16), torch.rand(1, 16, 16)) is None

    def test_networks_are_not_asked_for_nothing(self) -> None:
        """The first look is enough for clean photographs."""

        def never(_: Tensor) -> Tensor:
            raise AssertionError

        for name in ("astronaut", "cat", "coffee"):
            assert looked_at(sample_photo(name), None, never) is None


@pytest.mark.parametrize("side", [80, 96, 128])
def test_white_noise_of_small_pictures_hardly_ever_grows(side: int) -> None:
    wrong = 0
    for seed in range(60):
        clean = torch.linspace(0.1, 0.9, side).expand(1, side, side)
        noisy = clean + 0.06 * torch.randn(clean.shape, generator=seeded(seed))
        spreads = flat_spreads(noisy, clean + 0.2 * (noisy - clean))
        assert spreads is not None
        wrong += spreads.grow(STEEP, ALIKE)
    assert wrong <= 1


class TestCurves:
    """A curve that was found is kept where the flattest places have it, else it was texture."""

    FALLING = NoiseModel(scales=((0.06,),), curve=((0.0, 1.6), (1.0, 0.4)))
    RISING = NoiseModel(scales=((0.06,),), curve=((0.0, 0.7), (1.0, 1.3)))

    def noisy(self, curve: NoiseModel) -> Tensor:
        clean = steps()
        return clean + curve.sigma * curve.at(clean) * torch.randn(clean.shape, generator=seeded())

    @pytest.mark.parametrize("curve", [FALLING, RISING])
    def test_true_ones_stay(self, curve: NoiseModel) -> None:
        assert seen_in_lights(curve, self.noisy(curve), None, lambda _: steps()) == curve

    def test_falling_ones_of_white_noise_go(self) -> None:
        white = self.noisy(NoiseModel.white(0.06))
        found = seen_in_lights(self.FALLING, white, None, lambda _: steps())
        assert found == NoiseModel.white(0.06)

    def test_those_of_noise_that_falls_in_the_darks_alone_stay(self) -> None:
        """As a tone curve makes it: even in most places, not far from white noise in all."""
        shadows = NoiseModel(scales=((0.06,),), curve=((0.0, 2.0), (0.4, 0.9), (1.0, 0.8)))
        noisy = self.noisy(shadows)
        assert seen_in_lights(self.FALLING, noisy, None, lambda _: steps()) == self.FALLING

    def test_those_that_fall_where_noise_rises_go(self) -> None:
        noisy = self.noisy(self.RISING)
        found = seen_in_lights(self.FALLING, noisy, None, lambda _: steps())
        assert found == NoiseModel.white(0.06)

    def test_those_that_rise_with_texture_go(self) -> None:
        """Texture of the lights, which the diagonal details do not share."""
        stripes = 0.1 * (torch.arange(256) % 2) * (steps() > 0.5)
        noisy = self.noisy(NoiseModel.white(0.02)) + stripes
        found = seen_in_lights(self.RISING, noisy, None, lambda _: steps())
        assert found == NoiseModel.white(0.06)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("gain", [0.02, 0.004])
def test_denoising_gains_by_it(channels: int, gain: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over what places say alone; learnt spectra know as much."""
    clean = scene(channels)
    noisy = counted(clean, gain)
    found = noise_for(photos(), noisy)
    monkeypatch.setattr("scalewise.restore.finding.seen_in_lights", lambda found, *_: found)
    learnt = noise_for(photos(), noisy)
    monkeypatch.setattr("scalewise.spectrum.estimating._learnt", lambda *_: None)
    before = noise_for(photos(), noisy)
    assert found.grows
    assert found != before

    def quality(noise: NoiseModel) -> float:
        estimate, _ = denoise_plane(noisy, photos(), noise=noise)
        return psnr(clean[None], estimate[None]).item()

    assert quality(found) > quality(before) + 0.2
    assert quality(found) > quality(learnt) - 0.05
