"""The noise of a plane, learnt: what each place says of it, and how much that counts."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalewise.networks.spectrum import SpectrumNetwork
from scalewise.wavelets import GAIN, split
from scalewise.windows import Window

AROUND = 9
"""Side of the squares, in coefficients, by whose energy features are made free of units."""

BRIGHT = 5
"""Side of the squares, in coefficients, whose mean is the brightness of a place."""

QUIET = 0.1
"""Quantile of that energy that every place is compared with."""

SPARSE = 0.05
"""Share of the pixels that count below which places are too few."""

SIDE, MOST = 256, 16
"""Side of the crops that a large image is looked at in, and how many there are at the most."""


class Places(NamedTuple):
    """What every place of a plane says of its noise, shape (M,) each.

    Attributes:
        levels: deviation of the white noise that would be as strong in these details.
        weights: logarithm of how much the place counts.
        brightness: mean of the low-pass image around it, in which the noise is small.
    """

    levels: Tensor
    weights: Tensor
    brightness: Tensor

    @property
    def level(self) -> Tensor:
        """The weighted mean of all places."""
        return (self.weights.softmax(0) * self.levels).sum()


class NoiseEstimator(nn.Module):
    """The standard deviation of noise in planes, from their finest details.

    Convolutions without bias give a level at every place, so that an image times `a` has `a` times
    the noise (Mohan, Kadkhodaie, Simoncelli and Fernandez-Granda, ICLR 2020). Two more layers, of
    features over the local energy, say how much each place counts: smooth places much, texture
    little. The estimate is the weighted mean.

    Args:
        width: channels.
        depth: convolutions.
        channels: of the images whose spectra it has learnt, too; 0 if it has learnt none.

    Attributes:
        spectrum: tells them by statistics of an image; None if they are not learnt.

    Examples:
        >>> estimator = scalewise.load("photos", device="cpu").estimator
        >>> generator = torch.Generator().manual_seed(0)
        >>> noisy = 0.5 + 0.1 * torch.randn(1, 1, 256, 256, generator=generator)
        >>> round(estimator(noisy).item(), 1)
        0.1
    """

    def __init__(self, width: int = 32, depth: int = 5, channels: int = 0) -> None:
        super().__init__()
        self.settings = {"width": width, "depth": depth}
        if channels:
            self.settings["channels"] = channels
        self.spectrum = SpectrumNetwork(channels) if channels else None
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
            Standard deviations, shape (N,), in the units of `planes`, of the white noise that would
            be as strong in the finest details; 0 where nothing varies, and NaN where no place is
            valid.
        """
        found = []
        for index, plane in enumerate(planes):
            places = self.places(plane, None if valid is None else valid[index])
            found.append(plane.new_tensor(torch.nan) if places is None else places.level)
        return torch.stack(found)

    def places(
        self, plane: Tensor, valid: Tensor | None = None, within: Window | None = None
    ) -> Places | None:
        """What the places of one plane (1, H, W) say, those of its crops where it is large.

        Args:
            plane: shape (1, H, W), any H and W from 1.
            valid: bool of that shape, true where pixels hold all of the noise; all by default.
            within: of these pixels alone, of a plane that is not large, though all are seen.

        Returns:
            The valid places, row by row; None if there is none.

        Examples:
            >>> estimator = scalewise.load("photos", device="cpu").estimator
            >>> places = estimator.places(torch.rand(1, 64, 64))
            >>> places.levels.shape, places.level.shape
            (torch.Size([1024]), torch.Size([]))
        """
        low, details = split(spread_crops(plane))
        valid_places = torch.ones_like(low, dtype=torch.bool)
        if valid is not None:
            valid_places = self._valid_places(spread_crops(valid.to(plane)), low.shape[-2:])
            if not bool(valid_places.any()):
                return None
        wanted = valid_places
        if within is not None:
            wanted = torch.zeros_like(valid_places)
            inside = within.over(2).place
            wanted[inside] = valid_places[inside]
            if not bool(wanted.any()):
                return None
        near = F.pad(low, [BRIGHT // 2] * 4, "replicate")
        bright = F.avg_pool2d(near, BRIGHT, 1)[wanted]
        unit = details.square().mean(1, keepdim=True)[valid_places].mean().sqrt()
        if float(unit) == 0:
            return Places(torch.zeros_like(bright), torch.zeros_like(bright), bright)
        levels, weights = self.looked_at(details / unit, valid_places)
        return Places(levels[wanted] * unit / GAIN, weights[wanted], bright)

    def _valid_places(self, valid: Tensor, size: torch.Size) -> Tensor:
        """Places (N, 1, h, w) that see nothing but pixels (N, 1, H, W) that count.

        Where hardly any does, as among letters, it is enough that those near it count, which weigh
        most.
        """
        share = valid.mean()
        for seen in (self.seen, self.seen // 2, self.seen // 4):
            places = ~_lost(valid, seen, size)
            if float(places.to(share).mean()) >= SPARSE * share:
                break
        return places

    def looked_at(self, details: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Level, and logarithm of the weight, of every place of details.

        Args:
            details: shape (N, 3, h, w).
            places: bool of shape (N, 1, h, w): those that count.

        Returns:
            Both of shape (N, 1, h, w), the levels in the units of `details`.

        Examples:
            >>> estimator = scalewise.load("photos", device="cpu").estimator
            >>> details, every = torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8).bool()
            >>> levels, weights = estimator.looked_at(details, every)
            >>> levels.shape, weights.shape
            (torch.Size([1, 1, 8, 8]), torch.Size([1, 1, 8, 8]))
        """
        features = self.body(details)
        energy = F.pad(details.square().mean(1, keepdim=True), [AROUND // 2] * 4, "replicate")
        local = F.avg_pool2d(energy, AROUND, 1).sqrt() + 1e-5
        quiet = local[places].quantile(QUIET)
        seen = torch.cat([features / local, (local / quiet).log()], dim=1)
        return self.level(features).abs(), self.inner(seen)


def spread_crops(image: Tensor) -> Tensor:
    """An image (C, H, W) as a batch: whole, or evenly spread crops of a large one."""
    _, height, width = image.shape
    if height * width <= MOST * SIDE**2:
        return image[None]
    down, right = max(1, height // SIDE), max(1, width // SIDE)
    places = [(y, x) for y in range(down) for x in range(right)]
    step = len(places) / min(MOST, len(places))
    chosen = [places[int(step * number)] for number in range(min(MOST, len(places)))]
    return torch.stack([image[:, SIDE * y :, SIDE * x :][:, :SIDE, :SIDE] for y, x in chosen])


def _lost(valid: Tensor, seen: int, size: torch.Size) -> Tensor:
    """Coefficients (N, 1, h, w) that would see pixels (N, 1, H, W) that are not valid."""
    near = F.max_pool2d(1 - valid, 2 * seen + 1, stride=1, padding=seen)
    return F.adaptive_max_pool2d(near, tuple(size)) > 0
