"""What files say beside their pixels: resolution, profile, text, XMP, tables of JPEG."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, JpegImagePlugin, PngImagePlugin

from scalewise.errors import UsageError
from scalewise.images import Picture, Resolution, read_image, write_image

Array = np.ndarray[Any, Any]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SUFFIXES = [".png", ".jpg", ".tif", ".webp", ".bmp"]


def photo(height: int = 40, width: int = 48, seed: int = 0) -> Image.Image:
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return Image.fromarray(array.astype(np.uint8)).resize((2 * width, 2 * height))


def dpi(path: Path) -> tuple[float, float] | None:
    """Dots per inch, as Pillow reads them."""
    with Image.open(path) as image:
        found = image.info.get("dpi")
        if image.format == "WEBP":
            exif = image.getexif()
            found = (exif[282], exif[283]) if exif.get(296) == 2 else None
    return None if found is None else (float(found[0]), float(found[1]))


# Resolution


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("source", SUFFIXES)
@pytest.mark.parametrize("resolution", [(600.0, 600.0), (300.0, 72.0)])
def test_dots_per_inch_go_through_every_pair_of_formats(
    tmp_path: Path, source: str, suffix: str, resolution: tuple[float, float]
) -> None:
    options: dict[str, Any] = {"dpi": resolution}
    if source == ".webp":
        exif = Image.Exif()
        exif[282], exif[283], exif[296] = *resolution, 2
        options = {"exif": exif}
    photo().save(tmp_path / f"a{source}", **options)
    picture = read_image(tmp_path / f"a{source}")
    write_image(tmp_path / f"b{suffix}", picture)
    assert dpi(tmp_path / f"b{suffix}") == pytest.approx(resolution, abs=0.02)
    write_image(tmp_path / f"c{suffix}", picture.scaled(4))
    larger = tuple(4 * value for value in resolution)
    assert dpi(tmp_path / f"c{suffix}") == pytest.approx(larger, abs=0.05)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_none_is_invented(tmp_path: Path, suffix: str) -> None:
    photo().save(tmp_path / f"a{suffix}")
    picture = read_image(tmp_path / f"a{suffix}")
    if suffix == ".bmp":  # Pillow writes 96 dots per inch
        picture = replace(picture, resolution=None)
    assert picture.resolution is None
    for other in (".png", ".jpg", ".tif", ".webp"):
        write_image(tmp_path / f"b{other}", picture, force=True)
        assert read_image(tmp_path / f"b{other}").resolution is None


def test_resolution_of_exif_follows_the_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[271], exif[282], exif[283], exif[296] = "Maker", 299.5, 299.5, 2
    photo().save(tmp_path / "a.jpg", exif=exif, dpi=(300, 300))
    picture = read_image(tmp_path / "a.jpg")
    assert picture.resolution == Resolution(299.5, 299.5)
    write_image(tmp_path / "b.jpg", picture.scaled(2))
    with Image.open(tmp_path / "b.jpg") as image:
        assert (image.getexif()[271], image.getexif()[282]) == ("Maker", 599)
        assert image.info["jfif_density"] == (599, 599)


@pytest.mark.parametrize("orientation", [1, 6])
def test_resolution_turns_with_the_picture(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo().save(tmp_path / "a.jpg", exif=exif, dpi=(300, 72))
    sides = (300.0, 72.0) if orientation == 1 else (72.0, 300.0)
    assert read_image(tmp_path / "a.jpg").resolution == Resolution(sides[0], sides[1])


@pytest.mark.parametrize("unit", ["CENTIMETER", "INCH", "NONE"])
def test_units_of_tiff(tmp_path: Path, unit: str) -> None:
    array = np.zeros((8, 9), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array, resolution=(100, 50), resolutionunit=unit)
    write_image(tmp_path / "b.tif", read_image(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        tags = tiff.pages[0].aspage().tags
        assert [tags.valueof(code)[0] for code in (282, 283)] == [100, 50]
        assert tags.valueof(296).name == unit


def test_micrometres_in_other_formats(tmp_path: Path) -> None:
    picture = Picture(torch.rand(1, 8, 9), depth="uint16", resolution=Resolution(10, 10, "µm"))
    write_image(tmp_path / "a.png", picture)
    assert read_image(tmp_path / "a.png").resolution == Resolution(254_000, 254_000)
    write_image(tmp_path / "a.tif", picture)
    found = read_image(tmp_path / "a.tif").resolution
    assert found is not None
    assert found.x == pytest.approx(10**5)
    assert found.unit == "cm"
    assert Resolution(10, 10, "µm").per("inch") == pytest.approx((254_000, 254_000))
    assert Resolution(10, 10, "furlong").per("m") is None


# Colour profiles, text and XMP


def large_profile(size: int) -> bytes:
    body = SRGB + np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8).tobytes()
    return struct.pack(">I", len(body)) + body[4:]


@pytest.mark.parametrize("source", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_profiles_above_a_megabyte(tmp_path: Path, source: str, suffix: str) -> None:
    profile = large_profile(1_500_000)
    photo().save(tmp_path / f"a{source}", icc_profile=profile)
    picture = read_image(tmp_path / f"a{source}")
    assert picture.icc == profile
    assert picture.notes == ()
    write_image(tmp_path / f"b{suffix}", picture)
    assert read_image(tmp_path / f"b{suffix}").icc == profile


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt"])
@pytest.mark.parametrize("words", [20, 400_000])
def test_text_goes_back_into_a_png_unless_it_is_long(tmp_path: Path, kind: str, words: int) -> None:
    info = PngImagePlugin.PngInfo()
    if kind == "iTXt":
        info.add_itxt("workflow", "node " * words, zip=True)
        info.add_itxt("author", "Jemand")
    else:
        info.add_text("workflow", "node " * words, zip=kind == "zTXt")
    photo().save(tmp_path / "a.png", pnginfo=info)
    picture = read_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png", picture)
    assert torch.equal(read_image(tmp_path / "b.png").pixels, picture.pixels)
    with Image.open(tmp_path / "b.png") as image:
        image.load()
        assert image.info.get("author") == ("Jemand" if kind == "iTXt" else None)
    if words == 20:
        assert picture.notes == ()
        assert chunks(tmp_path / "a.png", kind) == chunks(tmp_path / "b.png", kind) != []
    else:
        told = "text above 1 MB was left out: few programs would open the file"
        assert picture.notes == (told,)


def chunks(path: Path, kind: str) -> list[bytes]:
    data, at, found = path.read_bytes(), 8, []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == kind.encode():
            found.append(data[at + 8 : at + 8 + length])
        at += 12 + length
    return found


def test_a_profile_that_unpacks_to_more_than_it_may(tmp_path: Path) -> None:
    packed = b"ICC\0\0" + zlib.compress(bytes(2**26), 9)
    photo().save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    check = struct.pack(">I", zlib.crc32(b"iCCP" + packed))
    chunk = struct.pack(">I", len(packed)) + b"iCCP" + packed + check
    (tmp_path / "b.png").write_bytes(data[:33] + chunk + data[33:])
    picture = read_image(tmp_path / "b.png")
    assert picture.icc is None
    assert picture.notes == ("the colour profile is damaged: it was left out",)


def test_gamma_and_white_of_a_png_are_kept(tmp_path: Path) -> None:
    gamma = struct.pack(">I", 100_000)
    white = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", gamma)
    info.add(b"cHRM", white)
    photo().save(tmp_path / "a.png", pnginfo=info)
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.png"))
    write_image(tmp_path / "c.png", replace(read_image(tmp_path / "a.png"), depth="uint8"))
    for name in ("b.png", "c.png"):
        assert chunks(tmp_path / name, "gAMA") == [gamma]
        assert chunks(tmp_path / name, "cHRM") == [white]


@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_xmp_goes_through_every_pair_of_formats(tmp_path: Path, source: str, suffix: str) -> None:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="%d" rating="5"></x:xmpmeta>'
    given = Picture(torch.rand(3, 8, 9), xmp=packet % 6)
    write_image(tmp_path / f"a{source}", given)
    picture = read_image(tmp_path / f"a{source}")
    assert picture.xmp == packet % 1
    write_image(tmp_path / f"b{suffix}", picture)
    assert read_image(tmp_path / f"b{suffix}").xmp == packet % 1


def test_what_bmp_cannot_hold_is_told(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[271] = "Maker"
    picture = Picture(torch.rand(3, 8, 9), torch.ones(1, 8, 9), icc=SRGB, exif=exif.tobytes())
    assert write_image(tmp_path / "a.bmp", picture) == [
        "BMP holds no alpha: it was left out",
        "BMP holds no colour profile: it was left out",
        "BMP holds no EXIF: it was left out",
    ]
    found = read_image(tmp_path / "a.bmp")
    torch.testing.assert_close(found.pixels, picture.pixels, rtol=0, atol=0.51 / 255)


# JPEG


@pytest.mark.parametrize("quality", [30, 75, 92])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_is_written_as_it_was(
    tmp_path: Path, quality: int, subsampling: int, progressive: bool
) -> None:
    options: dict[str, Any] = {
        "quality": quality,
        "subsampling": subsampling,
        "progressive": progressive,
    }
    photo().save(tmp_path / "a.jpg", **options)
    write_image(tmp_path / "b.jpg", read_image(tmp_path / "a.jpg"))
    tables = [jpeg(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    assert tables[0] == tables[1]
    write_image(tmp_path / "c.jpg", read_image(tmp_path / "a.jpg"), quality=60)
    photo().save(tmp_path / "d.jpg", quality=60)
    assert jpeg(tmp_path / "c.jpg")[0] == jpeg(tmp_path / "d.jpg")[0]


def jpeg(path: Path) -> tuple[Any, int, bool]:
    with JpegImagePlugin.JpegImageFile(path) as image:
        sampling = JpegImagePlugin.get_sampling(image)
        return image.quantization, sampling, "progressive" in image.info


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_tables_of_other_channels(tmp_path: Path, mode: str) -> None:
    photo().convert(mode).save(tmp_path / "a.jpg", quality=50)
    picture = read_image(tmp_path / "a.jpg")
    other = replace(picture, pixels=torch.rand(1, 4 - picture.pixels.shape[1], 16, 24))
    write_image(tmp_path / "b.jpg", other)
    assert read_image(tmp_path / "b.jpg").pixels.shape == other.pixels.shape
    first = next(iter(jpeg(tmp_path / "a.jpg")[0].values()))
    assert next(iter(jpeg(tmp_path / "b.jpg")[0].values())) == first


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_quality_out_of_range(tmp_path: Path, quality: int) -> None:
    with pytest.raises(UsageError, match=f"quality must be from 1 to 100, found {quality}"):
        write_image(tmp_path / "a.jpg", Picture(torch.rand(1, 8, 9)), quality=quality)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_formats_without_quality(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a{suffix}"
    with pytest.raises(UsageError, match=r"a\.\w+: only .jpg and .webp files have a quality"):
        write_image(file, Picture(torch.rand(1, 8, 9)), quality=90)
    assert not file.exists()


def test_webp_at_a_quality(tmp_path: Path) -> None:
    """Smaller files the less, as Pillow writes them; without loss if none is asked for."""
    photo().save(tmp_path / "a.png")
    picture = read_image(tmp_path / "a.png")
    sizes = []
    for quality in (20, 80, None):
        write_image(tmp_path / "b.webp", picture, quality=quality, force=True)
        sizes.append((tmp_path / "b.webp").stat().st_size)
        buffer = BytesIO()
        options = {"lossless": True} if quality is None else {"quality": quality}
        photo().save(buffer, "WEBP", exact=True, **options)
        with Image.open(tmp_path / "b.webp") as found, Image.open(buffer) as expected:
            assert np.array_equal(np.asarray(found), np.asarray(expected))
    assert sizes[0] < sizes[1] < sizes[2]


def test_other_pictures_have_quality_95(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", Picture(torch.rand(3, 8, 9)))
    buffer = BytesIO()
    photo().save(buffer, "JPEG", quality=95, subsampling=0)
    buffer.seek(0)
    with JpegImagePlugin.JpegImageFile(buffer) as image:
        expected = image.quantization
    assert jpeg(tmp_path / "a.jpg") == (expected, 0, False)


def test_iptc_and_comments_of_a_jpeg_go_back(tmp_path: Path) -> None:
    facts = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0a\x1c\x02\x78\0\x05hello"
    photo().save(tmp_path / "0.jpg", comment=b"a comment", dpi=(300, 300))
    data = (tmp_path / "0.jpg").read_bytes()
    segment = b"\xff\xed" + struct.pack(">H", len(facts) + 2) + facts
    (tmp_path / "a.jpg").write_bytes(data[:20] + segment + data[20:])
    picture = read_image(tmp_path / "a.jpg")
    assert write_image(tmp_path / "b.jpg", picture) == []
    with JpegImagePlugin.JpegImageFile(tmp_path / "b.jpg") as image:
        assert dict(image.applist)["APP13"] == facts
        assert image.info["comment"] == b"a comment"
        assert image.info["dpi"] == (300, 300)
    told = "PNG holds no IPTC or comment of a JPEG: it was left out"
    assert write_image(tmp_path / "b.png", picture) == [told]


def test_pictures_behind_the_first_are_told(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[photo(seed=1)])
    told = "pictures behind the first (depth, gain map or preview) were left out"
    assert read_image(tmp_path / "a.jpg").notes == (told,)


def test_text_and_gamma_of_a_png_are_told(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "Somebody")
    info.add(b"gAMA", struct.pack(">I", 100_000))
    photo().save(tmp_path / "a.png", pnginfo=info)
    assert write_image(tmp_path / "a.jpg", read_image(tmp_path / "a.png")) == [
        "JPEG holds no text of a PNG: it was left out",
        "JPEG holds no gamma of a PNG: it was left out",
    ]
