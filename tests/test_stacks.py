"""TIFF stacks and channels: all planes are read, and written with the same axes and metadata."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from scalewise.errors import ScalewiseError
from scalewise.images import Picture, Resolution, read_image, write_image

Array = np.ndarray[Any, Any]


def values(*shape: int, dtype: str = "uint16", seed: int = 0) -> Array:
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return generator.random(shape).astype(dtype)
    ends = np.iinfo(dtype)
    return generator.integers(ends.min, ends.max, shape, endpoint=True).astype(dtype)


def again(path: Path) -> Picture:
    """Read a file, and write it beside itself as b.tif."""
    picture = read_image(path)
    assert write_image(path.with_name("b.tif"), picture) == []
    return picture


def assert_same_file(first: Path, second: Path) -> None:
    """Same values, axes and meaning of samples."""
    with tifffile.TiffFile(first) as a, tifffile.TiffFile(second) as b:
        assert (a.series[0].axes, a.series[0].kind) == (b.series[0].axes, b.series[0].kind)
        assert len(a.series) == len(b.series) == 1
        np.testing.assert_array_equal(a.series[0].asarray(), b.series[0].asarray())
        assert a.series[0].dtype == b.series[0].dtype
        pages = [tiff.pages[0].aspage() for tiff in (a, b)]
        for name in ("photometric", "extrasamples", "planarconfig", "bitspersample"):
            assert getattr(pages[0], name) == getattr(pages[1], name)


@pytest.mark.parametrize(
    ("shape", "planes", "options"),
    [
        ((5, 9, 8), 5, {"photometric": "minisblack"}),
        ((5, 9, 8), 5, {"photometric": "minisblack", "metadata": None}),
        ((5, 9, 8), 5, {"truncate": True}),
        ((5, 9, 8), 5, {"imagej": True}),
        ((5, 9, 8), 5, {"imagej": True, "truncate": True}),
        ((2, 3, 4, 9, 8), 24, {"imagej": True, "metadata": {"axes": "TZCYX"}}),
        ((2, 3, 4, 9, 8), 24, {"ome": True, "metadata": {"axes": "TZCYX"}}),
        ((4, 3, 9, 8), 12, {"ome": True, "metadata": {"axes": "ZCYX"}}),
        ((2, 3, 9, 8), 6, {"photometric": "minisblack", "metadata": {"axes": "CZYX"}}),
        ((5, 20, 40), 5, {"photometric": "minisblack", "tile": (16, 16), "compression": "zlib"}),
        ((5, 9, 8), 5, {"photometric": "miniswhite"}),
        ((5, 9, 8), 5, {"byteorder": ">", "bigtiff": True, "photometric": "minisblack"}),
    ],
)
def test_stacks(tmp_path: Path, shape: tuple[int, ...], planes: int, options: Any) -> None:
    array = values(*shape)
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    picture = again(tmp_path / "a.tif")
    assert picture.pixels.shape == (planes, 1, *shape[-2:])
    if options.get("photometric") != "miniswhite":
        expected = array.reshape(-1, *shape[-2:]).astype(np.float32) / 65535
        np.testing.assert_allclose(picture.pixels[:, 0].numpy(), expected, rtol=1e-6)
    assert_same_file(tmp_path / "a.tif", tmp_path / "b.tif")


@pytest.mark.parametrize("count", [2, 4, 5, 7])
@pytest.mark.parametrize("separate", [False, True])
def test_channels_that_are_no_colours(tmp_path: Path, count: int, separate: bool) -> None:
    array = values(9, 8, count)
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.moveaxis(array, -1, 0) if separate else array,
        photometric="minisblack",
        planarconfig="separate" if separate else "contig",
    )
    picture = again(tmp_path / "a.tif")
    assert picture.alpha is None
    expected = np.moveaxis(array, -1, 0).astype(np.float32) / 65535
    np.testing.assert_allclose(picture.pixels[:, 0].numpy(), expected, rtol=1e-6)
    assert_same_file(tmp_path / "a.tif", tmp_path / "b.tif")


@pytest.mark.parametrize("extra", ["unspecified", "unassalpha"])
@pytest.mark.parametrize("stack", [(), (3,)])
def test_only_alpha_is_alpha(tmp_path: Path, extra: str, stack: tuple[int, ...]) -> None:
    array = values(*stack, 9, 8, 4)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=[extra])
    picture = again(tmp_path / "a.tif")
    count = stack[0] if stack else 1
    if extra == "unassalpha":
        assert picture.pixels.shape == (count, 3, 9, 8)
        assert picture.alpha is not None
        assert picture.alpha.shape == (count, 1, 9, 8)
    else:
        assert picture.pixels.shape == (4 * count, 1, 9, 8)
        assert picture.alpha is None
    assert_same_file(tmp_path / "a.tif", tmp_path / "b.tif")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("colours", [1, 3])
def test_alpha_that_is_multiplied_into_colours(tmp_path: Path, dtype: str, colours: int) -> None:
    array = values(30, 40, colours + 1, dtype=dtype)
    share = array[..., -1:] / (1 if dtype == "float32" else np.iinfo(dtype).max)
    array[..., :-1] = (array[..., :-1] * share).astype(dtype)
    tifffile.imwrite(
        tmp_path / "a.tif", array, photometric="rgb" if colours == 3 else "minisblack",
        planarconfig="contig", extrasamples=["assocalpha"],
    )  # fmt: skip
    picture = again(tmp_path / "a.tif")
    assert picture.pixels.shape == (1, colours, 30, 40)
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.pages[0].aspage().extrasamples == (1,)
        np.testing.assert_allclose(tiff.asarray(), array, rtol=1e-6)
    write_image(tmp_path / "c.png", picture)
    assert read_image(tmp_path / "c.png").alpha is not None


def test_packed_bits_fill_the_type_of_another_format(tmp_path: Path) -> None:
    if not hasattr(pytest.importorskip("imagecodecs"), "ccittfax4_decode"):
        pytest.skip("needs an imagecodecs that packs bits")
    array = values(9, 8) >> 4
    tifffile.imwrite(tmp_path / "a.tif", array, bitspersample=12)
    notes = write_image(tmp_path / "b.png", read_image(tmp_path / "a.tif"))
    assert notes == ["PNG holds no packed values: 0 to 4095 became 0 to 65535"]
    found = read_image(tmp_path / "b.png").pixels[0, 0].numpy()
    np.testing.assert_allclose(found, array / 4095, atol=1e-5)


def test_several_extra_samples(tmp_path: Path) -> None:
    array = values(9, 8, 5)
    kinds = ["unspecified", "unassalpha"]
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=kinds)
    assert again(tmp_path / "a.tif").pixels.shape == (5, 1, 9, 8)
    assert_same_file(tmp_path / "a.tif", tmp_path / "b.tif")


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "int32", "float16", "float64"])
def test_types_of_microscopes(tmp_path: Path, dtype: str) -> None:
    array = values(3, 9, 8, dtype=dtype)
    if array.itemsize == 4:
        array = (array // 2**9).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    picture = again(tmp_path / "a.tif")
    assert picture.depth == dtype
    found = tifffile.imread(tmp_path / "b.tif")
    assert found.dtype == dtype
    tolerance = 1e-6 if dtype == "float64" else 0
    np.testing.assert_allclose(found, array, rtol=0, atol=tolerance)


def test_integers_that_floats_cannot_hold(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 2**24 + 1]], np.uint32))
    with pytest.raises(ScalewiseError, match="holds uint32 values from 0 to 16777217, more than"):
        read_image(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.array([[2**31 + 9, 2**31 + 2**24]], np.uint32))
    picture = read_image(tmp_path / "b.tif")
    write_image(tmp_path / "c.tif", picture)
    assert tifffile.imread(tmp_path / "c.tif").tolist() == [[2**31 + 9, 2**31 + 2**24]]


def test_imagej_metadata_are_kept(tmp_path: Path) -> None:
    metadata = {
        "axes": "ZCYX", "unit": "um", "spacing": 0.5, "min": 3.0, "max": 99.0, "mode": "composite",
        "Labels": [f"plane {i}" for i in range(6)], "Info": "Objective: 20x", "loop": False,
    }  # fmt: skip
    tifffile.imwrite(
        tmp_path / "a.tif", values(3, 2, 9, 8), imagej=True, resolution=(10, 5), metadata=metadata
    )
    picture = again(tmp_path / "a.tif")
    assert picture.resolution == Resolution(10, 5, "µm")
    assert_same_file(tmp_path / "a.tif", tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as a, tifffile.TiffFile(tmp_path / "b.tif") as b:
        assert a.imagej_metadata == b.imagej_metadata
        assert b.pages[0].aspage().resolution == (10, 5)


@pytest.mark.parametrize("stored", [b"unit=\\u00B5m", b"unit=\xb5m", b"unit=micron"])
def test_units_of_imagej(tmp_path: Path, stored: bytes) -> None:
    metadata = {"axes": "ZYX", "unit": "abcdefgh"[: len(stored) - 5], "Info": "20 \xb5m"}
    tifffile.imwrite(
        tmp_path / "0.tif", values(3, 9, 8), imagej=True, resolution=(10, 5), metadata=metadata
    )
    data = (tmp_path / "0.tif").read_bytes().replace(f"unit={metadata['unit']}".encode(), stored)
    (tmp_path / "a.tif").write_bytes(data)
    assert again(tmp_path / "a.tif").resolution == Resolution(10, 5, "µm")
    found = read_image(tmp_path / "b.tif")
    assert found.resolution == Resolution(10, 5, "µm")
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.imagej_metadata is not None
        assert tiff.imagej_metadata["Info"] == "20 \xb5m"


def test_text_that_is_not_ascii(tmp_path: Path) -> None:
    told = "<GDAL>é µ</GDAL>"
    tags = [(42112, 2, 0, told.encode(), True), (305, 2, 0, b"Proc\xc3\xa9d\xc3\xa9", True)]
    array = values(9, 8)
    tifffile.imwrite(
        tmp_path / "a.tif", array, description="caf\xe9".encode(), metadata=None, extratags=tags,
        software=False,
    )  # fmt: skip
    again(tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        found = tiff.pages[0].aspage().tags
        assert [found.valueof(code) for code in (42112, 305, 270)] == [told, "Procédé", "café"]


def test_rgb_of_fewer_channels_is_damaged(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values(9, 8), photometric="minisblack", metadata=None)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        place = tiff.pages[0].aspage().tags[262].valueoffset
    data[place] = 2
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(ScalewiseError, match="damaged: it announces RGB data of 1 channels"):
        read_image(tmp_path / "a.tif")


def test_colours_and_regions_of_imagej(tmp_path: Path) -> None:
    tables = [values(3, 256, dtype="uint8", seed=i) for i in range(2)]
    region = b"Iout" + bytes(60)
    metadata = {
        "axes": "ZCYX", "mode": "composite", "LUTs": tables, "Ranges": (0.0, 9.0, 5.0, 4000.0),
        "ROI": region, "Overlays": [region, region], "xorigin": 3.0,
    }  # fmt: skip
    tifffile.imwrite(tmp_path / "a.tif", values(3, 2, 9, 8), imagej=True, metadata=metadata)
    picture = again(tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as a, tifffile.TiffFile(tmp_path / "b.tif") as b:
        first, second = a.imagej_metadata, b.imagej_metadata
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.pop("LUTs"), second.pop("LUTs"))
    assert first == second
    large = picture.scaled(2)
    assert large.notes == ("regions (ROI) of ImageJ were left out",)
    write_image(tmp_path / "c.tif", replace(large, pixels=torch.rand(6, 1, 18, 16)))
    with tifffile.TiffFile(tmp_path / "c.tif") as tiff:
        assert tiff.imagej_metadata is not None
        assert not {"ROI", "Overlays"} & set(tiff.imagej_metadata)
        assert tiff.imagej_metadata["xorigin"] == 6


OME: dict[str, Any] = {
    "axes": "ZCYX", "PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.2,
    "PhysicalSizeYUnit": "µm", "PhysicalSizeZ": 0.7, "PhysicalSizeZUnit": "µm",
    "Channel": {"Name": ["DAPI", "GFP"]}, "Description": "a cell in µm",
}  # fmt: skip


def pixels_of(path: Path) -> tuple[dict[str, str], list[str | None]]:
    """Attributes of the pixels and names of channels in OME-XML."""
    with tifffile.TiffFile(path) as tiff:
        assert tiff.ome_metadata is not None
        root = ET.fromstring(tiff.ome_metadata)
    space = root.tag.removesuffix("OME")
    pixels = root.find(f"{space}Image/{space}Pixels")
    assert pixels is not None
    return dict(pixels.attrib), [c.get("Name") for c in pixels.findall(f"{space}Channel")]


def test_ome_metadata_are_kept(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", values(3, 2, 9, 8), ome=True, metadata=OME)
    picture = again(tmp_path / "a.ome.tif")
    assert picture.resolution == Resolution(10, 5, "µm")
    assert_same_file(tmp_path / "a.ome.tif", tmp_path / "b.tif")
    assert pixels_of(tmp_path / "a.ome.tif") == pixels_of(tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.ome_metadata is not None
        assert "a cell in µm" in tiff.ome_metadata


def test_an_enlarged_stack_has_smaller_pixels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", values(3, 2, 9, 8), ome=True, metadata=OME)
    tifffile.imwrite(
        tmp_path / "a.tif", values(3, 9, 8), imagej=True, resolution=(10, 5),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 0.5},
    )  # fmt: skip
    for name, planes in (("a.ome.tif", 6), ("a.tif", 3)):
        large = replace(read_image(tmp_path / name).scaled(4), pixels=torch.rand(planes, 1, 36, 32))
        write_image(tmp_path / f"large-{name}", large)
        found = read_image(tmp_path / f"large-{name}")
        assert found.resolution == Resolution(40, 20, "µm")
        assert found.pixels.shape == (planes, 1, 36, 32)
    attributes, names = pixels_of(tmp_path / "large-a.ome.tif")
    assert (attributes["SizeX"], attributes["PhysicalSizeX"]) == ("32", "0.025")
    assert (attributes["SizeY"], attributes["PhysicalSizeZ"]) == ("36", "0.7")
    assert names == ["DAPI", "GFP"]
    with tifffile.TiffFile(tmp_path / "large-a.tif") as tiff:
        assert tiff.imagej_metadata is not None
        assert (tiff.imagej_metadata["unit"], tiff.imagej_metadata["spacing"]) == ("um", 0.5)


def test_place_on_the_ground_is_kept(tmp_path: Path) -> None:
    keys = (1, 1, 0, 1, 1024, 0, 1, 1)
    tags = [
        (33550, 12, 3, (10.0, 10.0, 0.0), True),
        (33922, 12, 6, (2.0, 3.0, 0.0, 440720.0, 3751320.0, 0.0), True),
        (34735, 3, len(keys), keys, True),
        (34737, 2, 0, "WGS 84|", True),
        (42113, 2, 0, "-9999", True),
    ]
    tifffile.imwrite(tmp_path / "a.tif", values(9, 8), extratags=tags, metadata=None)
    picture = again(tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        found = tiff.pages[0].aspage().tags
        for code, _, _, value, _ in tags:
            assert found.valueof(code) == value
    large = replace(picture.scaled(2), pixels=torch.rand(1, 1, 18, 16))
    write_image(tmp_path / "c.tif", large)
    with tifffile.TiffFile(tmp_path / "c.tif") as tiff:
        found = tiff.pages[0].aspage().tags
        assert found.valueof(33550) == (5, 5, 0)
        assert found.valueof(33922) == (4, 6, 0, 440720, 3751320, 0)
    notes = write_image(tmp_path / "d.png", picture)
    assert notes == ["PNG holds no place on the ground (GeoTIFF): it was left out"]


@pytest.mark.parametrize(("dtype", "nodata"), [("float32", -9999), ("uint16", 0), ("int16", -1)])
@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3), (2, 30, 40)])
def test_pixels_without_data_stay_without(
    tmp_path: Path, dtype: str, nodata: int, shape: tuple[int, ...]
) -> None:
    array = (7000 + 1000 * np.random.default_rng(0).random(shape)).astype(dtype)
    colour = shape[-1] == 3
    if colour:
        array[:9] = nodata
        array[20, 20, 0] = nodata  # one sample of a pixel that has data
    else:
        array[..., :9, :] = nodata
    tifffile.imwrite(
        tmp_path / "a.tif", array, extratags=[(42113, 2, 0, f"{nodata}", True)], metadata=None,
        photometric="rgb" if colour else "minisblack",
    )  # fmt: skip
    picture = again(tmp_path / "a.tif")
    np.testing.assert_allclose(tifffile.imread(tmp_path / "b.tif"), array, rtol=1e-6)
    black, white = picture.intensities.at(0)
    assert 6900 < black < white < 8100
    top = picture.pixels[..., :9, :]
    assert top.min() >= picture.pixels[..., 9:, :].median() - 0.6
    write_image(tmp_path / "c.tif", replace(picture, pixels=0.5 + 0.5 * picture.pixels.clamp(0)))
    found = tifffile.imread(tmp_path / "c.tif") == nodata
    expected = (array == nodata).all(-1, keepdims=True) if colour else array == nodata
    assert (found == expected).all()
    count, channels = picture.pixels.shape[:2]
    write_image(
        tmp_path / "d.tif", replace(picture.scaled(2), pixels=torch.rand(count, channels, 60, 80))
    )
    large = read_image(tmp_path / "d.tif")
    assert large.missing is not None
    assert large.missing[..., :18, :].all()
    assert not large.missing[..., 18:, :].any()
    if count == 1:
        notes = write_image(tmp_path / "e.png", picture)
        assert "PNG has no word for missing data: it was filled from around" in notes


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_stacks_fit_into_tiff_only(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ScalewiseError, match="holds one plane, found a stack of 3; write a"):
        write_image(tmp_path / f"a{suffix}", Picture(torch.rand(3, 1, 4, 5)))


def test_stack_made_in_python(tmp_path: Path) -> None:
    picture = Picture(torch.rand(4, 3, 5, 6), torch.ones(4, 1, 5, 6), depth="uint16")
    write_image(tmp_path / "a.tif", picture)
    found = read_image(tmp_path / "a.tif")
    torch.testing.assert_close(found.pixels, picture.pixels, rtol=0, atol=1 / 65535)
    assert found.alpha is not None
    assert found.alpha.shape == (4, 1, 5, 6)


def test_pyramid_levels_are_left_out_with_a_note(tmp_path: Path) -> None:
    array = values(64, 64)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(array, subifds=2, tile=(16, 16), photometric="minisblack")
        for step in (2, 4):
            writer.write(array[::step, ::step], subfiletype=1, tile=(16, 16))
    picture = read_image(tmp_path / "a.tif")
    assert picture.pixels.shape == (1, 1, 64, 64)
    assert picture.notes == ("2 reduced pages (thumbnail, pyramid or mask) were left out",)


def test_images_of_several_sizes_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(values(8, 9), metadata=None)
        writer.write(values(5, 6), metadata=None)
    with pytest.raises(ScalewiseError, match=r"holds 2 images or series \(8 x 9, 5 x 6\)"):
        read_image(tmp_path / "a.tif")


def test_part_of_an_ome_set_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", values(3, 9, 8), ome=True, metadata={"axes": "ZYX"})
    data = (tmp_path / "a.ome.tif").read_bytes()
    data = data.replace(b'SizeZ="3"', b'SizeZ="5"')
    (tmp_path / "b.ome.tif").write_bytes(data)
    with pytest.raises(ScalewiseError, match=r"holds 3 of 5 planes|damaged or cut short"):
        read_image(tmp_path / "b.ome.tif")


def test_palette_of_imagej_is_for_show(tmp_path: Path) -> None:
    array, table = values(9, 8, dtype="uint8"), values(3, 256)
    tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, colormap=table)
    picture = again(tmp_path / "a.tif")
    np.testing.assert_allclose(picture.pixels[0, 0].numpy(), array / np.float32(255))
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        np.testing.assert_array_equal(tiff.pages[0].aspage().colormap, table)
        np.testing.assert_array_equal(tiff.asarray(), array)


def test_packed_bits_stay_packed(tmp_path: Path) -> None:
    if not hasattr(pytest.importorskip("imagecodecs"), "ccittfax4_decode"):
        pytest.skip("needs an imagecodecs that packs bits")
    array = values(9, 8) >> 4
    tifffile.imwrite(tmp_path / "a.tif", array, bitspersample=12)
    picture = again(tmp_path / "a.tif")
    assert (picture.intensities.white, picture.intensities.source) == ((4095.0,), "file")
    assert_same_file(tmp_path / "a.tif", tmp_path / "b.tif")
    for read in (picture, read_image(tmp_path / "a.tif", white=3000)):
        write_image(tmp_path / "c.tif", replace(read, pixels=read.pixels + 0.5), force=True)
        assert tifffile.imread(tmp_path / "c.tif").max() == 4095


def test_other_readers_take_a_written_stack(tmp_path: Path) -> None:
    array = values(3, 9, 8, dtype="uint8")
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    again(tmp_path / "a.tif")
    with Image.open(tmp_path / "b.tif") as image:
        assert getattr(image, "n_frames", 1) == 3
        image.seek(2)
        np.testing.assert_array_equal(np.asarray(image), array[2])
