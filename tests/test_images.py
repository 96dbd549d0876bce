"""Real image files, in and out: every format, depth and oddity, and every kind of bad file."""

import logging
import os
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from scalewise.errors import ScalewiseError, UsageError
from scalewise.images import (
    IMAGE_SUFFIXES,
    PIXEL_LIMIT,
    Depth,
    Picture,
    check_output,
    read_image,
    to_channels,
    write_image,
)

Array = np.ndarray[Any, Any]
TOPS = {"uint8": 255, "uint16": 65535}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def random_picture(
    depth: Depth, channels: int, alpha: bool, size: tuple[int, int], seed: int = 0
) -> Picture:
    generator = torch.Generator().manual_seed(seed)

    def plane(count: int) -> torch.Tensor:
        values = torch.rand(count, *size, generator=generator)
        return values if depth == "float32" else (values * TOPS[depth]).round() / TOPS[depth]

    return Picture(plane(channels), plane(1) if alpha else None, depth=depth)


def samples(height: int, width: int, count: int, dtype: str, seed: int = 0) -> Array:
    values = np.random.default_rng(seed).integers(
        0, np.iinfo(dtype).max + 1, (height, width, count)
    )
    return values.astype(dtype)


def as_samples(picture: Picture) -> Array:
    planes = [picture.pixels[0]] + ([] if picture.alpha is None else [picture.alpha[0]])
    values = torch.cat(planes).movedim(0, -1).numpy()
    if picture.depth == "float32":
        return values
    return np.rint(values * TOPS[picture.depth]).astype(picture.depth)


def assert_same(found: Picture, expected: Picture) -> None:
    assert found.depth == expected.depth
    assert found.pixels.dtype == torch.float32
    torch.testing.assert_close(found.pixels, expected.pixels, rtol=0, atol=0)
    assert (found.alpha is None) == (expected.alpha is None)
    if expected.alpha is not None:
        torch.testing.assert_close(found.alpha, expected.alpha, rtol=0, atol=0)


def png16(array: Array, interlaced: bool = False, extra: bytes = b"") -> bytes:
    """A PNG of 16 bits whose rows go through all five filters; the textbook, not the package."""
    height, width, count = array.shape
    grids = [(0, 0, 1, 1)]
    if interlaced:
        grids = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2)]
        grids += [(0, 1, 2, 2), (1, 0, 2, 1)]
    stream = b""
    for top, left, down, across in grids:
        part = array[top::down, left::across]
        if part.size == 0:
            continue
        above = [0] * (part.shape[1] * count * 2)
        for number, row in enumerate(part):
            line = list(row.astype(">u2").tobytes())
            stream += bytes([number % 5]) + filtered(line, above, number % 5, count * 2)
            above = line
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[count]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(stream))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def filtered(line: list[int], above: list[int], kind: int, step: int) -> bytes:
    result = []
    for i, value in enumerate(line):
        a, b = (line[i - step] if i >= step else 0), above[i]
        c = above[i - step] if i >= step else 0
        p = a + b - c
        paeth = min((a, b, c), key=lambda near: abs(p - near))
        result.append((value - (0, a, b, (a + b) // 2, paeth)[kind]) % 256)
    return bytes(result)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def leftovers(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# Round trips


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 9)])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("suffix", "depth"),
    [
        (".png", "uint8"),
        (".png", "uint16"),
        (".tif", "uint8"),
        (".TIFF", "uint16"),
        (".tiff", "float32"),
        (".webp", "uint8"),
    ],
)
def test_lossless_round_trip(
    tmp_path: Path, suffix: str, depth: Depth, channels: int, alpha: bool, size: tuple[int, int]
) -> None:
    picture = random_picture(depth, channels, alpha, size)
    file = tmp_path / f"image{suffix}"
    assert write_image(file, picture) == []
    found = read_image(file)
    if suffix == ".webp" and channels == 1:
        picture = Picture(picture.pixels.expand(-1, 3, -1, -1), picture.alpha)
    assert_same(found, picture)
    assert leftovers(tmp_path) == [file.name]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([".png", ".tif"]),
    st.sampled_from(["uint8", "uint16", "float32"]),
    st.sampled_from([1, 3]),
    st.booleans(),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_any_shape_round_trip(
    tmp_path: Path,
    suffix: str,
    depth: Depth,
    channels: int,
    alpha: bool,
    size: tuple[int, int],
) -> None:
    picture = random_picture(depth, channels, alpha, size)
    file = tmp_path / f"image{suffix}"
    notes = write_image(file, picture, force=True)
    if (suffix, depth) == (".png", "float32"):
        assert notes == ["PNG holds at most 16 bits per channel: values were rounded"]
        found = read_image(file)
        assert found.depth == "uint16"
        torch.testing.assert_close(found.pixels, picture.pixels, rtol=0, atol=0.51 / 65535)
    else:
        assert notes == []
        assert_same(read_image(file), picture)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_round_trip_drops_alpha_and_depth(tmp_path: Path, suffix: str, channels: int) -> None:
    ramp = torch.linspace(0, 1, 32).expand(channels, 24, 32)
    file = tmp_path / f"image{suffix}"
    notes = write_image(file, Picture(ramp, torch.ones(1, 24, 32), depth="uint16"))
    assert notes == [
        "JPEG holds at most 8 bits per channel: values were rounded",
        "JPEG holds no alpha: it was left out",
    ]
    found = read_image(file)
    assert (found.depth, found.alpha) == ("uint8", None)
    torch.testing.assert_close(found.pixels[0], ramp, rtol=0, atol=0.02)


def test_integers_are_rounded_and_clipped_floats_are_not(tmp_path: Path) -> None:
    values = torch.tensor([[[-0.5, 0.4 / 255, 0.6 / 255, 1.7]]])
    write_image(tmp_path / "a.png", Picture(values))
    assert as_samples(read_image(tmp_path / "a.png")).ravel().tolist() == [0, 0, 1, 255]
    write_image(tmp_path / "a.tif", Picture(values, depth="float32"))
    assert torch.equal(read_image(tmp_path / "a.tif").pixels[0], values)


def test_output_is_readable_by_others(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    picture = random_picture("uint16", 3, True, (20, 30))
    write_image(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(
        imagecodecs.png_decode((tmp_path / "a.png").read_bytes()), as_samples(picture)
    )
    write_image(tmp_path / "b.tif", random_picture("uint8", 3, True, (20, 30)))
    with Image.open(tmp_path / "b.tif") as image:
        assert (image.mode, image.size) == ("RGBA", (30, 20))
        assert image.info["compression"] == "tiff_adobe_deflate"
        image.load()


def test_written_pixels_may_need_gradients(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", Picture(torch.rand(1, 3, 4, requires_grad=True)))


# Kinds of pixels


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_16_bit_png_keeps_16_bits(tmp_path: Path, count: int, interlaced: bool) -> None:
    array = samples(17, 11, count, "uint16")
    file = tmp_path / "a.png"
    file.write_bytes(png16(array, interlaced))
    picture = read_image(file)
    assert picture.depth == "uint16"
    np.testing.assert_array_equal(as_samples(picture), array)


@pytest.mark.parametrize("count", [1, 3])
def test_16_bit_png_with_a_transparent_colour(tmp_path: Path, count: int) -> None:
    array = samples(5, 4, count, "uint16")
    key = array[2, 3].astype(">u2").tobytes()
    file = tmp_path / "a.png"
    file.write_bytes(png16(array, extra=chunk(b"tRNS", key)))
    picture = read_image(file)
    expected = torch.ones(1, 5, 4)
    expected[0, 2, 3] = 0
    assert picture.alpha is not None
    assert torch.equal(picture.alpha[0], expected)
    assert picture.pixels.shape[1] == count


def test_palette_becomes_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(samples(9, 8, 3, "uint8")).quantize(16)
    image.save(tmp_path / "a.png")
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(as_samples(read_image(tmp_path / "a.png")), expected)
    image.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(as_samples(read_image(tmp_path / "a.tif")), expected)


@pytest.mark.parametrize("transparency", [3, bytes(range(0, 160, 10))])
def test_palette_with_transparency(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.fromarray(samples(9, 8, 3, "uint8")).quantize(16)
    image.save(tmp_path / "a.png", transparency=transparency)
    picture = read_image(tmp_path / "a.png")
    indices = np.asarray(image)
    if isinstance(transparency, int):
        expected = np.where(indices == transparency, 0, 255)
    else:
        expected = np.asarray(list(transparency))[indices]
    assert picture.alpha is not None
    np.testing.assert_array_equal(as_samples(picture)[..., 3], expected)
    np.testing.assert_array_equal(as_samples(picture)[..., :3], np.asarray(image.convert("RGB")))


def test_gray_png_with_a_transparent_value(tmp_path: Path) -> None:
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(
        tmp_path / "a.png", transparency=5
    )
    picture = read_image(tmp_path / "a.png")
    assert picture.pixels.shape == (1, 1, 3, 4)
    assert picture.alpha is not None
    assert (picture.alpha == 0).sum() == 1


def _need_codec(name: str) -> None:
    """Skip without imagecodecs, or with one that does not know this yet."""
    if not hasattr(pytest.importorskip("imagecodecs"), name):
        pytest.skip("needs a newer imagecodecs")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "group4.tif"])
def test_one_bit(tmp_path: Path, name: str) -> None:
    if name == "group4.tif":
        _need_codec("ccittfax4_decode")
    array = samples(9, 11, 1, "uint8")[..., 0] > 127
    options = {"compression": "group4"} if name == "group4.tif" else {}
    Image.fromarray(array).save(tmp_path / name, **options)
    picture = read_image(tmp_path / name)
    assert picture.depth == "uint8"
    np.testing.assert_array_equal(picture.pixels[0, 0].numpy(), array)


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    flat = np.broadcast_to(np.array([0, 255, 255, 0], np.uint8), (16, 16, 4))
    Image.fromarray(flat.copy(), "CMYK").save(tmp_path / "a.jpg", quality=100)
    picture = read_image(tmp_path / "a.jpg")
    red = torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 16, 16)
    torch.testing.assert_close(picture.pixels[0], red, rtol=0, atol=0.02)


def test_cmyk_jpeg_uses_its_profile(tmp_path: Path) -> None:
    flat = np.broadcast_to(np.array([255, 255, 255, 153], np.uint8), (16, 16, 4))
    Image.fromarray(flat.copy(), "CMYK").save(
        tmp_path / "a.jpg", quality=100, icc_profile=cmyk_profile()
    )
    picture = read_image(tmp_path / "a.jpg")
    assert picture.icc is None
    linear = ((40 + 16) / 116) ** 3
    expected = 1.055 * linear ** (1 / 2.4) - 0.055
    assert float(picture.pixels.std()) < 0.01
    assert float(picture.pixels.mean()) == pytest.approx(expected, abs=0.02)


def cmyk_profile() -> bytes:
    """The least ICC profile in which lightness is 1 - K, and C, M and Y do nothing."""
    line = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0])
    table += struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table += line * 4 + bytes([255, 128, 128, 0, 128, 128]) * 8 + line * 3
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    text = b"text\0\0\0\0none\0\0\0\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"CMYK\0" + bytes(78 + 1)
    entries = {b"desc": description, b"cprt": text, b"wtpt": white, b"A2B0": table}
    offset, tags, body = 128 + 4 + 12 * len(entries), b"", b""
    for name, data in entries.items():
        data += bytes(-len(data) % 4)
        tags += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = offset + len(body)
    head = struct.pack(">I", size) + b"\0\0\0\0\x02\x40\0\0prtrCMYKLab " + bytes(12) + b"acsp"
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + struct.pack(">I", len(entries)) + tags + body


@pytest.mark.parametrize("compression", ["lzw", "packbits", "jpeg", "zlib", None])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_as_others_write_it(tmp_path: Path, compression: str | None, order: Any) -> None:
    if compression in ("lzw", "jpeg"):
        pytest.importorskip("imagecodecs")
    array = samples(40, 50, 3, "uint8")
    array[:] = array.mean((0, 1)).astype("uint8")
    tifffile.imwrite(
        tmp_path / "a.tif", array, photometric="rgb", compression=compression, byteorder=order
    )
    found = as_samples(read_image(tmp_path / "a.tif"))
    np.testing.assert_allclose(found, array, atol=2 if compression == "jpeg" else 0)


def test_jpeg_tiff_of_ycbcr(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    array = np.full((32, 32, 3), (200, 90, 30), np.uint8)
    stored = np.asarray(Image.fromarray(array).convert("YCbCr"))
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="ycbcr", compression="jpeg")
    np.testing.assert_allclose(as_samples(read_image(tmp_path / "a.tif")), array, atol=3)


@pytest.mark.parametrize(
    "options",
    [
        {"planarconfig": "separate"},
        {"planarconfig": "contig", "tile": (16, 16)},
        {"planarconfig": "contig", "bigtiff": True},
        {"planarconfig": "contig", "photometric": "minisblack"},
    ],
)
def test_tiff_layouts(tmp_path: Path, options: dict[str, Any]) -> None:
    array = samples(20, 33, 3, "uint16")
    stored = np.moveaxis(array, -1, 0) if options["planarconfig"] == "separate" else array
    tifffile.imwrite(tmp_path / "a.tif", stored, **{"photometric": "rgb", **options})
    picture = read_image(tmp_path / "a.tif")
    assert picture.depth == "uint16"
    np.testing.assert_array_equal(as_samples(picture), array)


def test_tiff_where_white_is_zero(tmp_path: Path) -> None:
    array = samples(5, 6, 1, "uint8")[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite")
    np.testing.assert_array_equal(as_samples(read_image(tmp_path / "a.tif"))[..., 0], 255 - array)


def test_tiff_of_12_bits(tmp_path: Path) -> None:
    _need_codec("ccittfax4_decode")  # came with the packing of bits
    array = samples(5, 6, 1, "uint16")[..., 0] >> 4
    tifffile.imwrite(tmp_path / "a.tif", array, bitspersample=12)
    picture = read_image(tmp_path / "a.tif")
    assert picture.depth == "uint16"
    np.testing.assert_allclose(picture.pixels[0, 0].numpy(), array / 4095, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_float_tiff_is_kept_as_stored(tmp_path: Path, dtype: Depth) -> None:
    array = np.random.default_rng(0).normal(0.5, 0.3, (6, 7)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", array)
    picture = read_image(tmp_path / "a.tif")
    assert picture.depth == dtype
    np.testing.assert_array_equal(picture.pixels[0, 0].numpy(), array.astype(np.float32))
    write_image(tmp_path / "b.tif", picture)
    found = tifffile.imread(tmp_path / "b.tif")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array.astype(np.float32).astype(dtype))


def test_tiff_alpha_multiplied_into_the_pixels_is_divided_out(tmp_path: Path) -> None:
    alpha = np.array([[0, 64, 128, 255]], np.float32)
    plain = np.full((1, 4, 3), 200, np.float32)
    stored = np.concatenate([plain * alpha[..., None] / 255, alpha[..., None]], -1)
    tifffile.imwrite(
        tmp_path / "a.tif", np.rint(stored).astype("uint8"), photometric="rgb",
        extrasamples=["assocalpha"],
    )  # fmt: skip
    picture = read_image(tmp_path / "a.tif")
    found = as_samples(picture)
    np.testing.assert_array_equal(found[..., 3], alpha)
    np.testing.assert_allclose(found[0, 1:, :3], 200, atol=2)
    assert (found[0, 0, :3] == 0).all()


def test_tiff_with_a_thumbnail_is_a_single_image(tmp_path: Path) -> None:
    array = samples(32, 32, 3, "uint8")
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(array[::4, ::4], photometric="rgb", subfiletype=1)
        writer.write(array, photometric="rgb")
    np.testing.assert_array_equal(as_samples(read_image(tmp_path / "a.tif")), array)


def test_the_content_tells_the_format_not_the_name(tmp_path: Path) -> None:
    picture = random_picture("uint8", 3, False, (5, 6))
    write_image(tmp_path / "a.tif", picture)
    (tmp_path / "a.tif").rename(tmp_path / "a.jpg")
    assert_same(read_image(tmp_path / "a.jpg"), picture)


# Orientation, profile, EXIF


def exif_block(orientation: int | None = None) -> Image.Exif:
    exif = Image.Exif()
    exif[271] = "Maker"
    exif[306] = "2020:01:02 03:04:05"
    exif[0x8769] = {33434: 0.004, 36867: "2020:01:02 03:04:05", 37121: b"\1\2\3\0"}
    exif[0x8825] = {1: "N", 2: (48.0, 51.0, 30.5)}
    if orientation:
        exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40)
    image = image.resize((48, 32), Image.Resampling.NEAREST).convert("RGB")
    options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
    file = tmp_path / f"a{suffix}"
    image.save(file, exif=exif_block(orientation).tobytes(), **options)
    with Image.open(file) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    picture = read_image(file)
    np.testing.assert_array_equal(as_samples(picture), expected)
    assert picture.exif is not None
    kept = Image.Exif()
    kept.load(picture.exif)
    assert 0x0112 not in kept


def test_orientation_of_16_bit_rgb_png(tmp_path: Path) -> None:
    array = samples(3, 5, 3, "uint16")
    block = exif_block(6).tobytes().removeprefix(b"Exif\0\0")
    (tmp_path / "a.png").write_bytes(png16(array, extra=chunk(b"eXIf", block)))
    np.testing.assert_array_equal(as_samples(read_image(tmp_path / "a.png")), np.rot90(array, -1))


@pytest.mark.parametrize("depth", ["uint8", "uint16"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", ".tif"])
def test_profile_and_exif_are_carried(
    tmp_path: Path, source: str, suffix: str, depth: Depth
) -> None:
    picture = random_picture(depth, 3, False, (8, 8))
    picture = Picture(picture.pixels, depth=depth, icc=SRGB, exif=exif_block().tobytes())
    write_image(tmp_path / f"a{source}", picture)
    first = read_image(tmp_path / f"a{source}")
    write_image(tmp_path / f"b{suffix}", first)
    second = read_image(tmp_path / f"b{suffix}")
    assert second.icc == SRGB
    assert second.exif is not None
    found, expected = Image.Exif(), exif_block()
    found.load(second.exif)
    assert (found[271], found[306]) == (expected[271], expected[306])
    camera = found.get_ifd(0x8769)
    assert float(camera[33434]) == pytest.approx(0.004)
    assert camera[36867] == "2020:01:02 03:04:05"
    assert camera[37121] == b"\1\2\3\0"
    assert [float(part) for part in found.get_ifd(0x8825)[2]] == [48, 51, 30.5]


def test_pillow_reads_the_exif_of_a_written_tiff(tmp_path: Path) -> None:
    picture = Picture(torch.rand(3, 5, 7), exif=exif_block().tobytes(), icc=SRGB)
    write_image(tmp_path / "a.tif", picture)
    with Image.open(tmp_path / "a.tif") as image:
        assert image.getexif()[271] == "Maker"
        assert image.getexif().get_ifd(0x8825)[1] == "N"
        assert image.info["icc_profile"] == SRGB
        image.load()


def test_exif_of_a_tiff_beyond_4_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalewise.images.tiff_writing._CLASSIC_BYTES", 10)
    write_image(tmp_path / "a.tif", Picture(torch.rand(3, 5, 7), exif=exif_block().tobytes()))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_bigtiff
        facts = tiff.pages[0].aspage().tags.valueof(34665)
    assert facts["ExposureTime"] == 0.004
    picture = read_image(tmp_path / "a.tif")
    assert picture.exif is not None
    found = Image.Exif()
    found.load(picture.exif)
    assert found.get_ifd(0x8825)[1] == "N"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_orientation_of_any_tiff(tmp_path: Path, order: Any, big: bool) -> None:
    array = samples(3, 5, 3, "uint16")
    tifffile.imwrite(
        tmp_path / "a.tif",
        array,
        photometric="rgb",
        byteorder=order,
        bigtiff=big,
        extratags=[(274, 3, 1, 6, True), (271, 2, 0, "Maker", True)],
    )
    picture = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(as_samples(picture), np.rot90(array, -1))
    if not (big and order == ">"):  # of which Pillow reads no EXIF
        assert picture.exif is not None
        kept = Image.Exif()
        kept.load(picture.exif)
        assert dict(kept) == {271: "Maker"}


def test_every_text_of_exif_goes_into_a_tiff(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exif = Image.Exif()
    for tag in (270, 271, 272, 305, 306, 315, 33432):
        exif[tag] = f"2020:01:02 03:04:05 \xe9 {tag}"
    exif[282] = 300.0
    write_image(tmp_path / "a.tif", Picture(torch.rand(1, 5, 7), exif=exif.tobytes()))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        tags = tiff.pages[0].aspage().tags
        for tag in (270, 271, 272, 305, 306, 315, 33432):
            assert tags.valueof(tag) == f"2020:01:02 03:04:05 ? {tag}"
    assert not caplog.records


def test_profile_of_other_channels_is_left_out(tmp_path: Path) -> None:
    notes = write_image(tmp_path / "a.png", Picture(torch.rand(1, 5, 7), icc=SRGB))
    assert notes == ["the colour profile belongs to other channels: it was left out"]
    assert read_image(tmp_path / "a.png").icc is None


def test_exif_too_long_for_jpeg_is_left_out(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x8769] = {37500: bytes(70000)}
    notes = write_image(tmp_path / "a.jpg", Picture(torch.rand(1, 5, 7), exif=exif.tobytes()))
    assert notes == ["JPEG holds at most 65533 bytes of EXIF: it was left out"]
    assert read_image(tmp_path / "a.jpg").exif is None


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_spoil_the_pixels(tmp_path: Path) -> None:
    Image.new("RGB", (5, 4)).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    picture = read_image(tmp_path / "a.jpg")
    assert picture.exif is None
    assert picture.pixels.shape == (1, 3, 4, 5)


# Bad files


def refusal(file: Path, match: str) -> None:
    with pytest.raises(ScalewiseError, match=match) as caught:
        read_image(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_missing_file(tmp_path: Path) -> None:
    refusal(tmp_path / "none.png", "expected an image file, found no file of this name")
    refusal(tmp_path / ("n" * 300), "found no file")


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    refusal(tmp_path, "expected an image file, found a folder")


@pytest.mark.parametrize("content", [b"", b"BM", b"not an image at all", b"\x89PNG"])
def test_not_an_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    refusal(tmp_path / "a.png", "is not a PNG, TIFF, JPEG, WebP or BMP image")


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (PermissionError(13, "Permission denied"), "cannot be opened: Permission denied"),
        (MemoryError(), "too large for the memory of this machine"),
    ],
)
def test_file_that_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, match: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setattr(Path, "open", fail)
    refusal(tmp_path / "a.png", match)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize(
    ("suffix", "depth"),
    [
        (".png", "uint8"),
        (".png", "uint16"),
        (".jpg", "uint8"),
        (".webp", "uint8"),
        (".tif", "uint8"),
        (".tif", "float32"),
    ],
)
def test_truncated_file(
    tmp_path: Path, suffix: str, depth: Depth, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / f"a{suffix}"
    write_image(file, random_picture(depth, 3, False, (64, 64)))
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with caplog.at_level(logging.WARNING):
        refusal(file, "damaged or cut short")
    assert not caplog.records


@pytest.mark.parametrize("depth", ["uint8", "uint16"])
def test_damaged_png(tmp_path: Path, depth: Depth) -> None:
    file = tmp_path / "a.png"
    write_image(file, random_picture(depth, 3, False, (32, 32)))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)
    refusal(file, "damaged or cut short")


def bomb_png(depth: int) -> bytes:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, depth, 2, 0, 0, 0)
    idat = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + idat + chunk(b"IEND", b"")


def bomb_jpeg() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    return bytes(data)


def bomb_tiff() -> bytes:
    buffer = BytesIO()
    tifffile.imwrite(buffer, np.zeros((8, 8), np.uint8), metadata=None)
    buffer.seek(0)
    with tifffile.TiffFile(buffer) as tiff:
        tags = tiff.pages[0].aspage().tags
        places = [tags[code].valueoffset for code in (256, 257)]
    data = bytearray(buffer.getvalue())
    for place in places:
        struct.pack_into("<I", data, place, 60_000)
    return bytes(data)


@pytest.mark.parametrize(
    "make", [lambda: bomb_png(8), lambda: bomb_png(16), bomb_jpeg, bomb_tiff],
    ids=["png8", "png16", "jpeg", "tiff"],
)  # fmt: skip
def test_decompression_bomb(tmp_path: Path, make: Callable[[], bytes]) -> None:
    assert PIXEL_LIMIT == 500_000_000
    (tmp_path / "a.img").write_bytes(make())
    refusal(tmp_path / "a.img", r"announces \d+ x \d+ pixels, more than the 500 million")


def test_large_images_below_the_limit_do_not_warn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for suffix in (".png", ".jpg", ".tif"):
        write_image(tmp_path / f"a{suffix}", Picture(torch.rand(3, 20, 30)))
        assert read_image(tmp_path / f"a{suffix}").pixels.shape == (1, 3, 20, 30)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_float_tiff_with_nan(tmp_path: Path, bad: float) -> None:
    array = np.zeros((4, 5), np.float32)
    array[1, 2] = bad
    tifffile.imwrite(tmp_path / "a.tif", array)
    refusal(tmp_path / "a.tif", "holds NaN or infinite values")


def test_float_tiff_with_nan_in_its_alpha(tmp_path: Path) -> None:
    array = np.zeros((4, 5, 4), np.float32)
    array[1, 2, 3] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    refusal(tmp_path / "a.tif", "holds NaN or infinite values")


def test_tiff_of_doubles_too_large_for_floats(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5), 1e300))
    refusal(tmp_path / "a.tif", "holds NaN or infinite values")


def test_cmyk_tiff_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 9, 4), np.uint8), photometric="separated")
    refusal(tmp_path / "a.tif", "holds 4 channels of SEPARATED data; expected gray, RGB")


@pytest.mark.parametrize("dtype", ["int64", "uint64", "complex64"])
def test_tiff_of_other_types(tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), dtype))
    refusal(tmp_path / "a.tif", f"holds {dtype} values")


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_animation(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
    refusal(tmp_path / f"a{suffix}", "is an animation")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([".png", ".jpg", ".webp", ".tif", "16.png", "32.tif"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 255),
)
@pytest.mark.filterwarnings("ignore")
def test_damage_never_shows_another_error(
    tmp_path: Path, suffix: str, place: float, value: int
) -> None:
    depths: dict[str, Depth] = {"16.png": "uint16", "32.tif": "float32"}
    whole = tmp_path / f"whole{suffix}"
    if not whole.exists():
        write_image(whole, random_picture(depths.get(suffix, "uint8"), 3, False, (16, 16)))
    data = bytearray(whole.read_bytes())
    data[int(place * len(data))] = value
    (tmp_path / "damaged").write_bytes(data)
    try:
        read_image(tmp_path / "damaged")
    except ScalewiseError as error:
        message = str(error)
    else:
        message = ""
    assert message == "" or "damaged" in message


def test_without_imagecodecs(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    assert imagecodecs
    tifffile.imwrite(tmp_path / "lzw.tif", np.zeros((4, 5), np.uint8), compression="lzw")
    picture = random_picture("uint16", 3, True, (4, 5))
    write_image(tmp_path / "expected.tif", picture)
    program = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "from scalewise.errors import ScalewiseError\n"
        "from scalewise.images import read_image, write_image\n"
        "picture = read_image('expected.tif')\n"
        "write_image('found.tif', picture); write_image('found.png', picture)\n"
        "read_image('found.png')\n"
        "try: read_image('lzw.tif')\n"
        "except ScalewiseError as error: sys.stdout.write(str(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, map(os.path.abspath, sys.path))),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (
        "needs a decoder that is missing or old; pip install --upgrade 'scalewise[io]'"
        in done.stdout
    )
    assert_same(read_image(tmp_path / "found.tif"), picture)
    assert_same(read_image(tmp_path / "found.png"), picture)


# Bad outputs


def test_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"unknown image suffix '\.gif'; use one of \.png"
    ) as caught:
        write_image(tmp_path / "a.gif", Picture(torch.rand(1, 2, 2)))
    assert caught.value.exit_code == 2
    assert all(suffix in str(caught.value) for suffix in IMAGE_SUFFIXES)
    assert leftovers(tmp_path) == []


def test_existing_output_needs_force(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"precious")
    with pytest.raises(ScalewiseError, match=r"a\.png exists; give --force to overwrite it"):
        write_image(file, Picture(torch.rand(1, 2, 2)))
    assert file.read_bytes() == b"precious"
    write_image(file, Picture(torch.rand(1, 2, 2)), force=True)
    assert read_image(file).pixels.shape == (1, 1, 2, 2)
    assert leftovers(tmp_path) == ["a.png"]


def test_missing_parent_folder(tmp_path: Path) -> None:
    with pytest.raises(ScalewiseError, match="none does not exist; create it first"):
        check_output(tmp_path / "none" / "a.png")
    assert leftovers(tmp_path) == []


def test_output_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ScalewiseError, match="is a folder"):
        check_output(tmp_path / "a.png", force=True)


def test_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ScalewiseError, match="is not writable"):
        check_output(tmp_path / "a.png")


def test_folder_that_refuses_the_file() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("needs /proc")
    with pytest.raises(ScalewiseError, match=r"is not writable|cannot be written"):
        write_image("/proc/a.png", Picture(torch.rand(1, 2, 2)))


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file may grow beyond some bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
@pytest.mark.parametrize("force", [False, True])
def test_full_disk_leaves_everything_as_it_was(tmp_path: Path, suffix: str, force: bool) -> None:
    file = tmp_path / f"a{suffix}"
    if force:
        file.write_bytes(b"precious")
    picture = random_picture("uint8", 3, False, (64, 64))
    with full_disk(500), pytest.raises(ScalewiseError, match="cannot be written: ") as caught:
        write_image(file, picture, force=force)
    assert str(file) in str(caught.value)
    assert leftovers(tmp_path) == ([file.name] if force else [])
    if force:
        assert file.read_bytes() == b"precious"


def test_an_interrupt_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_image(tmp_path / "a.png", Picture(torch.rand(1, 2, 2)))
    assert leftovers(tmp_path) == []


def test_new_files_have_ordinary_permissions(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", Picture(torch.rand(1, 2, 2)))
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_nan_is_not_written(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ScalewiseError, match="the pixels hold NaN or infinite values"):
        write_image(tmp_path / f"a{suffix}", Picture(torch.tensor([[[0.1, float("nan")]]])))
    assert leftovers(tmp_path) == []


def test_what_cannot_be_encoded(tmp_path: Path) -> None:
    with pytest.raises(ScalewiseError, match="cannot be encoded"):
        write_image(tmp_path / "a.tif", Picture(torch.rand(1, 2, 2), exif=b"not EXIF at all"))
    assert leftovers(tmp_path) == []


def test_too_large_for_the_format(tmp_path: Path) -> None:
    with pytest.raises(ScalewiseError, match="WebP holds at most 16383 pixels a side, found 20000"):
        write_image(tmp_path / "a.webp", Picture(torch.zeros(1, 1, 20000)))
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("pixels", "alpha", "match"),
    [
        ((2, 4, 5), None, r"pixels must be .*, found \(1, 2, 4, 5\)"),
        ((4, 5), None, r"pixels must be"),
        ((1, 0, 5), None, r"pixels must be"),
        ((3, 4, 5), (1, 5, 4), r"alpha must be \(1, 1, 4, 5\) as the pixels, found \(1, 1, 5, 4\)"),
    ],
)
def test_picture_checks_its_shapes(
    pixels: tuple[int, ...], alpha: tuple[int, ...] | None, match: str
) -> None:
    with pytest.raises(ScalewiseError, match=match):
        Picture(torch.zeros(pixels), None if alpha is None else torch.zeros(alpha))


# Channels


def test_to_channels() -> None:
    rgb = torch.rand(2, 4, 3, 5, 6)
    gray, note = to_channels(rgb, 1)
    assert note == "RGB image converted to gray"
    weights = torch.tensor([0.299, 0.587, 0.114])
    expected = torch.einsum("c,abchw->abhw", weights, rgb)[:, :, None]
    torch.testing.assert_close(gray, expected)
    again, note = to_channels(gray, 3)
    assert note == "gray image converted to RGB"
    assert again.shape == rgb.shape
    torch.testing.assert_close(again[:, :, 1:2], gray)
    same, note = to_channels(rgb, 3)
    assert note is None
    assert same is rgb


def test_to_channels_rounds_integers() -> None:
    pixels = torch.tensor([10, 20, 31, 10, 21, 30, 255, 255, 255], dtype=torch.uint8)
    gray = to_channels(pixels.reshape(3, 3, 1, 1), 1)[0]
    assert gray.dtype == torch.uint8
    assert gray.ravel().tolist() == [18, 19, 255]  # 18.26, 18.74


def test_to_channels_refuses_others() -> None:
    with pytest.raises(ScalewiseError, match="images of 2 channels cannot be converted to 3"):
        to_channels(torch.rand(2, 4, 5), 3)
