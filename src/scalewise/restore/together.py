"""What the noise of images of one camera is like, measured where all of them together are flattest.

One image may have no flat part that is dark; two hundred have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from scalewise.data.image_set import middle
from scalewise.errors import UsageError
from scalewise.images import to_channels
from scalewise.noise_field import SIDE, NoiseField
from scalewise.noise_model import REFERENCE, NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore.denoising import denoise_plane
from scalewise.restore.finding import noise_for
from scalewise.restore.lights import (
    FLAT,
    LOOKED_AT,
    blocks,
    flat_spreads,
    light_line,
)

ENOUGH, FEWEST = 40, 16
"""Images of which a spectrum is measured, and its blocks at least."""

ROUNDS, ALIKE = 4, 1.1
"""Times that the line of all images and their strengths are fitted to each other; ratio of
quartiles up to which all are of one strength."""


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
    found = [noise_for(prior, part, whole=False) for part in parts]
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
    measured = [flat_spreads(noisy, clean) for noisy, clean, _ in _looked_at(images, found, prior)]
    known = [spreads for spreads in measured if spreads is not None]
    if not known:
        return list(found)
    levels = torch.ones(len(known)).double()
    places = torch.cat([spreads.places for spreads in known])
    for _ in range(ROUNDS):  # what all share, then how strong it is in each
        shared = [s.variances / level**2 for s, level in zip(known, levels, strict=True)]
        line = light_line(places, torch.cat(shared))
        each = torch.stack([(s.variances / line.at(s.places)).mean().sqrt() for s in known])
        if each.quantile(0.75) <= ALIKE * each.quantile(0.25) and bool((levels == 1).all()):
            break  # at one setting
        levels = each
    typical, own, gray = float(levels.median()), iter(levels.tolist()), torch.tensor(REFERENCE)
    return [line.noise(gray, typical if one is None else next(own)) for one in measured]


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
    rest, structure = [], []
    for noisy, clean, noise in _looked_at(images[:ENOUGH], found[:ENOUGH], prior):
        rest.append(blocks((noisy - clean) / noise.sigma, SIDE))
        structure.append(blocks(clean / noise.sigma, SIDE).var(dim=(2, 3)).mean(dim=1))
    seen, told = torch.cat(rest), torch.cat(structure)
    if len(seen) < FEWEST:
        raise UsageError(
            f"noise that pixels share needs images of at least {FEWEST} blocks of {SIDE}x{SIDE} "
            f"pixels in all to be measured, found {len(seen)}"
        )
    return NoiseField.of(seen[told.argsort()[: max(FEWEST, round(FLAT * len(told)))]])


def _looked_at(
    images: Sequence[Tensor], found: Sequence[NoiseModel], prior: MultiScalePrior
) -> Iterator[tuple[Tensor, Tensor, NoiseModel]]:
    """Middles of noisy images (C, H, W), denoised, and what their noise was found to be.

    Noise that pixels share is taken out of gray images as of colours that are alike: networks of
    gray images, which learnt less of it, take more structure with it than those of colours.
    """
    for image, noise in zip(images, found, strict=True):
        part = middle(image, LOOKED_AT)
        height, width = part.shape[-2:]
        part = part[:, : height - height % 2, : width - width % 2]
        channels = prior.channels if len(noise.scales) > 1 else len(part)
        shown, _ = to_channels(part[None], channels)
        clean, _ = denoise_plane(shown[0], prior, noise=noise)
        yield part, to_channels(clean[None], len(part))[0][0], noise
