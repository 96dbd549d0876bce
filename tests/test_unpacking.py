"""Large PNG, JPEG and TIFF in strips are unpacked to the pixels that decoding at once has."""

from __future__ import annotations

import errno
import gc
import os
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from block_tools import tiny
from cli_tools import bomb
from PIL import Image

from scalewise import blocks
from scalewise.blocks import Limits
from scalewise.errors import ScalewiseError
from scalewise.images import Picture, read_image, write_image
from scalewise.images.reading import count_pixels, read_stored
from scalewise.noise_model import NoiseModel
from scalewise.rasters import Raster, open_raster, strips
from scalewise.windows import Window

pytest.importorskip("pyvips")

SIZE = (611, 457)


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of these tests count as large, and take several strips."""
    monkeypatch.setattr(strips, "SMALL", 0)
    monkeypatch.setattr("scalewise.rasters.opening.SMALL", 0)
    monkeypatch.setattr(strips, "ROWS", 100)


def values(samples: int, kind: str = "uint8") -> Any:
    """Gradients with noise, (H, W, S) or (H, W)."""
    random = np.random.default_rng(0)
    top = np.iinfo(kind).max
    ramp = np.linspace(0, 0.8, SIZE[0])[:, None, None] + np.linspace(0, 0.2, SIZE[1])[:, None]
    found = top * (0.05 + 0.85 * ramp + 0.1 * random.random((*SIZE, samples)))
    return found.astype(kind)[..., 0] if samples == 1 else found.astype(kind)


def same(path: Path, folder: Path) -> Raster:
    """Open a file in strips, and compare with all of it decoded at once."""
    raster = open_raster(path, unpack_to=folder)
    assert isinstance(raster.array, strips.Unpacked), "decoded at once"
    stored, picture = read_stored(path)
    assert raster.layout.shape == stored.shape
    whole = Window(0, raster.size[0], 0, raster.size[1])
    assert np.array_equal(raster.stored(0, whole), stored[0])
    part = Window(37, 205, 90, 300)
    assert np.array_equal(raster.stored(0, part), stored[0, 37:205, 90:300])
    assert raster.picture.depth == picture.depth
    assert raster.picture.icc == picture.icc
    assert raster.picture.exif == picture.exif
    assert raster.picture.resolution == picture.resolution
    assert raster.picture.origin == picture.origin
    assert raster.picture.notes == picture.notes
    return raster


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_png(samples: int, kind: str, tmp_path: Path) -> None:
    found = values(samples, kind)
    found = torch.from_numpy(found.astype(np.float32) / np.iinfo(kind).max)
    planes = found[None, None] if samples == 1 else found.permute(2, 0, 1)[None]
    colours = 1 if samples < 3 else 3
    alpha = planes[:, colours:] if samples in (2, 4) else None
    picture = Picture(planes[:, :colours], alpha, depth=kind)  # type: ignore[arg-type]
    write_image(tmp_path / "in.png", picture)
    raster = same(tmp_path / "in.png", tmp_path)
    assert raster.has_alpha == (samples in (2, 4))
    assert not raster.hidden


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg(subsampling: int, progressive: bool, tmp_path: Path) -> None:
    image = Image.fromarray(values(3))
    path = tmp_path / "in.jpg"
    image.save(path, quality=85, subsampling=subsampling, progressive=progressive, dpi=(300, 300))
    same(path, tmp_path)


def test_gray_jpeg(tmp_path: Path) -> None:
    Image.fromarray(values(1)).save(tmp_path / "in.jpg", quality=70)
    same(tmp_path / "in.jpg", tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_stand_upright(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    Image.fromarray(values(3)).save(tmp_path / "in.jpg", exif=exif)
    raster = same(tmp_path / "in.jpg", tmp_path)
    assert raster.size == (SIZE if orientation < 5 else SIZE[::-1])


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_tiff_in_strips(compression: str | None, planes: int, kind: str, tmp_path: Path) -> None:
    found = values(1, "uint16").astype(kind)
    stack = np.stack([found + 3 * plane for plane in range(planes)])
    tifffile.imwrite(
        tmp_path / "in.tif",
        stack if planes > 1 else found,
        photometric="minisblack",
        compression=compression,
        rowsperstrip=50,
    )
    raster = open_raster(tmp_path / "in.tif", unpack_to=tmp_path)
    assert isinstance(raster.array, strips.Unpacked)
    for plane in range(planes):
        held = raster.stored(plane, Window(0, *SIZE[:1], 0, SIZE[1]))
        assert np.array_equal(held[..., 0], stack[plane])


def test_what_alpha_hides_is_known(tmp_path: Path) -> None:
    found = values(4)
    found[500, 20, 3] = 0
    Image.fromarray(found).save(tmp_path / "in.png")
    assert open_raster(tmp_path / "in.png", unpack_to=tmp_path).hidden


def test_others_are_decoded_at_once(tmp_path: Path) -> None:
    """Palettes, two colours, a transparent colour, CMYK; and small files."""
    rgb = Image.fromarray(values(3))
    rgb.quantize(64).save(tmp_path / "palette.png")
    rgb.convert("1").save(tmp_path / "bits.png")
    rgb.save(tmp_path / "key.png", transparency=(0, 0, 0))
    rgb.convert("CMYK").save(tmp_path / "cmyk.jpg")
    rgb.save(tmp_path / "in.webp")
    for path in sorted(tmp_path.iterdir()):
        raster = open_raster(path, unpack_to=tmp_path)
        assert isinstance(raster.array, np.ndarray), path.name
        assert raster.size == SIZE


class TestDamage:
    def test_png_cut_short(self, tmp_path: Path) -> None:
        path = tmp_path / "in.png"
        Image.fromarray(values(3)).save(path)
        data = path.read_bytes()
        for keep in (len(data) // 2, len(data) - 60):
            path.write_bytes(data[:keep])
            with pytest.raises(ScalewiseError, match="damaged or cut short"):
                open_raster(path, unpack_to=tmp_path)
        assert os.listdir(tmp_path) == ["in.png"]

    def test_png_with_a_flipped_bit(self, tmp_path: Path) -> None:
        path = tmp_path / "in.png"
        Image.fromarray(values(3)).save(path)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 16
        path.write_bytes(data)
        with pytest.raises(ScalewiseError, match="damaged or cut short"):
            open_raster(path, unpack_to=tmp_path)

    @pytest.mark.parametrize("progressive", [False, True])
    @pytest.mark.parametrize("ended", [False, True])
    def test_jpeg_cut_short(self, progressive: bool, ended: bool, tmp_path: Path) -> None:
        """With a mark of the end put behind what is left, decoders say nothing."""
        path = tmp_path / "in.jpg"
        Image.fromarray(values(3)).save(path, quality=90, progressive=progressive)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] + (b"\xff\xd9" if ended else b""))
        with pytest.raises(ScalewiseError, match="damaged or cut short"):
            open_raster(path, unpack_to=tmp_path)
        assert os.listdir(tmp_path) == ["in.jpg"]

    def test_a_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Image.fromarray(values(3)).save(tmp_path / "in.png")

        class Full(BytesIO):
            def write(self, data: Any) -> int:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(strips, "TemporaryFile", lambda dir: Full())
        with pytest.raises(ScalewiseError, match=r"0\.0 GB of pixels .* give an OUTPUT on another"):
            open_raster(tmp_path / "in.png", unpack_to=tmp_path)

    def test_a_disk_that_is_too_small_is_told_before(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Image.fromarray(values(3)).save(tmp_path / "in.png")
        monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
        monkeypatch.delattr(strips, "TemporaryFile")
        with pytest.raises(ScalewiseError, match=r"cannot be unpacked to .* No space left"):
            open_raster(tmp_path / "in.png", unpack_to=tmp_path)

    def test_headers_that_announce_more_than_a_file_can_hold(self, tmp_path: Path) -> None:
        """Nothing is unpacked, and the other decoder says what is wrong."""
        with pytest.raises(ScalewiseError, match="header announces 60000 x 60000 pixels"):
            open_raster(bomb(tmp_path / "bomb.png"), unpack_to=tmp_path)
        Image.fromarray(values(3)).save(tmp_path / "in.jpg")
        data = (tmp_path / "in.jpg").read_bytes()
        height, width = (side.to_bytes(2, "big") for side in SIZE)
        huge = data.replace(height + width, b"\x50\x00\x50\x00", 1)
        (tmp_path / "in.jpg").write_bytes(huge)
        with pytest.raises(ScalewiseError, match=r"announces 20480 x 20480|damaged or cut short"):
            open_raster(tmp_path / "in.jpg", unpack_to=tmp_path)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    Image.fromarray(values(3)).save(tmp_path / "in.png")
    raster = open_raster(tmp_path / "in.png", unpack_to=tmp_path)
    assert os.listdir(tmp_path) == ["in.png"]
    stream = raster.array._stream
    del raster
    gc.collect()
    assert stream.closed


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp"])
def test_pixels_are_counted_by_the_header(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(values(3)).save(tmp_path / f"in{suffix}")
    assert count_pixels(tmp_path / f"in{suffix}") == SIZE[0] * SIZE[1]
    (tmp_path / "no").write_bytes(b"\x89PNG")
    assert count_pixels(tmp_path / "no") == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_denoised_as_the_whole_is(workers: int, tmp_path: Path) -> None:
    """By workers, too, which cannot read what has no name."""
    Image.fromarray(values(3)[:200, :300]).save(tmp_path / "in.png")
    source = open_raster(tmp_path / "in.png", unpack_to=tmp_path)
    noise, limits = NoiseModel.white(10 / 255), Limits(tile=64, workers=workers)
    blocks.denoise(source, tiny(), tmp_path / "out.png", noise=noise, limits=limits)
    whole = tiny().denoise(read_image(tmp_path / "in.png").pixels, 10 / 255)
    found = np.asarray(Image.open(tmp_path / "out.png")).transpose(2, 0, 1)
    assert np.abs(found - 255 * whole[0].clamp(0, 1).numpy()).max() < 0.51
