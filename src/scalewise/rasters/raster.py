"""Images that are read and written in windows: arrays of Zarr and NumPy, tiles of TIFF, files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scalewise.errors import ScalewiseError
from scalewise.images import Intensities, Picture
from scalewise.images.intensities import type_range
from scalewise.images.kinds import Array
from scalewise.images.picture import to_tensor
from scalewise.images.tiff_layout import TiffLayout
from scalewise.wavelets import mirrored_places
from scalewise.windows import Window

LOOKED_AT, TILE = 16, 320
"""How many tiles of a large image are looked at for what is asked of all of it, and their side."""


@dataclass(frozen=True)
class Layout:
    """Which axis of an array is what.

    Args:
        shape: of the array.
        rows: axis of the rows.
        columns: axis of the columns.
        samples: axis of red, green and blue (and alpha), if there is one.

    All other axes count planes.

    Examples:
        >>> from scalewise.rasters import Layout
        >>> layout = Layout((5, 3, 40, 60), rows=2, columns=3, samples=1)
        >>> layout.size, layout.planes, layout.depth
        ((40, 60), 5, 3)
    """

    shape: tuple[int, ...]
    rows: int
    columns: int
    samples: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.shape[self.rows], self.shape[self.columns]

    @property
    def depth(self) -> int:
        """Samples of a pixel."""
        return 1 if self.samples is None else self.shape[self.samples]

    @property
    def lead(self) -> tuple[int, ...]:
        """Lengths of the axes that count planes."""
        inner = (self.rows, self.columns, self.samples)
        return tuple(side for axis, side in enumerate(self.shape) if axis not in inner)

    @property
    def planes(self) -> int:
        """How many images there are."""
        return prod(self.lead)

    def resized(self, size: tuple[int, int], depth: int | None = None) -> Layout:
        """The same for images of another size, and of other samples where there are any."""
        shape = list(self.shape)
        shape[self.rows], shape[self.columns] = size
        if self.samples is not None and depth is not None:
            shape[self.samples] = depth
        return replace(self, shape=tuple(shape))

    def place(self, plane: int, window: Window) -> tuple[int | slice, ...]:
        """The index of a window of one plane."""
        lead = iter(np.unravel_index(plane, self.lead) if self.lead else ())
        index: list[int | slice] = []
        for axis in range(len(self.shape)):
            if axis == self.rows:
                index.append(slice(window.top, window.bottom))
            elif axis == self.columns:
                index.append(slice(window.left, window.right))
            else:
                index.append(slice(None) if axis == self.samples else int(next(lead)))
        return tuple(index)

    def put(self, array: Any, plane: int, window: Window, values: Array) -> None:
        """Write values (h, w, S) to a window of one plane of an array."""
        values = values[..., 0] if self.samples is None else values
        array[self.place(plane, window)] = values.transpose(np.argsort(self.inner()))

    def inner(self) -> tuple[int, ...]:
        """Order of rows, columns and samples among the axes of a plane."""
        axes = [axis for axis in (self.rows, self.columns, self.samples) if axis is not None]
        order = sorted(axes)
        return tuple(order.index(axis) for axis in axes)


@dataclass(frozen=True)
class Raster:
    """Planes of stored values, read a window at a time.

    Args:
        array: any that is indexed as those of NumPy are.
        layout: of its axes.
        picture: what is known of it: its pixels take no memory.
        kind: what holds it: "zarr", "ome-zarr", "npy", "tiff" or "file".
        name: what it is called in errors.
        attributes: of an OME-Zarr.
        chunks: sides of the blocks that it is kept in; None where any window is read alike.
        hidden: whether alpha hides pixels altogether, where that is known.

    Examples:
        >>> import numpy
        >>> from scalewise.rasters import Layout, Raster
        >>> from scalewise.windows import Window
        >>> picture = scalewise.Picture(torch.zeros(1, 40, 60))
        >>> values = numpy.full((40, 60), 51, "uint8")
        >>> raster = Raster(values, Layout((40, 60), 0, 1), picture, "npy", "an array")
        >>> raster.pixels(0, Window(0, 1, 0, 2))
        tensor([[[0.2000, 0.2000]]])
    """

    array: Any
    layout: Layout
    picture: Picture
    kind: str
    name: str
    attributes: dict[str, Any] = field(default_factory=dict)
    chunks: tuple[int, int] | None = None
    hidden: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.layout.size

    @property
    def channels(self) -> int:
        """1 for gray, 3 for RGB; alpha does not count."""
        return 1 if self.layout.depth < 3 else 3

    @property
    def has_alpha(self) -> bool:
        """Whether the last sample is alpha."""
        return self.layout.depth in (2, 4)

    @property
    def portable(self) -> bool:
        """Whether other processes can read it too."""
        return getattr(self.array, "portable", not isinstance(self.array, np.ndarray))

    def stored(self, plane: int, window: Window) -> Array:
        """Stored values (h, w, S) of a window of one plane.

        Raises:
            ScalewiseError: they cannot be read, or are NaN.
        """
        try:
            values = np.asarray(self.array[self.layout.place(plane, window)])
        except Exception as error:  # decoders raise a dozen types on damaged blocks
            words = " ".join(str(error).split()) or type(error).__name__
            raise ScalewiseError(
                f"{self.name}: rows {window.top} to {window.bottom}, columns {window.left} to "
                f"{window.right} cannot be read: damaged or cut short ({words:.200})"
            ) from error
        values = values.transpose(self.layout.inner())
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ScalewiseError(
                f"{self.name}: holds NaN or infinite values (rows {window.top} to "
                f"{window.bottom}, columns {window.left} to {window.right}); replace them first"
            )
        return values if values.ndim == 3 else values[..., None]

    def pixels(self, plane: int, window: Window) -> Tensor:
        """Intensities (C, h, w) of a window, which may go on beyond the end: mirrored there."""
        rows, columns = (
            mirrored_places(start, stop, length)
            for start, stop, length in zip(window[0::2], window[1::2], self.size, strict=True)
        )
        inside = Window(
            int(rows.min()), 1 + int(rows.max()), int(columns.min()), 1 + int(columns.max())
        )
        values = self.stored(plane, inside)[None, ..., : self.channels]
        pixels = to_tensor(values, lambda _: self.picture.intensities.at(plane))[0]
        if inside == window:
            return pixels
        return pixels[:, rows - inside.top][..., columns - inside.left]

    def alpha(self, plane: int, window: Window) -> Tensor:
        """Alpha (1, h, w) of a window, from 0 to 1, in double precision."""
        origin = self.picture.origin
        bits = origin.bits if isinstance(origin, TiffLayout) else None
        opaque = 2.0**bits - 1 if bits else type_range(self.picture.depth).white[0]
        values = self.stored(plane, window)[..., -1].astype(np.float64) / opaque
        return torch.from_numpy(values)[None]

    def looked_at(self, plane: int) -> Tensor:
        """Intensities (C, h, w) of all of a small image, or of tiles from all over a large one."""
        return mosaic(lambda window: self.pixels(plane, window), self.size)


def mosaic(read: Any, size: tuple[int, int]) -> Tensor:
    """All of a small image, or tiles that are evenly spread over a large one, put together.

    Args:
        read: gives the pixels (C, h, w) of a window.
        size: height and width.
    """
    return torch.cat([torch.cat([read(tile) for tile in row], 2) for row in tiles_of(size)], 1)


def tiles_of(size: tuple[int, int]) -> list[list[Window]]:
    """Which parts of an image are looked at, in rows: all of a small one."""
    height, width = size
    if height * width <= LOOKED_AT * TILE**2:
        return [[Window(0, height, 0, width)]]
    high, wide = min(TILE, height), min(TILE, width)
    down = max(1, min(height // high, round((LOOKED_AT * height / width) ** 0.5)))
    right = max(1, min(width // wide, LOOKED_AT // down))
    down = max(1, min(height // high, LOOKED_AT // right))
    tops = [round((height - high) * (row + 0.5) / down) for row in range(down)]
    lefts = [round((width - wide) * (column + 0.5) / right) for column in range(right)]
    return [[Window(top, top + high, left, left + wide) for left in lefts] for top in tops]


def hollow(layout: Layout, intensities: Intensities, depth: Any) -> Picture:
    """What is known of an array: a picture whose pixels, and alpha, take no memory."""
    nothing, channels = torch.zeros(()), 1 if layout.depth < 3 else 3
    pixels = nothing.expand(layout.planes, channels, *layout.size)
    alpha = nothing.expand_as(pixels[:, :1]) if layout.depth in (2, 4) else None
    return Picture(pixels, alpha, depth=depth, intensities=intensities)
