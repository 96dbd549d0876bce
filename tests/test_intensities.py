"""Black and white: the same picture in any unit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from scalewise.errors import ScalewiseError, UsageError
from scalewise.images import Intensities, Picture, read_image, write_image

Array = np.ndarray[Any, Any]


def test_stored_values_and_intensities_are_inverse() -> None:
    range_ = Intensities((100.0, 10.0), (400.0, 20.0), "given")
    stored = torch.tensor([[100.0, 250.0, 400.0], [5.0, 10.0, 20.0]]).reshape(2, 1, 1, 3)
    pixels = range_.of(stored)
    assert pixels.flatten().tolist() == [0, 0.5, 1, -0.5, 0, 1]
    assert torch.equal(range_.stored(pixels), stored)
    assert range_.differences() == Intensities((0.0, 0.0), (300.0, 10.0), "given")
    assert str(range_) == "100 to 400, 10 to 20"


@pytest.mark.parametrize(("black", "white"), [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0)])
def test_white_must_be_above_black(tmp_path: Path, black: float, white: float) -> None:
    with pytest.raises(ScalewiseError, match="white must be above its black"):
        Intensities((black,), (white,))
    tifffile.imwrite(tmp_path / "a.tif", np.eye(4, dtype=np.uint16))
    with pytest.raises(UsageError, match=f"found --black {black:g} and --white {white:g}"):
        read_image(tmp_path / "a.tif", black=black, white=white)


def test_a_given_range_is_used_and_written_back(tmp_path: Path) -> None:
    array = np.array([[90, 100, 250], [400, 410, 65535]], np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array)
    picture = read_image(tmp_path / "a.tif", black=100, white=400)
    assert picture.intensities == Intensities((100.0,), (400.0,), "given")
    expected = torch.from_numpy((array.astype(np.float32) - 100) / 300)
    torch.testing.assert_close(picture.pixels[0, 0], expected)
    write_image(tmp_path / "b.tif", picture)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), array)


def test_a_range_for_each_plane_or_for_all() -> None:
    with pytest.raises(ScalewiseError, match="one for each of 2 planes, found 3"):
        Picture(torch.rand(2, 1, 3, 4), intensities=Intensities((0.0,) * 3, (1.0,) * 3))


# Found in the pixels


def scene(noise: float = 0.1, seed: int = 0) -> Array:
    """A picture that goes from 0 to 1, with white noise."""
    rows, columns = np.mgrid[:96, :128]
    clean = (np.sin(rows / 9) * np.cos(columns / 13) + 1) / 2
    return clean + noise * np.random.default_rng(seed).normal(size=clean.shape)


def read(path: Path, array: Array, **options: Any) -> Picture:
    tifffile.imwrite(path, array, photometric="minisblack", **options)
    return read_image(path)


@pytest.mark.parametrize("bits", [16, 14, 12, 10, 8])
def test_counts_of_any_bits_are_the_same_picture(tmp_path: Path, bits: int) -> None:
    white = 2**bits - 1
    array = np.rint(scene().clip(0, 1) * white).astype(np.uint16)
    picture = read(tmp_path / "a.tif", array)
    ends = (0.0,), (float(white),)
    found = Intensities(*ends, "found", float(white))
    assert picture.intensities == (Intensities(*ends) if bits == 16 else found)
    np.testing.assert_allclose(picture.pixels[0, 0].numpy(), array / white, rtol=1e-6)
    told = f"{bits}-bit counts: 0 to {white} taken for black to white; black and white set it"
    assert picture.notes == (() if bits == 16 else (told,))
    write_image(tmp_path / "b.tif", picture)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), array)


@pytest.mark.parametrize("factor", [1e-9, 1e-3, 3.9, 100, 4095, 65535, 1e9])
@pytest.mark.parametrize("offset", [0, -0.5, 40])
def test_floats_of_any_unit_are_the_same_picture(
    tmp_path: Path, factor: float, offset: float
) -> None:
    array = (scene() + offset) * factor
    picture = read(tmp_path / "a.tif", array)
    expected = read(tmp_path / "b.tif", 7 * (scene() + 3))
    assert picture.intensities.source == "found"
    torch.testing.assert_close(picture.pixels, expected.pixels, rtol=0, atol=1e-5)
    black, white = picture.intensities.at(0)
    assert black / factor - offset == pytest.approx(0, abs=0.25)
    assert white / factor - offset == pytest.approx(1, abs=0.25)
    write_image(tmp_path / "c.tif", picture)
    stored = tifffile.imread(tmp_path / "c.tif")
    assert stored.dtype == np.float64
    np.testing.assert_allclose(stored, array, rtol=0, atol=1e-6 * factor)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("uint16", 100, 400), ("uint16", 30000, 31000), ("int16", -1000, 3000), ("int8", -100, 100),
     ("uint32", 0, 100_000), ("int32", -5, 2_000_000)],
)  # fmt: skip
def test_counts_of_microscopes(tmp_path: Path, dtype: str, low: int, high: int) -> None:
    array = np.rint(scene() * (high - low) + low).clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
    picture = read(tmp_path / "a.tif", array.astype(dtype))
    assert picture.intensities.source == "found"
    black, white = picture.intensities.at(0)
    assert (black - low) / (high - low) == pytest.approx(0, abs=0.25)
    assert (white - low) / (high - low) == pytest.approx(1, abs=0.25)
    write_image(tmp_path / "b.tif", picture)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), array)


@pytest.mark.parametrize(
    "array",
    [
        scene(0.2),  # noise below 0 and above 1
        scene().clip(0, 1) * 0.4 + 0.3,  # flat
        np.where(np.indices((96, 128)).sum(0) % 40 == 0, 4, scene(0).clip(0, 1)),  # highlights
        np.zeros((8, 9)),
        np.ones((8, 9)),
        np.full((8, 9), 0.3),
        np.eye(64),
    ],
)
def test_floats_that_look_like_intensities_stay(tmp_path: Path, array: Array) -> None:
    picture = read(tmp_path / "a.tif", array.astype(np.float32))
    assert picture.intensities == Intensities()
    assert picture.notes == ()
    np.testing.assert_array_equal(picture.pixels[0, 0].numpy(), array.astype(np.float32))


@pytest.mark.parametrize("white", [0.41, 0.6, 1])
def test_photos_of_16_bits_stay(tmp_path: Path, white: float) -> None:
    array = np.rint(scene().clip(0, 1) * white * 65535).astype(np.uint16)
    assert read(tmp_path / "a.tif", array).intensities == Intensities((0.0,), (65535.0,))


@pytest.mark.parametrize("value", [0, 5, 40_000, 65_535])
def test_one_value_is_no_range(tmp_path: Path, value: int) -> None:
    picture = read(tmp_path / "a.tif", np.full((8, 9), value, np.uint16))
    assert picture.intensities == Intensities((0.0,), (65535.0,))
    for dtype in ("float32", "int16", "int32"):
        stored = np.full((8, 9), min(value, 32_000), dtype)
        write_image(tmp_path / "b.tif", read(tmp_path / "a.tif", stored), force=True)
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), stored)


def test_hot_pixels_do_not_move_the_range(tmp_path: Path) -> None:
    array = np.rint(scene().clip(0, 1) * 4095).astype(np.uint16)
    array[[3, 40, 90, 70], [5, 100, 20, 127]] = 65535
    picture = read(tmp_path / "a.tif", array)
    assert picture.intensities == Intensities((0.0,), (4095.0,), "found")
    write_image(tmp_path / "b.tif", picture)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), array)


def test_masks(tmp_path: Path) -> None:
    array = (scene(0) > 0.5).astype(np.uint16)
    picture = read(tmp_path / "a.tif", array)
    np.testing.assert_array_equal(picture.pixels[0, 0].numpy(), array)


def test_bytes_are_never_stretched(tmp_path: Path) -> None:
    array = np.rint(scene().clip(0, 1) * 20 + 3).astype(np.uint8)
    assert read(tmp_path / "a.tif", array).intensities == Intensities((0.0,), (255.0,))
    assert read_image(tmp_path / "a.tif", white=23).intensities.white == (23.0,)


def test_a_stack_has_one_range_for_each_channel(tmp_path: Path) -> None:
    stack = np.stack([[scene(seed=1), scene(seed=2)], [scene(seed=3) / 2, scene(seed=4)]])
    counts = np.rint(stack.clip(0, 1) * [[[[255]], [[4095]]]]).astype(np.uint16)
    picture = read(tmp_path / "a.tif", counts, imagej=True, metadata={"axes": "ZCYX"})
    assert picture.intensities.white == (255.0, 4095.0, 255.0, 4095.0)
    assert picture.notes == (
        "channel 1: 8-bit counts: 0 to 255 taken for black to white; black and white set it",
        "channel 2: 12-bit counts: 0 to 4095 taken for black to white; black and white set it",
    )
    picture = read(tmp_path / "a.tif", counts, imagej=True, metadata={"axes": "TZYX"})
    assert picture.intensities.white == (4095.0,)
    assert len(picture.notes) == 1


def test_many_channels_are_a_stack(tmp_path: Path) -> None:
    stack = np.stack([scene(seed=seed)[:40, :50] for seed in range(17)]).clip(0, 1)
    stack[::2] *= 255 / 4095
    counts = np.rint(stack * 4095).astype(np.uint16)
    picture = read(tmp_path / "a.tif", counts, imagej=True, metadata={"axes": "CYX"})
    assert picture.intensities.white == (4095.0,)
    picture = read(tmp_path / "a.tif", counts[:16], imagej=True, metadata={"axes": "CYX"})
    assert picture.intensities.white == (255.0, 4095.0) * 8


def test_hidden_pixels_do_not_move_the_range(tmp_path: Path) -> None:
    array = np.stack([np.rint(scene().clip(0, 1) * 4095)] * 3 + [np.full((96, 128), 65535.0)], -1)
    array[20:60, 30:90] = [4000, 4000, 4000, 0]
    array[20:60, 30:40] = [60_000, 60_000, 60_000, 0]
    array = array.astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    picture = read_image(tmp_path / "a.tif")
    assert picture.intensities.white == (4095.0,)
    write_image(tmp_path / "b.tif", picture)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), array)


def test_transparency_has_the_range_of_the_type(tmp_path: Path) -> None:
    array = np.rint(scene().clip(0, 1) * 4095).astype(np.uint16)
    array = np.stack([array, array, array, 16 * array], -1)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    picture = read_image(tmp_path / "a.tif")
    assert (picture.intensities.white, picture.intensities.most) == ((4095.0,), 4095.0)
    write_image(tmp_path / "b.tif", picture)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), array)
    write_image(tmp_path / "c.tif", replace(picture, pixels=picture.pixels + 0.5))
    found = tifffile.imread(tmp_path / "c.tif")
    assert found[..., :3].max() == 4095
    np.testing.assert_array_equal(found[..., 3], array[..., 3])


# Said by the file


@pytest.mark.parametrize(
    ("codes", "kind", "dtype", "ends"),
    [
        ((280, 281), 3, "uint16", (100, 3000)),
        ((340, 341), 3, "uint16", (0, 9000)),
        ((340, 341), 12, "float32", (-2.0, 900.0)),
        ((50714, 50717), 3, "uint16", (512, 15000)),
    ],
)
def test_tags_tell_the_range(
    tmp_path: Path, codes: tuple[int, int], kind: int, dtype: str, ends: tuple[float, float]
) -> None:
    array = (scene().clip(0, 1) * 900).astype(dtype)
    tags = [(code, kind, 1, end, True) for code, end in zip(codes, ends, strict=True)]
    picture = read(tmp_path / "a.tif", array, extratags=tags)
    expected = Intensities((float(ends[0]),), (float(ends[1]),), "file")
    assert picture.intensities == expected
    assert picture.notes == ()
    write_image(tmp_path / "b.tif", picture)
    assert read_image(tmp_path / "b.tif").intensities == expected
    np.testing.assert_allclose(tifffile.imread(tmp_path / "b.tif"), array, rtol=0, atol=1e-4)


def test_stale_tags_are_not_believed(tmp_path: Path) -> None:
    array = np.rint(scene().clip(0, 1) * 4095).astype(np.uint16)
    picture = read(tmp_path / "a.tif", array, extratags=[(281, 3, 1, 3, True)])
    assert picture.intensities == Intensities((0.0,), (4095.0,), "found", 4095.0)
    picture = read(tmp_path / "a.tif", array, extratags=[(281, 3, 1, 65535, True)])
    assert picture.intensities.source == "found"


def test_a_written_picture_of_floats_keeps_its_range(tmp_path: Path) -> None:
    deviations = Picture(0.01 * torch.rand(1, 8, 9), depth="float32")
    write_image(tmp_path / "a.tif", deviations)
    assert torch.equal(read_image(tmp_path / "a.tif").pixels, deviations.pixels)


def test_a_shallower_format_takes_black_to_white(tmp_path: Path) -> None:
    array = np.rint(scene(0).clip(0, 1) * 300 + 100).astype(np.int16)
    picture = read(tmp_path / "a.tif", array)
    notes = write_image(tmp_path / "b.jpg", picture, quality=100)
    black, white = picture.intensities.at(0)
    assert notes == [
        "JPEG holds at most 8 bits per channel: values were rounded, "
        f"and {black:g} to {white:g} became 0 to 255"
    ]
    found = read_image(tmp_path / "b.jpg").pixels
    torch.testing.assert_close(found, picture.pixels.clamp(0, 1), rtol=0, atol=0.02)
