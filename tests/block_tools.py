"""What the tests of images in blocks share: tiny priors, images, and stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from scalewise.networks import LocalConditional, LocalDenoiser, UNet
from scalewise.prior import MultiScalePrior
from scalewise.rasters import Raster, open_raster


def tiny(
    channels: int = 3, levels: int = 2, *, field: int = 7, stationary: bool = False
) -> MultiScalePrior:
    """Random networks that see maps of the noise, and change an image by much."""
    torch.manual_seed(channels + levels)
    details = [
        LocalConditional(channels, field, width=8, blocks=2, sigma_data=0.1, noise_maps=True)
        for _ in range(levels)
    ]
    low: Any = UNet(channels, (16, 16), width=16, multiples=(1, 1), blocks=1, noise_maps=True)
    if stationary:
        low = LocalDenoiser(channels, 7, width=8, blocks=2)
    prior = MultiScalePrior(low, details)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return prior.eval().requires_grad_(False)


def image(height: int, width: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """A smooth image with noise, (C, H, W), float32 around mid-gray."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None, :]
    waves = [0.5 + 0.3 * torch.sin(rows / (7 + c) + columns / 11) for c in range(channels)]
    clean = torch.stack([wave.expand(height, width) for wave in waves])
    return clean + 0.05 * torch.randn(clean.shape, generator=generator)


def raster_of(values: torch.Tensor, folder: Path, name: str = "in.npy") -> Raster:
    """Floats (C, H, W) as an array of NumPy on disk, 0 black and 1 white."""
    array = values.permute(1, 2, 0).numpy()
    np.save(folder / name, array[..., 0] if array.shape[-1] == 1 else array)
    return open_raster(folder / name, black=0, white=1)


def result(path: Path) -> torch.Tensor:
    """An array of NumPy on disk as (C, H, W)."""
    array = torch.from_numpy(np.load(path))
    return array[None] if array.ndim == 2 else array.permute(2, 0, 1)
