"""Writing image files, whole or not at all."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from scalewise.errors import ScalewiseError, UsageError
from scalewise.files import write_whole
from scalewise.images.formats import FORMATS, IMAGE_SUFFIXES, Format
from scalewise.images.intensities import type_range
from scalewise.images.picture import Picture, to_channels

_TOPS = {"uint8": 255, "uint16": 65535}
_BITS = {"uint8": 8, "uint16": 16}
_ICC_SPACES = {1: b"GRAY", 3: b"RGB "}
_LONGEST_JPEG_EXIF = 65533


def write_image(
    path: str | Path, picture: Picture, *, force: bool = False, quality: int | None = None
) -> list[str]:
    """Write a picture, whole or not at all.

    The depth is kept where the format can: 8 or 16 bits in PNG, floats too in TIFF, 8 bits in
    JPEG (quality 95, full colour resolution) and WebP (lossless). Values are rounded, and clipped
    to [0, 1] unless written as floats. TIFF is compressed with zlib.

    Args:
        path: output file; the suffix tells the format.
        picture: what to write.
        force: overwrite an existing file.
        quality: of a JPEG, from 1 to 100.

    Returns:
        One sentence for each thing that the format could not keep.

    Raises:
        UsageError: if the suffix is unknown.
        ScalewiseError: if the output exists and `force` is false, cannot be written, or the
            pixels hold NaN.
    """
    file = Path(path)
    check_output(file, force=force)
    if len(picture.pixels) != 1:
        raise ScalewiseError(f"{file}: stacks cannot be written yet")
    fitted, notes = _fit(picture, FORMATS[file.suffix.lower()], file)
    top = _TOPS.get(fitted.depth, 1)
    planes = [fitted.intensities.stored(fitted.pixels[0].detach().cpu().float())]
    if fitted.alpha is not None:
        planes.append(top * fitted.alpha[0].detach().cpu().float())
    planes = [plane.reshape(-1, *plane.shape[-2:]) for plane in planes]
    values = torch.cat(planes).movedim(0, -1)
    if not bool(values.isfinite().all()):
        raise ScalewiseError(f"{file}: not written, the pixels hold NaN or infinite values")
    if fitted.depth != "float32":
        values = values.round().clamp(0, top)
    array = np.ascontiguousarray(values.numpy().astype(fitted.depth))
    try:
        data = FORMATS[file.suffix.lower()].encode(array, fitted, quality)
    except Exception as error:  # encoders raise a dozen types
        raise ScalewiseError(f"{file}: cannot be encoded: {error}") from error
    write_whole(file, data)
    return notes


def check_output(path: str | Path, *, force: bool = False) -> None:
    """Check before long work that an image can be written.

    Args:
        path: output file.
        force: an existing file may be overwritten.

    Raises:
        UsageError: if the suffix is unknown.
        ScalewiseError: if the folder is missing or not writable, or the file exists.
    """
    file = Path(path)
    if file.suffix.lower() not in FORMATS:
        raise UsageError(
            f"{file}: unknown image suffix {file.suffix!r}; use one of {', '.join(IMAGE_SUFFIXES)}"
        )
    if not os.path.isdir(file.parent):
        raise ScalewiseError(f"{file}: folder {file.parent} does not exist; create it first")
    if os.path.isdir(file):
        raise ScalewiseError(f"{file}: is a folder; give the name of a file")
    if os.path.exists(file) and not force:
        raise ScalewiseError(f"{file} exists; give --force to overwrite it")
    if not os.access(file.parent, os.W_OK):
        raise ScalewiseError(f"{file}: folder {file.parent} is not writable")


def _fit(picture: Picture, kind: Format, file: Path) -> tuple[Picture, list[str]]:
    """Leave out what a format cannot hold, and say so."""
    notes: list[str] = []
    if max(picture.pixels.shape) > kind.longest_side:
        raise ScalewiseError(
            f"{file}: {kind.name} holds at most {kind.longest_side} pixels a side, found "
            f"{max(picture.pixels.shape)}; write a .png or .tif file"
        )
    if picture.depth not in kind.depths:
        picture = replace(picture, depth=kind.depths[-1], intensities=type_range(kind.depths[-1]))
        bits = _BITS[picture.depth]
        notes.append(f"{kind.name} holds at most {bits} bits per channel: values were rounded")
    if picture.alpha is not None and not kind.alpha:
        picture = replace(picture, alpha=None)
        notes.append(f"{kind.name} holds no alpha: it was left out")
    if not kind.gray:
        picture = replace(picture, pixels=to_channels(picture.pixels, 3)[0])
    if picture.icc and picture.icc[16:20] != _ICC_SPACES[picture.pixels.shape[1]]:
        picture = replace(picture, icc=None)
        notes.append("the colour profile belongs to other channels: it was left out")
    if kind.name == "JPEG" and len(picture.exif or b"") > _LONGEST_JPEG_EXIF:
        picture = replace(picture, exif=None)
        notes.append(f"JPEG holds at most {_LONGEST_JPEG_EXIF} bytes of EXIF: it was left out")
    return picture, notes
