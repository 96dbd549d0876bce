"""The noise level of an image, learnt: what each place says of it, and how much that counts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalewise.wavelets import GAIN, split

AROUND = 9
"""Side of the squares, in coefficients, by whose energy features are made free of units."""

QUIET = 0.1
"""Quantile of that energy that every place is compared with."""

SIDE, MOST = 256, 16
"""Side of the crops that a large image is looked at in, and how many there are at the most."""


class NoiseEstimator(nn.Module):
    """The standard deviation of white noise in planes, from their finest details.

    Convolutions without bias give a level at every place, so that an image times `a` has `a` times
    the noise (Mohan, Kadkhodaie, Simoncelli and Fernandez-Granda, ICLR 2020). Two more layers, of
    features over the local energy, say how much each place counts: smooth places much, texture
    little. The estimate is the weighted mean.

    Args:
        width: channels.
        depth: convolutions.
    """

    def __init__(self, width: int = 32, depth: int = 5) -> None:
        super().__init__()
        self.settings = {"width": width, "depth": depth}
        self.seen = 2 * max(depth - 1, AROUND // 2) + 4  # pixels to each side of a place
        layers: list[nn.Module] = []
        for inputs in (3, *[width] * (depth - 2)):
            layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.level = nn.Conv2d(width, 1, 1, bias=False)
        self.inner = nn.Sequential(
            nn.Conv2d(width + 1, width, 1), nn.ReLU(), nn.Conv2d(width, 1, 1)
        )

    def forward(self, planes: Tensor, valid: Tensor | None = None) -> Tensor:
        """Estimate the noise level of each plane.

        Args:
            planes: shape (N, 1, H, W), any H and W from 1.
            valid: bool of that shape, true where pixels hold all of the noise; all by default.

        Returns:
            Standard deviations, shape (N,), in the units of `planes`; 0 where nothing varies, and
            NaN where no place is valid.
        """
        return torch.stack(
            [
                self._of_one(plane, None if valid is None else valid[index])
                for index, plane in enumerate(planes)
            ]
        )

    def _of_one(self, plane: Tensor, valid: Tensor | None) -> Tensor:
        """The level of one plane (1, H, W), whose crops count as one image."""
        details = split(_crops(plane))[1]
        places = torch.ones_like(details[:, :1], dtype=torch.bool)
        if valid is not None:
            places = ~_lost(_crops(valid.to(plane)), self.seen, details.shape[-2:])
            if not bool(places.any()):
                return plane.new_tensor(torch.nan)
        unit = details.square().mean(1, keepdim=True)[places].mean().sqrt()
        if float(unit) == 0:
            return unit
        levels, weights = self.looked_at(details / unit, places)
        return (weights[places].softmax(0) * levels[places]).sum() * unit / GAIN

    def looked_at(self, details: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Level, and logarithm of the weight, of every place of details.

        Args:
            details: shape (N, 3, h, w).
            places: bool of shape (N, 1, h, w): those that count.
        """
        features = self.body(details)
        energy = F.pad(details.square().mean(1, keepdim=True), [AROUND // 2] * 4, "replicate")
        local = F.avg_pool2d(energy, AROUND, 1).sqrt() + 1e-5
        quiet = local[places].quantile(QUIET)
        seen = torch.cat([features / local, (local / quiet).log()], dim=1)
        return self.level(features).abs(), self.inner(seen)


def _crops(plane: Tensor) -> Tensor:
    """A plane (1, H, W) as a batch: whole, or evenly spread crops of a large one."""
    _, height, width = plane.shape
    if height * width <= MOST * SIDE**2:
        return plane[None]
    down, right = max(1, height // SIDE), max(1, width // SIDE)
    places = [(y, x) for y in range(down) for x in range(right)]
    step = len(places) / min(MOST, len(places))
    chosen = [places[int(step * number)] for number in range(min(MOST, len(places)))]
    return torch.stack([plane[:, SIDE * y :, SIDE * x :][:, :SIDE, :SIDE] for y, x in chosen])


def _lost(valid: Tensor, seen: int, size: torch.Size) -> Tensor:
    """Coefficients (N, 1, h, w) that would see pixels (N, 1, H, W) that are not valid."""
    near = F.max_pool2d(1 - valid, 2 * seen + 1, stride=1, padding=seen)
    return F.adaptive_max_pool2d(near, tuple(size)) > 0
