"""Raw files: what is read of them, the noise of sensors, and the picture that becomes of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from benchmarks.raw_files import BLACK, NEUTRAL, WHITE, photographed, write_dng
from scalewise import store
from scalewise.errors import ScalewiseError, UsageError
from scalewise.images import Mosaic, Picture, read_image, read_mosaic, read_raw, write_image
from scalewise.inverse import complete
from scalewise.metrics import psnr
from scalewise.operators import Demosaicking
from scalewise.prior import MultiScalePrior
from scalewise.restore import SensorNoise, demosaic, find_sensor_noise
from scalewise.restore.developing import Curve, balanced, developed

PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")


@pytest.fixture(scope="module")
def prior() -> MultiScalePrior:
    return store.load("photos", device="cpu")


def part(side: int = 128) -> Tensor:
    """Of a photo, shape (3, side, side)."""
    return torch.from_numpy(data.astronaut()[:side, 160 : 160 + side] / 255).permute(2, 0, 1)


def taken(side: int = 128, **settings: float) -> Mosaic:
    """The mosaic of that photo, as if read."""
    values = photographed(part(side).permute(1, 2, 0).numpy(), **settings)  # type: ignore[arg-type]
    balance = (1 / NEUTRAL[0], 1 / NEUTRAL[1], 1 / NEUTRAL[2])
    return Mosaic(torch.from_numpy(values).float(), "RGGB", balance=balance)


class TestFilling:
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_planes_that_differ_by_a_constant_and_rise_evenly_are_exact(self, pattern: str) -> None:
        rows, columns = torch.arange(13.0)[:, None], torch.arange(10.0)
        gray = 0.03 * rows + 0.02 * columns
        images = torch.stack([gray, gray + 0.2, gray - 0.1])[None]
        operator = Demosaicking(pattern)
        found = operator.fill(operator.A(images))
        torch.testing.assert_close(found[..., 2:-2, 2:-2], images[..., 2:-2, 2:-2])

    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_it_agrees_with_the_mosaic(self, pattern: str) -> None:
        mosaic = torch.rand(2, 1, 7, 12, generator=torch.Generator().manual_seed(0))
        operator = Demosaicking(pattern)
        torch.testing.assert_close(operator.A(operator.fill(mosaic)), mosaic)

    def test_steps_from_it_come_nearer_to_the_truth(self, prior: MultiScalePrior) -> None:
        operator, clean = Demosaicking(), part(64).float()[None]
        generator = torch.Generator().manual_seed(0)
        seen = operator.A(clean) + 0.02 * torch.randn(1, 1, 64, 64, generator=generator)
        field = [torch.randn(1, 3, 64, 64, generator=generator) for _ in range(4)]
        found = complete(prior.denoise, seen, operator, 0.02, lambda step: field[step - 1], steps=4)
        scores = [float(psnr(clean, each, clip=True)) for each in (operator.fill(seen), found)]
        assert scores[1] > scores[0] + 2


class TestNoise:
    @pytest.mark.parametrize("gain", [1 / 1000, 1 / 200, 1 / 50])
    def test_the_gain_is_found(self, prior: MultiScalePrior, gain: float) -> None:
        found = find_sensor_noise(taken(256, gain=gain, read=0.002), prior.estimator)
        assert found.gain == pytest.approx(gain, rel=0.25)

    def test_the_curve_makes_photons_even_and_comes_back_without_bias(self) -> None:
        noise = SensorNoise(1 / 1000, 0.001)
        curve, operator = Curve(noise, torch.ones(3)), Demosaicking()
        generator = torch.Generator().manual_seed(0)
        deviations = []
        for level in (0.05, 0.2, 0.7):
            spread = (noise.gain * level + noise.read**2) ** 0.5
            counts = level + spread * torch.randn(1, 1, 200, 200, generator=generator)
            shown, told = curve.forward(counts, operator)
            deviations.append(float(shown.std()))
            assert float(told.mean()) == pytest.approx(deviations[-1], rel=0.05)
            back = curve.inverse(shown.mean().expand(3, 1, 1))
            assert back[0].item() == pytest.approx(level, rel=0.02)
        assert max(deviations) < 1.1 * min(deviations)

    def test_it_must_not_be_negative(self) -> None:
        with pytest.raises(UsageError, match="gain and read noise must be 0 or more, found -1"):
            SensorNoise(-1.0, 0.0)


class TestReading:
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_values_balance_and_pattern(self, pattern: str, tmp_path: Path) -> None:
        values = photographed(part(32).permute(1, 2, 0).numpy(), pattern=pattern)
        mosaic = read_raw(write_dng(tmp_path / "a.dng", values, pattern=pattern))
        assert mosaic.pattern == pattern
        np.testing.assert_allclose(mosaic.values, values, atol=0.6 / (WHITE - max(BLACK)))
        assert mosaic.balance == pytest.approx([1 / factor for factor in NEUTRAL], rel=1e-3)
        assert mosaic.exif is not None
        assert b"Somebody" in mosaic.exif

    def test_colours_are_those_of_the_picture(self, tmp_path: Path) -> None:
        pixels = torch.tensor([0.7, 0.4, 0.2]).view(3, 1, 1).expand(3, 32, 32)
        file = write_dng(tmp_path / "a.dng", photographed(pixels.permute(1, 2, 0).numpy()))
        mosaic = read_raw(file)
        operator = Demosaicking(mosaic.pattern)
        linear = operator.fill(mosaic.values[None, None])[0] * balanced(mosaic.balance).view(
            3, 1, 1
        )
        shown = developed(linear, mosaic, 0.0).pixels[0]
        torch.testing.assert_close(shown, pixels, atol=2e-3, rtol=0)

    @pytest.mark.parametrize(("code", "turn"), [(3, 2), (6, 3), (8, 1)])
    def test_it_stands_upright(self, code: int, turn: int, tmp_path: Path) -> None:
        values = photographed(part(32)[:, :, :24].permute(1, 2, 0).numpy())
        mosaic = read_raw(write_dng(tmp_path / "a.dng", values, orientation=code))
        lying = replace(mosaic, orientation=1)
        linear = torch.rand(3, 32, 24, generator=torch.Generator().manual_seed(0))
        expected = developed(linear, lying, 0.0).pixels.rot90(turn, (2, 3))
        torch.testing.assert_close(developed(linear, mosaic, 0.0).pixels, expected)

    def test_blown_out_is_white(self, prior: MultiScalePrior) -> None:
        mosaic = replace(taken(64), values=torch.ones(64, 64))
        pixels = demosaic(mosaic, prior, noise=SensorNoise(1e-3, 1e-3), steps=1).picture.pixels
        assert float(pixels.min()) > 1 - 1e-5

    def test_what_the_file_does_not_say_is_told(self, tmp_path: Path) -> None:
        values = photographed(part(32).permute(1, 2, 0).numpy())
        mosaic = read_raw(write_dng(tmp_path / "a.dng", values, neutral=None))
        assert mosaic.notes == ("the file tells no white balance: that of daylight was taken",)

    def test_an_image_of_one_channel(self, tmp_path: Path) -> None:
        pixels = torch.linspace(0, 1, 64).expand(1, 8, 64)
        write_image(tmp_path / "a.png", Picture(pixels, depth="uint16"))
        mosaic = read_mosaic(tmp_path / "a.png", "GBRG", black=0, white=32768)
        torch.testing.assert_close(mosaic.values, 65535 / 32768 * pixels[0], atol=1e-4, rtol=0)


class TestBadFiles:
    def test_no_raw_file(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.png", Picture(part(16).float()))
        with pytest.raises(
            ScalewiseError, match=r"a.png: is no raw file that LibRaw knows; .*--pa"
        ):
            read_raw(tmp_path / "a.png")

    def test_other_readers_say_what_develops_it(self, tmp_path: Path) -> None:
        file = write_dng(tmp_path / "a.dng", np.full((24, 24), 0.5))
        with pytest.raises(ScalewiseError, match="mosaic of a camera; scalewise demosaic devel"):
            read_image(file)

    def test_empty_missing_and_folder(self, tmp_path: Path) -> None:
        (tmp_path / "a.dng").touch()
        with pytest.raises(ScalewiseError, match=r"a.dng: is empty"):
            read_raw(tmp_path / "a.dng")
        with pytest.raises(ScalewiseError, match="found no file of this name"):
            read_raw(tmp_path / "b.dng")
        with pytest.raises(ScalewiseError, match="found a folder of this name"):
            read_raw(tmp_path)

    def test_damaged(self, tmp_path: Path) -> None:
        file = write_dng(tmp_path / "a.dng", photographed(part(64).permute(1, 2, 0).numpy()))
        file.write_bytes(file.read_bytes()[:3000])
        with pytest.raises(ScalewiseError, match=r"a.dng: (damaged or cut short|is no raw file)"):
            read_raw(file)

    def test_x_trans(self, tmp_path: Path) -> None:
        colours = bytes("RGB".index(colour) for colour in "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG")
        values = np.full((36, 36), 0.5)
        file = write_dng(tmp_path / "a.dng", values, colours=colours, side=6)
        with pytest.raises(ScalewiseError, match="has an X-Trans mosaic; only Bayer mosaics"):
            read_raw(file)

    def test_black_above_white(self, tmp_path: Path) -> None:
        file = write_dng(tmp_path / "a.dng", photographed(part(32).permute(1, 2, 0).numpy()))
        with pytest.raises(UsageError, match="white must be above black, found black 540 and whi"):
            read_raw(file, white=500)

    def test_three_channels_planes_and_patterns(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.png", Picture(part(16).float()))
        with pytest.raises(ScalewiseError, match="has 3 channels, so it is no mosaic"):
            read_mosaic(tmp_path / "a.png", "RGGB")
        write_image(tmp_path / "a.tif", Picture(torch.rand(2, 1, 16, 16)))
        with pytest.raises(ScalewiseError, match="holds 2 planes, a mosaic has one"):
            read_mosaic(tmp_path / "a.tif", "RGGB")
        with pytest.raises(UsageError, match=r"pattern must be RGGB, BGGR, .* found 'RGBG'"):
            read_mosaic(tmp_path / "a.png", "RGBG")

    def test_too_small(self) -> None:
        with pytest.raises(UsageError, match="at least 6 pixels a side, found 5x40"):
            Mosaic(torch.zeros(5, 40), "RGGB")

    def test_without_rawpy(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setitem(sys.modules, "rawpy", None)
        with pytest.raises(ScalewiseError, match=r"a\.dng: expected a raw file, found no file"):
            read_raw(tmp_path / "a.dng")
        (tmp_path / "a.dng").write_bytes(b"II")
        with pytest.raises(ScalewiseError, match=r"pip install 'scalewise\[raw\]'.*--pattern"):
            read_raw(tmp_path / "a.dng")


class TestDemosaic:
    def test_arguments_out_of_range(self, prior: MultiScalePrior) -> None:
        with pytest.raises(UsageError, match="white balance must be three numbers above 0"):
            demosaic(taken(16), prior, balance=(1.0, 0.0, 1.0))
        with pytest.raises(UsageError, match="exposure must be a number of stops, found nan"):
            demosaic(taken(16), prior, exposure=float("nan"))

    def test_tiles_fit_together(
        self, prior: MultiScalePrior, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mosaic, noise = taken(256, gain=1 / 1000), SensorNoise(1 / 1000, 1e-3)
        whole = demosaic(mosaic, prior, noise=noise, steps=2).picture.pixels
        monkeypatch.setattr("scalewise.restore.demosaicking.TILE", 128)
        shares: list[float] = []
        tiled = demosaic(mosaic, prior, noise=noise, steps=2, callback=shares.append).picture.pixels
        assert float((tiled - whole).abs().max()) < 0.02
        assert shares == pytest.approx([(step + 1) / 8 for step in range(8)])

    def test_samples_differ(self, prior: MultiScalePrior) -> None:
        result = demosaic(taken(16), prior, noise=SensorNoise(1e-2, 1e-2), samples=2)
        assert not torch.equal(result.pictures[0].pixels, result.pictures[1].pixels)
        assert result.deviation is not None

    @pytest.mark.slow
    def test_it_is_closer_to_the_truth_than_libraw(
        self, prior: MultiScalePrior, tmp_path: Path
    ) -> None:
        clean = part(256)
        values = photographed(clean.permute(1, 2, 0).numpy(), gain=1 / 1000, read=0.002)
        file = write_dng(tmp_path / "a.dng", values)
        ours = demosaic(read_raw(file), prior).picture.pixels[0]
        theirs = torch.from_numpy(np.load(_by_libraw(file))).permute(2, 0, 1) / 65535
        scores = [
            float(psnr(clean[None].float(), each[None].float(), clip=True))
            for each in (theirs, ours)
        ]
        assert scores[1] > scores[0] + 3


def _by_libraw(file: Path) -> Path:
    """What LibRaw makes of a file, in a process of its own: its threads do not bear PyTorch's."""
    program = (
        "import sys, numpy, rawpy\n"
        "with rawpy.imread(sys.argv[1]) as raw:\n"
        "    numpy.save(sys.argv[2], raw.postprocess(use_camera_wb=True, no_auto_bright=True,\n"
        "        output_bps=16, gamma=(2.4, 12.92),\n"
        "        fbdd_noise_reduction=rawpy.FBDDNoiseReductionMode.Full))\n"
    )
    out = file.with_suffix(".npy")
    command = [sys.executable, "-c", program, str(file), str(out)]
    subprocess.run(command, check=True, timeout=60)
    return out
