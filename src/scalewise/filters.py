"""Filters by which image programs reduce images, as weights of a line of pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scalewise.errors import UsageError


def weights(size: int, small: int, filter: str) -> Tensor:
    """Weights of a line of pixels in each of the reduced line, shape (small, size), float64.

    Raises:
        UsageError: there is no such filter (`operators.Downscaling`).
    """
    kind, _, deviation = str(filter).partition(":")
    factor = size / small
    centres = (torch.arange(small, dtype=torch.float64) + 0.5) * factor
    places = torch.arange(size, dtype=torch.float64) + 0.5
    apart = (places - centres[:, None]) / factor
    if kind == "mean":
        low, high = places - 0.5, places + 0.5
        start, end = centres[:, None] - factor / 2, centres[:, None] + factor / 2
        found = (torch.minimum(high, end) - torch.maximum(low, start)).clamp(min=0)
    elif kind == "bicubic":
        found = _cubic(apart.abs())
    elif kind == "lanczos":
        found = torch.sinc(apart) * torch.sinc(apart / 3) * (apart.abs() < 3)
    elif kind == "gaussian" and _is_positive(deviation):
        found = torch.exp(-0.5 * (apart / float(deviation)) ** 2)
    else:
        raise UsageError(
            f"the filter of a reduction must be mean, bicubic, lanczos or gaussian:DEVIATION, "
            f"found {filter!r}"
        )
    return found / found.sum(dim=1, keepdim=True)


def _cubic(apart: Tensor, a: float = -0.5) -> Tensor:
    """Cubic convolution (Keys, IEEE ASSP 1981), of distances."""
    near = ((a + 2) * apart - (a + 3)) * apart**2 + 1
    far = a * (((apart - 5) * apart + 8) * apart - 4)
    return torch.where(apart <= 1, near, torch.where(apart < 2, far, 0.0))


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
