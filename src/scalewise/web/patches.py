"""Which parts of a picture are computed first: what is looked at, coarse and then fine.

The networks are local, so a part with a margin around it gives nearly what the whole gives there:
within about one 8-bit gray level, since the low-pass image alone has a network that sees all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from scalewise.windows import Window

SIDE = 512
"""Side of a part at most, in pixels of what is made of it."""

MARGIN = 32
"""Pixels around it that are computed too and left out."""

GRID = 16
"""Parts begin and end at multiples of so many of their own pixels."""

LEAST = 192
"""A picture is not reduced below this side."""

AT_ONCE = 96_000
"""Pixels of one coarse part that shows all that is visible, in a fraction of a second."""

MOST = 40
"""Parts of one request; what is left comes with the whole."""


class View(BaseModel):
    """What a browser shows of a picture.

    Attributes:
        left, top, width, height: in pixels of the picture.
        zoom: pixels of the screen for each.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    left: float
    top: float
    width: float = Field(ge=0)
    height: float = Field(ge=0)
    zoom: float = Field(gt=0)


class Part(NamedTuple):
    """A part of a picture, reduced by means over squares.

    Attributes:
        left, top, width, height: in pixels of the picture.
        levels: 1 / 2 ** levels of the size.
    """

    left: int
    top: int
    width: int
    height: int
    levels: int

    def cut(self, image: Tensor) -> tuple[Tensor, tuple[slice, slice]]:
        """The part with a margin (C, h, w), and where in it the part itself is."""
        step = 1 << self.levels
        height, width = image.shape[-2:]
        outer = self.around((height, width))
        seen = image[None][outer.place]
        reduced = F.avg_pool2d(seen, step, ceil_mode=True, count_include_pad=False)[0]
        inner = _within(self.top, self.height, outer.top, step)
        return reduced, (inner, _within(self.left, self.width, outer.left, step))

    def around(self, size: tuple[int, int]) -> Window:
        """The part with its margin, in a picture of a size."""
        margin = MARGIN << self.levels
        rows = _around(self.top, self.height, size[0], margin)
        columns = _around(self.left, self.width, size[1], margin)
        return Window(rows.start, rows.stop, columns.start, columns.stop)


def parts(view: View, size: tuple[int, int], *, factor: int = 1) -> Iterator[Part]:
    """What to compute for a view, in this order: from the middle outwards.

    Args:
        view: what is looked at.
        size: height and width of the picture.
        factor: how often it is enlarged. If it is not, parts are reduced: first all that is visible
            so far that it comes at once, then no further than the screen shows.
    """
    height, width = size
    top, left = max(0, math.floor(view.top)), max(0, math.floor(view.left))
    bottom = min(height, math.ceil(view.top + view.height))
    right = min(width, math.ceil(view.left + view.width))
    if bottom <= top or right <= left:
        return
    fine = max(0, math.floor(-math.log2(view.zoom))) if factor == 1 else 0
    fine = min(fine, max(0, int(math.log2(max(1, min(size) // LEAST)))))
    visible = (bottom - top) * (right - left)
    coarse = max(fine, math.ceil(math.log2(max(1.0, visible / AT_ONCE)) / 2))
    if factor == 1 and coarse > fine:
        yield _part(_on_grid(top, bottom, coarse), _on_grid(left, right, coarse), coarse, size)
    side = (SIDE << fine) // factor
    found = [
        _part(rows, columns, fine, size)
        for rows in _cut(*_on_grid(top, bottom, fine), side, GRID << fine)
        for columns in _cut(*_on_grid(left, right, fine), side, GRID << fine)
    ]
    middle = (top + bottom) / 2, (left + right) / 2
    found.sort(key=lambda it: math.dist((it.top + it.height / 2, it.left + it.width / 2), middle))
    yield from found[:MOST]


def _part(
    rows: tuple[int, int], columns: tuple[int, int], levels: int, size: tuple[int, int]
) -> Part:
    """The part of these rows and columns that lies in the picture."""
    (top, bottom), (left, right) = rows, columns
    return Part(left, top, min(right, size[1]) - left, min(bottom, size[0]) - top, levels)


def _on_grid(start: int, end: int, levels: int) -> tuple[int, int]:
    """Where a part that holds these pixels begins and ends."""
    step = GRID << levels
    return start // step * step, -(-end // step) * step


def _cut(start: int, end: int, side: int, step: int) -> Iterator[tuple[int, int]]:
    """Cut a stretch of the grid into like ones of about `side` at most."""
    count = -(-(end - start) // side)
    edges = [start + (end - start) // step * place // count * step for place in range(count + 1)]
    return pairwise(edges)


def _within(start: int, length: int, origin: int, step: int) -> slice:
    return slice((start - origin) // step, -(-(start + length - origin) // step))


def _around(start: int, length: int, size: int, margin: int) -> slice:
    return slice(max(0, start - margin), min(size, start + length + margin))
