"""DNG files for tests and benchmarks: what a camera would have counted of a known picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

XYZ_TO_CAMERA = np.array([[0.6, -0.1, -0.05], [-0.4, 1.2, 0.2], [-0.05, 0.15, 0.6]])
"""ColorMatrix1 of a camera that there is not."""

NEUTRAL = (0.5, 1.0, 0.6)
"""What it counts of white, over the green of it."""

SRGB_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)

BLACK, WHITE = (512, 520, 530, 540), 16383
"""Stored values: of the upper left 2x2 pixels, row by row; and of saturation."""

Array = np.ndarray[Any, Any]


def photographed(
    picture: Array, *, pattern: str = "RGGB", gain: float = 0.0, read: float = 0.0, seed: int = 0
) -> Array:
    """The mosaic (H, W) of an sRGB picture (H, W, 3) in [0, 1], in shares of the range."""
    linear = np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    matrix = XYZ_TO_CAMERA @ SRGB_TO_XYZ
    colours = linear @ (matrix / matrix.sum(1, keepdims=True)).T * np.array(NEUTRAL)
    places = np.array(["RGB".index(colour) for colour in pattern]).reshape(2, 2)
    height, width = picture.shape[:2]
    index = np.tile(places, (-(-height // 2), -(-width // 2)))[:height, :width]
    counts: Array = np.take_along_axis(colours, index[..., None], 2)[..., 0]
    generator = np.random.default_rng(seed)
    if gain:
        counts = gain * generator.poisson(counts.clip(0) / gain)
    return counts + read * generator.standard_normal(counts.shape)


def write_dng(
    path: Path,
    mosaic: Array,
    *,
    pattern: str = "RGGB",
    orientation: int = 1,
    neutral: tuple[float, float, float] | None = NEUTRAL,
    colours: bytes | None = None,
    side: int = 2,
) -> Path:
    """Write shares of the range (H, W) as a DNG, with a black level of its own at each place."""
    height, width = mosaic.shape
    black = np.tile(np.array(BLACK).reshape(2, 2), (-(-height // 2), -(-width // 2)))
    black = black[:height, :width]
    stored = np.rint(black + mosaic * (WHITE - black)).clip(0, WHITE).astype(np.uint16)
    places = colours or bytes("RGB".index(colour) for colour in pattern)
    tags: list[tuple[Any, ...]] = [
        (271, "s", 0, "Nobody", True),
        (272, "s", 0, "Camera", True),
        (274, "H", 1, orientation, True),
        (315, "s", 0, "Somebody", True),
        (33421, "H", 2, (side, side), True),
        (33422, "B", side * side, places, True),
        (50706, "B", 4, (1, 4, 0, 0), True),
        (50707, "B", 4, (1, 1, 0, 0), True),
        (50708, "s", 0, "Nobody Camera", True),
        (50713, "H", 2, (2, 2), True),
        (50714, "H", 4, BLACK, True),
        (50717, "H", 1, WHITE, True),
        (50721, "2i", 9, _ratios(XYZ_TO_CAMERA.flatten()), True),
        (50778, "H", 1, 21, True),
    ]
    if neutral is not None:
        tags.append((50728, "2I", 3, _ratios(neutral), True))
    tifffile.imwrite(path, stored, photometric=32803, extratags=tags, metadata=None)
    return path


def _ratios(values: Any) -> list[int]:
    return [number for value in values for number in (round(10_000 * value), 10_000)]
