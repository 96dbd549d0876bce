"""Damaged and hostile files: a sentence, at once, before anything large is allocated."""

from __future__ import annotations

import logging
import resource
import struct
import time
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from scalewise.errors import ScalewiseError
from scalewise.images import read_image, write_image

Array = np.ndarray[Any, Any]


def refused(file: Path, match: str) -> None:
    """A sentence that names the file, within a second and 200 MB, with nothing logged."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(ScalewiseError, match=match) as caught:
        read_image(file)
    assert time.monotonic() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def values(*shape: int, dtype: str = "uint8") -> Array:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype)


# PNG


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, rows: bytes, *, bits: int = 8, colour: int = 0, interlaced: int = 0
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    packed = zlib.compress(rows)
    parts = [packed[i : i + 1000] for i in range(0, len(packed), 1000)]
    body = b"".join(chunk(b"IDAT", part) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def rows(height: int, row: int) -> bytes:
    return b"".join(b"\0" + line.tobytes() for line in values(height, row))


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(
    ("colour", "bits"),
    [(0, 1), (0, 2), (0, 4), *((colour, bits) for colour in (0, 2, 4, 6) for bits in (8, 16))],
)
def test_png_that_lacks_one_byte(tmp_path: Path, bits: int, colour: int, interlaced: int) -> None:
    mode = {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}[colour]
    samples = len(mode)
    sizes = [(13, 9)]
    if interlaced:
        steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                 (1, 0, 2, 2), (0, 1, 1, 2)]  # fmt: skip
        sizes = [
            (len(range(left, 13, across)), len(range(top, 9, down)))
            for left, top, across, down in steps
        ]
    whole = b"".join(
        rows(height, -(-width * samples * bits // 8)) for width, height in sizes if width * height
    )
    file = tmp_path / "a.png"
    file.write_bytes(png(13, 9, whole, bits=bits, colour=colour, interlaced=interlaced))
    assert read_image(file).pixels.shape[-2:] == (9, 13)
    file.write_bytes(png(13, 9, whole[:-1], bits=bits, colour=colour, interlaced=interlaced))
    refused(file, f"holds {len(whole) - 1} of the {len(whole)} bytes of 13 x 9 pixels")


def test_png_with_a_lost_chunk(tmp_path: Path) -> None:
    data = png(100, 80, rows(80, 100))
    second = data.index(b"IDAT", data.index(b"IDAT") + 4) - 4
    (tmp_path / "a.png").write_bytes(data[:second] + data[second + 1012 :])
    refused(tmp_path / "a.png", "damaged or cut short")


def test_png_without_an_end(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(10, 8, rows(8, 10))[:-12])
    refused(tmp_path / "a.png", "it ends before its last chunk")


def test_png_with_a_wrong_checksum(tmp_path: Path) -> None:
    data = bytearray(png(10, 8, rows(8, 10)))
    data[-13] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    refused(tmp_path / "a.png", "the checksum of chunk b'IDAT' is wrong")


@pytest.mark.parametrize("sides", [(20_000, 20_000), (2**31 - 1, 1), (27, 16_711_700)])
def test_small_png_of_large_sides(tmp_path: Path, sides: tuple[int, int]) -> None:
    (tmp_path / "a.png").write_bytes(png(*sides, rows(8, 10)))
    refused(tmp_path / "a.png", "holds 88 of the|more than the 500 million")


def test_png_that_unpacks_to_more_than_it_asks_for(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(10, 8, rows(8, 10) + bytes(2**28)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_image(tmp_path / "a.png").pixels.shape == (1, 1, 8, 10)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


# TIFF


def tiff(array: Array, **options: Any) -> bytearray:
    buffer = BytesIO()
    tifffile.imwrite(buffer, array, **{"photometric": "minisblack", "metadata": None, **options})
    return bytearray(buffer.getvalue())


def change(data: bytearray, code: int, value: int, index: int = 0, page: int = 0) -> bytearray:
    """Set one number of a tag."""
    with tifffile.TiffFile(BytesIO(data)) as file:
        tag = file.pages[page].aspage().tags[code]
        form = {3: "<H", 4: "<I"}[int(tag.dtype)]
        struct.pack_into(form, data, tag.valueoffset + index * struct.calcsize(form), value)
    return data


STRIPS = {"rowsperstrip": 10}
TILES = {"tile": (16, 16)}
WIDTH, LENGTH, OFFSETS, COUNTS, PER_STRIP = 256, 257, 273, 279, 278


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: change(tiff(values(30, 20), **STRIPS), COUNTS, 0, 1), "of page 1 is empty"),
        (lambda: change(tiff(values(30, 20), **STRIPS), OFFSETS, 0, 1), "of page 1 is empty"),
        (lambda: change(tiff(values(40, 20), **TILES), 325, 0, 1), "of page 1 is empty"),
        (lambda: change(tiff(values(30, 20), **STRIPS), COUNTS, 60_000), "beyond the end"),
        (lambda: change(tiff(values(30, 20), **STRIPS), LENGTH, 50), "holds 3 of 5 strips"),
        (lambda: change(tiff(values(40, 20), **TILES), WIDTH, 500), "holds 6 of 96 strips"),
        (lambda: change(tiff(values(30, 20)), WIDTH, 40), "holds 600 bytes, too few for 40 x 30"),
        (lambda: change(tiff(values(30, 20)), WIDTH, 4_000_000), "page 1 holds 600 bytes, too"),
        (lambda: change(tiff(values(30, 20)), PER_STRIP, 1), "page 1 holds 1 of 30 strips"),
        (
            lambda: change(tiff(values(30, 20), compression="zlib"), LENGTH, 16_000_000),
            r"damaged or cut short|holds 1 of",
        ),
        (
            lambda: change(tiff(values(3, 30, 20), **STRIPS), OFFSETS, 0, 1, page=2),
            "of page 3 is empty",
        ),
    ],
)
def test_tiff_that_lacks_what_it_announces(
    tmp_path: Path, make: Callable[[], bytearray], match: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.tif").write_bytes(make())
    with caplog.at_level(logging.WARNING):
        refused(tmp_path / "a.tif", match)
    assert not caplog.records


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}])
def test_tiff_that_unpacks_to_more_than_its_pixels(tmp_path: Path, options: Any) -> None:
    bomb = zlib.compress(bytes(2**28))
    data = tiff(values(16, 16), compression="zlib", **options)
    with tifffile.TiffFile(BytesIO(data)) as file:
        tags = file.pages[0].aspage().tags
        codes = (324, 325) if options else (OFFSETS, COUNTS)
        places = [tags[code].offset for code in codes]
    for place, value in zip(places, (len(data), len(bomb)), strict=True):
        struct.pack_into("<HII", data, place + 2, 4, 1, value)
    (tmp_path / "a.tif").write_bytes(data + bomb)
    refused(tmp_path / "a.tif", "page 1 unpacks to more than the 256 bytes of its pixels")


@pytest.mark.parametrize("compression", ["jpeg", "lzw", "zlib", "packbits", "webp", "zstd"])
@pytest.mark.parametrize("share", [0.3, 0.95])
def test_tiff_whose_strip_is_cut(tmp_path: Path, compression: str, share: float) -> None:
    pytest.importorskip("imagecodecs")
    data = tiff(values(64, 48, 3), photometric="rgb", compression=compression)
    with tifffile.TiffFile(BytesIO(data)) as file:
        count = file.pages[0].aspage().databytecounts[0]
    (tmp_path / "a.tif").write_bytes(data)
    assert read_image(tmp_path / "a.tif").pixels.shape == (1, 3, 64, 48)
    (tmp_path / "b.tif").write_bytes(change(data, COUNTS, int(share * count)))
    refused(tmp_path / "b.tif", "damaged or cut short")


@pytest.mark.parametrize(
    ("code", "value"), [(284, 2), (284, 0), (284, 7937), (338, 100), (338, 65535), (262, 0)]
)
def test_odd_channels_are_refused_or_can_be_written(tmp_path: Path, code: int, value: int) -> None:
    data = tiff(values(20, 27, 4), photometric="rgb", extrasamples=["unassalpha"], metadata={})
    (tmp_path / "a.tif").write_bytes(change(data, code, value))
    try:
        picture = read_image(tmp_path / "a.tif")
    except ScalewiseError as error:
        told = str(error)
    else:
        told = ""
        write_image(tmp_path / "b.tif", picture)
        assert read_image(tmp_path / "b.tif").pixels.shape == picture.pixels.shape
    assert (told != "") == (code == 284)
    assert told == "" or "damaged" in told


def test_tiff_of_previews_only(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for side in (8, 9):
            writer.write(values(side, 9), metadata=None, subfiletype=1)
    refused(tmp_path / "a.tif", "holds previews only, as raw data of cameras do")
    tifffile.imwrite(tmp_path / "b.tif", values(8, 9), subfiletype=1)
    assert read_image(tmp_path / "b.tif").pixels.shape == (1, 1, 8, 9)


@pytest.mark.parametrize("pages", [1, 2])
def test_tiff_cut_after_a_page(tmp_path: Path, pages: int) -> None:
    data = tiff(values(3, 30, 20))
    with tifffile.TiffFile(BytesIO(data)) as file:
        end = file.pages[pages].offset
    (tmp_path / "a.tif").write_bytes(data[:end])
    refused(tmp_path / "a.tif", "damaged or cut short")


def test_tiff_whose_pages_go_round(tmp_path: Path) -> None:
    data = tiff(values(2, 30, 20))
    with tifffile.TiffFile(BytesIO(data)) as file:
        first, second = file.pages[0].offset, file.pages[1].offset
    (tags,) = struct.unpack_from("<H", data, second)
    struct.pack_into("<I", data, second + 2 + 12 * tags, first)
    (tmp_path / "a.tif").write_bytes(data)
    refused(tmp_path / "a.tif", "its pages go round in a circle")


def test_tiff_without_pages(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0" + bytes(20))
    refused(tmp_path / "a.tif", "it holds no page")


@pytest.mark.parametrize("images", [100, 10**9, 10**30])
def test_stack_that_announces_more_than_there_is(tmp_path: Path, images: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values(7, 30, 20), imagej=True, truncate=True)
    data = (tmp_path / "a.tif").read_bytes()
    told = b"images=7\nchannels=7\n"
    assert told in data
    more = b"images=%d\nslices=%d\n" % (images, images)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        tag = file.pages[0].aspage().tags[270]
    text = data[tag.valueoffset : tag.valueoffset + tag.count]
    changed = text.replace(told, more)[: len(text)]
    (tmp_path / "b.tif").write_bytes(data.replace(text, changed.ljust(len(text), b"\0")))
    refused(tmp_path / "b.tif", "damaged or cut short")


def test_stack_whose_number_of_planes_is_lost(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values(7, 30, 20), imagej=True, truncate=True)
    assert len(read_image(tmp_path / "a.tif").pixels) == 7
    data = (
        (tmp_path / "a.tif").read_bytes().replace(b"images=7\nchannels=7", b"imagxs=7\nchannxls=7")
    )
    (tmp_path / "b.tif").write_bytes(data)
    refused(tmp_path / "b.tif", "its description announces 4200 values, and it holds 600")


@pytest.mark.parametrize("profile", [(1, 7), (3, 700), (12, 0.5)])
def test_profile_that_is_no_bytes(tmp_path: Path, profile: tuple[int, float]) -> None:
    kind, value = profile
    extra = [(34675, kind, 1, int(value) if kind < 12 else value, True)]
    (tmp_path / "a.tif").write_bytes(tiff(values(30, 20), extratags=extra))
    picture = read_image(tmp_path / "a.tif")
    assert picture.icc is None
    assert picture.notes == ("the colour profile is damaged: it was left out",)


# JPEG, WebP and BMP


def encoded(kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(values(64, 48, 3)).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
def test_small_jpeg_of_large_sides(tmp_path: Path, progressive: bool) -> None:
    data = bytearray(encoded("JPEG", progressive=progressive))
    frame = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 20_000, 20_000)
    (tmp_path / "a.jpg").write_bytes(data)
    refused(tmp_path / "a.jpg", r"bytes are too few for 20000 x 20000 pixels")


@pytest.mark.parametrize("restarts", [0, 3])
@pytest.mark.parametrize(
    ("mode", "progressive"),
    [("RGB", False), ("RGB", True), ("L", False), ("L", True), ("CMYK", False)],
)
def test_jpeg_whose_data_end_early(
    tmp_path: Path, progressive: bool, restarts: int, mode: str
) -> None:
    buffer = BytesIO()
    options = {"restart_marker_blocks": restarts} if restarts else {}
    image = Image.fromarray(values(90, 70, 3)).convert(mode)
    image.save(buffer, "JPEG", quality=90, progressive=progressive, **options)
    data, file = buffer.getvalue(), tmp_path / "a.jpg"
    file.write_bytes(data)
    assert read_image(file).notes == ()
    start = data.rindex(b"\xff\xda") + 14
    for share in (0.4, 0.8):
        file.write_bytes(data[: start + int(share * (len(data) - start))] + b"\xff\xd9")
        refused(file, "damaged or cut short")


def test_jpeg_that_lacks_its_last_pixels(tmp_path: Path) -> None:
    data = encoded("JPEG", quality=90)
    (tmp_path / "a.jpg").write_bytes(data[:-8] + b"\xff\xd9")
    told = "the last pixels of the image are missing in the file"
    assert read_image(tmp_path / "a.jpg").notes == (told,)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("colour", ["gray", "white", "black"])
@pytest.mark.parametrize("size", [(1, 1), (17, 16), (100, 33)])
def test_flat_jpeg_is_whole(tmp_path: Path, mode: str, colour: str, size: tuple[int, int]) -> None:
    for quality in (10, 75, 100):
        Image.new(mode, size, colour).save(tmp_path / "a.jpg", quality=quality)
        assert read_image(tmp_path / "a.jpg").notes == ()


def test_small_bmp_of_large_sides(tmp_path: Path) -> None:
    data = bytearray(encoded("BMP"))
    data[18:26] = struct.pack("<ii", 20_000, 20_000)
    (tmp_path / "a.bmp").write_bytes(data)
    refused(tmp_path / "a.bmp", "bytes are too few for 20000 x 20000 pixels")


def test_webp_beyond_what_pillow_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.webp"
    file.write_bytes(encoded("WEBP", lossless=True))  # 48 x 64 pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert read_image(file).pixels.shape == (1, 3, 64, 48)  # Pillow would warn, up to twice that

    def refuse(_: object) -> None:
        raise Image.DecompressionBombError

    monkeypatch.setattr("scalewise.images.pillow.WebPImagePlugin.WebPImageFile", refuse)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 89_000_000)
    refused(file, "has more pixels than the 178 million that Pillow decodes in a WebP; convert it")


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"GIF89a", "a GIF"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
        (b"8BPS\0\1", "a Photoshop file"),
    ],
)
def test_other_kinds_are_named(tmp_path: Path, head: bytes, name: str) -> None:
    (tmp_path / "a.png").write_bytes(head + bytes(100))
    refused(tmp_path / "a.png", rf"is not a PNG, .* image \(it is {name}.*\); convert it first")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
def test_too_little_memory_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    (tmp_path / "a.png").write_bytes(png(10, 8, rows(8, 10)))
    monkeypatch.setattr("scalewise.images.reading.to_tensor", fail)
    refused(tmp_path / "a.png", "too large for the memory of this machine")
