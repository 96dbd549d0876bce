"""Reading image files."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from scalewise.errors import ScalewiseError
from scalewise.images.intensities import given_range
from scalewise.images.picture import Picture, check_size, make_picture, read_metadata
from scalewise.images.png import decode_png16
from scalewise.images.tiff import read_tiff


def read_image(
    path: str | Path, *, black: float | None = None, white: float | None = None
) -> Picture:
    """Read a PNG, TIFF, JPEG or WebP file.

    Palettes, CMYK and 1-bit images become RGB or gray; the EXIF orientation is applied.

    Args:
        path: the file; its content tells the format, not its name.
        black: stored value of intensity 0; None for what the file says.
        white: stored value of intensity 1; likewise.

    Returns:
        The picture, at the depth of the file.

    Raises:
        UsageError: if white is not above black.
        ScalewiseError: if the file is missing, damaged, no image, larger than `PIXEL_LIMIT`
            pixels, holds several pages or frames, other than 1 to 4 channels, or NaN.
    """
    file = Path(path)
    if not os.path.isfile(file):
        found = "a folder" if os.path.isdir(file) else "no file"
        raise ScalewiseError(f"{file}: expected an image file, found {found} of this name")
    try:
        with file.open("rb") as stream:
            reader = _reader(stream.read(12))
            stream.seek(0)
            picture = reader(stream)
    except ScalewiseError as error:
        raise ScalewiseError(f"{file}: {error}") from None
    except Exception as error:  # decoders raise a dozen types on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            reason = f"cannot be opened: {error.strerror}"
        elif isinstance(error, MemoryError):
            reason = "too large for the memory of this machine"
        elif "imagecodecs" in str(error):
            reason = f"needs a decoder that is missing; pip install 'scalewise[io]' ({error})"
        else:
            reason = f"damaged or cut short, cannot be decoded ({error or type(error).__name__})"
        raise ScalewiseError(f"{file}: {reason}") from error
    return _with_range(picture, black, white)


def _with_range(picture: Picture, black: float | None, white: float | None) -> Picture:
    """The same picture with intensities between given black and white."""
    wanted = given_range(black, white, picture.intensities)
    if wanted is picture.intensities:
        return picture
    stored = picture.intensities.stored(picture.pixels)
    return replace(picture, pixels=wanted.of(stored), intensities=wanted)


def _reader(head: bytes) -> Callable[[BinaryIO], Picture]:
    """Choose by the first 12 bytes of the file."""
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return read_tiff
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return _read_png
    if head[:3] == b"\xff\xd8\xff":
        return lambda stream: _read_pillow(JpegImagePlugin.JpegImageFile(stream))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return lambda stream: _read_pillow(WebPImagePlugin.WebPImageFile(stream))
    raise ScalewiseError("is not a PNG, TIFF, JPEG or WebP image")


def _read_png(stream: BinaryIO) -> Picture:
    """Read 8 bits by Pillow, 16 bits here."""
    header = stream.read(29)
    stream.seek(0)
    image = PngImagePlugin.PngImageFile(stream)
    _check_single(image)
    image.verify()  # Pillow decodes damaged pixels without a word
    stream.seek(0)
    image = PngImagePlugin.PngImageFile(stream)
    depth, colour_type = header[24:26]
    if depth != 16:
        return _read_pillow(image)
    array = decode_png16(stream, colour_type)
    key = image.info.get("transparency")
    if key is not None:
        opaque = (array != np.asarray(key)).any(-1, keepdims=True)
        array = np.concatenate([array, opaque.astype(np.uint16) * 65535], -1)
    return make_picture(
        array, "uint16", 65535, image.info.get("icc_profile"), *read_metadata(image.getexif)
    )


def _read_pillow(image: Image.Image) -> Picture:
    """Read a picture of 8 bits per channel."""
    _check_single(image)
    metadata, icc = read_metadata(image.getexif), image.info.get("icc_profile")
    if image.mode == "CMYK":
        image, icc = _cmyk_to_rgb(image, icc), None
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    mode += "A" if image.has_transparency_data else ""
    array = np.asarray(image if image.mode == mode else image.convert(mode))
    return make_picture(array.reshape(*array.shape[:2], -1), "uint8", 255, icc, *metadata)


def _check_single(image: Image.Image) -> None:
    """Refuse bombs and animations."""
    check_size(*image.size)
    if getattr(image, "n_frames", 1) > 1:
        raise ScalewiseError("is an animation; expected a single image")


def _cmyk_to_rgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert by the profile to sRGB, or without one by the simple formula."""
    if icc:
        with suppress(ImageCms.PyCMSError, OSError):
            profile = ImageCms.ImageCmsProfile(BytesIO(icc))
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
            if converted is not None:
                return converted
    return image.convert("RGB")
