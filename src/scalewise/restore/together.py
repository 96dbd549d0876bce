"""What the noise of images of one camera is like, measured where all of them together are flattest.

One image may have no flat part that is dark; two hundred have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from scalewise.data.image_set import middle
from scalewise.errors import UsageError
from scalewise.noise_field import SIDE, NoiseField
from scalewise.noise_model import REFERENCE, NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore.denoising import denoise_plane
from scalewise.restore.finding import noise_for
from scalewise.restore.sensing import variance_line
from scalewise.wavelets import GAIN, split

LOOKED_AT, ENOUGH = 384, 40
"""Side of the middle of an image that is looked at; images of which a spectrum is measured."""

NOTHING = 1e-9
"""Variance that counts as none: of 0.008 of 255."""

FLAT, FEWEST = 0.2, 16
"""Share of their blocks, the flattest, that are measured, and how many at least."""

PATCH, BINS = 8, 10
"""Side of the blocks that have one brightness, and parts of an image by brightness."""

DARKEST, ROUNDS, ALIKE = 1e-3, 4, 1.1
"""Least variance without light, over that at middle gray; times that the line of all images and
their strengths are fitted to each other; ratio of quartiles up to which all are of one strength."""


def noise_together(images: Sequence[Tensor], prior: MultiScalePrior) -> list[NoiseModel]:
    """Estimate the noise of each of several images of one camera.

    Where pixels do not share it, it is measured in all of them together (`measured_photons`), and
    taken so if it grows with the light, as that of photons does; else it is what each alone tells.

    Args:
        images: each (C, H, W) in [0, 1] intensities; their middles are looked at.
        prior: at whose levels, and by whose estimator, noise is looked at.

    Returns:
        The noise of each image, in the order of `images`.

    Examples:
        >>> generator = torch.Generator().manual_seed(0)
        >>> clean = torch.linspace(0, 1, 128)
        >>> images = [clean + 0.1 * torch.randn(3, 128, 128, generator=generator) for _ in range(2)]
        >>> found = scalewise.restore.noise_together(images, scalewise.load("photos"))
        >>> [round(noise.sigma, 2) for noise in found]
        [0.1, 0.1]
    """
    parts = [middle(image, LOOKED_AT) for image in images]
    found = [noise_for(prior, part) for part in parts]
    if 2 * sum(len(noise.scales) == 1 for noise in found) <= len(found):
        return found
    measured = measured_photons(parts, found, prior)
    return measured if measured[0].grows else found


def measured_photons(
    images: Sequence[Tensor], found: Sequence[NoiseModel], prior: MultiScalePrior
) -> list[NoiseModel]:
    """The noise of each image, where it grows with the light: one line of the variance for all.

    The finest diagonal details of blocks in which the denoised images are flat are noise alone.

    Args:
        images: each (C, H, W).
        found: what was found of the noise of each.
        prior: that denoises.
    """
    measured = [_flat_spreads(noisy, clean) for noisy, clean, _ in _looked_at(images, found, prior)]
    spreads, places = zip(*measured, strict=True)
    levels = torch.ones(len(spreads)).double()
    base, growth = 0.0, 1.0
    for _ in range(ROUNDS):  # what all share, then how strong it is in each
        shared = torch.cat([s / level**2 for s, level in zip(spreads, levels, strict=True)])
        growth, base = variance_line(torch.cat(places).numpy(), shared.numpy())
        lines = [(base + growth * place).clamp(min=DARKEST) for place in places]
        each = torch.stack([_rms(s / line) for s, line in zip(spreads, lines, strict=True)])
        if each.quantile(0.75) <= ALIKE * each.quantile(0.25) and bool((levels == 1).all()):
            break  # at one setting
        levels = each
    middle_gray = max(DARKEST, base + REFERENCE * growth)
    ends = tuple((at, max(DARKEST, base + at * growth) / middle_gray) for at in (0.0, 1.0))
    return [
        NoiseModel(scales=((float(level) * middle_gray**0.5,),), curve=ends) for level in levels
    ]


def _flat_spreads(noisy: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Variance of noise in the flattest blocks of an image, by brightness, and that brightness."""
    fine = split(noisy[None] / GAIN)[1][0, -len(noisy) :]
    spread = _blocks(fine, PATCH // 2).square().mean(dim=(1, 2, 3))
    there = _blocks(clean, PATCH)
    flat, place = there.var(dim=(2, 3)).mean(dim=1), there.mean(dim=(1, 2, 3))
    chosen = [
        part[flat[part].argsort()[: max(1, round(FLAT * len(part)))]]
        for part in place.argsort().chunk(BINS)
    ]
    return (
        torch.stack([spread[part].mean() for part in chosen]).double().clamp(min=NOTHING),
        torch.stack([place[part].mean() for part in chosen]).double(),
    )


def _rms(variances: Tensor) -> Tensor:
    return variances.mean().sqrt()


def measured_field(
    images: Sequence[Tensor], found: Sequence[NoiseModel], prior: MultiScalePrior
) -> NoiseField:
    """How noise is related between pixels and channels, over its deviation.

    Args:
        images: each (C, H, W).
        found: the noise of each, which does not depend on the brightness.
        prior: that denoises.

    Raises:
        UsageError: the images have too few blocks.
    """
    blocks, structure = [], []
    for noisy, clean, noise in _looked_at(images[:ENOUGH], found[:ENOUGH], prior):
        blocks.append(_blocks((noisy - clean) / noise.sigma, SIDE))
        structure.append(_blocks(clean / noise.sigma, SIDE).var(dim=(2, 3)).mean(dim=1))
    seen, told = torch.cat(blocks), torch.cat(structure)
    if len(seen) < FEWEST:
        raise UsageError(
            f"noise that pixels share needs images of at least {FEWEST} blocks of {SIDE}x{SIDE} "
            f"pixels in all to be measured, found {len(seen)}"
        )
    return NoiseField.of(seen[told.argsort()[: max(FEWEST, round(FLAT * len(told)))]])


def _looked_at(
    images: Sequence[Tensor], found: Sequence[NoiseModel], prior: MultiScalePrior
) -> Iterator[tuple[Tensor, Tensor, NoiseModel]]:
    """Middles of noisy images (C, H, W), denoised, and what their noise was found to be."""
    for image, noise in zip(images, found, strict=True):
        part = middle(image, LOOKED_AT)
        height, width = part.shape[-2:]
        part = part[:, : height - height % 2, : width - width % 2]
        yield part, denoise_plane(part, prior, noise=noise)[0], noise


def _blocks(image: Tensor, side: int) -> Tensor:
    """The blocks (M, C, side, side) of an image (C, H, W)."""
    parts = image.unfold(1, side, side).unfold(2, side, side)
    return parts.flatten(1, 2).movedim(1, 0)
