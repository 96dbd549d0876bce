"""Mosaics of sensors: raw files of cameras, and images of one channel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scalewise.errors import ScalewiseError, UsageError
from scalewise.images.kinds import Array
from scalewise.images.metadata import camera_facts
from scalewise.images.picture import check_size
from scalewise.images.reading import read_image

XYZ_OF_SRGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
"""XYZ of the primaries of sRGB, one column each."""

EXIF_OF_FLIP = {0: 1, 3: 3, 5: 8, 6: 6}
"""EXIF orientation of the turns that LibRaw tells."""

LEAST_SIDE = 6
"""Pixels a side that are needed to interpolate."""


@dataclass(frozen=True)
class Mosaic:
    """What a sensor behind a Bayer mosaic of colours counted, and what it takes to show it.

    Args:
        values: float32 of shape (H, W): share of the range of each colour, 0 black, 1 saturated;
            noise goes below 0.
        pattern: colours of the upper left 2x2 pixels, row by row, such as "RGGB".
        black: stored value of 0 (the mean over the colours).
        white: stored value of 1.
        balance: factors of red, green and blue that make white of the camera's white; the least
            is 1.
        matrix: from balanced colours of the camera to linear sRGB, shape (3, 3), its rows of sum 1.
        orientation: EXIF's, which `values` do not follow yet.
        exif: EXIF block of the camera file.
        notes: sentences on what the file does not say.

    Raises:
        UsageError: the pattern is none, or the mosaic too small.

    Examples:
        >>> from scalewise.images import Mosaic
        >>> mosaic = Mosaic(torch.rand(8, 8), "GBRG", black=512.0, white=16383.0)
        >>> mosaic.pattern, mosaic.balance
        ('GBRG', (1.0, 1.0, 1.0))
    """

    values: Tensor
    pattern: str
    black: float = 0.0
    white: float = 1.0
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    matrix: Tensor = field(default_factory=lambda: torch.eye(3))
    orientation: int = 1
    exif: bytes | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what people give."""
        check_pattern(self.pattern)
        if self.values.ndim != 2 or min(self.values.shape) < LEAST_SIDE:
            raise UsageError(
                f"a mosaic must have at least {LEAST_SIDE} pixels a side, found "
                f"{'x'.join(map(str, self.values.shape))}"
            )


def check_pattern(pattern: str) -> str:
    """Refuse what is no Bayer pattern: two green pixels aslant, one red, one blue.

    Raises:
        UsageError: it is none.
    """
    if pattern not in ("RGGB", "BGGR", "GRBG", "GBRG"):
        raise UsageError(
            f"pattern must be RGGB, BGGR, GRBG or GBRG (the upper left 2x2 pixels), found "
            f"{pattern!r:.60}"
        )
    return pattern


def read_mosaic(
    path: str | Path, pattern: str, *, black: float | None = None, white: float | None = None
) -> Mosaic:
    """Read an image of one channel that holds a mosaic.

    Args:
        path: a PNG or TIFF of one channel.
        pattern: colours of the upper left 2x2 pixels.
        black: stored value without light; that of the file, or 0.
        white: stored value at which the sensor saturates.

    Raises:
        UsageError: the pattern is none, or white not above black.
        ScalewiseError: the file cannot be read, or has several channels or planes.
    """
    check_pattern(pattern)
    picture = read_image(path, black=black, white=white)
    planes, channels = picture.pixels.shape[:2]
    if channels > 1:
        raise ScalewiseError(
            f"{path}: has {channels} channels, so it is no mosaic, whose pixels hold one colour "
            "each; scalewise denoise is for pictures of three"
        )
    if planes > 1:
        raise ScalewiseError(f"{path}: holds {planes} planes, a mosaic has one")
    low, high = picture.intensities.at(0)
    values = picture.pixels[0, 0]
    return Mosaic(values, pattern, low, high, exif=picture.exif, notes=picture.notes)


def read_raw(path: str | Path, *, black: float | None = None, white: float | None = None) -> Mosaic:
    """Read a raw file of a camera: DNG, CR2, CR3, NEF, ARW and what else LibRaw knows.

    Args:
        path: the file; its content tells the format.
        black: stored value without light; None for what the file says, which may differ between
            colours.
        white: stored value at which the sensor saturates; None for what the file says.

    Raises:
        UsageError: white is not above black.
        ScalewiseError: the file is missing, damaged or no raw file, its colours are no Bayer
            mosaic, or rawpy is not installed.
    """
    file = Path(path)
    if not os.path.isfile(file):
        found = "a folder" if os.path.isdir(file) else "no file"
        raise ScalewiseError(f"{file}: expected a raw file, found {found} of this name")
    if file.stat().st_size == 0:
        raise ScalewiseError(f"{file}: is empty")
    try:
        import rawpy
    except ImportError:
        raise ScalewiseError(
            "raw files of cameras are read by rawpy, which is missing; "
            "pip install 'scalewise[raw]' (a mosaic in an image of one channel needs "
            "--pattern, such as RGGB, instead)"
        ) from None
    try:
        with rawpy.imread(str(file)) as raw:
            return _mosaic(raw, black, white, _exif(file))
    except ScalewiseError as error:
        raise type(error)(f"{file}: {error}") from None
    except (rawpy.LibRawFileUnsupportedError, rawpy.NotSupportedError):
        raise ScalewiseError(
            f"{file}: is no raw file that LibRaw knows; for a mosaic in an image of one channel "
            "give --pattern, such as RGGB"
        ) from None
    except (rawpy.LibRawError, OSError, ValueError, MemoryError) as error:
        reason = error.args[0] if error.args else type(error).__name__
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ScalewiseError(f"{file}: damaged or cut short, cannot be decoded ({text})") from None


def _mosaic(raw: Any, black: float | None, white: float | None, exif: bytes | None) -> Mosaic:
    """What an open file of rawpy holds."""
    sizes = raw.sizes
    check_size(sizes.raw_width, sizes.raw_height)
    pattern = _pattern(raw)
    stored: Array = raw.raw_image_visible
    blacks = _by_place(raw.black_level_per_channel, raw) if black is None else [black] * 4
    top = float(raw.white_level) if white is None else white
    if not all(level < top for level in blacks):
        raise UsageError(
            f"white must be above black, found black {max(blacks):g} and white {top:g}"
        )
    values = np.empty(stored.shape, np.float32)
    for place, level in enumerate(blacks):
        part = np.s_[place // 2 :: 2, place % 2 :: 2]
        values[part] = (stored[part].astype(np.float32) - level) / (top - level)
    balance, notes = _balance(raw)
    matrix, note = _matrix(raw)
    return Mosaic(
        torch.from_numpy(values),
        pattern,
        sum(blacks) / 4,
        top,
        balance,
        matrix,
        EXIF_OF_FLIP.get(int(sizes.flip), 1),
        exif,
        (*notes, *note),
    )


def _pattern(raw: Any) -> str:
    """Colours of the upper left 2x2 pixels; refuses what is no Bayer mosaic."""
    try:
        told = raw.raw_pattern if raw.raw_type.name == "Flat" else None
    except NotImplementedError as error:  # neither 2x2 nor 6x6, as in damaged files
        raise ScalewiseError(
            f"has a mosaic that is not known ({error}), or is damaged; develop it with the program "
            "of the camera"
        ) from None
    if told is None:
        raise ScalewiseError(
            "holds several values at a pixel, or pixels aslant, not a Bayer mosaic; develop it "
            "with the program of the camera"
        )
    if told.shape != (2, 2):
        side = "x".join(map(str, told.shape))
        what = "an X-Trans mosaic" if told.shape == (6, 6) else f"a mosaic of {side}"
        raise ScalewiseError(
            f"has {what}; only Bayer mosaics of 2x2 pixels can be demosaicked, so develop it with "
            "another program and then use scalewise denoise"
        )
    names = raw.color_desc.decode(errors="replace")
    found = "".join(names[place] for place in raw.raw_colors_visible[:2, :2].flatten())
    try:
        return check_pattern(found)
    except UsageError:
        raise ScalewiseError(
            f"has a mosaic of the colours {found}; only Bayer mosaics of red, green and blue can "
            "be demosaicked"
        ) from None


def _by_place(levels: Sequence[float], raw: Any) -> list[float]:
    """What LibRaw tells by colour, for the four places of the pattern."""
    return [float(levels[colour]) for colour in raw.raw_colors_visible[:2, :2].flatten()]


def _balance(raw: Any) -> tuple[tuple[float, float, float], list[str]]:
    """Factors of red, green and blue of the camera's white, else of daylight."""
    ways = {"camera": raw.camera_whitebalance, "daylight": raw.daylight_whitebalance}
    for name, factors in ways.items():
        red, green, blue = (float(factor) for factor in factors[:3])
        if all(np.isfinite(factor) and factor > 0 for factor in (red, green, blue)):
            least = min(red, green, blue)
            note = "the file tells no white balance: that of daylight was taken"
            notes = [] if name == "camera" else [note]
            return (red / least, green / least, blue / least), notes
    return (1.0, 1.0, 1.0), ["the file tells no white balance: colours are not balanced"]


def _matrix(raw: Any) -> tuple[Tensor, list[str]]:
    """From balanced colours of the camera to linear sRGB, its rows of sum 1."""
    matrix = np.asarray(raw.color_matrix, np.float64)[:, :3]
    if not matrix.any():
        camera = np.asarray(raw.rgb_xyz_matrix, np.float64)[:3] @ np.array(XYZ_OF_SRGB)
        sums = camera.sum(1, keepdims=True)
        if not (sums > 0).all() or abs(np.linalg.det(camera / sums)) < 1e-6:
            return torch.eye(3), ["the camera is not known: its colours were taken for sRGB"]
        matrix = np.linalg.inv(camera / sums)
    return torch.from_numpy(matrix / matrix.sum(1, keepdims=True)).float(), []


def _exif(file: Path) -> bytes | None:
    """What a file that is built like a TIFF says of camera, place, date and author."""
    with suppress(Exception), file.open("rb") as stream:  # others have it elsewhere
        tags = Image.Exif()
        tags.load_from_fp(stream)
        exif = camera_facts(tags)
        return exif.tobytes() if len(exif) else None
    return None
