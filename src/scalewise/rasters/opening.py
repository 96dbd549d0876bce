"""Opening images of any size: Zarr, OME-Zarr, NumPy arrays, tiled TIFF, and image files."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from scalewise.errors import ScalewiseError
from scalewise.images.exposure import find_ranges
from scalewise.images.intensities import Intensities, given_range
from scalewise.images.kinds import DEPTHS
from scalewise.images.reading import TIFF_HEADS, check_given, read_stored
from scalewise.images.tiff_layout import TiffLayout
from scalewise.rasters.raster import Layout, Raster, hollow, mosaic
from scalewise.rasters.strips import SMALL, unpack_photo, unpack_strips

ZARR, NPY = ".zarr", ".npy"

ICC, ORIENTATION, NODATA = 34675, 274, 42113
"""Tags of a TIFF: its profile, how it stands, and GDAL's word for "no data"."""

RGB = ("FF0000", "00FF00", "0000FF")
"""Colours of the channels of an OME-Zarr that are those of a photo."""


ALONE = "it can only be worked on as a whole"


class WholeOnly(ScalewiseError):
    """An image that cannot be worked on part by part.

    Examples:
        >>> import tempfile, numpy, tifffile
        >>> from scalewise.rasters import WholeOnly, open_raster
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pixels, kinds = numpy.zeros((64, 64, 4), "uint8"), {"extrasamples": [1]}
        ...     tifffile.imwrite(f"{folder}/a.tif", pixels, photometric="rgb", **kinds)
        ...     try:
        ...         open_raster(f"{folder}/a.tif")
        ...     except WholeOnly as error:
        ...         print(str(error).partition(": ")[2])
        its colours are multiplied by alpha (associated); it can only be worked on as a whole
    """


def is_array(path: Path) -> bool:
    """Tell by its name whether a path means an array, of Zarr or NumPy, not an image file."""
    return path.suffix.lower() in (ZARR, NPY)


def open_raster(
    path: str | Path,
    *,
    black: float | None = None,
    white: float | None = None,
    unpack_to: Path | None = None,
) -> Raster:
    """Open an image of any size; pixels are read when they are asked for.

    Arrays of Zarr (formats 2 and 3), the finest level of an OME-Zarr (0.4 and 0.5), arrays of NumPy
    and tiled TIFF are read block by block. Large PNG and JPEG (with libvips, extra `big`) and TIFF
    in strips are unpacked to disk some rows at a time, if a folder is given for that. Other files
    are decoded at once, and kept as they are stored. Arrays are (H, W), (H, W, 3), (3, H, W) of
    colours, or have axes of planes before.

    Args:
        path: the file or folder.
        black: stored value of intensity 0; None for what the file says, or is found.
        white: stored value of intensity 1; likewise.
        unpack_to: folder on a disk with room for all values; what is put there has no name, and
            goes with the raster.

    Raises:
        WholeOnly: what is stored cannot be worked on part by part.
        ScalewiseError: it is missing, damaged, no image, or needs an extra that is not installed.

    Examples:
        >>> import tempfile, numpy
        >>> from scalewise.rasters import open_raster
        >>> from scalewise.windows import Window
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     numpy.save(f"{folder}/a.npy", numpy.zeros((100, 200), "uint8"))
        ...     raster = open_raster(f"{folder}/a.npy")
        ...     raster.size, raster.pixels(0, Window(0, 8, 0, 8)).shape
        ((100, 200), torch.Size([1, 8, 8]))
    """
    file = Path(path)
    if not file.exists():
        raise ScalewiseError(f"{file}: expected an image, found nothing of this name")
    if file.suffix.lower() == NPY and file.is_file():
        return _described(_Mapped(file), "npy", file, black, white)
    if file.is_dir():
        return _zarr(file, black, white)
    tiled = _tiff(file, tiled=True)
    if tiled is not None:
        return _ranged(tiled, black, white)
    if unpack_to is not None:
        photo = unpack_photo(file, unpack_to)
        if photo is not None:
            return _ranged(photo, black, white)
        strips = _tiff(file, tiled=False)
        if strips is not None:
            return _ranged(unpack_strips(strips, unpack_to), black, white)
    values, picture = read_stored(file, black=black, white=white)
    if picture.missing is not None:
        raise WholeOnly(f"{file}: pixels without data are filled from others; {ALONE}")
    if isinstance(picture.origin, TiffLayout) and picture.origin.associated:
        raise WholeOnly(f"{file}: its colours are multiplied by alpha (associated); {ALONE}")
    layout = Layout(values.shape, 1, 2, 3)
    hidden = layout.depth in (2, 4) and bool((values[..., -1] == 0).any())
    picture = replace(picture, alpha=hollow(layout, picture.intensities, picture.depth).alpha)
    raster = Raster(values, layout, picture, "file", str(file), hidden=hidden)
    _check_range(raster)
    return raster


class _Mapped:
    """An array of NumPy on disk, of which nothing stays in memory that was read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:
            raise ScalewiseError(f"{path}: is no array of numbers ({error})") from error
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index: Any) -> Any:
        return np.array(np.load(self.path, mmap_mode="r", allow_pickle=False)[index])


class _Tiles:
    """The tiles of a TIFF, opened by every process that reads them."""

    def __init__(self, path: Path) -> None:
        import zarr

        self.path = path
        store = tifffile.imread(path, aszarr=True, series=0, level=0)
        weakref.finalize(self, store.close)
        self._array = zarr.open(store, mode="r")
        self.shape, self.dtype = self._array.shape, self._array.dtype
        self.chunks = self._array.chunks

    def __getitem__(self, index: Any) -> Any:
        return self._array[index]

    def __reduce__(self) -> tuple[Any, ...]:
        return _Tiles, (self.path,)


def _zarr(path: Path, black: float | None, white: float | None) -> Raster:
    """An array of Zarr, or the finest level of an OME-Zarr."""
    zarr = need_zarr(f"{path} is a folder; to read it as Zarr")
    try:
        node = zarr.open(str(path), mode="r")
        attributes = dict(node.attrs)
        scales = attributes.get("ome", attributes).get("multiscales")
        if scales:
            array = node[scales[0]["datasets"][0]["path"]]
        else:
            array = node if hasattr(node, "shape") else None
    except Exception as error:
        words = " ".join(str(error).split())
        raise ScalewiseError(f"{path}: is no Zarr that can be read ({words:.200})") from error
    if array is None:
        names = ", ".join(sorted(node.array_keys())) or "none"
        raise ScalewiseError(
            f"{path}: is a group of Zarr without an image (multiscales); give one of its arrays "
            f"({names})"
        )
    kind = "ome-zarr" if scales else "zarr"
    axes = [axis.get("name", "") for axis in scales[0].get("axes", [])] if scales else None
    raster = _described(array, kind, path, black, white, axes, attributes)
    chunks = tuple(array.chunks)
    return replace(raster, chunks=(chunks[raster.layout.rows], chunks[raster.layout.columns]))


def need_zarr(purpose: str) -> Any:
    """The library, or a sentence that says which extra has it."""
    try:
        import zarr
    except ImportError as error:
        raise ScalewiseError(
            f"{purpose}, the extra big is needed: pip install 'scalewise[big]'"
        ) from error
    return zarr


def _described(
    array: Any,
    kind: str,
    path: Path,
    black: float | None,
    white: float | None,
    axes: list[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Raster:
    """A raster of an array, whose axes tell what they are by their names or their lengths."""
    depth = np.dtype(array.dtype).name
    if depth == "bool" or depth not in DEPTHS:
        raise ScalewiseError(
            f"{path}: holds values of {depth}; integers of up to 32 bits or floats are needed"
        )
    layout = _layout(tuple(array.shape), axes, dict(attributes or {}), path)
    picture = hollow(layout, Intensities(), depth)
    raster = Raster(array, layout, picture, kind, str(path), dict(attributes or {}))
    return _ranged(raster, black, white)


def _ranged(raster: Raster, black: float | None, white: float | None) -> Raster:
    """With black and white as they are given, or found."""
    depth = raster.picture.depth
    planes = range(0, raster.layout.planes, max(1, raster.layout.planes // 8))
    looked = [
        mosaic(
            lambda window, plane=plane: _tensor(raster.stored(plane, window)), raster.size
        ).numpy()
        for plane in planes
    ]
    values = np.moveaxis(np.stack(looked), 1, -1)[..., : raster.channels].astype(depth, copy=False)
    found, notes = find_ranges(values, depth, channels=(0,) * len(values))
    intensities = given_range(black, white, found)
    if len(intensities.black) > 1:
        intensities = Intensities(intensities.black[:1], intensities.white[:1], intensities.source)
    notes = notes if intensities is found else ()
    picture = replace(raster.picture, intensities=intensities, notes=raster.picture.notes + notes)
    ranged = replace(raster, picture=picture)
    _check_range(ranged)
    return ranged


def _check_range(raster: Raster) -> None:
    """Refuse a given range that the values lie nowhere near; else nothing is read."""
    if raster.picture.intensities.source == "given":
        check_given(raster.picture.intensities, raster.looked_at(0))


def _layout(
    shape: tuple[int, ...], axes: list[str] | None, attributes: dict[str, Any], path: Path
) -> Layout:
    """What the axes of an array are."""
    count = len(shape)
    if axes and len(axes) == count and {"y", "x"} <= set(axes):
        colours = attributes.get("ome", attributes).get("omero", {}).get("channels", [])
        told = tuple(str(channel.get("color", "")).upper() for channel in colours)
        channel = axes.index("c") if "c" in axes else None
        samples = channel if channel is not None and told[:3] == RGB else None
        layout = Layout(shape, axes.index("y"), axes.index("x"), samples)
    elif count >= 3 and shape[-1] in (3, 4) and min(shape[-3:-1]) > 4:
        layout = Layout(shape, count - 3, count - 2, count - 1)
    elif count == 3 and shape[0] == 3 and min(shape[1:]) > 4:
        layout = Layout(shape, 1, 2, 0)
    elif count >= 2:
        layout = Layout(shape, count - 2, count - 1)
    else:
        raise ScalewiseError(f"{path}: has {count} axes; rows and columns are needed")
    if 0 in shape or layout.depth > 4:
        raise ScalewiseError(f"{path}: an array of shape {shape} is no image")
    return layout


def _tiff(path: Path, *, tiled: bool) -> Raster | None:
    """A TIFF that zarr can read tile by tile, or strip by strip if large; None of other files."""
    with path.open("rb") as stream:
        if stream.read(4) not in TIFF_HEADS:
            return None
    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.series[0].keyframe
            plain = page.is_tiled == tiled and page.photometric in (1, 2)
            plain &= page.bitspersample >= 8 and (tiled or tiff.series[0].nbytes > SMALL)
            axes = tiff.series[0].levels[0].axes
            icc = page.tags.valueof(ICC)
            whole = ORIENTATION in page.tags and page.tags.valueof(ORIENTATION) != 1
            whole |= NODATA in page.tags or 1 in page.extrasamples  # colours times alpha
        if not plain or whole:
            return None
        array = _Tiles(path)
    except Exception:  # `read_image` says what is wrong with it
        return None
    if len(axes) != len(array.shape):
        return None
    samples = axes.index("S") if "S" in axes else None
    layout = Layout(array.shape, axes.index("Y"), axes.index("X"), samples)
    picture = replace(hollow(layout, Intensities(), np.dtype(array.dtype).name), icc=icc)
    if layout.planes > 1:
        kinds = TiffLayout(axes, array.shape, photometric="rgb" if samples else "minisblack")
        picture = replace(picture, origin=kinds)
    chunks = (array.chunks[layout.rows], array.chunks[layout.columns])
    return Raster(array, layout, picture, "tiff", str(path), chunks=chunks)


def _tensor(values: Any) -> Any:
    """Stored values (h, w, S) in a tensor of axes (S, h, w), which `mosaic` joins."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)).astype(np.float64))


def same_file(path: str | Path) -> str:
    """What tells a file or folder from others: a hash of its contents, whatever its times say.

    About a second for each gigabyte, which is little beside what a network does with as many
    pixels; times and sizes would take two pictures for one, or one for two.
    """
    file, digest = Path(path), hashlib.sha256()
    for each in sorted(file.rglob("*")) if file.is_dir() else [file]:
        if each.is_file():
            digest.update(os.fsencode(each.relative_to(file)) + b"\0")
            with each.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
