"""Black and white: the same picture in any unit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from scalewise.errors import ScalewiseError, UsageError
from scalewise.images import Intensities, Picture, read_image, write_image


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
