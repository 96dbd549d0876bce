"""Denoising pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.images import AnyImage, Picture, fill_hidden, picture_of, to_channels
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore.answering import Asking, Question, answered
from scalewise.restore.asking import (
    MEAN,
    Ask,
    asking,
    calibrated,
    check_interval,
    check_wanted,
    ends,
)
from scalewise.restore.averaging import price
from scalewise.restore.defects import find_defects, remove_defects
from scalewise.restore.finding import GRAY_GAIN, VISIBLE, check_channels, noise_for
from scalewise.restore.result import Restored, check_mask, conversion, difference_picture
from scalewise.score import residual_sigma
from scalewise.stabilise import stabiliser_of
from scalewise.wavelets import merge, mirror_to_multiple, split

STRONGEST = 4.0
"""Largest strength."""

BELOW = 0.7
"""Share of the noise that a model learnt from, below which people are told so."""

FAR = 2.0
"""Ratio of a given level to the estimated one, or the reverse, from which a note says so."""


@dataclass(frozen=True)
class Strength:
    """How much of the noise to remove: what the networks are told is so many times the noise.

    Attributes:
        luma: of the noise of brightness.
        chroma: of the noise of colours.
        grain: share of the finest brightness noise that comes back.
        levels: by how much each level is multiplied besides, level 1 (finest) first; 1 beyond. Its
            details come from an image that so much of all noise is removed from, which is one more
            call of the networks for each number but 0.

    Examples:
        >>> from scalewise.restore import Strength
        >>> picture, prior = scalewise.Picture(torch.rand(3, 32, 32)), scalewise.load("photos")
        >>> gentle = Strength(luma=0.5, chroma=1.0, grain=0.2)
        >>> restored = scalewise.restore.denoise(picture, prior, sigma=0.1, strength=gentle)
    """

    luma: float = 1.0
    chroma: float = 1.0
    grain: float = 0.0
    levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the range."""
        for value in (self.luma, self.chroma, *self.levels):
            if not 0 <= value <= STRONGEST:
                raise UsageError(f"strength must be from 0 to {STRONGEST:g}, found {value:g}")
        if not 0 <= self.grain <= 1:
            raise UsageError(f"keep-grain must be from 0 to 1, found {self.grain:g}")


def denoise(
    picture: AnyImage,
    prior: MultiScalePrior,
    *,
    sigma: float | None = None,
    noise: NoiseModel | None = None,
    strength: Strength | float = 1.0,
    samples: int | None = None,
    fidelity: float = 1.0,
    average: int = 1,
    uncertainty: bool = False,
    confidence: int | None = None,
    seed: int = 0,
    mask: Tensor | None = None,
    fix: Collection[str] = (),
    callback: Callable[[], object] | None = None,
) -> Restored:
    """Denoise a picture.

    Hidden pixels (alpha 0) are filled from visible ones before a network sees them, and come back
    as they were.

    Args:
        picture: what to denoise, as `images.picture_of` takes it; its planes are denoised one by
            one, each with its own noise.
        prior: of any number of channels; gray and RGB are converted, and gray comes back gray. A
            gray picture is denoised by `prior.gray`, where there is one and pixels of the first
            plane share no noise.
        sigma: standard deviation of white noise, in [0, 1] from black to white; None to estimate
            what the noise is like.
        noise: what it is like, instead.
        strength: how much of it to remove, one number or by brightness, colour and level.
        samples: how many clean pictures to draw, all as likely as any given the noisy one; None for
            the least-squares estimate, which is their mean.
        fidelity: 1 for that estimate; less for one that is sharper and errs more, 0 for one as
            sharp as clean pictures are.
        average: of how many estimates that estimate is the mean: of the picture as it is (1),
            mirrored left to right (2), upside down as well (4), and turned by a quarter (8); a
            little less error for so many times the work.
        uncertainty: whether to tell the standard deviation of every pixel: that of the samples, if
            there are two or more, or else from the derivative of the networks.
        confidence: in percent; instead of that deviation, tell how far from the mean the truth is
            with so much of it, as images kept apart have taught the prior.
        seed: of the samples; each plane has fields of its own.
        mask: where to denoise, shape (H, W), 0 to 1; pixels of mask 0 stay as they are.
        fix: defects to remove before: "impulses", "stripes".
        callback: called after every plane.

    Raises:
        UsageError: an argument is out of range, does not fit, or contradicts another.

    Examples:
        >>> import numpy as np
        >>> noisy = np.random.default_rng(0).normal(128, 20, (48, 48, 3)).astype(np.uint8)
        >>> restored = scalewise.restore.denoise(noisy, scalewise.load("photos"))
        >>> restored.array.shape, round(255 * restored.sigma[0]), bool(restored.array.std() < 5)
        ((48, 48, 3), 20, True)
    """
    work = denoising(
        picture,
        prior,
        sigma=sigma,
        noise=noise,
        strength=strength,
        samples=samples,
        fidelity=fidelity,
        average=average,
        uncertainty=uncertainty,
        confidence=confidence,
        seed=seed,
        mask=mask,
        fix=fix,
        callback=callback,
    )
    return answered(work)


def denoising(
    picture: AnyImage,
    prior: MultiScalePrior,
    *,
    sigma: float | None = None,
    noise: NoiseModel | None = None,
    strength: Strength | float = 1.0,
    samples: int | None = None,
    fidelity: float = 1.0,
    average: int = 1,
    uncertainty: bool = False,
    confidence: int | None = None,
    seed: int = 0,
    mask: Tensor | None = None,
    fix: Collection[str] = (),
    callback: Callable[[], object] | None = None,
) -> Asking[Restored]:
    """What `denoise` does, its questions to the networks left open: see `answered_together`.

    Arguments and errors are those of `denoise`.

    Examples:
        >>> picture, prior = scalewise.Picture(torch.rand(3, 32, 32)), scalewise.load("photos")
        >>> next(scalewise.restore.denoising(picture, prior, sigma=0.1)).told
        0.1
    """
    picture = picture_of(picture)
    if sigma is not None and not 0 <= sigma < math.inf:
        raise UsageError(f"sigma must be 0 or more, found {sigma}")
    if sigma is not None and noise is not None:
        raise UsageError("sigma and noise both say what the noise is; give one of them")
    strength = strength if isinstance(strength, Strength) else Strength(strength, strength)
    check_wanted(samples, fidelity, average, uncertainty, strength != Strength())
    if mask is not None:
        check_mask(mask, picture)
    given = NoiseModel.white(sigma) if sigma is not None else noise
    seen, valid = fill_hidden(picture).pixels, visible(picture)
    prior = prior.denoiser_of(seen.shape[1])
    check_interval(uncertainty, confidence, prior.calibration)
    planes, deviations, found, notes = [], [], [], list(picture.notes)
    for index, noisy in enumerate(seen):
        there = None if valid is None else valid[index]
        notes += find_defects(noisy) if not fix else []
        fixed = remove_defects(noisy, fix)
        ask = asking(samples, fidelity, average, seed + index)
        clean, model = yield from _denoised(fixed, prior, given, strength, there, ask)
        planes.append(clean.to(seen))
        found.append(model)
        if uncertainty:
            told = (
                clean.std(0) if len(clean) > 1 else (yield from told_deviation(fixed, prior, model))
            )
            deviations.append(calibrated(told, prior.calibration, model.sigma, confidence).to(seen))
        if callback:
            callback()
    notes += conversion(picture, prior)
    notes += price(average)
    if sigma is not None and prior.noise_conditional:
        notes += far(sigma, seen[0], prior, None if valid is None else valid[0])
    notes += _weak(max(model.sigma for model in found), prior, told=given is not None)
    drawn = torch.stack(planes, dim=1)
    apart = torch.stack(deviations) if uncertainty else None
    share = _share(picture, mask, drawn)
    if share is not None:
        untouched = to_channels(picture.pixels, drawn.shape[2])[0]
        drawn = torch.where(share > 0, torch.lerp(untouched, drawn, share), untouched)
        apart = None if apart is None else share * apart
    return Restored(
        tuple(replace(picture, pixels=pixels) for pixels in drawn),
        tuple(found),
        deviation=None if apart is None else difference_picture(picture, apart),
        notes=tuple(dict.fromkeys(notes)),
    )


def _share(picture: Picture, mask: Tensor | None, drawn: Tensor) -> Tensor | None:
    """How much of what was drawn (K, P, C, H, W) counts at each pixel; None for all of it.

    Channels of one value throughout hold no noise, as those beside that of a dye, and stay.
    """
    share = None if mask is None else mask.to(drawn)
    if drawn.shape[1:] != picture.pixels.shape:
        return share
    low, high = picture.pixels.flatten(2).aminmax(dim=2)
    varied = (low < high)[..., None, None]
    stays = varied.any(1, keepdim=True) & ~varied
    shown = [~stays] if bool(stays.any()) else []
    shown += [] if picture.alpha is None else [picture.alpha > 0]
    for part in shown:
        share = part.to(drawn) if share is None else share * part
    return share


def denoise_plane(
    noisy: Tensor,
    prior: MultiScalePrior,
    *,
    noise: NoiseModel | float | None = None,
    strength: Strength = Strength(),
    valid: Tensor | None = None,
) -> tuple[Tensor, NoiseModel]:
    """Denoise one image, and tell the noise that was given, or that was estimated.

    This is where it is decided what networks are told. What is not given is estimated before gray
    is repeated, with its noise, to RGB (`find_noise`). Where the channels differ much and the
    networks see no maps of noise, each is denoised as a gray image of its own. Blind networks need
    no description: their residual tells, and strength blends.

    Args:
        noisy: shape (C, H, W), C = 1 or 3, in [0, 1] intensities.
        prior: of any number of channels, as for `denoise`.
        noise: what the noise is like, or the deviation of white noise; None to estimate it.
        strength: how much of it to remove.
        valid: bool of shape (1, H, W), true where pixels count for the estimate.

    Returns:
        The denoised image, on the CPU, with the channels of `noisy` (gray where the prior is gray),
        not clipped; and the noise.

    Examples:
        >>> clean, noise = scalewise.restore.denoise_plane(
        ...     torch.rand(1, 32, 32), scalewise.load("photos"), noise=0.1
        ... )
        >>> clean.shape, noise.sigma
        (torch.Size([1, 32, 32]), 0.1)
    """
    if isinstance(noise, float | int):
        noise = NoiseModel.white(noise)
    asked = prior.denoiser_of(len(noisy))
    clean, model = answered(_denoised(noisy, asked, noise, strength, valid, MEAN))
    return clean[0], model


def _denoised(
    noisy: Tensor,
    prior: MultiScalePrior,
    noise: NoiseModel | None,
    strength: Strength,
    valid: Tensor | None,
    ask: Ask,
) -> Asking[tuple[Tensor, NoiseModel]]:
    """What `ask` wants of one image, shape (K, C, H, W), and the noise."""
    given, _ = to_channels(noisy, prior.channels)
    reduced = len(given) < len(noisy)
    if noise is None and prior.noise_conditional:
        if reduced and prior.estimator is not None:
            return (yield from _denoised(given, prior, None, strength, valid, ask))
        noise = noise_for(prior, noisy, valid)
    if noise is not None:
        check_channels(noise, len(noisy))
        if noise.uneven and not prior.noise_maps and not reduced:
            planes = []
            for index, channel in enumerate(noisy):
                own = noise.channel(index)
                found, _ = yield from _denoised(channel[None], prior, own, strength, None, ask)
                planes.append(found)
            return torch.cat(planes, dim=1), noise
    told = noise.as_gray(GRAY_GAIN) if noise is not None and reduced else noise
    clean = yield from _told(given, prior, told, strength, ask)
    if noise is not None and noise.sigma == 0:  # networks are near the identity, but not it
        same = given if reduced else noisy
        return same.cpu().expand(len(clean), -1, -1, -1), noise
    if noise is None:
        level = residual_sigma(given[None].cpu(), clean[:1]).item()
        noise = NoiseModel.white(level / (GRAY_GAIN if reduced else 1.0))
    if strength.grain:
        clean = clean + strength.grain * _grain(given.cpu() - clean, prior.wavelet)
    return (to_channels(clean, 1)[0] if len(noisy) == 1 else clean), noise


def told_deviation(noisy: Tensor, prior: MultiScalePrior, noise: NoiseModel) -> Asking[Tensor]:
    """Standard deviation of every pixel (C, H, W) given the noisy image."""
    (less, more), _ = yield from _denoised(noisy, prior, noise, Strength(), None, ends)
    return (more - less).abs() / 2


def _weak(sigma: float, prior: MultiScalePrior, told: bool) -> list[str]:
    """A sentence if there is no noise, or less than the prior has learnt."""
    if sigma == 0 and not told:
        return ["no noise was found; sigma says how much to remove all the same"]
    if sigma >= BELOW * prior.noise_floor:
        return []
    return [
        f"the model learnt from images with noise of {255 * prior.noise_floor:.3g} of 255 and "
        f"more; this one has {255 * sigma:.3g}, which a model of clean images may remove better"
    ]


def far(sigma: float, noisy: Tensor, prior: MultiScalePrior, valid: Tensor | None) -> list[str]:
    """A sentence if a given level is far from what the picture seems to hold."""
    found = noise_for(prior, noisy, valid).sigma
    if VISIBLE / FAR <= max(sigma, found) and not found / FAR <= sigma <= FAR * found:
        return [f"sigma {255 * sigma:.3g} was given; it looks like {255 * found:.3g}"]
    return []


def _told(
    noisy: Tensor,
    prior: MultiScalePrior,
    noise: NoiseModel | None,
    strength: Strength,
    ask: Ask,
) -> Asking[Tensor]:
    """Denoised images (K, C, H, W) on the CPU, of networks told so many times the noise."""
    if len(strength.levels) > prior.levels:
        raise UsageError(
            f"strength names level {len(strength.levels)}, the model has {prior.levels}; they "
            "count from 1, the finest"
        )

    def cleaned(times: float) -> Asking[Tensor]:
        if times == 0:
            return noisy.cpu()[None]
        if noise is None:
            if times > 1:
                raise UsageError(
                    "this model is told no noise level, so strength is a share of the denoised "
                    f"image, from 0 to 1, found {times:g}"
                )
            return torch.lerp(noisy.cpu()[None], (yield Question(prior, ask, noisy, None)), times)
        if stabiliser := stabiliser_of(noise, prior):
            told, even = stabiliser.noise.times(times), stabiliser.forward(noisy)
            return stabiliser.inverse((yield Question(prior, ask, even, told)))
        return (yield Question(prior, ask, noisy, noise.times(times).plain))

    shares, found = (*strength.levels, 1.0), dict[float, Tensor]()
    colours = [strength.luma] if len(noisy) == 1 else [strength.luma, strength.chroma]
    for times in (share * colour for colour in colours for share in shares):
        if times not in found:
            found[times] = yield from cleaned(times)

    def joined(colour: float) -> Tensor:
        return _joined([found[share * colour] for share in shares], prior.wavelet)

    luma, chroma = joined(colours[0]), joined(colours[-1])
    return luma if colours[0] == colours[-1] else chroma + to_channels(luma - chroma, 1)[0]


def _joined(images: Sequence[Tensor], wavelet: str) -> Tensor:
    """The details of each level from one of the images (K, C, H, W), finest first; the last rest.

    Args:
        images: all of one size.
        wavelet: between the levels.
    """
    if len(images) == 1:
        return images[0]
    height, width = images[0].shape[2:]
    (_, details), *coarser = (split(mirror_to_multiple(image, 2), wavelet) for image in images)
    low = _joined([low for low, _ in coarser], wavelet)
    return merge(low, details, wavelet)[..., :height, :width]


def _grain(removed: Tensor, wavelet: str) -> Tensor:
    """The finest details of the brightness of what was removed, (K, 1, H, W)."""
    height, width = removed.shape[2:]
    gray = mirror_to_multiple(to_channels(removed, 1)[0], 2)
    low, details = split(gray, wavelet)
    return merge(torch.zeros_like(low), details, wavelet)[..., :height, :width]


def visible(picture: Picture) -> Tensor | None:
    """Pixels (P, 1, H, W) that are shown and hold data; None if all do."""
    valid = torch.ones_like(picture.pixels[:, :1], dtype=torch.bool)
    if picture.alpha is not None:
        valid &= picture.alpha > 0
    if picture.missing is not None:
        valid &= ~picture.missing
    return None if bool(valid.all()) else valid
