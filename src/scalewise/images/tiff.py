"""TIFF of 8 and 16 bits per channel and of floats."""

import os
import struct
from dataclasses import replace
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
import tifffile
import torch
from PIL import Image, TiffImagePlugin

from scalewise.errors import ScalewiseError
from scalewise.images.intensities import Depth
from scalewise.images.picture import (
    ORIENTATION,
    Array,
    Picture,
    check_size,
    make_picture,
    read_metadata,
)

_EXIF, _GPS, _INTEROP = 0x8769, 0x8825, 0xA005
_FACTS = (271, 272, 306, 315, 33432, _EXIF, _GPS)  # other tags lay out the file
_CLASSIC_BYTES = 2**32 - 2**25  # larger ones become BigTIFF
_TYPES = ("bool", "uint8", "uint16", "float16", "float32", "float64")
_ALPHAS = ((tifffile.EXTRASAMPLE.ASSOCALPHA,), (tifffile.EXTRASAMPLE.UNASSALPHA,))


def read_tiff(stream: BinaryIO) -> Picture:
    """Read a file of one page: gray, RGB or palette, with or without alpha."""
    with tifffile.TiffFile(stream) as tiff:
        pages: list[Any] = [page for page in tiff.pages if not page.aspage().is_reduced]
        if len(pages) != 1:
            raise ScalewiseError(f"holds {len(pages)} pages; expected a single image")
        page = pages[0]
        _check_tiff(page, tiff.filehandle.size)
        array = page.asarray().reshape(page.shaped)
        icc, orientation = page.tags.valueof(34675), page.tags.valueof(ORIENTATION, default=1)
        _, exif = read_metadata(lambda: _read_exif(stream, tiff, page))
    separate, _, height, width, contiguous = array.shape
    array = np.moveaxis(array[:, 0], 0, -2).reshape(height, width, separate * contiguous)
    top = 2**page.bitspersample - 1 if array.dtype.kind == "u" else 1
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        array, top = (page.colormap >> 8).astype(np.uint8).T[array[..., 0]], 255
    depth: Depth = "uint8" if array.dtype.itemsize == 1 else "uint16" if top > 1 else "float32"
    picture = make_picture(array, depth, top, icc, orientation, exif)
    planes = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha]
    if not all(bool(plane.isfinite().all()) for plane in planes):
        raise ScalewiseError("holds NaN or infinite values; replace them first")
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        picture = replace(picture, pixels=1 - picture.pixels)
    if picture.alpha is not None and page.extrasamples == (tifffile.EXTRASAMPLE.ASSOCALPHA,):
        plain = torch.where(picture.alpha > 0, picture.pixels / picture.alpha, 0)
        picture = replace(picture, pixels=plain if depth == "float32" else plain.clamp(max=1))
    return picture


def _check_tiff(page: Any, file_size: int) -> None:
    """Stop what is too large, cut short, or neither gray nor RGB, before it is decoded."""
    check_size(page.imagewidth, page.imagelength)
    kinds, kind = tifffile.PHOTOMETRIC, page.photometric
    plain = kind in (kinds.MINISWHITE, kinds.MINISBLACK, kinds.RGB, kinds.PALETTE)
    jpeg = kind == kinds.YCBCR and page.compression in (6, 7)
    samples, alpha = page.samplesperpixel, page.extrasamples in _ALPHAS
    counts = (1, 2, 3, 4) if alpha else (1, 3, 4)
    if page.imagedepth != 1 or samples not in counts or not (plain or jpeg):
        raise ScalewiseError(
            f"holds {samples} channels of {getattr(kind, 'name', kind)} data in "
            f"{page.imagedepth} planes; expected one plane of gray or RGB, with or without alpha"
        )
    held, bits = str(page.dtype), page.bitspersample
    if held not in _TYPES or isinstance(bits, tuple):
        raise ScalewiseError(
            f"holds {held} values of {bits} bits; expected unsigned 8 or 16 bits, or floats"
        )
    ends = [sum(segment) for segment in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if not 0 < max(ends, default=0) <= file_size:
        raise ScalewiseError("damaged or cut short: its pixels lie beyond the end of the file")


def _read_exif(stream: BinaryIO, tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> Image.Exif:
    """Gather the facts about camera, place, date and author."""
    tags = Image.Exif()
    tags.endian, tags.bigtiff = tiff.byteorder, tiff.is_bigtiff
    tags.load_from_fp(stream, page.offset)
    exif = Image.Exif()
    for tag in _FACTS:
        if tag in (_EXIF, _GPS) and tag in tags:
            facts = tags.get_ifd(tag)
            exif[tag] = {key: value for key, value in facts.items() if key != _INTEROP}
        elif tag in tags:
            exif[tag] = tags[tag]
    return exif


def encode_tiff(array: Array, picture: Picture) -> bytes:
    """Encode any depth, with the text and the camera and GPS facts of the EXIF block."""
    exif = Image.Exif()
    if picture.exif:
        exif.load(picture.exif)
    texts = {tag: value for tag, value in exif.items() if isinstance(value, str)}
    facts = {tag: dict(exif.get_ifd(tag)) for tag in (_EXIF, _GPS) if exif.get_ifd(tag)}
    big = array.nbytes > _CLASSIC_BYTES
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
        + [(tag + 1, 16 if big else 4, 1, 0, True) for tag in facts],  # tifffile writes no `tag`
    )
    for tag, fact in facts.items():
        _append_facts(buffer, tag, fact, big)
    return buffer.getvalue()


def _append_facts(buffer: BytesIO, tag: int, facts: dict[int, Any], big: bool) -> None:
    """Put a directory of EXIF facts at the end of a TIFF, and turn entry `tag + 1` into `tag`."""
    buffer.seek(0)
    with tifffile.TiffFile(buffer) as tiff:
        place = tiff.pages[0].aspage().tags[tag + 1].offset
    buffer.seek(0)
    directory = TiffImagePlugin.ImageFileDirectory_v2(buffer.read(16 if big else 8))
    for key, value in facts.items():
        if key != _INTEROP:  # points to a directory that is not carried
            directory[key] = value
    start = buffer.seek(0, os.SEEK_END)
    start += buffer.write(bytes(start % 2))
    buffer.write(directory.tobytes(start))
    buffer.seek(place)
    buffer.write(struct.pack("<HHQQ" if big else "<HHII", tag, 16 if big else 4, 1, start))
