"""Reading TIFF: photos, stacks of planes, ImageJ and OME-TIFF."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import tifffile
import torch
from PIL import Image

from scalewise.errors import ScalewiseError
from scalewise.images.exposure import find_ranges
from scalewise.images.filling import filled
from scalewise.images.intensities import given_range, type_range
from scalewise.images.kinds import EXACT, Array, Depth, is_float, type_ends
from scalewise.images.metadata import (
    ORIENTATION,
    Metadata,
    camera_facts,
    exif_resolution,
    read_metadata,
)
from scalewise.images.picture import Convert, Picture, to_tensor, upright
from scalewise.images.resolution import Resolution, unit_of
from scalewise.images.tiff_checks import check_chain, check_pages
from scalewise.images.tiff_layout import TiffLayout, ome_pixels
from scalewise.images.tiff_series import layout_of, whole_series

_ICC, _XMP = 34675, 700
_RANGES = ((340, 341), (280, 281), (50714, 50717))  # SMin/SMax, Min/MaxSampleValue, DNG levels
_KINDS = tifffile.PHOTOMETRIC


def read_tiff(
    stream: BinaryIO,
    black: float | None,
    white: float | None,
    convert: Convert | None = None,
) -> Picture:
    """Read a photo, or all planes of a stack.

    Args:
        stream: the file.
        black: stored value of black; None for what the file says.
        white: likewise.
        convert: makes intensities of stored values.
    """
    count = check_chain(stream)
    with tifffile.TiffFile(stream, _multifile=False) as tiff:
        series, notes = whole_series(tiff, count)
        page = series.keyframe
        check_pages(series, tiff.filehandle)
        layout, array = _expanded(page, layout_of(tiff, series), series)
        metadata = _metadata(stream, tiff, page, layout)
    array = upright(array, metadata.orientation)
    picture = _picture(array, page, layout, black, white, convert)
    facts = metadata.facts() | {"notes": (*metadata.notes, *notes, *picture.notes)}
    return replace(picture, origin=layout, **facts)


def _expanded(page: Any, layout: TiffLayout, series: Any) -> tuple[TiffLayout, Array]:
    """Decode to (P, H, W, S): palettes become RGB, and less than 8 bits become 8."""
    array = series.asarray()
    if page.photometric == _KINDS.PALETTE and layout.colormap is None:
        array = (page.colormap >> 8).astype(np.uint8).T[array]
        layout = replace(
            layout, axes=layout.axes + "S", shape=(*layout.shape, 3), photometric="rgb"
        )
    elif page.bitspersample < 8:
        table = np.rint(np.linspace(0, 255, 2**page.bitspersample)).astype(np.uint8)
        array = table[array.astype(np.uint8)]
    if page.photometric == _KINDS.MINISWHITE:
        array = inverted(array, layout.bits)
    return layout, layout.to_planes(array)


def inverted(array: Array, bits: int | None) -> Array:
    """White for black: what MINISWHITE means; its own inverse."""
    if array.dtype.kind == "f":
        return 1 - array
    top = 2**bits - 1 if bits else np.iinfo(array.dtype).max
    return array.dtype.type(top) - array


def _picture(
    array: Array,
    page: Any,
    layout: TiffLayout,
    black: float | None,
    white: float | None,
    convert: Convert | None,
) -> Picture:
    """Find the range and make the picture."""
    depth: Depth = array.dtype.name  # type: ignore[assignment]
    _check_values(array, depth)
    colours = 1 if array.shape[-1] < 3 else 3
    alpha = None
    if array.shape[-1] > colours:
        top = 2.0**layout.bits - 1 if layout.bits else type_range(depth).white[0]
        alpha = to_tensor(array[..., colours:], lambda _: (0.0, top))
    missing = _missing(array[..., :colours], depth, layout.nodata)
    visible = None if alpha is None else alpha[:, 0].numpy()
    if missing is not None:
        visible = ~missing[:, 0].numpy() * (1 if visible is None else visible)
    found, notes = find_ranges(
        array[..., :colours],
        depth,
        channels=layout.channels(),
        visible=visible,
        said=_said_range(page, depth, layout),
    )
    if layout.bits:
        found = replace(found, most=2.0**layout.bits - 1)
    intensities = given_range(black, white, found)
    pixels = (convert or to_tensor)(array[..., :colours], intensities.at)
    if alpha is not None and layout.associated:
        pixels = torch.where(alpha > 0, pixels / alpha, 0)
        pixels = pixels if is_float(depth) else pixels.clamp(max=1)
    if missing is not None:
        pixels = filled(pixels, (~missing).float())
    notes = notes if intensities is found else ()
    return Picture(
        pixels, alpha, depth=depth, intensities=intensities, missing=missing, notes=notes
    )


def _missing(array: Array, depth: Depth, nodata: float | None) -> torch.Tensor | None:
    """Where some, but not all, pixels hold the value that says that there is none."""
    if nodata is None or not type_ends(depth)[0] <= nodata:
        return None
    missing = (array == np.array(nodata, array.dtype)).all(-1)
    return torch.from_numpy(missing)[:, None] if missing.any() and not missing.all() else None


def _check_values(array: Array, depth: Depth) -> None:
    """Refuse what 32-bit floats cannot carry."""
    least, most = float(array.min()), float(array.max())  # NaN if any is
    if is_float(depth):
        top = float(np.finfo(np.float32).max)
        if not (-top <= least and most <= top):
            raise ScalewiseError("holds NaN or infinite values; replace them first")
    elif most - least >= EXACT:
        raise ScalewiseError(
            f"holds {depth} values from {least:.0f} to {most:.0f}, more than the {EXACT} "
            "that are kept exactly; convert it to 32-bit floats first"
        )


def _said_range(page: Any, depth: Depth, layout: TiffLayout) -> tuple[float, float] | None:
    """Black and white by the tags of a file, or by the bits of its values."""
    for low, high in _RANGES:
        least, most = (_numbers(page.tags.valueof(code)) for code in (low, high))
        if most:
            ends = min(least, default=0.0), max(most)
            if ends[0] < ends[1] and ends[1] not in (255.0, type_range(depth).white[0]):
                return ends
            if is_float(depth) and ends[0] < ends[1]:
                return ends
    return (0.0, 2.0**layout.bits - 1) if layout.bits else None


def _numbers(value: Any) -> list[float]:
    """Finite numbers of a tag."""
    values = value if isinstance(value, tuple | list) else [value]
    numbers = [float(v) for v in values if isinstance(v, int | float)]
    return [number for number in numbers if math.isfinite(number)]


def _metadata(stream: BinaryIO, tiff: tifffile.TiffFile, page: Any, layout: TiffLayout) -> Metadata:
    tags = page.tags
    facts = read_metadata(
        lambda: _read_exif(stream, tiff, page),
        icc=tags.valueof(_ICC),
        xmp=tags.valueof(_XMP),
        resolution=_resolution(page, layout),
    )
    orientation = tags.valueof(ORIENTATION, default=1)
    return replace(facts, orientation=orientation if isinstance(orientation, int) else 1)


def _resolution(page: Any, layout: TiffLayout) -> Resolution | None:
    """The size of a pixel: by OME-XML, by ImageJ, or by the tags."""
    if layout.kind == "OME" and layout.description:
        held = ome_pixels(layout.description)
        sizes = _numbers([_float(held.get(f"PhysicalSize{axis}")) for axis in "XY"])
        if len(sizes) == 2 and min(sizes) > 0:
            unit = unit_of(held.get("PhysicalSizeXUnit", "µm"))
            return Resolution(1 / sizes[0], 1 / sizes[1], unit)
    found = exif_resolution(page.tags.valueof(282), page.tags.valueof(283), 3)
    if found is None:
        return None
    if layout.kind == "ImageJ" and layout.metadata and "unit" in layout.metadata:
        return replace(found, unit=unit_of(str(layout.metadata["unit"])))
    code = page.tags.valueof(296, default=2)
    return exif_resolution(found.x, found.y, code)


def _float(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _read_exif(stream: BinaryIO, tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> Image.Exif:
    """Gather the facts about camera, place, date and author."""
    tags = Image.Exif()
    tags.endian, tags.bigtiff = tiff.byteorder, tiff.is_bigtiff
    tags.load_from_fp(stream, page.offset)
    return camera_facts(tags)
