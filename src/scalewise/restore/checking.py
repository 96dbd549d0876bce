"""What a cleaned picture is worth, whoever cleaned it, told without the truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.images import Picture, to_channels
from scalewise.noise_model import NoiseModel
from scalewise.posterior import expected_error
from scalewise.prior import MultiScalePrior
from scalewise.restore.answering import answered
from scalewise.restore.denoising import denoise_plane, told_deviation
from scalewise.restore.finding import check_channels, noise_for
from scalewise.wavelets import GAIN, decompose, mirror_to_multiple

STRUCTURE, LEFT = 1.15, 0.85
"""Of what was removed at a scale, over the noise there: more is structure, less leaves noise."""

BLOCK, LOST = 16, 1.5
"""Side of blocks, and how many deviations of the noise what was removed from one may have."""

EVEN = 1.3
"""What was removed over the noise there, in the lights over that in the shadows: beyond, or below
its inverse, the noise is not as the curve says, or structure went."""

CUT = 0.01
"""Share of the noisy values at black or white from which nothing is promised of the error: noise
was cut off there, so that the rest looks cleaner than it is."""


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        noise: of the noisy picture, given or estimated.
        psnr: estimated peak signal-to-noise ratio of the cleaned picture in dB, [0, 1] intensities.
        best: that of the model's own estimate.
        bound: what the former exceeds with 90 % confidence; None where the model has not learnt it,
            or much of the noise was cut off at black or white.
        removed: per scale, finest first, the deviation of what was removed over that of the noise.
        damaged: share of blocks from which more was removed than noise explains.
        lights: deviation of what was removed over that of the noise there, in the brighter half of
            the blocks of the cleaned picture, over the same in the darker half.
        words: sentences.

    Examples:
        >>> prior, noisy = scalewise.load("photos"), scalewise.Picture(torch.rand(3, 32, 32))
        >>> noise = scalewise.NoiseModel.white(0.1)
        >>> found = scalewise.restore.check(noisy, noisy, prior, noise=noise)  # nothing was removed
        >>> found.removed[0], found.damaged, found.psnr < found.best
        (0.0, 0.0, True)
    """

    noise: NoiseModel
    psnr: float
    best: float
    bound: float | None
    removed: tuple[float, ...]
    damaged: float
    lights: float
    words: tuple[str, ...]


@torch.no_grad()
def check(
    noisy: Picture,
    cleaned: Picture,
    prior: MultiScalePrior,
    *,
    noise: NoiseModel | None = None,
) -> Check:
    """Tell how good a cleaned picture is without the truth, and what was removed from it.

    The expected error of any estimate `c` is `|c - mean|^2` and the variance of the truth
    (`Posterior`), or what Stein's formula says of it where white noise is told
    (`posterior.expected_error`). The first planes are compared. What was removed is compared with
    the noise of each scale by its spectrum, and of each place by its curve at the intensity that
    the cleaned picture has there.

    Args:
        noisy: the picture before.
        cleaned: the picture after, by any tool, of the same size and kind.
        prior: told the noise level.
        noise: of the noisy picture; None to estimate it.

    Returns:
        Estimates of the PSNR in dB, and what was removed.

    Raises:
        UsageError: the pictures do not fit, the noise is of another number of channels, or the
            prior is told no noise.

    Examples:
        >>> prior, noise = scalewise.load("photos"), scalewise.NoiseModel.white(0.1)
        >>> noisy = scalewise.Picture(torch.rand(3, 32, 32))
        >>> cleaned = scalewise.restore.denoise(noisy, prior, noise=noise).picture
        >>> found = scalewise.restore.check(noisy, cleaned, prior, noise=noise)
        >>> abs(found.psnr - found.best) < 0.1
        True
    """
    _check_alike(noisy, cleaned)
    return checker(noisy, prior, noise=noise)(cleaned)


@torch.no_grad()
def checker(
    noisy: Picture, prior: MultiScalePrior, *, noise: NoiseModel | None = None
) -> Callable[[Picture], Check]:
    """What checks several cleaned pictures of one noisy picture, which is looked at once.

    Args:
        noisy: as for `check`.
        prior: as for `check`.
        noise: as for `check`.

    Returns:
        A function that maps a cleaned picture to what `check` tells of it.

    Raises:
        UsageError: as `check`.
    """
    if not prior.noise_conditional:
        raise UsageError("the model is told no noise level: it cannot say what is uncertain")
    before = noisy.pixels[0]
    told = noise is not None
    if noise is None:
        noise = noise_for(prior, before)
    check_channels(noise, len(before))
    prior = prior.denoiser_of(len(before))
    if noise.sigma == 0:
        raise UsageError("no noise was found in the first picture; sigma tells it")
    mean, variance = _estimate(before, prior, noise)
    if told and noise.is_white:
        rest = float((before - mean).square().mean())
        variance = expected_error(rest, variance, noise.sigma, before.numel())

    def checked(cleaned: Picture) -> Check:
        _check_alike(noisy, cleaned)
        return _compared(before, cleaned.pixels[0], mean, variance, noise, prior)

    return checked


def _check_alike(noisy: Picture, cleaned: Picture) -> None:
    """Refuse pictures of different sizes or channels."""
    if noisy.pixels.shape[1:] != cleaned.pixels.shape[1:]:
        sizes = [
            f"{each.pixels.shape[-1]}x{each.pixels.shape[-2]} of {each.pixels.shape[1]} channels"
            for each in (noisy, cleaned)
        ]
        raise UsageError(f"the pictures must be of one size and kind, found {' and '.join(sizes)}")


def _compared(
    before: Tensor,
    after: Tensor,
    mean: Tensor,
    variance: float,
    noise: NoiseModel,
    prior: MultiScalePrior,
) -> Check:
    """What is told of images (C, H, W), by the mean and the expected error of the prior."""
    error = variance + float((after - mean).square().mean())
    taken = before - after
    factor = noise.factor(after[None])[0].square()
    removed = _removed(taken, noise, float(factor.mean()), max(1, prior.levels), prior.wavelet)
    blocks = _blocks(taken.square() / noise.sigma**2)
    expected = _blocks(factor).clamp(min=1e-6)
    damaged = float((blocks > LOST**2 * expected).float().mean())
    lights = _lights(blocks, expected, _blocks(after))
    psnr = -10 * math.log10(error)
    cut = float(((before == 0) | (before == 1)).float().mean())
    known = prior.calibration if cut <= CUT else None
    margin = None if known is None else known.margin_at(noise.sigma)
    return Check(
        noise,
        psnr=psnr,
        best=-10 * math.log10(variance),
        bound=None if margin is None else psnr - margin,
        removed=removed,
        damaged=damaged,
        lights=lights,
        words=(*_in_words(removed, damaged, lights, before, after), *_cut_in_words(cut)),
    )


def _estimate(noisy: Tensor, prior: MultiScalePrior, noise: NoiseModel) -> tuple[Tensor, float]:
    """The mean (C, H, W), and the mean variance around it."""
    mean, _ = denoise_plane(noisy, prior, noise=noise)
    deviation = answered(told_deviation(noisy, prior, noise))
    return to_channels(mean, len(noisy))[0], float(deviation.square().mean())


def _removed(
    taken: Tensor, noise: NoiseModel, factor: float, levels: int, wavelet: str
) -> tuple[float, ...]:
    """Deviation of what was removed over that of the noise, at each scale.

    `factor` is the mean of the curve over the picture.
    """
    whole = mirror_to_multiple(taken[None], 1 << levels)
    _, details = decompose(whole, levels, wavelet)
    found = []
    for level, bands in enumerate(details, start=1):
        expected = [GAIN**level * each for each in noise.scale(level)]
        square = factor * sum(each**2 for each in expected) / len(expected)
        found.append(math.sqrt(float(bands.square().mean()) / max(1e-20, square)))
    return tuple(found)


def _blocks(values: Tensor) -> Tensor:
    """Means of values (C, H, W) over blocks and channels, shape (blocks,)."""
    return F.avg_pool2d(values[None].mean(1, keepdim=True), BLOCK, ceil_mode=True).flatten()


def _lights(removed: Tensor, expected: Tensor, intensity: Tensor) -> float:
    """What was removed over what was expected, of the brighter blocks over the darker ones."""
    order = intensity.argsort()
    dark, bright = order[: (len(order) + 1) // 2], order[len(order) // 2 :]
    shares = [float(removed[part].mean() / expected[part].mean()) for part in (dark, bright)]
    return math.sqrt(max(1e-20, shares[1]) / max(1e-20, shares[0]))


def _cut_in_words(cut: float) -> list[str]:
    if cut <= CUT:
        return []
    return [
        f"{100 * cut:.0f} % of the noisy values stand at black or white, where noise was cut off: "
        "the PSNR may be told a dB too high, and has no bound"
    ]


def _in_words(
    removed: tuple[float, ...], damaged: float, lights: float, before: Tensor, after: Tensor
) -> list[str]:
    if bool((before == after).all()):
        return ["nothing was removed: the pictures are the same"]
    words = []
    for level, ratio in enumerate(removed, start=1):
        what = f"at structures of {1 << level} pixels"
        if ratio > STRUCTURE:
            words.append(
                f"{what} more was removed than the noise ({ratio:.2f} of it): structure too"
            )
        elif ratio < LEFT:
            words.append(f"{what} noise was left ({ratio:.2f} of it was removed)")
    if damaged > 0.01:
        words.append(
            f"in {100 * damaged:.0f} % of the picture more was removed than noise explains"
        )
    if not 1 / EVEN <= lights <= EVEN:
        where, other = ("lights", "shadows") if lights > 1 else ("shadows", "lights")
        words.append(
            f"in the {where} {max(lights, 1 / lights):.2g} times as much of the noise there was "
            f"removed as in the {other}: the noise grows otherwise with the light, or structure "
            "went, or noise was left"
        )
    return words or ["what was removed is noise at every scale"]
