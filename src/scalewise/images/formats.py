"""The formats that are written: what each can hold, and how it is encoded."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from scalewise.images.intensities import Depth
from scalewise.images.picture import Array, Picture
from scalewise.images.png import encode_png16
from scalewise.images.tiff import encode_tiff


@dataclass(frozen=True)
class Format:
    """What a file format can hold, and the function that encodes it."""

    name: str
    depths: tuple[Depth, ...]
    gray: bool
    alpha: bool
    longest_side: int
    encode: Callable[[Array, Picture, int | None], bytes]


def _encode_pillow(array: Array, picture: Picture, name: str, **options: Any) -> bytes:
    """Encode 8 bits per channel."""
    options |= {"icc_profile": picture.icc} if picture.icc else {}
    options |= {"exif": picture.exif} if picture.exif else {}
    buffer = BytesIO()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(buffer, name, **options)
    return buffer.getvalue()


def _encode_png(array: Array, picture: Picture, _: int | None) -> bytes:
    if array.dtype == np.uint8:
        return _encode_pillow(array, picture, "PNG")
    return encode_png16(array, picture.icc, picture.exif)


_PNG = Format("PNG", ("uint8", "uint16"), True, True, 2**31 - 1, _encode_png)
_TIFF = Format(
    "TIFF",
    ("uint8", "uint16", "float32"),
    True,
    True,
    2**31 - 1,
    lambda array, picture, _: encode_tiff(array, picture),
)
_JPEG = Format(
    "JPEG",
    ("uint8",),
    True,
    False,
    65535,
    lambda array, picture, quality: _encode_pillow(
        array, picture, "JPEG", quality=quality or 95, subsampling=0
    ),
)
_WEBP = Format(
    "WebP",
    ("uint8",),
    False,
    True,
    16383,
    lambda array, picture, _: _encode_pillow(array, picture, "WEBP", lossless=True, exact=True),
)
FORMATS = {
    ".png": _PNG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".jpe": _JPEG,
    ".jfif": _JPEG,
    ".webp": _WEBP,
}
IMAGE_SUFFIXES = tuple(FORMATS)
