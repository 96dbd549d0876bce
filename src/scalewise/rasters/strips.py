"""Large PNG, JPEG and TIFF that are packed in strips, unpacked to disk some rows at a time."""

from __future__ import annotations

import errno
import os
import shutil
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import numpy as np

from scalewise.device import share_memory_of_threads
from scalewise.errors import ScalewiseError
from scalewise.images import Intensities, Picture
from scalewise.images.kinds import Array
from scalewise.images.picture import upright
from scalewise.images.pillow import CUT, FEW, JPEG_HEAD, LAST, Described, describe_jpeg
from scalewise.images.png import PNG_HEAD, describe_png
from scalewise.images.silence import silent
from scalewise.rasters.raster import Layout, Raster, hollow
from scalewise.windows import Window

ROWS = 256
"""Rows of a TIFF that are unpacked at a time."""

SMALL = 16_000_000
"""Bytes of values of a file that is decoded at once."""


class Unpacked:
    """Values (P, H, W, S) in a file without a name, of which nothing stays in memory.

    Args:
        stream: the file, which is closed with this.
        shape: of what it holds.
        kind: of its values.
        orientation: of EXIF, in which they lie there.
    """

    portable = False

    def __init__(self, stream: Any, shape: tuple[int, ...], kind: str, orientation: int) -> None:
        self._stream, self._stored, self._orientation = stream, shape, orientation
        weakref.finalize(self, stream.close)
        self.dtype = np.dtype(kind)
        self.shape = self._mapped().shape

    def _mapped(self) -> Array:
        values = np.memmap(self._stream, self.dtype, "r", shape=self._stored)
        return upright(values, self._orientation)

    def __getitem__(self, place: Any) -> Array:
        return np.array(self._mapped()[place])


def unpack_photo(path: Path, folder: Path) -> Raster | None:
    """Unpack a PNG or JPEG.

    None of other files, of small ones, of those that need more than their rows (palettes, CMYK,
    interlaced), and where libvips is not installed (extra `big`).

    Args:
        path: the file.
        folder: on a disk with room for all of its values.

    Raises:
        ScalewiseError: it is damaged, or the disk is full.
    """
    try:
        import pyvips
    except (ImportError, OSError):  # the package, or its library
        return None
    share_memory_of_threads()
    pyvips.cache_set_max(0)
    try:
        found = _described(path)
        if found is None:
            return None
        image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="warning")
        kind = {"uchar": "uint8", "ushort": "uint16"}[image.format]
    except Exception:  # decoders raise a dozen types; `read_stored` says what is wrong
        return None
    shape = (1, image.height, image.width, image.bands)
    if int(np.prod(shape)) * np.dtype(kind).itemsize <= SMALL:
        return None
    notes = found.metadata.notes

    def fill(stream: BinaryIO) -> None:
        nonlocal notes
        try:
            _copy(pyvips, image, stream)
            if found.junked is not None and _missing(pyvips, path, found.junked):
                notes += (LAST,)
        except pyvips.Error as error:
            words = " ".join(str(error).split())
            raise ScalewiseError(
                f"{path}: damaged or cut short, cannot be decoded ({words:.200})"
            ) from error

    array = _filled(fill, shape, kind, found.metadata.orientation, path, folder)
    picture = hollow(Layout(array.shape, 1, 2, 3), Intensities(), kind)
    facts = {**found.metadata.facts(), "notes": notes}
    return _raster(array, replace(picture, origin=found.origin, **facts), str(path), "file")


def unpack_strips(packed: Raster, folder: Path) -> Raster:
    """Unpack an image of which rows are read fast from top to bottom, such as a TIFF in strips.

    Args:
        packed: the image.
        folder: on a disk with room for all of its values.

    Raises:
        ScalewiseError: it is damaged, or the disk is full.
    """
    layout, kind = packed.layout, packed.array.dtype.str
    height, width = layout.size
    shape = (layout.planes, height, width, layout.depth)

    def fill(stream: BinaryIO) -> None:
        for plane in range(layout.planes):
            for top in range(0, height, ROWS):
                rows = packed.stored(plane, Window(top, min(height, top + ROWS), 0, width))
                stream.write(np.ascontiguousarray(rows).data)

    array = _filled(fill, shape, kind, 1, Path(packed.name), folder)
    return _raster(array, packed.picture, packed.name, packed.kind)


def _described(path: Path) -> Described | None:
    with silent(), path.open("rb") as stream:
        head = stream.read(8)
        stream.seek(0)
        if head == PNG_HEAD:
            return describe_png(stream)
        return describe_jpeg(stream) if head[:3] == JPEG_HEAD else None


def _copy(vips: Any, image: Any, stream: BinaryIO) -> None:
    """Write all values of an image of libvips, which are decoded on the way.

    Raises:
        OSError: they cannot be written.
        pyvips.Error: they cannot be decoded.
    """
    failed: list[OSError] = []

    def write(data: bytes) -> int:
        try:
            return stream.write(data)
        except OSError as error:  # it would be lost on the way through libvips
            failed.append(error)
            return -1

    target = vips.TargetCustom()
    target.on_write(write)
    try:
        image.rawsave_target(target)
    finally:
        if failed:
            raise failed[0]


def _missing(vips: Any, path: Path, junked: bytes) -> bool:
    """Whether the last few pixels of a JPEG are missing.

    Raises:
        ScalewiseError: more are.
    """
    image = vips.Image.new_from_file(str(path), access="sequential")
    other = vips.Image.new_from_buffer(junked, "", access="sequential")
    changed = (image != other).bandor()
    count = round(changed.avg() / 255 * changed.width * changed.height)
    if count > FEW:
        raise ScalewiseError(f"{path}: {CUT}")
    return count > 0


def _filled(
    fill: Callable[[BinaryIO], None],
    shape: tuple[int, ...],
    kind: str,
    orientation: int,
    path: Path,
    folder: Path,
) -> Unpacked:
    """An array on disk of what is written to its stream."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    try:
        if shutil.disk_usage(folder).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with ExitStack() as stack:
            stream = stack.enter_context(TemporaryFile(dir=folder))
            fill(stream)
            stream.flush()
            stack.pop_all()
            return Unpacked(stream, shape, kind, orientation)
    except OSError as error:
        raise ScalewiseError(
            f"{path}: {size / 1e9:.1f} GB of pixels cannot be unpacked to {folder}: "
            f"{error.strerror}; give an OUTPUT on another disk"
        ) from error


def _raster(array: Unpacked, picture: Picture, name: str, kind: str) -> Raster:
    layout = Layout(array.shape, 1, 2, 3)
    raster = Raster(array, layout, picture, kind, name)
    if not raster.has_alpha:
        return raster
    tops = range(0, array.shape[1], ROWS)
    hidden = any((array[:, top : top + ROWS, :, -1] == 0).any() for top in tops)
    return replace(raster, hidden=hidden)
