"""Photos to show and to measure with."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_photo(name: str = "astronaut") -> Tensor:
    """Give a colour photo that scikit-image ships, shape (3, H, W) in [0, 1]: no download.

    Args:
        name: "astronaut" (512x512), "coffee" (400x600), "chelsea" (300x451), ...
    """
    import skimage.data

    pixels = torch.from_numpy(getattr(skimage.data, name)())
    return pixels.movedim(-1, 0).float() / 255
