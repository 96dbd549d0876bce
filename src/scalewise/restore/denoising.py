"""Denoising pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.images import Picture, fill_hidden, to_channels
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore.defects import find_defects, remove_defects
from scalewise.restore.finding import GRAY_GAIN, VISIBLE, find_noise
from scalewise.restore.result import Restored, conversion
from scalewise.score import residual_sigma
from scalewise.stabilise import Stabiliser
from scalewise.wavelets import merge, mirror_to_multiple, split

STRONGEST = 4.0
"""Largest strength."""

FAR = 2.0
"""Ratio of a given level to the estimated one, or the reverse, from which a note says so."""


@dataclass(frozen=True)
class Strength:
    """How much of the noise to remove: what the networks are told is so many times the noise.

    Attributes:
        luma: of the noise of brightness.
        chroma: of the noise of colours.
        grain: share of the finest brightness noise that comes back.
    """

    luma: float = 1.0
    chroma: float = 1.0
    grain: float = 0.0

    def __post_init__(self) -> None:
        """Check the range."""
        for value in (self.luma, self.chroma):
            if not 0 <= value <= STRONGEST:
                raise UsageError(f"strength must be from 0 to {STRONGEST:g}, found {value:g}")
        if not 0 <= self.grain <= 1:
            raise UsageError(f"keep-grain must be from 0 to 1, found {self.grain:g}")


@torch.no_grad()
def denoise(
    picture: Picture,
    prior: MultiScalePrior,
    *,
    sigma: float | None = None,
    noise: NoiseModel | None = None,
    strength: Strength | float = 1.0,
    mask: Tensor | None = None,
    fix: Collection[str] = (),
    callback: Callable[[], object] | None = None,
) -> Restored:
    """Denoise a picture.

    Hidden pixels (alpha 0) are filled from visible ones before a network sees them, and come back
    as they were.

    Args:
        picture: what to denoise; its planes are denoised one by one, each with its own noise.
        prior: of any number of channels; gray and RGB are converted, and gray comes back gray.
        sigma: standard deviation of white noise, in [0, 1] from black to white; None to estimate
            what the noise is like.
        noise: what it is like, instead.
        strength: how much of it to remove, one number or by brightness and colour.
        mask: where to denoise, shape (H, W), 0 to 1; pixels of mask 0 stay as they are.
        fix: defects to remove before: "impulses", "stripes".
        callback: called after every plane.

    Raises:
        UsageError: an argument is out of range, does not fit, or contradicts another.
    """
    if sigma is not None and not 0 <= sigma < math.inf:
        raise UsageError(f"sigma must be 0 or more, found {sigma}")
    if sigma is not None and noise is not None:
        raise UsageError("sigma and noise both say what the noise is; give one of them")
    strength = strength if isinstance(strength, Strength) else Strength(strength, strength)
    height, width = picture.pixels.shape[-2:]
    if mask is not None and tuple(mask.shape) != (height, width):
        raise UsageError(
            f"the mask is {mask.shape[-1]}x{mask.shape[-2]}, the picture {width}x{height}; they "
            "must be the same size"
        )
    given = NoiseModel.white(sigma) if sigma is not None else noise
    seen, valid = fill_hidden(picture).pixels, visible(picture)
    planes, found, notes = [], [], list(picture.notes)
    for index, noisy in enumerate(seen):
        there = None if valid is None else valid[index]
        notes += find_defects(noisy) if not fix else []
        clean, model = denoise_plane(
            remove_defects(noisy, fix), prior, noise=given, strength=strength, valid=there
        )
        planes.append(clean.to(seen))
        found.append(model)
        if callback:
            callback()
    notes += conversion(picture, prior)
    if sigma is not None and prior.noise_conditional:
        notes += _far(sigma, seen[0], prior, None if valid is None else valid[0])
    if given is None and max(model.sigma for model in found) == 0:
        notes.append("no noise was found; --sigma says how much to remove all the same")
    pixels = torch.stack(planes)
    untouched = to_channels(picture.pixels, pixels.shape[1])[0]
    if mask is not None:
        pixels = torch.where(mask > 0, torch.lerp(untouched, pixels, mask.to(pixels)), untouched)
    if picture.alpha is not None and pixels.shape == picture.pixels.shape:
        pixels = torch.where(picture.alpha > 0, pixels, picture.pixels)
    restored = replace(picture, pixels=pixels)
    return Restored((restored,), tuple(found), notes=tuple(dict.fromkeys(notes)))


@torch.no_grad()
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
        prior: of any number of channels.
        noise: what the noise is like, or the deviation of white noise; None to estimate it.
        strength: how much of it to remove.
        valid: bool of shape (1, H, W), true where pixels count for the estimate.

    Returns:
        The denoised image, on the CPU, with the channels of `noisy` (gray where the prior is gray),
        not clipped; and the noise.
    """
    if isinstance(noise, float | int):
        noise = NoiseModel.white(noise)
    given, _ = to_channels(noisy, prior.channels)
    reduced = len(given) < len(noisy)
    if noise is None and prior.noise_conditional:
        if reduced and prior.estimator is not None:
            return denoise_plane(given, prior, strength=strength, valid=valid)
        noise = find_noise(noisy, max(1, prior.levels), valid=valid, estimator=prior.estimator)
    if noise is not None:
        _check_channels(noise, len(noisy))
        if noise.uneven and not prior.noise_maps and not reduced:
            planes = []
            for index, channel in enumerate(noisy):
                own = noise.channel(index)
                planes.append(denoise_plane(channel[None], prior, noise=own, strength=strength)[0])
            return torch.cat(planes), noise
    told = noise.as_gray(GRAY_GAIN) if noise is not None and reduced else noise
    clean = _told(given, prior, told, strength)
    if noise is None:
        level = residual_sigma(given[None].cpu(), clean[None]).item()
        noise = NoiseModel.white(level / (GRAY_GAIN if reduced else 1.0))
    if strength.grain:
        clean = clean + strength.grain * _grain(given.cpu() - clean, prior.wavelet)
    return (to_channels(clean, 1)[0] if len(noisy) == 1 else clean), noise


def _far(sigma: float, noisy: Tensor, prior: MultiScalePrior, valid: Tensor | None) -> list[str]:
    """A sentence if a given level is far from what the picture seems to hold."""
    levels = max(1, prior.levels)
    found = find_noise(noisy, levels, valid=valid, estimator=prior.estimator).sigma
    if VISIBLE / FAR <= max(sigma, found) and not found / FAR <= sigma <= FAR * found:
        return [f"sigma {255 * sigma:.3g} was given; it looks like {255 * found:.3g}"]
    return []


def _told(
    noisy: Tensor, prior: MultiScalePrior, noise: NoiseModel | None, strength: Strength
) -> Tensor:
    """The denoised image (C, H, W) on the CPU, of networks told so many times the noise."""

    def cleaned(times: float) -> Tensor:
        if times == 0:
            return noisy.cpu()
        if noise is None:
            if times > 1:
                raise UsageError(
                    "this model is told no noise level, so strength is a share of the denoised "
                    f"image, from 0 to 1, found {times:g}"
                )
            return torch.lerp(noisy.cpu(), prior.denoise(noisy[None])[0].cpu(), times)
        if noise.curve and (noise.grows or not prior.noise_maps):
            stabiliser = Stabiliser(noise)
            stable, told = stabiliser.forward(noisy)[None], stabiliser.noise.times(times)
            return stabiliser.inverse(prior.denoise(stable, told)[0].cpu())
        scaled = noise.times(times)
        plain = scaled.scales[0][0] if scaled.is_white else scaled
        return prior.denoise(noisy[None], plain)[0].cpu()

    luma = cleaned(strength.luma)
    if strength.chroma == strength.luma or len(noisy) == 1:
        return luma
    chroma = cleaned(strength.chroma)
    return chroma + to_channels(luma - chroma, 1)[0]


def _grain(removed: Tensor, wavelet: str) -> Tensor:
    """The finest details of the brightness of what was removed, (1, H, W)."""
    height, width = removed.shape[1:]
    gray = mirror_to_multiple(to_channels(removed[None], 1)[0], 2)
    low, details = split(gray, wavelet)
    return merge(torch.zeros_like(low), details, wavelet)[0, :, :height, :width]


def _check_channels(noise: NoiseModel, channels: int) -> None:
    if noise.channels not in (1, channels):
        raise UsageError(
            f"the noise is described for {noise.channels} channels, the picture has {channels}; "
            "describe that of this camera (scalewise noise makes it from a picture)"
        )


def visible(picture: Picture) -> Tensor | None:
    """Pixels (P, 1, H, W) that are shown and hold data; None if all do."""
    valid = torch.ones_like(picture.pixels[:, :1], dtype=torch.bool)
    if picture.alpha is not None:
        valid &= picture.alpha > 0
    if picture.missing is not None:
        valid &= ~picture.missing
    return None if bool(valid.all()) else valid
