"""Reading image files."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
import torch
from PIL import Image, JpegImagePlugin
from torch import Tensor

from scalewise.errors import ScalewiseError, UsageError
from scalewise.images.exposure import find_ranges
from scalewise.images.intensities import Intensities, given_range, type_range
from scalewise.images.kinds import Array, Depth
from scalewise.images.metadata import Metadata
from scalewise.images.picture import (
    Convert,
    JpegTables,
    Picture,
    PngChunks,
    to_tensor,
    upright,
)
from scalewise.images.pillow import JPEG_HEAD, decode_bmp, decode_jpeg, decode_webp
from scalewise.images.png import PNG_HEAD, decode_png
from scalewise.images.silence import silent
from scalewise.images.tiff import read_tiff
from scalewise.images.writing import stored_values

Decoded = tuple[Array, Metadata, JpegTables | PngChunks | None]
_FAR = 4.5  # spans of a given range between its middle and the median value
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OTHERS = {
    b"GIF8": "a GIF", b"8BPS": "a Photoshop file", b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL", b"\xff\x0a": "JPEG XL", b"%PDF": "a PDF", b"SIMPLE": "FITS",
    b"v/1\x01": "OpenEXR", b"P5": "a PGM", b"P6": "a PPM", b"FUJIFILM": "raw data of a camera",
}  # fmt: skip


def read_image(
    path: str | Path, *, black: float | None = None, white: float | None = None
) -> Picture:
    """Read a PNG, TIFF, JPEG, WebP or BMP file.

    Palettes, CMYK and 1-bit images become RGB or gray; the EXIF orientation is applied. TIFF may
    hold stacks of planes, as ImageJ and OME-TIFF do; channels that are no colours become planes.
    Which stored values are black and white is told by the file or the type of the values, or
    found (`Intensities`).

    Args:
        path: the file; its content tells the format, not its name.
        black: stored value of intensity 0; None for what the file says.
        white: stored value of intensity 1; likewise.

    Returns:
        The picture, at the depth and in the unit of the file.

    Raises:
        UsageError: if white is not above black, or most values lie far from a given range.
        ScalewiseError: if the file is missing, damaged, no image, larger than `PIXEL_LIMIT`
            pixels, holds images of several sizes or an animation, or NaN.

    Examples:
        >>> import tempfile
        >>> gray = scalewise.Picture(torch.rand(1, 20, 30))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = scalewise.write_image(f"{folder}/gray.png", gray)
        ...     picture = scalewise.read_image(f"{folder}/gray.png")
        >>> picture.pixels.shape, picture.depth
        (torch.Size([1, 1, 20, 30]), 'uint8')
    """
    file = existing(path)
    return _read(lambda: file.open("rb"), str(file), black, white)


def existing(path: str | Path) -> Path:
    """The path of an image file that is there."""
    file = Path(path)
    if not os.path.isfile(file):
        found = "a folder" if os.path.isdir(file) else "no file"
        raise ScalewiseError(f"{file}: expected an image file, found {found} of this name")
    return file


def read_stored(
    path: str | Path, *, black: float | None = None, white: float | None = None
) -> tuple[Array, Picture]:
    """Read a file as it is, without a float for each value: for images that are worked on in parts.

    Args:
        path: the file.
        black: as for `read_image`.
        white: as for `read_image`.

    Returns:
        Stored values (P, H, W, S), alpha last; and what `read_image` tells of them, in a picture
        whose pixels take no memory and are all zero.

    Raises:
        ScalewiseError: as for `read_image`.
    """
    file = existing(path)
    return _stored(lambda: file.open("rb"), str(file), black, white)


def decode_stored(data: bytes, name: str) -> tuple[Array, Picture]:
    """The same of a file that lies in memory.

    Args:
        data: the file.
        name: what it is called in errors.
    """
    return _stored(lambda: BytesIO(data), name)


def _stored(
    opened: Callable[[], BinaryIO],
    name: str,
    black: float | None = None,
    white: float | None = None,
) -> tuple[Array, Picture]:
    held = []

    def hollow(array: Array, ends: Callable[[int], tuple[float, float]]) -> Tensor:
        held.append(array)
        count, height, width, channels = array.shape
        return torch.zeros(()).expand(count, channels, height, width)

    picture = _read(opened, name, black, white, hollow)
    if picture.alpha is None:
        return held[0], picture
    blank = replace(picture, pixels=picture.alpha, missing=None)
    alpha = stored_values(blank, Path(name))[..., -1:]
    return np.concatenate([held[0], alpha.astype(held[0].dtype)], -1), picture


def decode_image(data: bytes, name: str) -> Picture:
    """The same of a file that lies in memory.

    Args:
        data: the file.
        name: what it is called in errors.
    """
    return _read(lambda: BytesIO(data), name, None, None)


def _read(
    opened: Callable[[], BinaryIO],
    name: str,
    black: float | None,
    white: float | None,
    convert: Convert | None = None,
) -> Picture:
    try:
        with silent(), opened() as stream:
            head = stream.read(16)
            stream.seek(0)
            if head[:4] in TIFF_HEADS:
                picture = read_tiff(stream, black, white, convert)
            else:
                picture = photo(*_decoder(head)(stream), black, white, convert)
        check_given(picture.intensities, picture.pixels)
        return picture
    except ScalewiseError as error:
        raise type(error)(f"{name}: {error}") from None
    except Exception as error:  # decoders raise a dozen types on damaged files
        raise ScalewiseError(f"{name}: {_reason(error)}") from error


def check_given(intensities: Intensities, pixels: Tensor) -> None:
    """Refuse a given range that the values lie nowhere near."""
    if intensities.source != "given":
        return
    values = pixels.reshape(-1)
    middle = float(values[:: 1 + len(values) // 100_000].median())
    if not abs(middle - 0.5) <= _FAR:
        black, white = intensities.at(0)
        raise UsageError(
            f"--black {black:g} and --white {white:g} are far from its values, of which half lie "
            f"beyond {black + middle * (white - black):.6g}; give both in the unit of the file"
        )


def is_image(path: Path) -> bool:
    """Tell by its first bytes whether a file is of a format that `read_image` knows."""
    with suppress(OSError, ScalewiseError), path.open("rb") as stream:
        head = stream.read(16)
        return head[:4] in TIFF_HEADS or _decoder(head) is not None
    return False


def size_of(path: Path) -> tuple[int, int] | None:
    """Width and height of an image file, by its header; None where that cannot be told."""
    with suppress(Exception), silent(), path.open("rb") as stream:
        head = stream.read(24)
        stream.seek(0)
        if head[:4] in TIFF_HEADS:
            with tifffile.TiffFile(stream) as tiff:
                page = tiff.pages.first
                return int(page.imagewidth), int(page.imagelength)
        if head[:8] == PNG_HEAD:
            width, height = struct.unpack(">II", head[16:24])
            return width, height
        if head[:3] == JPEG_HEAD:
            return JpegImagePlugin.JpegImageFile(stream).size
        with Image.open(stream) as image:
            return image.size
    return None


def count_pixels(path: Path) -> int:
    """Width times height of an image file; 0 where that cannot be told."""
    return prod(size_of(path) or (0,))


def _reason(error: Exception) -> str:
    """What an error of a decoder means."""
    text = " ".join(str(error).split())
    torchs = isinstance(error, RuntimeError) and "alloc" in text.lower()
    if isinstance(error, MemoryError) or torchs:
        return "too large for the memory of this machine"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be opened: {error.strerror}"
    if "imagecodecs" in text or ("COMPRESSION" in text and "not supported" in text):
        return (
            "needs a decoder that is missing or old; pip install --upgrade 'scalewise[io]' "
            f"({text})"
        )
    return f"damaged or cut short, cannot be decoded ({text or type(error).__name__})"


def _decoder(head: bytes) -> Callable[[BinaryIO], Decoded]:
    """Choose by the first bytes of the file."""
    if head[:8] == PNG_HEAD:
        return decode_png
    if head[:3] == JPEG_HEAD:
        return decode_jpeg
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return decode_webp
    if head[:2] == b"BM" and len(head) > 14:
        return decode_bmp
    other = next((name for start, name in _OTHERS.items() if head.startswith(start)), None)
    if head[4:8] == b"ftyp":
        other = "AVIF" if head[8:12] in (b"avif", b"avis") else "HEIC or another film format"
    known = f" (it is {other})" if other else ""
    raise ScalewiseError(f"is not a PNG, TIFF, JPEG, WebP or BMP image{known}; convert it first")


def photo(
    array: Array,
    metadata: Metadata,
    origin: JpegTables | PngChunks | None,
    black: float | None,
    white: float | None,
    convert: Convert | None = None,
) -> Picture:
    """A picture of one plane, of (H, W, S) values."""
    planes = upright(array[None], metadata.orientation)
    depth: Depth = array.dtype.name  # type: ignore[assignment]
    colours = 1 if array.shape[-1] < 3 else 3
    alpha = None
    if array.shape[-1] > colours:
        top = type_range(depth).white[0]
        alpha = to_tensor(planes[..., colours:], lambda _: (0.0, top))
    found, notes = find_ranges(
        planes[..., :colours],
        depth,
        channels=(0,),
        visible=None if alpha is None else alpha[:, 0].numpy(),
    )
    intensities = given_range(black, white, found)
    facts = metadata.facts()
    facts["notes"] += notes if intensities is found else ()
    pixels = (convert or to_tensor)(planes[..., :colours], intensities.at)
    return Picture(pixels, alpha, depth=depth, intensities=intensities, origin=origin, **facts)
