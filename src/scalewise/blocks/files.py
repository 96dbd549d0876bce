"""What a run ends with: a store with its pyramid, an array, or an image file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile

from scalewise.blocks.run import DamagedBlock, Run, make_array, move_to
from scalewise.errors import ScalewiseError, UsageError
from scalewise.files import write_whole
from scalewise.images import IMAGE_SUFFIXES, Picture
from scalewise.images.formats import FORMATS, Format
from scalewise.images.png import stream_png
from scalewise.images.writing import fit_picture
from scalewise.rasters import Layout, Raster
from scalewise.rasters.opening import NPY, RGB, ZARR
from scalewise.windows import Window, windows

SMALLEST = 256
"""Longest side of the coarsest image of a pyramid, at most."""

WHOLE = 64_000_000
"""Bytes of values up to which a file is encoded at once, with all that it may hold."""

TILE = 256
"""Side of the tiles of a large TIFF."""

BAND = 256
"""Rows that are averaged at a time; even."""


@dataclass(frozen=True)
class Result:
    """Where the values of a result lie until they are all there, and what becomes of them.

    Args:
        array: of all values.
        layout: of its axes.
        picture: whose depth, range and facts it has.
        output: file or folder that it becomes.
    """

    array: Any
    layout: Layout
    picture: Picture
    output: Path


def check_target(output: Path) -> None:
    """Refuse names of results that cannot be made.

    Raises:
        UsageError: the suffix means none of the formats.
    """
    known = (ZARR, NPY, *IMAGE_SUFFIXES)
    if output.suffix.lower() not in known:
        raise UsageError(
            f"{output}: unknown suffix {output.suffix!r}; use one of {', '.join(known)}"
        )


def fitted(picture: Picture, output: Path) -> tuple[Picture, list[str]]:
    """A picture of the depth that an output can hold, and what it cannot."""
    if output.suffix.lower() in (ZARR, NPY):
        return replace(picture, origin=None), []
    return fit_picture(picture, output)


def new_result(run: Run, source: Raster | None, picture: Picture, output: Path) -> Result:
    """An empty result.

    Args:
        run: that makes it.
        source: whose axes it has, where the output is an array too.
        picture: whose size, depth and planes it has.
        output: file or folder.
    """
    samples = picture.pixels.shape[1] + (picture.alpha is not None)
    layout = _layout(source, picture, samples, output)
    suffix = output.suffix.lower()
    kind = picture.depth
    if run.folder is None:
        return Result(np.zeros(layout.shape, kind), layout, picture, output)
    if suffix == NPY:
        return Result(
            _Appended(run.folder / "result.npy", layout.shape, kind), layout, picture, output
        )
    version = _version(source) if suffix == ZARR else 3
    chunks = [1] * len(layout.shape)
    chunks[layout.rows] = chunks[layout.columns] = run.side
    if layout.samples is not None:
        chunks[layout.samples] = samples
    pyramid = suffix == ZARR and not _plain(source)
    name = "result/0" if pyramid else "result"
    if pyramid:
        (run.folder / "result").mkdir(exist_ok=True)
    array = run.on_disk(name, layout.shape, tuple(chunks), kind, version=version)
    return Result(array, layout, picture, output)


def _plain(source: Raster | None) -> bool:
    """Whether the input is an array of Zarr by itself, as the output then is."""
    return source is not None and source.kind == "zarr"


def _version(source: Raster | None) -> int:
    """The format of Zarr: that of an input that is one, else 3."""
    metadata = getattr(getattr(source, "array", None), "metadata", None)
    return getattr(metadata, "zarr_format", 3)


def _layout(source: Raster | None, picture: Picture, samples: int, output: Path) -> Layout:
    planes, _, height, width = picture.pixels.shape
    if output.suffix.lower() in (ZARR, NPY):
        if source is not None and source.kind in ("zarr", "ome-zarr", "npy"):
            return source.layout.resized((height, width), samples)
        lead = (planes,) if planes > 1 else ()
        if samples == 1:
            return Layout((*lead, height, width), len(lead), len(lead) + 1)
        if output.suffix.lower() == ZARR:  # OME: channels before space
            return Layout((samples, *lead, height, width), len(lead) + 1, len(lead) + 2, 0)
        return Layout((*lead, height, width, samples), len(lead), len(lead) + 1, len(lead) + 2)
    return Layout((planes, height, width, samples), 1, 2, 3)


class _Appended:
    """An array of NumPy on disk, of which nothing stays in memory that was written."""

    def __init__(self, path: Path, shape: tuple[int, ...], kind: str) -> None:
        self.path, self.shape, self.dtype = path, shape, np.dtype(kind)
        if not path.exists():
            np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape).flush()

    def __setitem__(self, index: Any, values: Any) -> None:
        array = np.load(self.path, mmap_mode="r+")
        array[index] = values
        array.flush()

    def __getitem__(self, index: Any) -> Any:
        return np.array(np.load(self.path, mmap_mode="r")[index])


def complete(run: Run, result: Result, source: Raster | None, quality: int | None) -> None:
    """Make the file or store of a finished result, whole or not at all.

    Raises:
        ScalewiseError: it cannot be written.
    """
    output, suffix = result.output, result.output.suffix.lower()
    try:
        for name in ("result", "result/0"):
            if run.holds(name):
                run.check_whole(name)
        if suffix not in (NPY, ZARR):
            _image_file(result, quality)
            return
        assert run.folder is not None  # arrays are made on disk
        if suffix == ZARR and not _plain(source):
            _pyramid(run, result, source)
        move_to(run.folder / ("result.npy" if suffix == NPY else "result"), output)
    except OSError as error:
        raise ScalewiseError(f"{output}: cannot be written: {error.strerror or error}") from error
    except ScalewiseError:
        raise
    except Exception as error:  # codecs raise a dozen types
        run.forget("result")
        raise DamagedBlock("the result") from error


def _pyramid(run: Run, result: Result, source: Raster | None) -> None:
    """The coarser levels of an OME-Zarr, each of means of 2x2 pixels, and what they are."""
    assert run.folder is not None
    layout, array, level = result.layout, result.array, 0
    version = _version(source)
    layouts = [layout]
    while max(layout.size) > SMALLEST:
        level += 1
        small = layout.resized(((layout.size[0] + 1) // 2, (layout.size[1] + 1) // 2))
        chunks = list(array.chunks)
        target = make_array(
            run.folder / "result" / str(level),
            small.shape,
            tuple(chunks),
            str(array.dtype),
            version=version,
        )
        for plane in range(layout.planes):
            for part in windows(small.size, run.side):
                values = array[layout.place(plane, part.times(2).common(_all(layout)))]
                target[small.place(plane, part)] = _halved(values, layout)
        layout, array = small, target
        layouts.append(layout)
    _describe(run.folder / "result", layouts, result, version, source)


def _all(layout: Layout) -> Window:
    return Window(0, layout.size[0], 0, layout.size[1])


def _halved(values: Any, layout: Layout) -> Any:
    """Means of 2x2 pixels of a window of one plane, of the same type."""
    order = layout.inner()
    held = values.transpose(order)
    bands = [_means(held[top : top + BAND]) for top in range(0, len(held), BAND)]
    return np.concatenate(bands).transpose(np.argsort(order))


def _means(band: Any) -> Any:
    """Means of 2x2 pixels of rows (h, w) or (h, w, S); the last row or column stands twice."""
    held = band.astype(np.float64)
    for axis in (0, 1):
        if held.shape[axis] % 2:
            held = np.concatenate([held, held.take([-1], axis)], axis)
    small = (held[0::2] + held[1::2]) / 2
    small = (small[:, 0::2] + small[:, 1::2]) / 2
    return (np.rint(small) if band.dtype.kind in "iu" else small).astype(band.dtype)


def _describe(
    folder: Path, layouts: list[Layout], result: Result, version: int, source: Raster | None
) -> None:
    """What OME-Zarr says of its images: 0.5 in Zarr 3, 0.4 in Zarr 2."""
    import zarr

    layout = layouts[0]
    axes, scale = _axes(layout, source)
    datasets = []
    for level in range(len(layouts)):
        factors = list(scale)
        for axis in (layout.rows, layout.columns):
            factors[axis] *= 2.0**level
        moved = [0.0] * len(factors)
        for axis in (layout.rows, layout.columns):
            moved[axis] = scale[axis] * (2.0**level - 1) / 2
        steps: list[dict[str, object]] = [{"type": "scale", "scale": factors}]
        if level:
            steps.append({"type": "translation", "translation": moved})
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    said: dict[str, Any] = {
        "multiscales": [
            {"name": result.output.stem, "axes": axes, "datasets": datasets, "type": "mean"}
        ]
    }
    if layout.samples is not None and layout.depth >= 3:
        black, white = result.picture.intensities.at(0)
        ends = {"min": black, "max": white, "start": black, "end": white}
        said["omero"] = {
            "channels": [
                {"label": name, "color": colour, "active": True, "window": ends}
                for name, colour in zip(("red", "green", "blue"), RGB, strict=True)
            ]
        }
    if version == 2:
        said["multiscales"][0]["version"] = "0.4"
        attributes = said
    else:
        attributes = {"ome": {"version": "0.5", **said}}
    zarr.open_group(str(folder), mode="a", zarr_format=version).attrs.update(attributes)


def _axes(layout: Layout, source: Raster | None) -> tuple[list[dict[str, str]], list[float]]:
    """Names of the axes, and how large a pixel is: as the input says, or in pixels."""
    if source is not None and source.kind == "ome-zarr":
        told = source.attributes.get("ome", source.attributes)["multiscales"][0]
        axes = [dict(axis) for axis in told["axes"]]
        steps = told["datasets"][0].get("coordinateTransformations", [])
        scale = next((list(map(float, s["scale"])) for s in steps if s["type"] == "scale"), None)
        if len(axes) == len(layout.shape):
            scale = scale or [1.0] * len(axes)
            factor = layout.size[0] / source.size[0]
            for axis in (layout.rows, layout.columns):
                scale[axis] /= factor
            return axes, scale
    names = [""] * len(layout.shape)
    names[layout.rows], names[layout.columns] = "y", "x"
    if layout.samples is not None:
        names[layout.samples] = "c"
    lead = iter(("z", "t", "c"))
    for axis in reversed(range(len(names))):
        names[axis] = names[axis] or next(lead, f"a{axis}")
    kinds = {"y": "space", "x": "space", "z": "space", "c": "channel", "t": "time"}
    return [{"name": name, "type": kinds.get(name, "other")} for name in names], [1.0] * len(names)


def _image_file(result: Result, quality: int | None) -> None:
    """An image file: encoded at once where it is small, else tile by tile or row by row."""
    kind = FORMATS[result.output.suffix.lower()]
    small = isinstance(result.array, np.ndarray) or _bytes(result) <= WHOLE
    if not small and kind.name == "TIFF":
        write_whole(result.output, lambda stream: _large_tiff(stream, result))
        return
    if not small and kind.name == "PNG":
        write_whole(result.output, lambda stream: _large_png(stream, result))
        return
    if not small:
        _check_fits(result, kind)
    values = np.asarray(result.array[...])
    write_whole(result.output, kind.encode(values, result.picture, quality))


def _check_fits(result: Result, kind: Format) -> None:
    from scalewise.device import free_memory

    free = free_memory()
    if free is not None and 3 * _bytes(result) > free:
        raise ScalewiseError(
            f"{result.output}: {kind.name} is encoded in memory, of which there is not enough; "
            "give a .tif, .png or .zarr name"
        )


def _bytes(result: Result) -> int:
    return int(np.prod(result.layout.shape)) * np.dtype(result.picture.depth).itemsize


def _large_tiff(stream: BinaryIO, result: Result) -> None:
    """A tiled BigTIFF, plane after plane."""
    picture, layout = result.picture, result.layout
    planes, height, width, samples = layout.shape
    colours = picture.pixels.shape[1]

    def tiles() -> Iterator[Any]:
        for plane in range(planes):
            yield from _tiles(result, plane)

    options: dict[str, Any] = {"extrasamples": [2]} if samples > colours else {}
    if picture.resolution is not None:
        from scalewise.images.metadata import resolution_tags

        x, y, unit = resolution_tags(picture.resolution)
        options |= {"resolution": (x, y), "resolutionunit": unit}
    shape = (planes, height, width, samples) if samples > 1 else (planes, height, width)
    tifffile.imwrite(
        stream,
        tiles(),
        shape=shape,
        dtype=picture.depth,
        bigtiff=True,
        tile=(TILE, TILE),
        photometric="rgb" if colours == 3 else "minisblack",
        compression="zlib",
        predictor=np.dtype(picture.depth).kind in "iu",
        iccprofile=picture.icc,
        software=False,
        metadata=None,
        **options,
    )


def _tiles(result: Result, plane: int) -> Iterator[Any]:
    """The tiles of a plane, row by row; a row of blocks is in memory."""
    _, height, width, samples = result.layout.shape
    for top in range(0, height, TILE):
        band = result.array[plane, top : top + TILE]
        for left in range(0, width, TILE):
            tile = np.ascontiguousarray(band[:, left : left + TILE])
            yield tile if samples > 1 else tile[..., 0]


def _large_png(stream: BinaryIO, result: Result) -> None:
    """A PNG, in rows of blocks."""

    def bands() -> Iterator[Any]:
        for top in range(0, result.layout.shape[1], TILE):
            yield np.asarray(result.array[0, top : top + TILE])

    stream_png(stream, bands(), result.layout.shape[1:], result.picture)
