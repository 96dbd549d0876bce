"""Photos to show and to measure with."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_photo(name: str = "astronaut") -> Tensor:
    """Give a photo that scikit-image ships, shape (C, H, W) in [0, 1]: no download.

    Args:
        name: "astronaut" (512x512), "coffee" (400x600), "chelsea" (300x451) in colour; "camera",
            "moon", "brick" (512x512) in gray; ...
    """
    import skimage.data

    pixels = torch.from_numpy(getattr(skimage.data, name)())
    return (pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0)).float() / 255
