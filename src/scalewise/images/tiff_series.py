"""What a TIFF file holds: which of its pages are the picture, and how its planes lie."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import tifffile

from scalewise.errors import ScalewiseError
from scalewise.images.kinds import Array
from scalewise.images.tiff_layout import (
    NO_DATA,
    PIXEL_SCALE,
    TIE_POINTS,
    TRANSFORMATION,
    Kind,
    Tag,
    TiffLayout,
)

_KEPT_TAGS = (
    269, 285, 316, 33723, PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, 34735, 34736, 34737,
    42112, NO_DATA,
)  # names, IPTC, GeoTIFF, GDAL  # fmt: skip
_SOFTWARE = 305
_ALPHAS = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
_KINDS = tifffile.PHOTOMETRIC
_SPECIAL = {
    "andor", "avs", "bif", "eer", "fei", "fluoview", "indica", "lsm", "mdgel", "metaseries",
    "micromanager", "mmstack", "ndpi", "ndtiff", "nih", "philips", "qpi", "scanimage", "scn",
    "sis", "stk", "svs", "tvips",
}  # whose metadata are not written  # fmt: skip


def whole_series(tiff: tifffile.TiffFile, count: int) -> tuple[Any, list[str]]:
    """The one series of a file, and what beside it is left out."""
    found = list(tiff.series)
    whole = [one for one in found if not (one.keyframe.is_reduced or one.keyframe.is_mask)]
    if not whole and len(found) == 1:
        whole = found
    if not whole:
        raise ScalewiseError(
            "holds previews only, as raw data of cameras do; develop it to a TIFF first"
        )
    if len(whole) > 1:
        sizes = ", ".join(" x ".join(map(str, one.shape)) for one in whole[:5])
        raise ScalewiseError(
            f"holds {len(whole)} images or series ({sizes}); expected one image, or one stack of "
            "planes of one size"
        )
    series = whole[0]
    _check_description(tiff, series)
    left = sum(len(one) for one in found) - len(series)
    inner = sum(len(level) for level in series.levels[1:])
    planes = prod(series.shape) // max(1, prod(series.keyframe.shape))
    if planes + left < count and not inner:
        raise ScalewiseError(
            f"holds {count} pages, of which its description tells {planes + left}; it is damaged "
            "or of a kind that is not read"
        )
    notes = []
    if left + inner:
        notes.append(f"{left + inner} reduced pages (thumbnail, pyramid or mask) were left out")
    for name in sorted(_SPECIAL & set(tiff.flags)):
        notes.append(f"metadata of the kind {name} are left out when it is written")
    return series, notes


def _check_description(tiff: tifffile.TiffFile, series: Any) -> None:
    """What a description announces, and was not found, is no image of one plane."""
    announced = 0
    if tiff.is_imagej and series.kind != "imagej":
        announced = int((tiff.imagej_metadata or {}).get("images", 0)) * prod(series.keyframe.shape)
    if tiff.is_shaped and series.kind != "shaped":
        announced = max(prod(one.get("shape", ())) for one in tiff.shaped_metadata or ({},))
    page = series.keyframe
    behind = tiff.filehandle.size - sum(page.dataoffsets[:1]) - page.nbytes
    if tiff.is_imagej and page.compression == 1 and len(tiff.pages) == 1:  # all behind one page
        announced = max(announced, page.nbytes * (1 + behind // page.nbytes) // page.dtype.itemsize)
    if announced > prod(series.shape):
        raise ScalewiseError(
            f"damaged or cut short: its description announces {announced} values, and it holds "
            f"{prod(series.shape)}"
        )


def layout_of(tiff: tifffile.TiffFile, series: Any) -> TiffLayout:
    """Axes and metadata, of the kinds that are written back."""
    page, axes, shape = series.keyframe, series.axes, tuple(series.shape)
    if "Y" not in axes or "X" not in axes or axes.count("S") > 1:
        raise ScalewiseError(f"holds an array of axes {axes}; expected planes of rows and columns")
    kinds: dict[str, Kind] = {"ome": "OME", "imagej": "ImageJ", "shaped": "shaped"}
    kind = kinds.get(series.kind, "plain")
    colours, alpha = _colours(page)
    samples = shape[axes.index("S")] if "S" in axes else 1
    held = {"ImageJ": tiff.imagej_metadata, "shaped": (tiff.shaped_metadata or ({},))[0]}
    return TiffLayout(
        axes,
        shape,
        split=samples not in (colours, colours + alpha),
        kind=kind,
        photometric=_KINDS(page.photometric).name.lower(),
        extrasamples=tuple(int(e) if int(e) in (0, 1, 2) else 0 for e in page.extrasamples),
        description={"OME": tiff.ome_metadata, "plain": page.description or None}.get(kind),
        metadata=dict(held.get(kind) or {}) or None,
        colormap=_lookup_table(page) if kind == "ImageJ" else None,
        bits=page.bitspersample if 8 < page.bitspersample < 16 else None,
        tags=tuple(_tags(page)),
    )


def _lookup_table(page: Any) -> Array | None:
    """The colours in which ImageJ shows gray planes; None where they are not of its size."""
    table = page.colormap
    return table if getattr(table, "shape", None) == (3, 256) else None


def _colours(page: Any) -> tuple[int, bool]:
    """How many samples of a pixel are its colour, and whether one more is alpha."""
    kind, samples = page.photometric, page.samplesperpixel
    jpeg = kind == _KINDS.YCBCR and page.compression in (6, 7)
    if kind not in (_KINDS.MINISWHITE, _KINDS.MINISBLACK, _KINDS.RGB, _KINDS.PALETTE) and not jpeg:
        if kind == _KINDS.CFA:
            raise ScalewiseError("holds the mosaic of a camera; scalewise demosaic develops it")
        raise ScalewiseError(
            f"holds {samples} channels of {getattr(kind, 'name', kind)} data; expected gray, RGB "
            "or a palette; convert it first"
        )
    if kind == _KINDS.RGB and samples < 3:
        raise ScalewiseError(f"damaged: it announces RGB data of {samples} channels")
    if samples > 1 and page.planarconfig not in (1, 2):
        raise ScalewiseError(
            f"damaged: its planar configuration is {page.planarconfig}, not 1 or 2"
        )
    alpha = len(page.extrasamples) == 1 and page.extrasamples[0] in _ALPHAS
    plain = kind == _KINDS.MINISBLACK and samples == 3 and page.planarconfig == 1
    return 3 if jpeg or plain or kind == _KINDS.RGB else 1, alpha


def _tags(page: Any) -> Iterator[Tag]:
    """Tags that are kept as they are."""
    for code in _KEPT_TAGS:
        tag = page.tags.get(code)
        if tag is not None:
            yield code, int(tag.dtype), tag.count, tag.value
    software = page.tags.valueof(_SOFTWARE)
    if isinstance(software, str) and not software.startswith(("tifffile", "Scalewise")):
        yield _SOFTWARE, 2, 0, software
