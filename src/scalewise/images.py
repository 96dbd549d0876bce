"""Reading and writing image files: PNG, TIFF, JPEG and WebP, with alpha, profile and EXIF.

Pixels come and go at the depth of the file: 8 or 16 bits per channel, or floats.
"""

import os
import secrets
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import tifffile
import torch
from PIL import Image, ImageCms, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from torch import Tensor

from scalewise.errors import ScalewiseError, UsageError

PIXEL_LIMIT = 500_000_000

Depth = Literal["uint8", "uint16", "float32"]
Array = npt.NDArray[Any]

_TOPS = {"uint8": 255, "uint16": 65535, "float32": 1}
_ORIENTATION, _EXIF_IFD, _GPS_IFD = 0x0112, 0x8769, 0x8825
_TIFF_FACTS = {271, 272, 306, 315, 33432, _EXIF_IFD, _GPS_IFD}  # the other tags lay out the file
_FLIPS = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}  # of (C, H, W); 5-8 transpose
_ICC_SPACES = {1: b"GRAY", 3: b"RGB "}


@dataclass(frozen=True)
class Picture:
    """An image with what its file says about it.

    Args:
        pixels: float32 of shape (C, H, W), C = 1 (gray) or 3 (RGB); intensities in [0, 1], or as
            stored in a float TIFF.
        alpha: float32 of shape (1, H, W), 1 where opaque, not multiplied into `pixels`; or None.
        depth: type of a channel in the file.
        icc: colour profile.
        exif: EXIF block, starting with `Exif`; it holds no orientation, since `pixels` stand
            upright.

    Raises:
        ScalewiseError: if a shape is another.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    depth: Depth = "uint8"
    icc: bytes | None = None
    exif: bytes | None = None

    def __post_init__(self) -> None:
        """Check shapes."""
        shape = tuple(self.pixels.shape)
        if len(shape) != 3 or shape[0] not in (1, 3) or 0 in shape:
            raise ScalewiseError(f"pixels must be (1, H, W) or (3, H, W), found {shape}")
        if self.alpha is not None and self.alpha.shape != (1, *shape[1:]):
            raise ScalewiseError(
                f"alpha must be {(1, *shape[1:])} as the pixels, found {tuple(self.alpha.shape)}"
            )


def read_image(path: str | Path) -> Picture:
    """Read a PNG, TIFF, JPEG or WebP file.

    Palettes, CMYK and 1-bit images become RGB or gray; the EXIF orientation is applied.

    Args:
        path: the file; its content tells the format, not its name.

    Returns:
        The picture, at the depth of the file.

    Raises:
        ScalewiseError: if the file is missing, damaged, no image, larger than `PIXEL_LIMIT`
            pixels, holds several pages or frames, other than 1 to 4 channels, or NaN.
    """
    file = Path(path)
    if not file.is_file():
        found = "a folder" if file.is_dir() else "something else" if file.exists() else "nothing"
        raise ScalewiseError(f"{file}: expected an image file, found {found} of this name")
    try:
        with file.open("rb") as stream:
            reader = _reader(stream.read(12))
            stream.seek(0)
            return reader(stream)
    except ScalewiseError as error:
        raise ScalewiseError(f"{file}: {error}") from None
    except Exception as error:  # decoders raise a dozen types on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            reason = f"cannot be opened: {error.strerror}"
        elif "imagecodecs" in str(error):
            reason = f"needs a decoder that is missing; pip install 'scalewise[io]' ({error})"
        else:
            reason = f"damaged or cut short, cannot be decoded ({error or type(error).__name__})"
        raise ScalewiseError(f"{file}: {reason}") from error


def write_image(path: str | Path, picture: Picture, force: bool = False) -> list[str]:
    """Write a picture, whole or not at all.

    The depth is kept where the format can: 8 or 16 bits in PNG, floats too in TIFF, 8 bits in
    JPEG (quality 95, full colour resolution) and WebP (lossless). Values are rounded, and clipped
    to [0, 1] unless written as floats. TIFF is compressed with zlib.

    Args:
        path: output file; the suffix tells the format.
        picture: what to write.
        force: overwrite an existing file.

    Returns:
        One sentence for each thing that the format could not keep.

    Raises:
        UsageError: if the suffix is unknown.
        ScalewiseError: if the output exists and `force` is false, cannot be written, or the
            pixels hold NaN.
    """
    file = Path(path)
    check_output(file, force)
    fitted, notes = _fit(picture, _FORMATS[file.suffix.lower()], file)
    planes = [fitted.pixels] if fitted.alpha is None else [fitted.pixels, fitted.alpha]
    values = torch.cat([plane.detach().cpu().float() for plane in planes]).movedim(0, -1)
    if not bool(values.isfinite().all()):
        raise ScalewiseError(f"{file}: not written, the pixels hold NaN or infinite values")
    if fitted.depth != "float32":
        values = (values.clamp(0, 1) * _TOPS[fitted.depth]).round()
    array = np.ascontiguousarray(values.numpy().astype(fitted.depth))
    try:
        data = _FORMATS[file.suffix.lower()].encode(array, fitted)
    except Exception as error:  # encoders raise a dozen types
        raise ScalewiseError(f"{file}: cannot be encoded: {error}") from error
    _write_whole(file, data)
    return notes


def check_output(path: str | Path, force: bool = False) -> None:
    """Check before long work that an image can be written.

    Args:
        path: output file.
        force: an existing file may be overwritten.

    Raises:
        UsageError: if the suffix is unknown.
        ScalewiseError: if the folder is missing or not writable, or the file exists.
    """
    file = Path(path)
    if file.suffix.lower() not in _FORMATS:
        raise UsageError(
            f"{file}: unknown image suffix {file.suffix!r}; use one of {', '.join(IMAGE_SUFFIXES)}"
        )
    if not file.parent.is_dir():
        raise ScalewiseError(f"{file}: folder {file.parent} does not exist; create it first")
    if file.is_dir():
        raise ScalewiseError(f"{file}: is a folder; give the name of a file")
    if file.exists() and not force:
        raise ScalewiseError(f"{file} exists; give --force to overwrite it")
    if not os.access(file.parent, os.W_OK):
        raise ScalewiseError(f"{file}: folder {file.parent} is not writable")


def find_images(folder: str | Path) -> list[Path]:
    """List the images of a folder and its subfolders.

    Args:
        folder: where to look; hidden files are left out.

    Returns:
        Files whose suffix is in `IMAGE_SUFFIXES`, in any case, sorted.

    Raises:
        ScalewiseError: if the folder is missing or holds no image.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ScalewiseError(f"{root}: expected a folder of images, found none of this name")
    found = [
        file
        for file in sorted(root.rglob("*"))
        if file.suffix.lower() in _FORMATS and file.name[0] != "." and file.is_file()
    ]
    if not found:
        raise ScalewiseError(f"{root}: holds no image; expected {', '.join(IMAGE_SUFFIXES)} files")
    return found


def to_channels(pixels: Tensor, channels: int) -> tuple[Tensor, str | None]:
    """Convert gray to RGB by repeating it, or RGB to gray by 0.299 R + 0.587 G + 0.114 B.

    Args:
        pixels: shape (..., C, H, W) with C = 1 or 3, of any type and range; or C = `channels`.
        channels: number of channels wanted.

    Returns:
        Pixels of shape (..., channels, H, W), and a sentence that says what was done, or None.

    Raises:
        ScalewiseError: if there is no such conversion.
    """
    found = pixels.shape[-3]
    if found == channels:
        return pixels, None
    if (found, channels) == (1, 3):
        return pixels.repeat_interleave(3, -3), "gray image converted to RGB"
    if (found, channels) == (3, 1):
        red, green, blue = pixels.unsqueeze(-4).unbind(-3)
        gray = 0.299 * red + 0.587 * green + 0.114 * blue
        if not pixels.is_floating_point():
            gray = gray.round()
        return gray.to(pixels.dtype), "RGB image converted to gray"
    raise ScalewiseError(f"images of {found} channels cannot be converted to {channels} channels")


def _reader(head: bytes) -> Callable[[BinaryIO], Picture]:
    """Choose by the first 12 bytes of the file."""
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _read_tiff
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return _read_png
    if head[:3] == b"\xff\xd8\xff":
        return lambda stream: _read_pillow(JpegImagePlugin.JpegImageFile(stream))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return lambda stream: _read_pillow(WebPImagePlugin.WebPImageFile(stream))
    raise ScalewiseError("is not a PNG, TIFF, JPEG or WebP image")


def _check_size(width: int, height: int) -> None:
    """Stop decompression bombs before they are decoded."""
    if width * height > PIXEL_LIMIT:
        raise ScalewiseError(
            f"its header announces {width} x {height} pixels, "
            f"more than the {PIXEL_LIMIT // 10**6} million that are allowed"
        )


def _read_png(stream: BinaryIO) -> Picture:
    header = stream.read(29)
    stream.seek(0)
    image = PngImagePlugin.PngImageFile(stream)
    depth, colour_type = header[24:26]
    if depth != 16:
        return _read_pillow(image)
    _check_size(*image.size)
    array = _decode_png16(stream, colour_type)
    key = image.info.get("transparency")
    if key is not None:
        opaque = (array != np.asarray(key)).any(-1, keepdims=True)
        array = np.concatenate([array, opaque.astype(np.uint16) * 65535], -1)
    return _picture(array, "uint16", 65535, image.info.get("icc_profile"), *_metadata(image))


def _decode_png16(stream: BinaryIO, colour_type: int) -> Array:
    """Decode to (H, W, S) uint16, of which Pillow by itself keeps the high bytes only."""

    def decode(data: BinaryIO, raw_mode: str | None = None) -> Array:
        data.seek(0)
        image = PngImagePlugin.PngImageFile(data)
        if raw_mode:
            image.tile = [image.tile[0]._replace(args=raw_mode)]
        return np.asarray(image)

    if colour_type == 0:
        return decode(stream)[..., None].astype(np.uint16)
    if colour_type == 4:  # 16-bit gray and alpha lie in the file as 8-bit RGBA does
        stream.seek(0)
        data = bytearray(stream.read())
        data[24:26] = b"\x08\x06"
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        return decode(BytesIO(data)).view(">u2").astype(np.uint16)
    mode = "RGB" if colour_type == 2 else "RGBA"
    high, low = decode(stream, f"{mode};16B"), decode(stream, f"{mode};16L")
    return high.astype(np.uint16) << 8 | low


def _read_pillow(image: Image.Image) -> Picture:
    """Read a picture of 8 bits per channel."""
    _check_size(*image.size)
    if getattr(image, "n_frames", 1) > 1:
        raise ScalewiseError("is an animation; expected a single image")
    exif, icc = _metadata(image), image.info.get("icc_profile")
    if image.mode == "CMYK":
        image, icc = _cmyk_to_rgb(image, icc), None
    alpha = image.mode.endswith(("A", "a")) or "transparency" in image.info
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if alpha:
        mode += "A"
    array = np.asarray(image if image.mode == mode else image.convert(mode))
    return _picture(array.reshape(*array.shape[:2], -1), "uint8", 255, icc, *exif)


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


def _read_tiff(stream: BinaryIO) -> Picture:
    with tifffile.TiffFile(stream) as tiff:
        pages: list[Any] = [page for page in tiff.pages if not page.aspage().is_reduced]
        if len(pages) != 1:
            raise ScalewiseError(f"holds {len(pages)} pages; expected a single image")
        page = pages[0]
        _check_tiff(page, tiff.filehandle.size)
        array = page.asarray().reshape(page.shaped)
        icc, metadata = page.tags.valueof(34675), _metadata(stream)
    separate, _, height, width, contiguous = array.shape
    array = np.moveaxis(array[:, 0], 0, -2).reshape(height, width, separate * contiguous)
    top = 2**page.bitspersample - 1 if array.dtype.kind == "u" else 1
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        array, top = (page.colormap >> 8).astype(np.uint8).T[array[..., 0]], 255
    depth: Depth = "uint8" if array.dtype.itemsize == 1 else "uint16" if top > 1 else "float32"
    picture = _picture(array, depth, top, icc, *metadata)
    if not bool(picture.pixels.isfinite().all()):
        raise ScalewiseError("holds NaN or infinite values; replace them first")
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        picture = replace(picture, pixels=1 - picture.pixels)
    if picture.alpha is not None and page.extrasamples[:1] == (tifffile.EXTRASAMPLE.ASSOCALPHA,):
        plain = picture.pixels / picture.alpha.clamp_min(torch.finfo(torch.float32).tiny)
        picture = replace(picture, pixels=plain.clamp(0, 1))
    return picture


def _check_tiff(page: Any, file_size: int) -> None:
    """Stop what is too large, cut short, or neither gray nor RGB, before it is decoded."""
    _check_size(page.imagewidth, page.imagelength)
    kinds, kind = tifffile.PHOTOMETRIC, page.photometric
    plain = kind in (kinds.MINISWHITE, kinds.MINISBLACK, kinds.RGB, kinds.PALETTE)
    jpeg = kind == kinds.YCBCR and page.compression in (6, 7)
    if page.imagedepth != 1 or page.samplesperpixel > 4 or not (plain or jpeg):
        raise ScalewiseError(
            f"holds {page.samplesperpixel} channels of {getattr(kind, 'name', kind)} data in "
            f"{page.imagedepth} planes; expected one plane of gray or RGB, with or without alpha"
        )
    held = str(page.dtype)
    if held not in ("bool", "uint8", "uint16", "float16", "float32", "float64"):
        raise ScalewiseError(f"holds {held} values; expected unsigned 8 or 16 bits, or floats")
    ends = [sum(segment) for segment in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if not 0 < max(ends, default=0) <= file_size:
        raise ScalewiseError("damaged or cut short: its pixels lie beyond the end of the file")


def _metadata(source: Image.Image | BinaryIO) -> tuple[int, bytes | None]:
    """Orientation (1 to 8) and the remaining EXIF block, of an image or of a TIFF stream."""
    try:
        if isinstance(source, Image.Image):
            exif = source.getexif()
        else:
            source.seek(0)
            exif = Image.Exif()
            exif.load_from_fp(source)
            for tag in set(exif) - _TIFF_FACTS - {_ORIENTATION}:
                del exif[tag]
        orientation = exif.get(_ORIENTATION, 1)
        exif.pop(_ORIENTATION, None)
        block = exif.tobytes() if len(exif) else None
    except Exception:  # a damaged EXIF block does not spoil the pixels
        return 1, None
    return orientation if orientation in range(1, 9) else 1, block


def _picture(
    array: Array, depth: Depth, top: float, icc: bytes | None, orientation: int, exif: bytes | None
) -> Picture:
    """Make a picture of (H, W, S) samples in [0, top]; S = 2 and 4 end with alpha."""
    samples = torch.from_numpy(np.array(array, dtype=np.float32)).div_(top).movedim(-1, 0)
    if orientation >= 5:
        samples = samples.transpose(1, 2)
    samples = samples.flip(_FLIPS.get(orientation, ())).contiguous()
    colours = 1 if samples.shape[0] < 3 else 3
    alpha = samples[colours:] if samples.shape[0] > colours else None
    return Picture(samples[:colours], alpha, depth, icc, exif)


@dataclass(frozen=True)
class _Format:
    """What a file format can hold, and the function that encodes it."""

    name: str
    depths: tuple[Depth, ...]
    alpha: bool
    longest_side: int
    encode: Callable[[Array, Picture], bytes]


def _fit(picture: Picture, kind: _Format, file: Path) -> tuple[Picture, list[str]]:
    """Leave out what a format cannot hold, and say so."""
    notes = []
    if max(picture.pixels.shape) > kind.longest_side:
        raise ScalewiseError(
            f"{file}: {kind.name} holds at most {kind.longest_side} pixels a side, found "
            f"{max(picture.pixels.shape)}; write a .png or .tif file"
        )
    if picture.depth not in kind.depths:
        picture = replace(picture, depth=kind.depths[-1])
        notes.append(f"{kind.name} holds no more than {picture.depth}: values were rounded to it")
    if picture.alpha is not None and not kind.alpha:
        picture = replace(picture, alpha=None)
        notes.append(f"{kind.name} holds no alpha: it was left out")
    if picture.icc and picture.icc[16:20] != _ICC_SPACES[picture.pixels.shape[0]]:
        picture = replace(picture, icc=None)
        notes.append("the colour profile belongs to other channels: it was left out")
    if kind.name == "JPEG" and len(picture.exif or b"") > 65533:
        picture = replace(picture, exif=None)
        notes.append("JPEG holds no EXIF of more than 65533 bytes: it was left out")
    return picture, notes


def _encode_pillow(array: Array, picture: Picture, name: str, **options: Any) -> bytes:
    """Encode 8 bits per channel."""
    options |= {"icc_profile": picture.icc} if picture.icc else {}
    options |= {"exif": picture.exif} if picture.exif else {}
    buffer = BytesIO()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(buffer, name, **options)
    return buffer.getvalue()


def _encode_png(array: Array, picture: Picture) -> bytes:
    """Encode 8 bits by Pillow, 16 bits here: Pillow has no 16-bit RGB."""
    if array.dtype == np.uint8:
        return _encode_pillow(array, picture, "PNG")

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width, samples = array.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[samples]
    rows = array.astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.full((height, rows.shape[1] + 1), 2, np.uint8)  # filter 2: minus the row above
    filtered[:, 1:] = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))]
    if picture.icc:
        parts.append(chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(picture.icc)))
    if picture.exif:
        parts.append(chunk(b"eXIf", picture.exif.removeprefix(b"Exif\0\0")))
    parts += [chunk(b"IDAT", zlib.compress(filtered.tobytes())), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _encode_tiff(array: Array, picture: Picture) -> bytes:
    """Encode any depth, with the text and the camera and GPS facts of the EXIF block."""
    exif = Image.Exif()
    if picture.exif:
        exif.load(picture.exif)
    texts = {tag: value for tag, value in exif.items() if isinstance(value, str)}
    facts = {tag: dict(exif.get_ifd(tag)) for tag in (_EXIF_IFD, _GPS_IFD) if exif.get_ifd(tag)}
    big = array.nbytes > 2**32 - 2**25
    buffer = BytesIO()
    tifffile.imwrite(
        buffer,
        array[..., 0] if array.shape[-1] == 1 else array,
        bigtiff=big,
        photometric="rgb" if array.shape[-1] > 2 else "minisblack",
        planarconfig=None if array.shape[-1] == 1 else "contig",
        extrasamples=None if picture.alpha is None else ["unassalpha"],
        compression="zlib",
        predictor=array.dtype.kind == "u",
        iccprofile=picture.icc,
        metadata=None,
        software=False,
        extratags=[
            (tag, 2, 0, text.encode("ascii", "replace"), True) for tag, text in texts.items()
        ]
        + [(tag, 16 if big else 4, 1, 0, True) for tag in facts],
    )
    for tag, fact in facts.items():
        _append_facts(buffer, tag, fact, "<Q" if big else "<I")
    return buffer.getvalue()


def _append_facts(buffer: BytesIO, tag: int, facts: dict[int, Any], pointer: str) -> None:
    """Put a directory of EXIF facts at the end of a TIFF, and point the tag to it."""
    with tifffile.TiffFile(buffer) as tiff:
        place = tiff.pages[0].aspage().tags[tag].valueoffset
    directory = TiffImagePlugin.ImageFileDirectory_v2(buffer.getvalue()[:16])
    for key, value in facts.items():
        if key != 0xA005:  # points to a directory that is not carried
            directory[key] = value
    start = buffer.seek(0, os.SEEK_END)
    start += buffer.write(bytes(start % 2))
    buffer.write(directory.tobytes(start))
    buffer.seek(place)
    buffer.write(struct.pack(pointer, start))


def _write_whole(file: Path, data: bytes) -> None:
    """Write under a name of no account in the same folder, then rename."""
    part = file.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, file)
    except OSError as error:
        raise ScalewiseError(f"{file}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


_PNG = _Format("PNG", ("uint8", "uint16"), True, 2**31 - 1, _encode_png)
_TIFF = _Format("TIFF", ("uint8", "uint16", "float32"), True, 2**31 - 1, _encode_tiff)
_JPEG = _Format(
    "JPEG",
    ("uint8",),
    False,
    65535,
    lambda array, picture: _encode_pillow(array, picture, "JPEG", quality=95, subsampling=0),
)
_WEBP = _Format(
    "WebP",
    ("uint8",),
    True,
    16383,
    lambda array, picture: _encode_pillow(array, picture, "WEBP", lossless=True, exact=True),
)
_FORMATS = {
    ".png": _PNG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": _WEBP,
}
IMAGE_SUFFIXES = tuple(_FORMATS)
