"""The curve of sRGB (IEC 61966-2-1), there and back."""

from __future__ import annotations

import torch
from torch import Tensor


def to_linear(srgb: Tensor) -> Tensor:
    """Linear light of sRGB values (IEC 61966-2-1)."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055).clamp(min=0) ** 2.4)


def to_srgb(light: Tensor) -> Tensor:
    """SRGB values of linear light (IEC 61966-2-1)."""
    curve = 1.055 * light.clamp(min=1e-8) ** (1 / 2.4) - 0.055
    return torch.where(light <= 0.0031308, 12.92 * light, curve)
