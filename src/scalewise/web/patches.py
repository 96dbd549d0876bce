"""Which parts of a picture are computed first: what is looked at, coarse and then fine.

The networks are local, so a part with a margin around it gives nearly what the whole gives there:
within about one 8-bit gray level, since the low-pass image alone has a network that sees all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

SIDE = 192
"""Side of a part, in its own pixels."""

MARGIN = 32
"""Pixels around it that are computed too and left out."""

GRID = 16
"""Parts begin at multiples of so many of their own pixels."""

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
        rows = _around(self.top, self.height, height, MARGIN * step)
        columns = _around(self.left, self.width, width, MARGIN * step)
        seen = image[None, :, rows, columns]
        reduced = F.avg_pool2d(seen, step, ceil_mode=True, count_include_pad=False)[0]
        inner = _within(self.top, self.height, rows.start, step)
        return reduced, (inner, _within(self.left, self.width, columns.start, step))


def parts(view: View, size: tuple[int, int], *, reduced: bool = True) -> Iterator[Part]:
    """What to compute for a view, in this order.

    Args:
        view: what is looked at.
        size: height and width of the picture.
        reduced: a part may be reduced: first all that is visible so far that it comes at once, then
            no further than the screen shows.
    """
    height, width = size
    top, left = max(0, math.floor(view.top)), max(0, math.floor(view.left))
    bottom = min(height, math.ceil(view.top + view.height))
    right = min(width, math.ceil(view.left + view.width))
    if bottom <= top or right <= left:
        return
    fine = max(0, math.ceil(-math.log2(view.zoom))) if reduced else 0
    fine = min(fine, max(0, int(math.log2(max(1, min(size) // SIDE)))))
    visible = (bottom - top) * (right - left)
    coarse = max(fine, math.ceil(math.log2(max(1.0, visible / AT_ONCE)) / 2))
    if reduced and coarse > fine:
        yield _aligned(top, left, bottom, right, coarse, size)
    step = SIDE << fine
    middle = (top + bottom) / 2, (left + right) / 2
    corners = [
        (row, column)
        for row in range(top // step * step, bottom, step)
        for column in range(left // step * step, right, step)
    ]
    corners.sort(key=lambda at: math.dist((at[0] + step / 2, at[1] + step / 2), middle))
    for row, column in corners[:MOST]:
        yield Part(column, row, min(step, width - column), min(step, height - row), fine)


def _aligned(
    top: int, left: int, bottom: int, right: int, levels: int, size: tuple[int, int]
) -> Part:
    """The part that holds these pixels, and begins and ends on the grid."""
    step = GRID << levels
    top, left = top // step * step, left // step * step
    bottom, right = min(size[0], -(-bottom // step) * step), min(size[1], -(-right // step) * step)
    return Part(left, top, right - left, bottom - top, levels)


def _within(start: int, length: int, origin: int, step: int) -> slice:
    return slice((start - origin) // step, -(-(start + length - origin) // step))


def _around(start: int, length: int, size: int, margin: int) -> slice:
    return slice(max(0, start - margin), min(size, start + length + margin))
