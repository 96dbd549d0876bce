"""How noise differs between the places of a picture: a grid of factors, and parts of it."""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from scalewise.windows import Window

MOST_PLACES = 256
"""Along one side of a grid."""

LARGEST_FACTOR = 1e12
"""Of a variance, so that deviations are finite in single precision."""

THIRDS = 99
"""Pixels a side from which thirds of a picture are told."""

ALIKE = 1.1
"""Ratio up to which deviations are told as the same."""

Factor = Annotated[float, Field(ge=0, le=LARGEST_FACTOR, allow_inf_nan=False)]
Row = Annotated[tuple[Factor, ...], Field(min_length=1, max_length=MOST_PLACES)]
Share = Annotated[float, Field(allow_inf_nan=False)]


class Places(BaseModel):
    """How the variance of noise depends on the place: flat-field correction, stitched pictures.

    Attributes:
        factors: rows of factors of the variance, each at the middle of an equal part of the
            picture, linear between, constant beyond the outermost.
        frame: top, bottom, left and right of what the grid covers, in heights and widths of the
            picture; the grid of a whole picture covers it.

    Examples:
        >>> from scalewise.places import Places
        >>> places = Places(factors=((1.0, 4.0),))
        >>> places.at((2, 4))[0]
        tensor([1.0000, 1.3229, 1.8028, 2.0000])
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    factors: Annotated[tuple[Row, ...], Field(min_length=1, max_length=MOST_PLACES)]
    frame: tuple[Share, Share, Share, Share] = (0.0, 1.0, 0.0, 1.0)

    @model_validator(mode="after")
    def _consistent(self) -> Places:
        if len({len(row) for row in self.factors}) != 1:
            raise ValueError("factors must be rows of one length")
        if max(max(row) for row in self.factors) == 0:
            raise ValueError("factors must be above 0 somewhere")
        top, bottom, left, right = self.frame
        if bottom <= top or right <= left:
            raise ValueError("frame must be top, bottom, left and right of a rectangle")
        return self

    @classmethod
    def of(cls, factors: Tensor) -> Places:
        """Those of a whole picture.

        Args:
            factors: of the variance, shape (rows, columns).

        Examples:
            >>> from scalewise.places import Places
            >>> Places.of(torch.tensor([[1.0, 4.0]])).factors
            ((1.0, 4.0),)
        """
        return cls(factors=tuple(map(tuple, factors.tolist())))

    def at(self, size: tuple[int, int]) -> Tensor:
        """Factor of the deviation at the pixels of the picture, whatever its size.

        Args:
            size: its height and width.

        Returns:
            Shape `size`.

        Examples:
            >>> from scalewise.places import Places
            >>> Places(factors=((4.0,), (0.0,))).at((4, 1)).flatten()
            tensor([2.0000, 1.7321, 1.0000, 0.0000])
        """
        top, bottom, left, right = self.frame
        grid = torch.tensor(self.factors, dtype=torch.float64)
        down = _weights(size[0], len(grid), top, bottom)
        across = _weights(size[1], grid.shape[1], left, right)
        return (down @ grid @ across.T).sqrt().float()

    def part(self, window: Window, size: tuple[int, int]) -> Places:
        """Those of a part of the picture.

        Args:
            window: the part.
            size: height and width of the picture.

        Examples:
            >>> from scalewise.places import Places
            >>> from scalewise.windows import Window
            >>> Places(factors=((1.0, 4.0),)).part(Window(0, 8, 0, 4), (8, 8)).frame
            (0.0, 1.0, 0.0, 2.0)
        """
        top, bottom, left, right = self.frame
        (height, width), (high, wide) = size, window.size
        moved = (
            (top * height - window.top) / high,
            (bottom * height - window.top) / high,
            (left * width - window.left) / wide,
            (right * width - window.left) / wide,
        )
        return self.model_copy(update={"frame": moved})

    def in_words(self) -> str:
        """What a person would say of them, by the thirds of the picture.

        Examples:
            >>> from scalewise.places import Places
            >>> Places(factors=((1.0, 9.0),)).in_words()
            '2.8 times as strong at the right as at the left'
        """
        thirds = F.adaptive_avg_pool2d(self.at((THIRDS, THIRDS)).square()[None], 3)[0]
        for axis in (0, 1):  # no more is named than differs
            along = thirds.mean(1 - axis)
            if float(along.max()) < ALIKE**2 * float(along.min()):
                thirds = thirds.mean(axis, keepdim=True).expand(3, 3)
        least, most = float(thirds.min().sqrt()), float(thirds.max().sqrt())
        ratio = most / least if least else math.inf
        if ratio < ALIKE:
            return "about as strong in all places"
        strong, weak = (_named(thirds == end) for end in (thirds.max(), thirds.min()))
        return f"{ratio:.2g} times as strong {strong} as {weak}"


def _weights(pixels: int, nodes: int, start: float, end: float) -> Tensor:
    """What each node (columns) counts at each pixel (rows), linear between them."""
    shares = (torch.arange(pixels, dtype=torch.float64) + 0.5) / pixels
    places = ((shares - start) / (end - start) * nodes - 0.5).clamp(0, nodes - 1)
    return (1 - (places[:, None] - torch.arange(nodes)).abs()).clamp(min=0)


def _named(there: Tensor) -> str:
    """The place of thirds (3, 3) that are chosen: a row, a column, or one of them."""
    row, column = there.nonzero()[0].tolist()
    down = "" if bool(there[:, column].all()) else ("top", "middle", "bottom")[row]
    across = "" if bool(there[row].all()) else ("left", "middle", "right")[column]
    named = " ".join(part for part in (down, across) if part not in ("", "middle"))
    return f"at the {named}" if named else "in the middle"
