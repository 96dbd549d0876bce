"""The formats that are written: what each can hold, and how it is encoded."""

from collections.abc import Callable
from dataclasses import dataclass

from scalewise.images.kinds import DEPTHS, Array, Depth
from scalewise.images.picture import Picture
from scalewise.images.pillow import encode_bmp, encode_jpeg, encode_webp
from scalewise.images.png import encode_png
from scalewise.images.tiff_writing import encode_tiff


@dataclass(frozen=True)
class Format:
    """What a file format can hold, and the function that encodes it.

    Args:
        name: of the format.
        depths: types of values, of which the last takes what the others cannot hold.
        encode: from values (P, H, W, S), a picture and a quality.
        gray: it holds one channel, too.
        alpha: it holds transparency.
        stacks: it holds several planes.
        said: it holds profile, EXIF and XMP.
        lossy: it is encoded at a quality, if one is asked for.
        longest_side: most pixels along a side.
    """

    name: str
    depths: tuple[Depth, ...]
    encode: Callable[[Array, Picture, int | None], bytes]
    gray: bool = True
    alpha: bool = True
    stacks: bool = False
    said: bool = True
    lossy: bool = False
    longest_side: int = 2**31 - 1


_PNG = Format("PNG", ("uint8", "uint16"), lambda array, picture, _: encode_png(array[0], picture))
_TIFF = Format("TIFF", DEPTHS, lambda array, picture, _: encode_tiff(array, picture), stacks=True)
_JPEG = Format(
    "JPEG",
    ("uint8",),
    lambda array, picture, quality: encode_jpeg(array[0], picture, quality),
    alpha=False,
    lossy=True,
    longest_side=65535,
)
_WEBP = Format(
    "WebP",
    ("uint8",),
    lambda array, picture, quality: encode_webp(array[0], picture, quality),
    gray=False,
    lossy=True,
    longest_side=16383,
)
_BMP = Format(
    "BMP",
    ("uint8",),
    lambda array, picture, _: encode_bmp(array[0], picture),
    alpha=False,
    said=False,
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
    ".bmp": _BMP,
}
IMAGE_SUFFIXES = tuple(FORMATS)
