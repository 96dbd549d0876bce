"""Windows of images: what a local function needs to be computed piece by piece.

A local function of an image, computed on a window that reaches as far beyond a part as the function
looks, has the same values on that part. Where a window ends at the border of the image, so does the
function's own padding; elsewhere the margin is cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

PART = 512
"""Side of the parts in which a large image passes through a local network, to save memory."""

SIDE, OVERLAP = 256, 64
"""Side of the windows in which a network that sees all of an image looks at a large one, and by
how many pixels they overlap."""


class Window(NamedTuple):
    """A rectangle of pixels: rows from `top` to `bottom`, columns from `left` to `right`.

    Examples:
        >>> from scalewise.windows import Window
        >>> part = Window(0, 4, 8, 12)
        >>> part.grown(2, (16, 16)), part.times(2).size
        (Window(top=0, bottom=6, left=6, right=14), (8, 8))
    """

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    @property
    def place(self) -> tuple[Any, slice, slice]:
        """The index of its pixels in an array of any axes before rows and columns."""
        return ..., slice(self.top, self.bottom), slice(self.left, self.right)

    def grown(self, margin: int, size: tuple[int, int]) -> Window:
        """With a margin on every side, as far as an image of this size goes."""
        return Window(
            max(0, self.top - margin),
            min(size[0], self.bottom + margin),
            max(0, self.left - margin),
            min(size[1], self.right + margin),
        )

    def aligned(self, multiple: int) -> Window:
        """The least window around it whose sides lie at multiples of a number."""
        return Window(
            self.top - self.top % multiple,
            self.bottom + -self.bottom % multiple,
            self.left - self.left % multiple,
            self.right + -self.right % multiple,
        )

    def times(self, factor: int) -> Window:
        """The same part of an image with so many times the pixels a side."""
        return Window(*(factor * edge for edge in self))

    def over(self, factor: int) -> Window:
        """The same part of an image reduced so many times: of windows aligned to that."""
        return Window(*(edge // factor for edge in self))

    def common(self, other: Window) -> Window:
        """The pixels that another window has too."""
        return Window(
            max(self.top, other.top),
            min(self.bottom, other.bottom),
            max(self.left, other.left),
            min(self.right, other.right),
        )

    def inside(self, outer: Window) -> Window:
        """Its place within another window."""
        return Window(
            self.top - outer.top,
            self.bottom - outer.top,
            self.left - outer.left,
            self.right - outer.left,
        )


def size_of(images: Tensor) -> tuple[int, int]:
    """Height and width of images (..., H, W)."""
    height, width = images.shape[-2:]
    return height, width


def windows(size: tuple[int, int], side: int) -> Iterator[Window]:
    """Cut an image into squares, row by row; those at the end are smaller.

    Args:
        size: height and width.
        side: of the squares, from 1.

    Examples:
        >>> from scalewise.windows import windows
        >>> [window.size for window in windows((3, 5), 4)]
        [(3, 4), (3, 1)]
    """
    height, width = size
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Window(top, min(top + side, height), left, min(left + side, width))


def meeting(size: tuple[int, int], side: int, parts: Iterable[Window]) -> list[Window]:
    """Those of `windows` that have pixels with some parts in common, in order.

    Examples:
        >>> from scalewise.windows import Window, meeting
        >>> meeting((8, 8), 4, [Window(1, 3, 3, 5)])
        [Window(top=0, bottom=4, left=0, right=4), Window(top=0, bottom=4, left=4, right=8)]
    """
    corners = {
        (top, left)
        for part in parts
        for top in range(part.top - part.top % side, min(size[0], part.bottom), side)
        for left in range(part.left - part.left % side, min(size[1], part.right), side)
    }
    return [
        Window(top, min(top + side, size[0]), left, min(left + side, size[1]))
        for top, left in sorted(corners)
    ]


def overlapping(size: tuple[int, int], part: Window) -> list[Window]:
    """The windows in which a network that sees all of an image looks at a part of a large one.

    They depend on the size of the image alone, so a result does not depend on how it is computed.
    """
    rows = [edges for edges in _edges(size[0]) if edges[0] < part.bottom and edges[1] > part.top]
    columns = [edges for edges in _edges(size[1]) if edges[0] < part.right and edges[1] > part.left]
    return [Window(*row, *column) for row in rows for column in columns]


def weights_of(window: Window, size: tuple[int, int]) -> Tensor:
    """How much one of the overlapping windows counts at its pixels, shape (h, w).

    It falls linearly to its ends, but to those of the image.
    """
    rows = _ramp(window.top, window.bottom, size[0])
    return rows[:, None] * _ramp(window.left, window.right, size[1])


def by_parts(look: Callable[[Window], Tensor], size: tuple[int, int], margin: int) -> Tensor:
    """What a local function makes of a large array, part by part, so that less is in memory.

    Args:
        look: gives the values of a window, shape (N, C, 2h, 2w): twice as many a side.
        size: height and width of the array.
        margin: how far each value looks.

    Returns:
        Shape (N, C, 2H, 2W).
    """
    whole = torch.zeros(())
    for part in windows(size, PART):
        outer = part.grown(margin, size)
        values = look(outer)
        if whole.ndim == 0:
            whole = values.new_empty(*values.shape[:2], 2 * size[0], 2 * size[1])
        whole[part.times(2).place] = values[part.inside(outer).times(2).place]
    return whole


def blended(look: Callable[[Window], Tensor], size: tuple[int, int], part: Window) -> Tensor:
    """What a network that sees all of an image makes of a part of a large one.

    It looks at overlapping windows, and their values are averaged (Bar-Tal et al.,
    "MultiDiffusion", ICML 2023, equation 5), so that there is no seam.

    Args:
        look: gives the values of a window, shape (N, C, h, w).
        size: height and width of the image.
        part: which part.

    Returns:
        Shape (N, C, ...) of the part.
    """
    total, weight = torch.zeros(()), torch.zeros(part.size)
    for window in overlapping(size, part):
        values, share = look(window), weights_of(window, size)
        both = window.common(part)
        if total.ndim == 0:
            total = values.new_zeros(*values.shape[:2], *part.size)
        inner, place = both.inside(window).place, both.inside(part).place
        total[place] += values[inner] * share[inner].to(values)
        weight[place] += share[inner]
    return total / weight.to(total)


def _edges(length: int) -> list[tuple[int, int]]:
    """Begin and end of the windows along one side."""
    if length <= SIDE:
        return [(0, length)]
    count = -(-(length - OVERLAP) // (SIDE - OVERLAP))
    starts = [round(place * (length - SIDE) / (count - 1)) for place in range(count)]
    return [(start, start + SIDE) for start in starts]


def _ramp(start: int, end: int, length: int) -> Tensor:
    places = torch.arange(start, end, dtype=torch.float32) + 0.5
    above = (places - start) / OVERLAP if start > 0 else torch.ones_like(places)
    below = (end - places) / OVERLAP if end < length else torch.ones_like(places)
    return torch.minimum(above, below).clamp(max=1)
