"""What the noise of a set of images is like, measured where all of them together are flattest.

One image may have no flat part that is dark; two hundred have. What a denoiser removes from flat
blocks is noise, and hardly anything else.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from scalewise.data import ImageSet
from scalewise.data.image_set import middle, to_float
from scalewise.errors import UsageError
from scalewise.noise_field import SIDE, NoiseField
from scalewise.noise_model import REFERENCE, NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore import denoise_plane
from scalewise.wavelets import GAIN, split

LOOKED_AT, LOOKED_INTO = 384, 40
"""Side of the middle of an image that is looked at, and at most how many images."""

FLAT, FEWEST = 0.2, 16
"""Share of their blocks, the flattest, that are measured, and how many at least."""

PATCH, BINS = 8, 10
"""Side of the blocks that have one brightness, and parts of brightness that are fitted."""

DARKEST = 1e-3
"""Least variance without light, over that at middle gray."""


def measured_curve(images: ImageSet, prior: MultiScalePrior) -> tuple[float, NoiseModel]:
    """How noise grows with the light: one line of its variance over the brightness.

    Args:
        images: with what was found of each image's noise.
        prior: that denoises.

    Returns:
        By how many times the noise is as strong as was found at middle gray, and the noise, of
        deviation 1 there.
    """
    places, spreads = [], []
    for rest, clean, noise in _removed(images, prior):
        fine = split(rest[None] / (GAIN * noise.sigma))[1][0, -len(rest) :]
        spread = _blocks(fine, PATCH // 2).square().mean(dim=(1, 2, 3))
        there = _blocks(clean, PATCH)
        flat = there.var(dim=(2, 3)).mean(dim=1)
        place = there.mean(dim=(1, 2, 3))
        for part in place.argsort().chunk(BINS):
            flattest = part[flat[part].argsort()[: max(1, round(FLAT * len(part)))]]
            places.append(place[flattest].mean())
            spreads.append(spread[flattest].mean())
    place, spread = torch.stack(places).double(), torch.stack(spreads).double()
    weight = 1 / spread  # errors are in proportion to the variance
    line = torch.stack([weight, weight * place], dim=1)
    base, growth = torch.linalg.lstsq(line, torch.ones(len(line), 1).double()).solution.flatten()
    level = float(base + REFERENCE * growth)
    ends = [max(DARKEST, float(base + place * growth) / level) for place in (0, 1)]
    curve = ((0.0, ends[0]), (1.0, ends[1]))
    return level**0.5, NoiseModel(scales=((1.0,),), curve=curve)


def measured_field(images: ImageSet, prior: MultiScalePrior) -> NoiseField:
    """How noise is related between pixels and channels, over its deviation.

    Args:
        images: with the noise of each, which does not depend on the brightness.
        prior: that denoises.

    Raises:
        UsageError: the images have too few blocks.
    """
    blocks, structure = [], []
    for rest, clean, noise in _removed(images, prior):
        blocks.append(_blocks(rest / noise.sigma, SIDE))
        structure.append(_blocks(clean / noise.sigma, SIDE).var(dim=(2, 3)).mean(dim=1))
    seen, told = torch.cat(blocks), torch.cat(structure)
    if len(seen) < FEWEST:
        raise UsageError(
            f"noise that pixels share needs images of at least {FEWEST} blocks of {SIDE}x{SIDE} "
            f"pixels in all to be measured, found {len(seen)}"
        )
    return NoiseField.of(seen[told.argsort()[: max(FEWEST, round(FLAT * len(told)))]])


def _removed(
    images: ImageSet, prior: MultiScalePrior
) -> Iterator[tuple[Tensor, Tensor, NoiseModel]]:
    """What is removed of images (C, H, W), what is left, and what the noise was told to be."""
    for image, noise in list(zip(images.images, images.noise, strict=True))[:LOOKED_INTO]:
        part = middle(to_float(image), LOOKED_AT)
        height, width = part.shape[-2:]
        part = part[:, : height - height % 2, : width - width % 2]
        clean = denoise_plane(part, prior, noise=noise)[0]
        yield part - clean, clean, noise


def _blocks(image: Tensor, side: int) -> Tensor:
    """The blocks (M, C, side, side) of an image (C, H, W)."""
    parts = image.unfold(1, side, side).unfold(2, side, side)
    return parts.flatten(1, 2).movedim(1, 0)
