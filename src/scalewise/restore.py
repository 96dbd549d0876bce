"""Restoring pictures: what any caller does to an image file with a prior.

    prior = scalewise.load("photos")
    picture = scalewise.read_image("noisy.tif")
    cleaned = scalewise.restore.denoise(picture, prior)
    scalewise.write_image("clean.tif", cleaned.picture)

Planes are restored one by one, in intensities from black to white, with the channels that the prior
knows; all else that a file says goes with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.estimation import estimate_sigma, quiet_sigma
from scalewise.images import Picture, fill_hidden, to_channels
from scalewise.images.kinds import is_float, type_ends
from scalewise.images.picture import LUMA
from scalewise.networks.estimator import NoiseEstimator
from scalewise.prior import MultiScalePrior
from scalewise.samplers import Sampler, few_steps
from scalewise.score import residual_sigma
from scalewise.wavelets import is_haar

GRAY_GAIN = math.hypot(*LUMA)
"""Noise of a gray image over that of the RGB image which it was made of."""

UNEVEN = 1.6
"""Ratio of the noise levels of an image's channels from which each is restored on its own."""

FAINT = 2 / 255
"""Noise that texture is mistaken for, even in colours."""

VISIBLE = 8 / 255
"""Noise that is plain to see, so that it is not mistaken for texture."""


@dataclass(frozen=True)
class Restored:
    """What became of one picture.

    Args:
        pictures: the outputs: one, or one per sample.
        sigma: noise level of each plane, in [0, 1] from black to white, as given or estimated;
            that of the noisiest channel where they differ. Empty for upscaled pictures.
        deviation: standard deviation of the samples, if there are several.
        notes: sentences on what was converted, found or left alone.
    """

    pictures: tuple[Picture, ...]
    sigma: tuple[float, ...] = ()
    deviation: Picture | None = None
    notes: tuple[str, ...] = ()

    @property
    def picture(self) -> Picture:
        """The first output."""
        return self.pictures[0]


@torch.no_grad()
def denoise(
    picture: Picture,
    prior: MultiScalePrior,
    *,
    sigma: float | None = None,
    strength: float = 1.0,
    callback: Callable[[], object] | None = None,
) -> Restored:
    """Denoise a picture.

    Hidden pixels (alpha 0) are filled from visible ones before a network sees them, and come back
    as they were.

    Args:
        picture: what to denoise; its planes are denoised one by one, each with its own noise level.
        prior: of any number of channels; gray and RGB are converted, and gray comes back gray.
        sigma: noise standard deviation, in [0, 1] from black to white; None to estimate it.
        strength: share of the denoised image in the output, in [0, 1].
        callback: called after every plane.

    Raises:
        UsageError: `sigma` is negative or `strength` not in [0, 1].
    """
    if sigma is not None and not 0 <= sigma < math.inf:
        raise UsageError(f"sigma must be 0 or more, found {sigma}")
    if not 0 <= strength <= 1:
        raise UsageError(f"strength must be from 0 to 1, found {strength}")
    seen, valid = fill_hidden(picture).pixels, _valid(picture)
    planes, levels, notes = [], [], list(picture.notes)
    for index, noisy in enumerate(seen):
        mask = None if valid is None else valid[index]
        clean, level = denoise_plane(noisy, prior, sigma=sigma, valid=mask)
        before, _ = to_channels(noisy.cpu(), len(clean))
        planes.append(torch.lerp(before, clean.to(before), strength))
        levels.append(level)
        if callback:
            callback()
    notes += _conversion(picture, prior)
    if sigma is None and max(levels) == 0:
        notes.append("no noise was found; --sigma says how much to remove all the same")
    pixels = torch.stack(planes)
    if picture.alpha is not None and pixels.shape == picture.pixels.shape:
        pixels = torch.where(picture.alpha > 0, pixels, picture.pixels)
    return Restored((replace(picture, pixels=pixels),), tuple(levels), notes=tuple(notes))


@torch.no_grad()
def denoise_plane(
    noisy: Tensor,
    prior: MultiScalePrior,
    *,
    sigma: float | None = None,
    valid: Tensor | None = None,
) -> tuple[Tensor, float]:
    """Denoise one image, and tell the noise level that it was given, or that was estimated.

    This is where it is decided which noise level is used. A level that is not given is estimated
    before gray is repeated, with its noise, to RGB (`noise_levels`); where the channels differ
    much, each is denoised as a gray image of its own. Blind networks need none: their residual
    tells.

    Args:
        noisy: shape (C, H, W), C = 1 or 3, in [0, 1] intensities.
        prior: of any number of channels.
        sigma: noise standard deviation in [0, 1] intensities; None to estimate it.
        valid: bool of shape (1, H, W), true where pixels count for the estimate.

    Returns:
        The denoised image, on the CPU, with the channels of `noisy` (gray where the prior is gray),
        not clipped; and the noise level, that of the noisiest channel.
    """
    if sigma is None and prior.noise_conditional:
        levels = noise_levels(noisy, valid=valid, estimator=prior.estimator)
        if len(levels) > 1:
            pairs = zip(noisy, levels, strict=True)
            planes = [denoise_plane(c[None], prior, sigma=level)[0] for c, level in pairs]
            return torch.cat(planes), max(levels)
        (sigma,) = levels
    given, _ = to_channels(noisy, prior.channels)
    gain = GRAY_GAIN if len(given) < len(noisy) else 1.0
    clean = prior.denoise(given[None], None if sigma is None else gain * sigma)[0].cpu()
    if sigma is None:
        sigma = residual_sigma(given[None].cpu(), clean[None]).item() / gain
    return (to_channels(clean, 1)[0] if len(noisy) == 1 else clean), sigma


def noise_levels(
    noisy: Tensor, *, valid: Tensor | None = None, estimator: NoiseEstimator | None = None
) -> list[float]:
    """Estimate the noise of an image: one level, or one per channel where they differ much.

    The statistic of all channels together is exact for white noise that is alike in them, and finds
    hardly any where chroma was subsampled, as in most JPEG files. Then noise that is plain to see
    in the luma counts: in its quietest blocks, or by the estimator. Where the statistic finds next
    to none, texture may be all of it: it is at most what the estimator finds in the channels.

    Args:
        noisy: shape (C, H, W), C = 1 or 3, in [0, 1] intensities.
        valid: bool of shape (1, H, W), true where pixels count.
        estimator: that of a prior, for gray images and single channels.

    Returns:
        Standard deviations in the units of `noisy`.
    """
    mask = None if valid is None else valid[None]
    joint = estimate_sigma(noisy[None], valid=mask, estimator=estimator).item()
    if len(noisy) == 1 or bool((noisy == noisy[:1]).all()):
        return [joint]
    masks = None if mask is None else mask.expand(len(noisy), -1, -1, -1)
    each = estimate_sigma(noisy[:, None], valid=masks, estimator=estimator).tolist()
    if max(each) > VISIBLE and max(each) > UNEVEN * min(each):
        return each
    luma, _ = to_channels(noisy[None], 1)
    if estimator is None:
        plain = quiet_sigma(luma, valid=mask).item() / GRAY_GAIN
    else:
        alone = math.sqrt(sum(level**2 for level in each) / len(each))
        plain = estimate_sigma(luma, valid=mask, estimator=estimator).item() / GRAY_GAIN
        plain = max(plain, alone)
        joint = min(joint, alone) if joint < FAINT else joint
    hidden = VISIBLE < plain < math.inf and joint < plain / 2
    return [plain if hidden else joint]


@torch.no_grad()
def upscale(
    picture: Picture,
    prior: MultiScalePrior,
    *,
    factor: int = 2,
    samples: int | None = 1,
    seed: int = 0,
    sampler: Sampler = few_steps,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Restored:
    """Super-resolve a picture; with a Haar prior every output agrees with it.

    Reduced again by averaging blocks of pixels, an output is the input: exactly for integers, to
    float precision for floats. What lies beyond black or white of the file's type is shared out
    among the pixels of its block, and so is rounding.

    Args:
        picture: what to enlarge, its planes one by one; its alpha is enlarged by bicubic
            interpolation, and its resolution multiplied.
        prior: of any number of channels; gray and RGB are converted, and gray comes back gray.
        factor: enlargement of each side: 2, 4, ... up to `2 ** prior.levels`.
        samples: how many to draw; None for the least-squares estimate.
        seed: of the samples; each plane has fields of its own.
        sampler: how to draw them.
        callback: called as each scale of each sample is finished.

    Raises:
        UsageError: the prior does not know the factor.
    """
    filled = fill_hidden(picture)
    planes = []
    for index, plane in enumerate(filled.pixels):
        small = to_channels(plane, prior.channels)[0][None]
        if samples is None:
            large = prior.upscale_mean(small, factor)[None]
        else:
            large = prior.upscale(
                small,
                factor,
                samples=samples,
                seed=seed + index,
                sampler=sampler,
                callback=callback,
            )
        large = large[:, 0].cpu()
        large = to_channels(large, 1)[0] if len(plane) == 1 else large
        planes.append(large)
    drawn = torch.stack(planes, dim=1)
    notes = [*picture.notes, *_conversion(picture, prior)]
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
    if len(drawn) > 1:
        deviation = Picture(
            drawn.std(0),
            depth="float32",
            intensities=picture.intensities.differences(),
            resolution=large_picture.resolution,
        )
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


def _conversion(picture: Picture, prior: MultiScalePrior) -> list[str]:
    """What a prior of other channels does to a picture, in a sentence."""
    _, note = to_channels(picture.pixels[:1, :, :1, :1], prior.channels)
    return [] if note is None else [f"{note} for the model"]


def _valid(picture: Picture) -> Tensor | None:
    """Pixels (P, 1, H, W) that are shown and hold data; None if all do."""
    valid = torch.ones_like(picture.pixels[:, :1], dtype=torch.bool)
    if picture.alpha is not None:
        valid &= picture.alpha > 0
    if picture.missing is not None:
        valid &= ~picture.missing
    return None if bool(valid.all()) else valid


def _bicubic(alpha: Tensor, factor: int) -> Tensor:
    return F.interpolate(alpha, scale_factor=factor, mode="bicubic").clamp(0, 1)
