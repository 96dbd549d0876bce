"""The range of a picture's intensities, in the unit of its file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from scalewise.errors import ScalewiseError, UsageError
from scalewise.images.kinds import Depth, is_float, type_ends

Source = Literal["type", "file", "found", "given"]


@dataclass(frozen=True)
class Intensities:
    """What black and white are in a file.

    `stored = black + pixels * (white - black)`, of the values in a file and the `pixels` of a
    picture.

    Args:
        black: stored value of intensity 0; one for all planes, or one for each.
        white: stored value of intensity 1; as many.
        source: where the range comes from: the "type" of the values, the "file", "found" in the
            pixels, or "given" by the caller.
        most: highest value that may be stored, where that is less than the type's.

    Raises:
        ScalewiseError: if a white is not above its black, or they differ in number.

    Examples:
        >>> from scalewise.images import Intensities
        >>> twelve = Intensities(black=(64.0,), white=(4095.0,), source="given")
        >>> picture = scalewise.Picture(torch.rand(1, 8, 8), depth="uint16", intensities=twelve)
    """

    black: tuple[float, ...] = (0.0,)
    white: tuple[float, ...] = (1.0,)
    source: Source = "type"
    most: float | None = None

    def __post_init__(self) -> None:
        """Check the range."""
        pairs = list(zip(self.black, self.white, strict=False))
        if not pairs or len(self.black) != len(self.white) or not all(map(_is_range, pairs)):
            raise ScalewiseError(
                f"each white must be above its black, found black {self.black} "
                f"and white {self.white}"
            )

    def of(self, stored: Tensor) -> Tensor:
        """Intensities of stored values, shape (P, C, H, W).

        Examples:
            >>> from scalewise.images import Intensities
            >>> unit = Intensities(black=(100.0,), white=(1100.0,))
            >>> unit.of(torch.full((1, 1, 1, 1), 600.0)).item()
            0.5
        """
        black, white = self._columns(stored)
        return (stored - black) / (white - black)

    def stored(self, pixels: Tensor) -> Tensor:
        """Stored values of intensities, shape (P, C, H, W), neither rounded nor clipped.

        Examples:
            >>> from scalewise.images import Intensities
            >>> unit = Intensities(black=(100.0,), white=(1100.0,))
            >>> unit.stored(torch.full((1, 1, 1, 1), 0.5)).item()
            600.0
        """
        black, white = self._columns(pixels)
        return black + pixels * (white - black)

    def at(self, plane: int) -> tuple[float, float]:
        """Black and white of one plane."""
        index = plane if len(self.black) > 1 else 0
        return self.black[index], self.white[index]

    def differences(self) -> Intensities:
        """The range of differences of intensities, such as standard deviations: 0 stays 0."""
        spans = tuple(white - black for black, white in zip(self.black, self.white, strict=True))
        return Intensities((0.0,) * len(spans), spans, self.source)

    def __str__(self) -> str:
        """Black and white in words, such as `0 to 4095`."""
        pairs = dict.fromkeys(zip(self.black, self.white, strict=True))
        return ", ".join(f"{black:.6g} to {white:.6g}" for black, white in pairs)

    def _columns(self, like: Tensor) -> tuple[Tensor, Tensor]:
        black, white = (
            torch.tensor(ends, dtype=like.dtype, device=like.device).reshape(-1, 1, 1, 1)
            for ends in (self.black, self.white)
        )
        return black, white


def type_range(depth: Depth) -> Intensities:
    """The range of a type: all of an integer's from 0; 0 to 1 of floats."""
    return Intensities() if is_float(depth) else Intensities((0.0,), (type_ends(depth)[1],))


def given_range(black: float | None, white: float | None, otherwise: Intensities) -> Intensities:
    """The range that a caller asks for; what is None comes from another one.

    Raises:
        UsageError: if white is not above black, or one is not a number.
    """
    if black is None and white is None:
        return otherwise
    blacks = otherwise.black if black is None else (float(black),)
    whites = otherwise.white if white is None else (float(white),)
    count = max(len(blacks), len(whites))
    blacks, whites = (ends if len(ends) == count else ends * count for ends in (blacks, whites))
    for low, high in zip(blacks, whites, strict=True):
        if not _is_range((low, high)):
            raise UsageError(
                f"white must be above black, found --black {low:g} and --white {high:g}; "
                "give both in the unit of the file"
            )
    return Intensities(
        blacks, whites, "given", otherwise.most if otherwise.source == "file" else None
    )


def _is_range(ends: tuple[float, float]) -> bool:
    return all(map(math.isfinite, ends)) and ends[0] < ends[1]
