"""The range of a picture's intensities, in the unit of its file."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from scalewise.errors import ScalewiseError, UsageError

Depth = Literal[
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"
]
DEPTHS: tuple[Depth, ...] = get_args(Depth)
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

    Raises:
        ScalewiseError: if a white is not above its black, or they differ in number.
    """

    black: tuple[float, ...] = (0.0,)
    white: tuple[float, ...] = (1.0,)
    source: Source = "type"

    def __post_init__(self) -> None:
        """Check the range."""
        pairs = list(zip(self.black, self.white, strict=False))
        right = all(math.isfinite(b) and math.isfinite(w) and b < w for b, w in pairs)
        if not right or not pairs or len(self.black) != len(self.white):
            raise ScalewiseError(
                f"each white must be above its black, found black {self.black} "
                f"and white {self.white}"
            )

    def of(self, stored: Tensor) -> Tensor:
        """Intensities of stored values, shape (P, C, H, W)."""
        black, white = self._columns(stored)
        return (stored - black) / (white - black)

    def stored(self, pixels: Tensor) -> Tensor:
        """Stored values of intensities, shape (P, C, H, W), neither rounded nor clipped."""
        black, white = self._columns(pixels)
        return black + pixels * (white - black)

    def differences(self) -> "Intensities":
        """The range of differences of intensities, such as standard deviations: 0 stays 0."""
        spans = tuple(white - black for black, white in zip(self.black, self.white, strict=True))
        return Intensities((0.0,) * len(spans), spans, self.source)

    def __str__(self) -> str:
        """Black and white in words, such as `0 to 4095`."""
        pairs = dict.fromkeys(zip(self.black, self.white, strict=True))
        return ", ".join(f"{_short(black)} to {_short(white)}" for black, white in pairs)

    def _columns(self, like: Tensor) -> tuple[Tensor, Tensor]:
        black, white = (
            torch.tensor(ends, dtype=like.dtype, device=like.device).reshape(-1, 1, 1, 1)
            for ends in (self.black, self.white)
        )
        return black, white


def type_range(depth: Depth) -> Intensities:
    """The range of a type: all of an integer's, from 0; 0 to 1 of floats."""
    if depth.startswith("float"):
        return Intensities()
    return Intensities((0.0,), (float(np.iinfo(depth).max),))


def given_range(black: float | None, white: float | None, otherwise: Intensities) -> Intensities:
    """The range that a caller asks for; what is None comes from another one.

    Raises:
        UsageError: if white is not above black, or one is not a number.
    """
    if black is None and white is None:
        return otherwise
    blacks = otherwise.black if black is None else (black,) * len(otherwise.black)
    whites = otherwise.white if white is None else (white,) * len(otherwise.white)
    for low, high in zip(blacks, whites, strict=True):
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UsageError(
                f"white must be above black, found --black {_short(low)} and "
                f"--white {_short(high)}; give both in the unit of the file"
            )
    return Intensities(blacks, whites, "given")


def _short(value: float) -> str:
    return f"{value:.6g}"
