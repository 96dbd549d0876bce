"""Super-resolving pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.calibration import CONTRAST
from scalewise.images import AnyImage, Picture, fill_hidden, picture_of, to_channels
from scalewise.images.kinds import is_float, type_ends
from scalewise.posterior import DRAWS, spread
from scalewise.prior import MultiScalePrior
from scalewise.restore.asking import calibrated, check_interval
from scalewise.restore.averaging import averaged, check_average, price
from scalewise.restore.result import Restored, conversion, difference_picture
from scalewise.samplers import Sampler, few_steps
from scalewise.wavelets import is_haar


@torch.no_grad()
def upscale(
    picture: AnyImage,
    prior: MultiScalePrior,
    *,
    factor: int = 2,
    samples: int | None = 1,
    average: int = 1,
    uncertainty: bool = False,
    confidence: int | None = None,
    seed: int = 0,
    sampler: Sampler = few_steps,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Restored:
    """Super-resolve a picture; with a Haar prior every output agrees with it.

    Reduced again by averaging blocks of pixels, an output is the input: exactly for integers, to
    float precision for floats. What lies beyond black or white of the file's type is shared out
    among the pixels of its block, and so is rounding.

    Args:
        picture: what to enlarge, as `images.picture_of` takes it, its planes one by one; its alpha
            is enlarged by bicubic interpolation, and its resolution multiplied.
        prior: of any number of channels; gray and RGB are converted, and gray comes back gray.
        factor: enlargement of each side: 2, 4, ... up to `2 ** prior.levels`.
        samples: how many to draw; None for the least-squares estimate.
        average: of how many estimates that estimate is the mean, of the picture mirrored and
            turned, as for `denoise`.
        uncertainty: whether to tell how far the truth is from the least-squares estimate: its
            standard deviation, from at least `posterior.DRAWS` samples, corrected where the prior
            has learnt how (`evaluation.learn_upscaling`).
        confidence: in percent; instead of that deviation, tell how far from the least-squares
            estimate the truth is in so many percent of pixels.
        seed: of the samples; each plane has fields of its own.
        sampler: how to draw them.
        callback: called as each scale of each sample is finished.

    Raises:
        UsageError: the prior does not know the factor, or has learnt no intervals.

    Examples:
        >>> import numpy as np
        >>> small = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
        >>> restored = scalewise.restore.upscale(small, scalewise.load("photos"), factor=2)
        >>> means = restored.array.reshape(16, 2, 16, 2).mean((1, 3))
        >>> restored.array.shape, bool((means == small).all())
        ((32, 32), True)
    """
    picture = picture_of(picture)
    table = prior.upscaling.get(factor)
    check_interval(uncertainty, confidence, table)
    others = samples is not None or uncertainty
    check_average(average, "samples and uncertainty" if others else "")
    filled = fill_hidden(picture)
    planes, told = [], []
    for index, plane in enumerate(filled.pixels):
        small = to_channels(plane, prior.channels)[0][None]
        shown = 1 if len(plane) == 1 else prior.channels
        count = max(samples or 0, DRAWS if uncertainty else 0)
        options: dict[str, Any] = {"seed": seed + index, "sampler": sampler, "callback": callback}
        if count:
            sharp = prior.upscale(small, factor, samples=count, **options)
            sharp = to_channels(sharp[:, 0].cpu(), shown)[0]
        if samples is None or uncertainty:
            mean = averaged(lambda small: prior.upscale_mean(small, factor).cpu(), small, average)
            mean = to_channels(mean, shown)[0]
        planes.append(mean if samples is None else sharp[:samples])
        if uncertainty:
            told.append(calibrated(spread(sharp[:, None], mean)[0], table, CONTRAST, confidence))
    drawn = torch.stack(planes, dim=1)
    notes = [*picture.notes, *conversion(picture, prior), *price(average)]
    small = to_channels(filled.pixels, drawn.shape[2])[0]
    if is_haar(prior.wavelet):
        drawn = torch.stack([fit_to_type(pixels, small, filled, factor) for pixels in drawn])
    else:
        notes.append(
            f"the model's wavelet is {prior.wavelet}: reduced by averaging, the output need not be "
            "the input"
        )
    alpha = None if picture.alpha is None else _bicubic(picture.alpha, factor)
    large_picture = replace(picture, pixels=drawn[0], alpha=alpha).scaled(factor)
    pictures = tuple(replace(large_picture, pixels=pixels) for pixels in drawn)
    deviation = None
    if uncertainty:
        deviation = difference_picture(large_picture, torch.stack(told))
    return Restored(pictures, deviation=deviation, notes=tuple(notes))


def fit_to_type(pixels: Tensor, small: Tensor, picture: Picture, factor: int) -> Tensor:
    """Clip and round pixels to what a file's type holds, without changing the means of blocks.

    Each block goes to the nearest one (least squares) whose values are within the type's ends and
    whose mean is that of the small image; then it is rounded so that the sum stays: down, and up
    again those with the largest remainders.

    Args:
        pixels: intensities, shape (P, C, factor * H, factor * W).
        small: intensities of the small image, shape (P, C, H, W).
        picture: whose depth and range count; floats are left as they are.
        factor: side of the blocks.

    Returns:
        Intensities of integers of the type, the shape of `pixels`.
    """
    if is_float(picture.depth):
        return pixels
    least, most = type_ends(picture.depth)
    if picture.intensities.most is not None:
        most = min(most, picture.intensities.most)
    stored = F.pixel_unshuffle(picture.intensities.stored(pixels.double()), factor)
    blocks = stored.unflatten(1, (-1, factor**2))
    means = picture.intensities.stored(small.double()).clamp(least, most)[:, :, None]
    blocks = _clipped(blocks, means, least, most)
    lower = blocks.floor()
    raised = ((means * factor**2).round() - lower.sum(2, keepdim=True)).round()
    order = (blocks - lower).argsort(2, descending=True).argsort(2)
    whole = (lower + (order < raised)).clamp(least, most)
    return picture.intensities.of(F.pixel_shuffle(whole.flatten(1, 2), factor)).to(pixels)


def _clipped(blocks: Tensor, means: Tensor, least: float, most: float) -> Tensor:
    """The nearest blocks (P, C, n, H, W) in [least, most] of these means (P, C, 1, H, W).

    `clip(block + shift)`, whose mean grows with the shift, which is found by bisection.
    """
    low = least - blocks.amax(2, keepdim=True)
    high = most - blocks.amin(2, keepdim=True)
    for _ in range(60):
        middle = (low + high) / 2
        below = (blocks + middle).clamp(least, most).mean(2, keepdim=True) < means
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (blocks + (low + high) / 2).clamp(least, most)


def _bicubic(alpha: Tensor, factor: int) -> Tensor:
    return F.interpolate(alpha, scale_factor=factor, mode="bicubic").clamp(0, 1)
