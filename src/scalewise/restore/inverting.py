"""Pictures of which a part, or only a blurred or reduced version, is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.images import (
    AnyImage,
    JpegCoefficients,
    Picture,
    fill_hidden,
    picture_of,
    to_channels,
)
from scalewise.inverse import DRAWING
from scalewise.noise_model import NoiseModel
from scalewise.operators import Blur, Chain, Decimation, Downscaling, Inpainting, Operator
from scalewise.prior import MultiScalePrior
from scalewise.restore.averaging import averaged, check_average, price
from scalewise.restore.denoising import far, visible
from scalewise.restore.finding import GRAY_GAIN, check_channels, noise_for
from scalewise.restore.jpeg import check_coefficients, keeping
from scalewise.restore.result import Restored, check_mask, conversion, difference_picture
from scalewise.windows import size_of

CONTEXT = 48
"""Pixels around a hole that are looked at to fill it, at least."""

WIDEST = 96
"""Side of a hole beyond which what is filled in is no more than a guess, told in a note."""

SEEDS = 7919
"""Between the seeds of the holes of a picture, and of its planes."""

TAKEN_FOR_WHITE = (
    "the noise is not white, but was taken for white beside the losses of the JPEG; to use what it "
    "is like, take the pixels of the JPEG as they are (--ignore-jpeg)"
)
"""Told of noise whose spectrum or curve does not count."""

TAKEN_FOR_EVEN = (
    "the noise seems to change with the light or the place, but was taken for as strong "
    "everywhere; what scalewise noise writes, given by --noise, is used as it is"
)
"""Told of noise that was found, whose curve and places do not count: a curve that was estimated
loses more than it gains (`benchmarks/LOG.md`)."""

Callback = Callable[[float], object]
"""Called with the share of the work that is done, 0 to 1."""


def inpaint(
    picture: AnyImage,
    hole: Tensor,
    prior: MultiScalePrior,
    *,
    samples: int | None = 1,
    seed: int = 0,
    callback: Callback | None = None,
) -> Restored:
    """Fill holes of a picture with what is likely there; known pixels stay as they are.

    Args:
        picture: as `images.picture_of` takes it; its planes are filled one by one.
        hole: shape (H, W), above 0 where the picture is not known.
        prior: of any number of channels.
        samples: how many to draw; None for the mean of all likely ones, which is smooth.
        seed: of the samples; each plane has fields of its own.
        callback: called with the share of the work that is done.

    Raises:
        UsageError: the hole has another size, is none, or is all of the picture.

    Examples:
        >>> picture, prior = scalewise.Picture(torch.rand(3, 32, 32)), scalewise.load("photos")
        >>> hole = torch.zeros(32, 32)
        >>> hole[10:14, 10:14] = 1
        >>> filled = scalewise.restore.inpaint(picture, hole, prior).picture.pixels
        >>> torch.equal(filled[..., :10, :], picture.pixels[..., :10, :])
        True
    """
    picture = picture_of(picture)
    check_mask(hole, picture)
    missing = hole > 0
    if not bool(missing.any()) or bool(missing.all()):
        side = "white" if bool(missing.any()) else "black"
        raise UsageError(
            f"the mask is {side} everywhere; it must be white where the picture is to be filled"
        )
    boxes, widest = around(missing)
    notes = list(picture.notes)
    if widest > WIDEST:
        notes.append(wide_hole(widest))
    progress = counted(callback, len(boxes) * len(picture.pixels) * (samples or 1) * DRAWING.steps)
    planes = []
    for index, plane in enumerate(fill_hidden(picture).pixels):
        given = _given(plane, prior)
        drawn = given.repeat(samples or 1, 1, 1, 1)
        for number, (rows, columns) in enumerate(boxes):
            inside, part = missing[rows, columns], drawn[..., rows, columns]
            found = fill(
                given[:, rows, columns], inside, prior, samples, seed + index, number, progress
            )
            part.copy_(torch.where(inside, found, part))
        planes.append(drawn)
    return _restored(picture, torch.stack(planes, dim=1), [*notes, *conversion(picture, prior)])


def fill(
    given: Tensor,
    inside: Tensor,
    prior: MultiScalePrior,
    samples: int | None,
    seed: int,
    number: int,
    callback: Callable[..., None] | None = None,
) -> Tensor:
    """What is likely in one hole: shape (K, C, h, w).

    Args:
        given: what is around, shape (C, h, w).
        inside: the hole, shape (h, w).
        prior: that knows what is likely.
        samples: how many; None for the mean.
        seed: of the plane.
        number: of the hole.
        callback: called after every step.
    """
    operator = Inpainting(~inside)
    found = prior.restore(
        operator.A(given[None]),
        operator,
        samples=samples,
        seed=seed + SEEDS * number,
        callback=callback,
    )
    return _drawn(found, samples)


def deblur(
    picture: AnyImage,
    blur: Blur,
    prior: MultiScalePrior,
    *,
    sigma: float | None = None,
    noise: NoiseModel | None = None,
    samples: int | None = None,
    seed: int = 0,
    callback: Callback | None = None,
) -> Restored:
    """Sharpen a picture that a known kernel has blurred.

    Args:
        picture: as `images.picture_of` takes it; its planes are sharpened one by one.
        blur: what blurred it.
        prior: of any number of channels.
        sigma: standard deviation of white noise, in [0, 1]; None to estimate what the noise is
            like.
        noise: what it is like, instead: its spectrum and its curve are used.
        samples: how many to draw; None for the mean.
        seed: of the samples; each plane has fields of its own.
        callback: called with the share of the work that is done.

    Raises:
        UsageError: `blur` is none, or larger than the picture; the noise is said twice, out of
            range, or of other channels.

    Examples:
        >>> from scalewise.operators import Blur
        >>> picture, prior = scalewise.Picture(torch.rand(1, 16, 16)), scalewise.load("photos")
        >>> blur = Blur.gaussian(1.0)
        >>> restored = scalewise.restore.deblur(picture, blur, prior, sigma=0.02, samples=1)
        >>> restored.picture.pixels.shape
        torch.Size([1, 1, 16, 16])
    """
    picture = picture_of(picture)
    if not isinstance(blur, Blur):
        raise UsageError(
            f"blur must be a Blur, such as Blur.gaussian(1.6), found {type(blur).__name__}"
        )
    blur.check_fits(picture.pixels.shape[-2:])
    return _inverted(picture, blur, prior, _told(sigma, noise), samples, seed, callback)


def enlarge(
    picture: AnyImage,
    size: tuple[int, int],
    reduced_by: str | Blur,
    prior: MultiScalePrior,
    *,
    sigma: float | None = 0.0,
    noise: NoiseModel | None = None,
    samples: int | None = 1,
    average: int = 1,
    seed: int = 0,
    jpeg: JpegCoefficients | None = None,
    callback: Callback | None = None,
) -> Restored:
    """Super-resolve a picture that some filter has reduced, to any size.

    Reduced again by the same filter, the output is the input, to the rounding of its type; with
    `jpeg`, reduced and compressed again, its coefficients are those of the file.

    Args:
        picture: what to enlarge, as `images.picture_of` takes it, its planes one by one; alpha is
            enlarged likewise, its resolution multiplied.
        size: height and width of the output.
        reduced_by: a filter of `operators.Downscaling`, or the blur before every so many pixels
            were kept (`operators.Decimation`).
        prior: of any number of channels.
        sigma: standard deviation of white noise, in [0, 1]; None to estimate what the noise is
            like.
        noise: what it is like, instead: its spectrum and its curve are used, but of a JPEG whose
            loss is to be undone, where it is taken for white, which a note tells.
        samples: how many to draw; None for the mean.
        average: of how many such means the result is the mean, of the picture mirrored and turned,
            as for `denoise`; where a filter reduced it, which does not know left from right.
        seed: of the samples; each plane has fields of its own.
        jpeg: what the file of the picture holds, if it is a JPEG whose loss is to be undone.
        callback: called with the share of the work that is done.

    Raises:
        UsageError: the filter is none, the size smaller than the picture, the coefficients are of
            another size or other channels, there is no mean of several, or the noise is said
            twice, out of range, or of other channels.

    Examples:
        >>> picture, prior = scalewise.Picture(torch.rand(1, 12, 12)), scalewise.load("photos")
        >>> restored = scalewise.restore.enlarge(picture, (18, 18), "bicubic", prior)
        >>> restored.picture.pixels.shape
        torch.Size([1, 1, 18, 18])
    """
    picture = picture_of(picture)
    small = (picture.pixels.shape[-2], picture.pixels.shape[-1])
    reduction: Downscaling | Decimation
    turned: Downscaling | Decimation
    if isinstance(reduced_by, str):
        reduction = Downscaling(size, small, reduced_by)
        turned = Downscaling(size[::-1], small[::-1], reduced_by)
    elif not isinstance(reduced_by, Blur):
        raise UsageError(
            "reduced_by must be the name of a filter, such as bicubic, or a Blur, found "
            f"{type(reduced_by).__name__}"
        )
    else:
        reduction = turned = Decimation(size, _whole_factor(size, small), reduced_by)
    _check_means(average, samples, reduced_by, jpeg)
    told = _told(sigma or None if noise is not None else sigma, noise)
    if jpeg is None:
        restored = _inverted(
            picture,
            reduction,
            prior,
            told,
            samples,
            seed,
            callback,
            average=average,
            turned=turned,
        )
    else:
        check_coefficients(jpeg, picture, prior)
        restored = _inverted(
            picture,
            Chain(reduction, jpeg.operator),
            prior,
            told,
            samples,
            seed,
            callback,
            (jpeg.values, jpeg.steps / math.sqrt(12)),
        )
        restored = keeping(restored, reduction, jpeg)
    factor = size[1] / small[1]
    return replace(
        restored,
        pictures=tuple(each.scaled(factor) for each in restored.pictures),
        deviation=None if restored.deviation is None else restored.deviation.scaled(factor),
    )


def _inverted(
    picture: Picture,
    operator: Operator,
    prior: MultiScalePrior,
    told: NoiseModel | None,
    samples: int | None,
    seed: int,
    callback: Callback | None,
    held: tuple[Tensor, Tensor] | None = None,
    average: int = 1,
    turned: Operator | None = None,
) -> Restored:
    """A picture whose planes an operator has measured.

    `told`: what the noise is like; None to estimate it. `held`: what was measured, (1, c, h, w),
    and the deviation of its own noise, where it is not the picture itself. `average`: of how many
    means the result is one; `turned` is the operator of the picture that is turned by a quarter.
    """
    progress = counted(callback, len(picture.pixels) * (samples or average) * DRAWING.steps)
    seen, valid = fill_hidden(picture).pixels, visible(picture)
    planes, found, notes = [], [], list(picture.notes)
    for index, plane in enumerate(seen):
        given = _given(plane, prior)
        if told is None:
            noise = noise_for(prior, given, None if valid is None else valid[index])
        else:
            check_channels(told, len(plane))
            noise = told.as_gray(GRAY_GAIN) if len(given) < len(plane) else told
        measurement = given[None]
        spread: NoiseModel | Tensor = noise
        if held is not None:
            measurement, own = held
            spread = (own**2 + noise.sigma**2).sqrt()
            notes += [] if noise.is_white else [TAKEN_FOR_WHITE]
        elif told is None and noise.varies:
            spread = noise.even
            notes.append(TAKEN_FOR_EVEN)
        restore = partial(prior.restore, samples=samples, seed=seed + index, callback=progress)
        drawn = _mean_of(average, restore, measurement, (operator, turned or operator), spread)
        planes.append(_drawn(drawn, samples))
        found.append(noise)
    notes += [*conversion(picture, prior), *price(average)]
    if told is not None and told.is_white and told.sigma > 0 and prior.noise_conditional:
        first = _given(seen[0], prior)
        notes += far(told.sigma, first, prior, None if valid is None else valid[0])
    restored = _restored(picture, torch.stack(planes, dim=1), list(dict.fromkeys(notes)))
    return replace(restored, noise=tuple(found))


def _told(sigma: float | None, noise: NoiseModel | None) -> NoiseModel | None:
    """What is said of the noise, in one of two ways; None if nothing is."""
    if sigma is not None and not 0 <= sigma < math.inf:
        raise UsageError(f"sigma must be 0 or more, found {sigma}")
    if sigma is not None and noise is not None:
        raise UsageError("sigma and noise both say what the noise is; give one of them")
    return noise if sigma is None else NoiseModel.white(sigma)


def _mean_of(
    average: int,
    restore: Callable[..., Tensor],
    measurement: Tensor,
    operators: tuple[Operator, Operator],
    noise: NoiseModel | Tensor,
) -> Tensor:
    """What was measured, restored, or the mean of several: `operators` are upright, and turned."""
    upright = size_of(measurement)

    def restored(given: Tensor, noise: NoiseModel | Tensor) -> Tensor:
        return restore(given, operators[size_of(given) != upright], noise=noise)

    if average == 1:
        return restored(measurement, noise)
    return averaged(restored, measurement, average, noise)


def _check_means(
    average: int, samples: int | None, reduced_by: str | Blur, jpeg: JpegCoefficients | None
) -> None:
    """Refuse the mean of several estimates where they would not be of the same picture."""
    check_average(average, "" if samples is None else "samples")
    if average > 1 and not isinstance(reduced_by, str):
        raise UsageError(
            f"average {average} takes reductions that do not know left from right: filters by "
            "their names, not kernels"
        )
    if average > 1 and jpeg is not None:
        raise UsageError(
            f"average {average} is not for what a JPEG tells, whose blocks are not turned with it; "
            "take its pixels as they are (--ignore-jpeg)"
        )


def _whole_factor(size: tuple[int, int], small: tuple[int, int]) -> int:
    """The factor between sizes, where it is a whole number."""
    factor = size[0] // small[0]
    if size != (factor * small[0], factor * small[1]):
        raise UsageError(
            f"where a kernel reduced it, a picture of {small[1]}x{small[0]} is enlarged by a whole "
            f"factor, found {size[1]}x{size[0]}"
        )
    return factor


def _given(plane: Tensor, prior: MultiScalePrior) -> Tensor:
    """A plane (C, H, W) as a prior restores it: gray stays gray, and colours become gray for it."""
    return to_channels(plane, 1)[0] if prior.channels == 1 else plane


def _drawn(found: Tensor, samples: int | None) -> Tensor:
    """What a prior gave, (N = 1), as (K, C, H, W) on the CPU."""
    return (found[None] if samples is None else found)[:, 0].cpu()


def _restored(picture: Picture, drawn: Tensor, notes: list[str]) -> Restored:
    """Pictures of what was drawn, (K, P, C, H, W), with their deviation if there are several."""
    alpha = picture.alpha
    if alpha is not None and alpha.shape[-2:] != drawn.shape[-2:]:
        alpha = F.interpolate(alpha, size=drawn.shape[-2:], mode="bicubic").clamp(0, 1)
    pictures = tuple(replace(picture, pixels=pixels, alpha=alpha) for pixels in drawn)
    deviation = difference_picture(picture, drawn.std(0)) if len(drawn) > 1 else None
    return Restored(pictures, deviation=deviation, notes=tuple(notes))


def counted(callback: Callback | None, steps: int) -> Callable[[int, Tensor, Tensor], None] | None:
    """A callback of samplers, which take so many steps in all."""
    if callback is None:
        return None
    done = count(1)

    def stepped(step: int, noisy: Tensor, clean: Tensor) -> None:
        callback(min(1.0, next(done) / steps))

    return stepped


def wide_hole(widest: int) -> str:
    """A sentence on a hole of so many pixels."""
    return (
        f"a hole is {widest} pixels wide: what is drawn there is a guess at colours and textures, "
        "not at objects"
    )


def around(missing: Tensor) -> tuple[list[tuple[slice, slice]], int]:
    """Parts of the picture that hold all holes, with what is around them; width of the widest."""
    from scipy import ndimage  # takes long to load

    widest = 2 * int(ndimage.distance_transform_cdt(missing.numpy()).max())
    near = ndimage.maximum_filter(missing.numpy(), 2 * CONTEXT + 1)
    labels, _ = ndimage.label(near)
    return [(rows, columns) for rows, columns in ndimage.find_objects(labels)], widest
