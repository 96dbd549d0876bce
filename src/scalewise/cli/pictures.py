"""Restoring one picture: channels, depth and alpha in and out of a prior."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.errors import ScalewiseError, UsageError
from scalewise.images import Picture, to_channels, write_image
from scalewise.noise import estimate_sigma
from scalewise.prior import MultiScalePrior
from scalewise.samplers import Sampler, few_steps
from scalewise.score import residual_sigma

GRAY_GAIN = math.hypot(0.299, 0.587, 0.114)
"""Noise of a gray image over that of the RGB image which it was made of."""


@dataclass(frozen=True)
class Result:
    """What became of one picture.

    Args:
        pictures: the outputs.
        sigma: noise level in 8-bit units, as given or estimated.
        deviation: standard deviation of the outputs.
        notes: sentences on what was converted.
    """

    pictures: list[Picture]
    sigma: float = 0.0
    deviation: Picture | None = None
    notes: list[str] = field(default_factory=list)


@torch.no_grad()
def denoised(
    prior: MultiScalePrior, picture: Picture, sigma: float | None = None, strength: float = 1.0
) -> Result:
    """Denoise a picture.

    Args:
        prior: of any number of channels; gray and RGB are converted, and gray comes back gray.
        picture: what to denoise; its alpha is carried through.
        sigma: noise level in 8-bit units; None to estimate it.
        strength: share of the denoised image in the output, in [0, 1].
    """
    noisy, notes = _fitted(picture, prior)
    gain = GRAY_GAIN if len(noisy) < picture.pixels.shape[1] else 1.0
    level = None if sigma is None else sigma / 255
    if level is None and prior.noise_conditional:  # before gray is repeated, with its noise, to RGB
        level = estimate_sigma(picture.pixels[:1]).item()
    clean = prior.denoise(noisy[None], None if level is None else gain * level).cpu()
    if level is None:  # a blind network's own residual tells
        level = residual_sigma(noisy[None], clean).item() / gain
    if sigma is None and level == 0:
        notes.append("no noise was found; --sigma says how much to remove all the same")
    mixed = noisy + strength * (clean[0] - noisy)
    return Result([_like(picture, mixed, picture.alpha)], 255 * level, notes=notes)


@torch.no_grad()
def upscaled(
    prior: MultiScalePrior,
    picture: Picture,
    factor: int,
    samples: int | None,
    seed: int = 0,
    sampler: Sampler = few_steps,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Result:
    """Super-resolve a picture.

    Args:
        prior: of any number of channels; gray and RGB are converted, and gray comes back gray.
        picture: what to enlarge; its alpha is enlarged by bicubic interpolation.
        factor: enlargement of each side.
        samples: how many to draw; None for the least-squares estimate.
        seed: of the samples.
        sampler: how to draw them.
        callback: called as each scale of each sample is finished.
    """
    small, notes = _fitted(picture, prior)
    if samples is None:
        large = prior.upscale_mean(small[None], factor)[None]
    else:
        large = prior.upscale(
            small[None], factor, samples=samples, seed=seed, sampler=sampler, callback=callback
        )
    alpha = None if picture.alpha is None else _bicubic(picture.alpha, factor)
    results = [_like(picture, image, alpha) for image in large[:, 0].cpu()]
    deviation = None
    if len(results) > 1:
        spread = torch.stack([result.pixels[0] for result in results]).std(0)
        deviation = Picture(spread, depth="float32")
    return Result(results, deviation=deviation, notes=notes)


def check_factor(prior: MultiScalePrior, factor: int) -> None:
    """Say which factors a model knows, if not this one."""
    known = [str(2**level) for level in range(1, prior.levels + 1)]
    if str(factor) not in known:
        raise UsageError(
            f"--factor {factor} is beyond this model, which enlarges by "
            f"{' or '.join(known) or 'nothing: it has no levels'}"
        )


def save(picture: Picture, path: Path, force: bool, skip_existing: bool = False) -> list[str]:
    """Write one output, in a folder that is made if needed; return what was not kept."""
    if skip_existing and not force and path.exists():
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_image(path, picture, force=force)


def _fitted(picture: Picture, prior: MultiScalePrior) -> tuple[Tensor, list[str]]:
    """Pixels with the channels of a prior, and notes."""
    pixels, note = to_channels(picture.pixels[0], prior.channels)
    if len(picture.pixels) > 1:
        raise ScalewiseError(f"holds {len(picture.pixels)} planes; expected a single image")
    notes = [*picture.notes, *([] if note is None else [f"{note} for the model"])]
    return pixels, notes


def _like(picture: Picture, pixels: Tensor, alpha: Tensor | None) -> Picture:
    """New pixels and alpha with all else that a file says; gray stays gray."""
    if picture.pixels.shape[1] == 1:
        pixels, _ = to_channels(pixels, 1)
    return replace(picture, pixels=pixels, alpha=alpha)


def _bicubic(alpha: Tensor, factor: int) -> Tensor:
    enlarged = F.interpolate(alpha, scale_factor=factor, mode="bicubic")
    return enlarged.clamp(0, 1)
