"""Writing TIFF, with the axes and metadata that the picture came with."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from math import prod
from typing import Any

import tifffile
from PIL import Image, TiffImagePlugin

from scalewise.images.kinds import Array, is_float
from scalewise.images.metadata import EXIF_IFD, GPS_IFD, INTEROP, resolution_tags
from scalewise.images.picture import Picture
from scalewise.images.tiff import inverted
from scalewise.images.tiff_layout import Tag, TiffLayout, fitted_ome

_CLASSIC_BYTES = 2**32 - 2**25  # larger ones become BigTIFF
_DESCRIPTION = 270
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_OME_TYPES = {"float32": "float", "float64": "double"}


def _layout_of(picture: Picture) -> TiffLayout:
    """The layout that a picture came with, or a plain one where that does not fit."""
    planes, colours, height, width = picture.pixels.shape
    origin = picture.origin
    samples = colours + (picture.alpha is not None)
    if isinstance(origin, TiffLayout):
        same = origin.samples == samples or (origin.split and samples == 1)
        if origin.planes == planes and same:
            return _writable(origin, picture)
    axes = ("IYX" if planes > 1 else "YX") + ("S" if samples > 1 else "")
    shape = (planes,) * (planes > 1) + (height, width) + (samples,) * (samples > 1)
    kind = "rgb" if colours == 3 else "minisblack"
    layout = TiffLayout(axes, shape, photometric=kind)
    if isinstance(origin, TiffLayout):
        extras = origin.extrasamples if origin.associated else ()
        layout = replace(layout, tags=origin.tags, extrasamples=extras)
    return layout


def _writable(layout: TiffLayout, picture: Picture) -> TiffLayout:
    """The same layout, of the kinds that can be written."""
    if layout.photometric in ("ycbcr", "palette"):
        kind = "minisblack" if picture.pixels.shape[1] == 1 else "rgb"
        layout = replace(layout, photometric=kind)
    if layout.kind == "ImageJ" and (
        picture.depth not in _IMAGEJ_TYPES
        or not set(layout.axes) <= set("TZCYXS")
        or (layout.photometric == "rgb" and picture.depth != "uint8")
        or layout.split
        or layout.photometric == "miniswhite"
    ):
        layout = replace(layout, kind="plain", metadata=None, colormap=None)
    return layout


def encode_tiff(planes: Array, picture: Picture) -> bytes:
    """Encode (P, H, W, S) values of any depth, with all that the picture says."""
    layout = _layout_of(picture)
    array = layout.from_planes(planes)
    if layout.photometric == "miniswhite":
        array = inverted(array, layout.bits)
    if layout.kind == "ImageJ":
        array, layout = _imagej_order(array, layout)
    exif = Image.Exif()
    if picture.exif:
        exif.load(picture.exif)
    facts = {tag: dict(exif.get_ifd(tag)) for tag in (EXIF_IFD, GPS_IFD) if exif.get_ifd(tag)}
    big = planes.nbytes > _CLASSIC_BYTES and layout.kind != "ImageJ"
    pointers = [(tag + 1, 16 if big else 4, 1, 0) for tag in facts]  # `tifffile` writes no `tag`
    buffer = BytesIO()
    tifffile.imwrite(
        buffer,
        _paged(array, layout),
        bigtiff=big,
        iccprofile=picture.icc,
        software=False,
        extratags=[(*tag, True) for tag in (*_tags(picture, layout, exif), *pointers)],
        **_resolution(picture, layout),
        **_meaning(layout),
        **_container(array, picture, layout),
    )
    for tag, fact in facts.items():
        _append_facts(buffer, tag, fact, big)
    return buffer.getvalue()


def _tags(picture: Picture, layout: TiffLayout, exif: Image.Exif) -> Iterator[Tag]:
    """Text of the EXIF block, tags kept from a TIFF, range and XMP."""
    described = layout.kind != "plain" or layout.description
    texts = {
        tag: text
        for tag, text in exif.items()
        if isinstance(text, str) and not (tag == _DESCRIPTION and described)
    }
    for tag, text in texts.items():
        yield tag, 2, 0, text.encode("ascii", "replace")
    for code, kind, number, value in layout.tags:
        if code not in texts:
            told = value.encode("utf-8", "replace") if isinstance(value, str) else value
            yield code, kind, number, told
    yield from _range_tags(picture)
    if picture.xmp:
        yield 700, 1, len(picture.xmp), picture.xmp


def _paged(array: Array, layout: TiffLayout) -> Array:
    """One axis of pages, where the axes are told elsewhere than by `tifffile`."""
    if layout.kind in ("ImageJ", "shaped"):
        return array
    inner = 2 + ("S" in layout.axes)
    return array.reshape(-1, *array.shape[array.ndim - inner :]) if array.ndim > inner else array


def _meaning(layout: TiffLayout) -> dict[str, Any]:
    """What the samples of a pixel are."""
    samples = layout.samples
    options: dict[str, Any] = {"photometric": layout.photometric, "colormap": layout.colormap}
    if layout.colormap is not None:
        options["photometric"] = "palette"
    if samples > 1:
        options["planarconfig"] = "separate" if layout.separate else "contig"
        count = samples - (3 if layout.photometric == "rgb" else 1)
        extras = (list(layout.extrasamples) + [0] * count)[:count]
        if not layout.split and samples in (2, 4):
            extras = [1 if layout.associated else 2]
        if any(extras) or (extras and layout.photometric == "rgb"):
            options["extrasamples"] = extras
    return options


def _container(array: Array, picture: Picture, layout: TiffLayout) -> dict[str, Any]:
    """Description, metadata and compression."""
    packed = bool(layout.bits and picture.depth == "uint16" and _can_pack())
    options: dict[str, Any] = {"metadata": None}
    if layout.kind == "ImageJ":
        return _imagej(array, picture, layout)
    if packed:
        options["bitspersample"] = layout.bits
    else:
        options |= {"compression": "zlib", "predictor": array.dtype.kind in "iu"}
    if layout.kind == "OME" and layout.description:
        text = fitted_ome(
            layout.description,
            pages=prod(layout.lead) * (layout.samples if layout.separate else 1),
            width=picture.pixels.shape[-1],
            height=picture.pixels.shape[-2],
            pixel_type=_OME_TYPES.get(picture.depth, picture.depth),
        )
        options["description"] = text.encode()
    elif layout.kind == "shaped":
        held = {k: v for k, v in (layout.metadata or {}).items() if k not in ("shape", "truncated")}
        options["metadata"] = held
    elif layout.description:
        options["description"] = layout.description.encode("utf-8", "replace")
    return options


def _imagej(array: Array, picture: Picture, layout: TiffLayout) -> dict[str, Any]:
    left = ("images", "channels", "slices", "frames", "order")
    metadata = {
        _ascii(k): _ascii(v) if isinstance(v, str) and k != "Info" else v
        for k, v in (layout.metadata or {}).items()
        if k not in left
    }
    if picture.resolution and picture.resolution.unit and "unit" not in metadata:
        metadata["unit"] = _ascii(picture.resolution.unit)
    options = {"imagej": True, "metadata": metadata | {"axes": layout.axes}}
    if array.nbytes > _CLASSIC_BYTES:
        options["truncate"] = True
    return options


def _ascii(text: str) -> str:
    """Other letters in the way of ImageJ."""
    return "".join(c if c.isascii() else f"\\u{ord(c):04X}" for c in text)


def _imagej_order(array: Array, layout: TiffLayout) -> tuple[Array, TiffLayout]:
    """The axes in the order that ImageJ asks for."""
    order = sorted(range(len(layout.axes)), key=lambda i: "TZCYXS".index(layout.axes[i]))
    axes = "".join(layout.axes[i] for i in order)
    return array.transpose(order), replace(layout, axes=axes)


def _resolution(picture: Picture, layout: TiffLayout) -> dict[str, Any]:
    """Pixels per unit, in the unit of the container."""
    found = picture.resolution
    if found is None:
        return {}
    x, y, unit = (found.x, found.y, 1) if layout.kind == "ImageJ" else resolution_tags(found)
    if not all(2**-31 <= each < 2**32 for each in (x, y)):  # beyond fractions of 32 bits
        return {}
    return {"resolution": (x, y), "resolutionunit": unit}


def _range_tags(picture: Picture) -> list[Tag]:
    """Black and white, where they are known and one tag can tell them."""
    found, depth = picture.intensities, picture.depth
    if found.source == "found" or len(found.black) > 1:
        return []
    (black,), (white,) = found.black, found.white
    if is_float(depth):
        return [(340, 12, 1, black), (341, 12, 1, white)]
    whole = black == round(black) and white == round(white)
    if found.source == "type" or depth != "uint16" or not whole or not 0 <= black < white < 65536:
        return []
    return [(280, 3, 1, int(black)), (281, 3, 1, int(white))]


def _can_pack() -> bool:
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        return False
    return True


def _append_facts(buffer: BytesIO, tag: int, facts: dict[int, Any], big: bool) -> None:
    """Put a directory of EXIF facts at the end of a TIFF, and turn entry `tag + 1` into `tag`."""
    buffer.seek(0)
    with tifffile.TiffFile(buffer) as tiff:
        place, order = tiff.pages[0].aspage().tags[tag + 1].offset, tiff.byteorder
    buffer.seek(0)
    directory = TiffImagePlugin.ImageFileDirectory_v2(buffer.read(16 if big else 8))
    for key, value in facts.items():
        if key != INTEROP:  # points to a directory that is not carried
            directory[key] = value
    start = buffer.seek(0, os.SEEK_END)
    start += buffer.write(bytes(start % 2))
    buffer.write(directory.tobytes(start))
    buffer.seek(place)
    kind = 16 if big else 4
    buffer.write(struct.pack(f"{order}HHQQ" if big else f"{order}HHII", tag, kind, 1, start))
