"""Writing image files, whole or not at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from scalewise.errors import ScalewiseError, UsageError
from scalewise.files import check_writable, write_whole
from scalewise.images.formats import FORMATS, IMAGE_SUFFIXES, Format
from scalewise.images.intensities import type_range
from scalewise.images.kinds import Array, Depth, is_float, type_ends
from scalewise.images.picture import JpegTables, Picture, PngChunks, to_channels
from scalewise.images.tiff_layout import TiffLayout

_ICC_SPACES = {1: b"GRAY", 3: b"RGB "}
_LONGEST_JPEG_EXIF = 65533


def write_image(
    path: str | Path, picture: Picture, *, force: bool = False, quality: int | None = None
) -> list[str]:
    """Write a picture, whole or not at all.

    The depth and the unit of values are kept where the format can: 8 or 16 bits in PNG, any in
    TIFF, 8 bits in JPEG, WebP (without loss) and BMP. Integers are rounded, and clipped to what
    their type holds. A picture from a JPEG is written with its tables, another at quality 95 and
    full colour resolution. TIFF is compressed with zlib, but for ImageJ and packed bits.

    Args:
        path: output file; the suffix tells the format.
        picture: what to write.
        force: overwrite an existing file.
        quality: of a JPEG or WebP, from 1 to 100; None for that of the picture's own file, and for
            WebP without loss.

    Returns:
        One sentence for each thing that the format could not keep.

    Raises:
        UsageError: if the suffix is unknown, the quality out of range, or the format has none.
        ScalewiseError: if the output exists and `force` is false, cannot be written, or the
            pixels hold NaN.

    Examples:
        >>> import tempfile
        >>> picture = scalewise.Picture(torch.rand(3, 20, 30), depth="uint16")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     scalewise.write_image(f"{folder}/deep.tif", picture)
        ...     scalewise.write_image(f"{folder}/flat.jpg", picture)
        []
        ['JPEG holds at most 8 bits per channel: values were rounded']
    """
    file = Path(path)
    check_output(file, force=force)
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality must be from 1 to 100, found {quality}")
    if quality is not None and not has_quality(file):
        raise UsageError(f"{file}: only .jpg and .webp files have a quality; leave it out")
    data, notes = encode_image(picture, file, quality)
    write_whole(file, data)
    return notes


def encode_image(
    picture: Picture, name: str | Path, quality: int | None = None
) -> tuple[bytes, list[str]]:
    """The file of a picture, and a sentence for each thing that the format could not keep.

    Args:
        picture: what to encode.
        name: whose suffix tells the format.
        quality: as for `write_image`.
    """
    file = Path(name)
    kind = FORMATS[file.suffix.lower()]
    fitted, notes = fit_picture(picture, file)
    array = stored_values(fitted, file)
    try:
        return kind.encode(array, fitted, quality), notes
    except Exception as error:  # encoders raise a dozen types
        raise ScalewiseError(f"{file}: cannot be encoded: {error}") from error


def has_quality(path: str | Path) -> bool:
    """Whether the format that a suffix tells is encoded at a quality, if one is asked for."""
    kind = FORMATS.get(Path(path).suffix.lower())
    return kind is not None and kind.lossy


def check_output(path: str | Path, *, force: bool = False) -> None:
    """Check before long work that an image can be written.

    Args:
        path: output file.
        force: an existing file may be overwritten.

    Raises:
        UsageError: if the suffix is unknown.
        ScalewiseError: if the folder is missing or not writable, the name too long, or the file
            exists.
    """
    file = Path(path)
    if file.suffix.lower() not in FORMATS:
        raise UsageError(
            f"{file}: unknown image suffix {file.suffix!r}; use one of {', '.join(IMAGE_SUFFIXES)}"
        )
    check_writable(file, force=force)


def fit_picture(picture: Picture, file: Path) -> tuple[Picture, list[str]]:
    """Leave out what the format of a file cannot hold, and say so."""
    kind = FORMATS[file.suffix.lower()]
    _check_size(picture, kind, file)
    notes: list[str] = []
    tiff = picture.origin if isinstance(picture.origin, TiffLayout) else None
    if picture.depth not in kind.depths or (tiff and tiff.bits and kind.name != "TIFF"):
        picture, note = _shallower(picture, kind)
        notes.append(note)
    if picture.alpha is not None and not kind.alpha:
        picture = replace(picture, alpha=None)
        notes.append(f"{kind.name} holds no alpha: it was left out")
    if not kind.gray:
        picture = replace(picture, pixels=to_channels(picture.pixels, 3)[0])
    notes += _lost(picture, kind)
    if not kind.said:
        picture = replace(picture, icc=None, exif=None, xmp=None)
    if picture.icc and picture.icc[16:20] != _ICC_SPACES[picture.pixels.shape[1]]:
        picture = replace(picture, icc=None)
        notes.append("the colour profile belongs to other channels: it was left out")
    if kind.name == "JPEG" and len(picture.exif or b"") > _LONGEST_JPEG_EXIF:
        picture = replace(picture, exif=None)
        notes.append(f"JPEG holds at most {_LONGEST_JPEG_EXIF} bytes of EXIF: it was left out")
    if kind.name != "TIFF":
        picture = replace(picture, missing=None, origin=None if tiff else picture.origin)
    return picture, notes


def _check_size(picture: Picture, kind: Format, file: Path) -> None:
    """Refuse pictures that are too large, or stacks, for a format."""
    planes, _, *sides = picture.pixels.shape
    if max(sides) > kind.longest_side:
        raise ScalewiseError(
            f"{file}: {kind.name} holds at most {kind.longest_side} pixels a side, found "
            f"{max(sides)}; write a .png or .tif file"
        )
    if planes > 1 and not kind.stacks:
        raise ScalewiseError(
            f"{file}: {kind.name} holds one plane, found a stack of {planes}; write a .tif file"
        )


def _shallower(picture: Picture, kind: Format) -> tuple[Picture, str]:
    """The deepest type of a format, with black at 0 and white at its top."""
    depth = kind.depths[-1]
    bits = {"uint8": 8, "uint16": 16}[depth]
    became = f"{picture.intensities} became 0 to {2**bits - 1}"
    if picture.depth == depth:
        note = f"{kind.name} holds no packed values: {became}"
    else:
        note = f"{kind.name} holds at most {bits} bits per channel: values were rounded"
        note += f", and {became}" if picture.intensities.source != "type" else ""
    return replace(picture, depth=depth, intensities=type_range(depth)), note


def _lost(picture: Picture, kind: Format) -> list[str]:
    """What a format has no place for, in sentences."""
    lost, notes = [], []
    if picture.missing is not None and kind.name != "TIFF":
        notes.append(f"{kind.name} has no word for missing data: it was filled from around")
    if not kind.said:
        names = (("colour profile", picture.icc), ("EXIF", picture.exif), ("XMP", picture.xmp))
        lost += [name for name, value in names if value]
    origin = picture.origin
    if isinstance(origin, TiffLayout) and kind.name != "TIFF":
        lost += [f"{origin.kind} metadata"] if origin.kind in ("ImageJ", "OME") else []
        lost += ["place on the ground (GeoTIFF)"] if origin.is_geographic else []
        lost += ["IPTC"] if any(code == 33723 for code, *_ in origin.tags) else []
    if isinstance(origin, JpegTables) and kind.name != "JPEG" and origin.segments:
        lost.append("IPTC or comment of a JPEG")
    if isinstance(origin, PngChunks) and kind.name != "PNG":
        kinds = {name for name, _ in origin.chunks}
        lost += ["text of a PNG"] if kinds & {b"tEXt", b"zTXt", b"iTXt"} else []
        lost += ["gamma of a PNG"] if b"gAMA" in kinds and b"sRGB" not in kinds else []
    return [*notes, *(f"{kind.name} holds no {name}: it was left out" for name in lost)]


def stored_values(picture: Picture, file: Path) -> Array:
    """Values (P, H, W, S) as they lie in a file, alpha last."""
    depth, (count, colours, height, width) = picture.depth, picture.pixels.shape
    samples = colours + (picture.alpha is not None)
    array = np.empty((count, height, width, samples), depth)
    least, most = type_ends(depth)
    ends = least, min(most, picture.intensities.most or most)
    bits = picture.origin.bits if isinstance(picture.origin, TiffLayout) else None
    held = picture.pixels
    if isinstance(picture.origin, TiffLayout) and picture.origin.associated:
        held = held if picture.alpha is None else held * picture.alpha
    opaque = 2.0**bits - 1 if bits and depth == "uint16" else type_range(depth).white[0]
    for plane in range(count):
        black, white = picture.intensities.at(plane)
        for channel in range(colours):
            values = _finite(held[plane, channel], file)
            array[plane, ..., channel] = _rounded(black + values * (white - black), depth, ends)
        if picture.alpha is not None:
            values = _finite(picture.alpha[plane, 0], file)
            array[plane, ..., -1] = _rounded(values * opaque, depth, (least, opaque))
    if picture.missing is not None and isinstance(picture.origin, TiffLayout):
        missing = F.interpolate(picture.missing.float(), (height, width), mode="nearest-exact")
        array[missing[:, 0].cpu().numpy() > 0, :colours] = picture.origin.nodata
    return array


def _finite(values: Tensor, file: Path) -> Array:
    """The same in double precision, if all are numbers."""
    array: Array = values.detach().cpu().double().numpy()
    if not np.isfinite(array).all():
        raise ScalewiseError(f"{file}: not written, the pixels hold NaN or infinite values")
    return array


def _rounded(values: Array, depth: Depth, ends: tuple[float, float]) -> Array:
    """Integers are rounded and clipped; floats stay."""
    return values if is_float(depth) else np.clip(np.rint(values), *ends)
