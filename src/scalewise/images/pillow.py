"""What Pillow reads and writes: 8 bits per channel."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from io import BytesIO
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import (
    BmpImagePlugin,
    Image,
    ImageChops,
    ImageCms,
    JpegImagePlugin,
    WebPImagePlugin,
)

from scalewise.errors import ScalewiseError
from scalewise.images.jpeg_data import JpegData, follow
from scalewise.images.kinds import Array
from scalewise.images.metadata import (
    RESOLUTION_UNIT,
    X_RESOLUTION,
    Y_RESOLUTION,
    Metadata,
    exif_block,
    exif_resolution,
    read_metadata,
    resolution_tags,
)
from scalewise.images.picture import JpegTables, Picture, PngChunks, check_size
from scalewise.images.resolution import Resolution

JPEG_HEAD = b"\xff\xd8\xff"
_SEGMENTS = {"APP13": 0xED, "COM": 0xFE}
_FURTHER = "pictures behind the first (depth, gain map or preview) were left out"
CUT = "damaged or cut short: its data end before its last pixels"
LAST = "the last pixels of the image are missing in the file"
FEW = 512  # pixels: a block of 16x16, and what enlarging its colours changes
_JPEG_PIXELS = 2048  # most pixels that one byte of a JPEG can stand for: 32 blocks
_known: ContextVar[bool] = ContextVar("JPEGs are known to be whole", default=False)


@contextmanager
def known_whole(known: bool) -> Iterator[None]:
    """Do not look again whether the data of JPEGs are whole, which takes as long as decoding."""
    token = _known.set(known)
    try:
        yield
    finally:
        _known.reset(token)


class Described(NamedTuple):
    """What a file says beside its pixels.

    Attributes:
        metadata: what all formats have.
        origin: what its format has.
        junked: a file of the same pixels, if none of the data of a JPEG are missing.
    """

    metadata: Metadata
    origin: JpegTables | PngChunks | None
    junked: bytes | None = None


def decode_jpeg(stream: BinaryIO) -> tuple[Array, Metadata, JpegTables | None]:
    """Read (H, W, S) values, and what the file says."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    image = JpegImagePlugin.JpegImageFile(stream)
    width, height = image.size
    check_size(width, height)
    if width * height > _JPEG_PIXELS * size:
        raise ScalewiseError(
            f"damaged or cut short: {size} bytes are too few for {width} x {height} pixels"
        )
    damage = () if _known.get() else _missing_data(image, stream)
    if image.mode == "CMYK":
        profile = image.info.get("icc_profile")
        metadata = _metadata(image, None, _jfif(image), damage)
        return pixels_of(_cmyk_to_rgb(image, profile)), metadata, None
    metadata, tables = _described(image, damage)
    return pixels_of(image), metadata, tables


def describe_jpeg(stream: BinaryIO) -> Described | None:
    """What a file says beside its pixels; None if those are CMYK, or data seem to be missing.

    Raises:
        OSError: its data are broken.
    """
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    image = JpegImagePlugin.JpegImageFile(stream)
    followed = _followed(stream)
    if image.mode == "CMYK" or (followed is not None and followed.restarts_lacking):
        return None
    if image.width * image.height > _JPEG_PIXELS * length:
        return None
    found = Described(*_described(image), None if followed is None else followed.junked)
    stream.seek(0)
    with JpegImagePlugin.JpegImageFile(stream) as small:
        small.draft(small.mode, (1, 1))  # an eighth of the sides, of all of the data
        small.load()
    return found


def _described(
    image: JpegImagePlugin.JpegImageFile, notes: tuple[str, ...] = ()
) -> tuple[Metadata, JpegTables | None]:
    tables = tuple(tuple(table) for _, table in sorted(image.quantization.items()))
    held = JpegTables(
        tables,
        JpegImagePlugin.get_sampling(image),
        bool(image.info.get("progressive")),
        tuple((_SEGMENTS[kind], data) for kind, data in image.applist if kind in _SEGMENTS),
    )
    further = (_FURTHER,) if "mp" in image.info else ()
    profile = image.info.get("icc_profile")
    metadata = _metadata(image, profile, _jfif(image), (*further, *notes))
    return metadata, held if tables else None


def decode_webp(stream: BinaryIO) -> tuple[Array, Metadata, None]:
    """Read (H, W, S) values, and what the file says."""
    try:
        image = WebPImagePlugin.WebPImageFile(stream)
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise ScalewiseError(
            f"has more pixels than the {limit} million that Pillow decodes in a WebP; convert it "
            "to PNG or TIFF first"
        ) from error
    check_size(*image.size)
    if getattr(image, "n_frames", 1) > 1:
        raise ScalewiseError("is an animation; expected a single image")
    return pixels_of(image), _metadata(image, image.info.get("icc_profile"), None), None


def decode_bmp(stream: BinaryIO) -> tuple[Array, Metadata, None]:
    """Read (H, W, S) values, and the resolution."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    image = BmpImagePlugin.BmpImageFile(stream)
    width, height = image.size
    check_size(width, height)
    if width * height > 1024 * size:
        raise ScalewiseError(
            f"damaged or cut short: {size} bytes are too few for {width} x {height} pixels"
        )
    x, y = image.info.get("dpi", (0, 0))
    metadata = read_metadata(Image.Exif, resolution=exif_resolution(x, y, 2))
    return pixels_of(image), metadata, None


def pixels_of(image: Image.Image) -> Array:
    """The (H, W, S) values of an image of 8 bits: gray or RGB, with or without alpha."""
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    mode += "A" if image.has_transparency_data else ""
    image.load()
    array = np.array(image if image.mode == mode else image.convert(mode))
    image.close()
    return array.reshape(*array.shape[:2], -1)


def encode_jpeg(array: Array, picture: Picture, quality: int | None) -> bytes:
    """Encode as the JPEG that the picture came from, or at a quality (95 of others)."""
    options: dict[str, Any] = {"quality": quality or 95, "subsampling": 0}
    if isinstance(picture.origin, JpegTables) and not quality:
        origin = picture.origin
        tables = [list(table) for table in origin.tables]
        options = {"qtables": tables, "subsampling": max(0, origin.subsampling)}
        options["progressive"] = origin.progressive
    if picture.resolution:
        x, y, unit = resolution_tags(picture.resolution)
        if unit > 1:
            scale = 2.54 if unit == 3 else 1
            options["dpi"] = tuple(min(65535, round(value * scale)) for value in (x, y))
    exif = exif_block(picture.exif, picture.resolution) if picture.exif else None
    data = _encode(array, picture, "JPEG", exif=exif, **options)
    held = picture.origin.segments if isinstance(picture.origin, JpegTables) else ()
    segments = (struct.pack(">BBH", 255, kind, len(body) + 2) + body for kind, body in held)
    start = 4 + struct.unpack(">H", data[4:6])[0]  # behind the JFIF header
    return data[:start] + b"".join(segments) + data[start:]


def encode_webp(array: Array, picture: Picture, quality: int | None) -> bytes:
    """Encode without loss, or at a quality."""
    exif = exif_block(picture.exif, picture.resolution)
    options = {"lossless": True} if quality is None else {"quality": quality}
    return _encode(array, picture, "WEBP", exif=exif, exact=True, **options)


def encode_bmp(array: Array, picture: Picture) -> bytes:
    """Encode pixels and resolution."""
    inch = picture.resolution.per("inch") if picture.resolution else None
    buffer = BytesIO()
    _image(array).save(buffer, "BMP", **({"dpi": inch} if inch else {}))
    return buffer.getvalue()


def _encode(array: Array, picture: Picture, name: str, **options: Any) -> bytes:
    options |= {"icc_profile": picture.icc, "xmp": picture.xmp}
    buffer = BytesIO()
    _image(array).save(buffer, name, **{k: v for k, v in options.items() if v is not None})
    return buffer.getvalue()


def _image(array: Array) -> Image.Image:
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def _missing_data(image: JpegImagePlugin.JpegImageFile, stream: BinaryIO) -> tuple[str, ...]:
    """Refuse an image of which more than a few pixels are missing; say so if those are."""
    followed = _followed(stream)
    if followed is None:
        return ()
    image.load()
    try:
        with JpegImagePlugin.JpegImageFile(BytesIO(followed.junked)) as other:
            changed = ImageChops.difference(image, other)
    except (OSError, SyntaxError, ValueError):
        return ()
    count = 0
    if changed.getbbox(alpha_only=False) is not None:
        levels = np.asarray(changed)
        count = int(np.count_nonzero(levels.any(-1) if levels.ndim == 3 else levels))
    if count > FEW or followed.restarts_lacking:
        raise ScalewiseError(CUT)
    return (LAST,) if count else ()


def _followed(stream: BinaryIO) -> JpegData | None:
    """What is left of data that end too early; None if nothing seems to be missing."""
    stream.seek(0)
    try:
        return follow(stream.read())
    except (IndexError, KeyError, ValueError, ZeroDivisionError, struct.error):
        return None
    finally:
        stream.seek(0)


def _metadata(
    image: Image.Image, icc: object, resolution: Resolution | None, notes: tuple[str, ...] = ()
) -> Metadata:
    found = read_metadata(image.getexif, icc=icc, xmp=image.info.get("xmp"), resolution=resolution)
    return replace(found, notes=(*found.notes, *notes))


def _jfif(image: Image.Image) -> Resolution | None:
    """Resolution of the JFIF header, in whole numbers; that of EXIF where it says the same."""
    units = {1: 2, 2: 3}
    unit = units.get(image.info.get("jfif_unit", 0))
    x, y = image.info.get("jfif_density", (0, 0))
    found = exif_resolution(x, y, unit) if unit else None
    with suppress(Exception):
        exif = image.getexif()
        x, y = exif.get(X_RESOLUTION), exif.get(Y_RESOLUTION)
        exact = exif_resolution(x, y, exif.get(RESOLUTION_UNIT, 2))
        if found and exact and exact.unit == found.unit:
            near = abs(exact.x - found.x) < 1 and abs(exact.y - found.y) < 1
            return exact if near else found
    return found


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
