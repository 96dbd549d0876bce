"""The scales of an image, as they are looked at for noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.estimation import (
    LEARNT_SIDE,
    TWO_VALUES,
    counting_channels,
    usable_areas,
    usable_pixels,
)
from scalewise.networks.estimator import NoiseEstimator, Places
from scalewise.wavelets import GAIN, decompose, low_pass


@dataclass(frozen=True)
class Scale:
    """What is looked at in one scale, and what is seen.

    Attributes:
        planes: whose finest details are those of the scale, shape (C, h, w).
        valid: bool of shape (C, h, w), true where they count; None where all do.
        places: what the places of each say; of one that has none, those of the one that has most.
        estimator: that looked at them.
    """

    planes: Tensor
    valid: Tensor | None
    places: list[Places]
    estimator: NoiseEstimator

    @cached_property
    def shared(self) -> Tensor | None:
        """Where all planes count, bool of shape (1, h, w); None for everywhere."""
        return None if self.valid is None else self.valid.all(0, keepdim=True)

    @cached_property
    def apart(self) -> list[Places]:
        """What the places of the differences of channels say; none where one has none."""
        return self.look_at(differences_of(self.planes))

    @property
    def unshared(self) -> list[float]:
        """Deviation of the noise of three channels that is each one's own.

        A difference has the variance of both.
        """
        variances = [float(places.level) ** 2 for places in self.apart] or [0.0] * 3
        first, second, third = variances
        own = (first + third - second, first + second - third, second + third - first)
        return [math.sqrt(max(0.0, each)) for each in own]

    def look_at(self, planes: Iterable[Tensor]) -> list[Places]:
        """What places of planes (h, w) made of all planes say; none where there are none."""
        pairs = ((plane, self.shared) for plane in planes)
        return _places(pairs, self.estimator)


def differences_of(planes: Tensor) -> Iterator[Tensor]:
    """Of each channel and the next, over sqrt(2): of two alike they have the deviation.

    Args:
        planes: shape (C, ...).

    Yields:
        One after the other, each of shape (...).
    """
    for channel, plane in enumerate(planes):
        yield (plane - planes[(channel + 1) % len(planes)]) / math.sqrt(2)


def deviations_of(noise: Tensor, levels: int) -> Tensor:
    """Of noise alone, at every scale: as white noise that would be as strong.

    Args:
        noise: shape (C, H, W).
        levels: how many scales.

    Returns:
        Shape (levels, C), in the units of `noise`.
    """
    _, details = decompose(noise[None].double(), levels)
    energy = [bands[0].unflatten(0, (3, -1)).square().mean(dim=(0, 2, 3)) for bands in details]
    return torch.stack([each.sqrt() / GAIN**level for level, each in enumerate(energy, start=1)])


def look(
    image: Tensor, levels: int, estimator: NoiseEstimator, valid: Tensor | None
) -> tuple[list[Scale], Tensor]:
    """Look at the scales of an image, as many as are large enough and have places that count.

    Args:
        image: shape (C, H, W).
        levels: how many, at the most.
        estimator: that looks.
        valid: bool of shape (1, H, W), true where pixels count; all by default.

    Returns:
        The scales, the finest first, and the pixels that count, shape (C, M).
    """
    plain = image.detach().cpu()
    usable = usable_pixels(plain, None if valid is None else valid[0].cpu())
    weight = next(estimator.parameters())
    planes, pixels, mask = image[None].to(weight), plain.flatten(1), None
    if usable is not None:
        some = usable.any(0)
        pixels = plain[:, some]
        if float(some.double().mean()) < TWO_VALUES:
            return [], pixels
        counting, areas = counting_channels(usable), torch.zeros_like(usable)
        areas[counting] = usable_areas(usable[counting])
        mask = areas[None].to(weight)
    scales: list[Scale] = []
    for level in range(levels):
        shown = low_pass(planes, level)[0]
        if scales and min(shown.shape[1:]) < LEARNT_SIDE:
            break
        there = None if mask is None else (_reduced(mask, level) == 1)[0]
        places = _places(_with_masks(shown, there), estimator)
        if not places:
            break
        scales.append(Scale(shown, there, places, estimator))
    return scales, pixels


def _with_masks(planes: Tensor, valid: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Every plane of some (C, h, w), and where it counts, shape (1, h, w)."""
    for channel, plane in enumerate(planes):
        yield plane, None if valid is None else valid[channel : channel + 1]


def _places(
    planes: Iterable[tuple[Tensor, Tensor | None]], estimator: NoiseEstimator
) -> list[Places]:
    """What the places of each plane say; none where there are none.

    A plane that has none, as a channel that is saturated, has those of the one that has most.
    """
    found = [estimator.places(plane[None], valid) for plane, valid in planes]
    known = [places for places in found if places is not None]
    if not known:
        return []
    most = max(known, key=lambda places: len(places.levels))
    return [most if places is None else places for places in found]


def _reduced(mask: Tensor, levels: int) -> Tensor:
    """Pixels all of whose finer pixels count: a mask (1, C, H, W) of zeros and ones."""
    for _ in range(levels):
        mask = 1 - F.max_pool2d(1 - mask, 2, ceil_mode=True)
    return mask
