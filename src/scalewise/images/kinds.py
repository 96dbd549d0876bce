"""The types of arrays and of their values."""

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Depth = Literal[
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"
]
DEPTHS: tuple[Depth, ...] = get_args(Depth)

EXACT = 2**24
"""Integers up to this are the same as 32-bit floats."""


def is_float(depth: Depth) -> bool:
    """Tell floats from integers."""
    return depth.startswith("float")


def type_ends(depth: Depth) -> tuple[float, float]:
    """Lowest and highest value of a type."""
    if is_float(depth):
        return float(np.finfo(depth).min), float(np.finfo(depth).max)
    return float(np.iinfo(depth).min), float(np.iinfo(depth).max)
