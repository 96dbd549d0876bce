"""One estimate from several: of an image as it is, mirrored and turned.

A network that learnt from photographs treats an image and its mirror image a little differently,
though photographs are about as likely either way. The mean of the estimates, each brought back,
errs less than they do on average (squared error is convex). Known as self-ensemble (Timofte, Rothe
and Van Gool, "Seven ways to improve example-based single image super resolution", CVPR 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.noise_model import NoiseModel
from scalewise.places import Places

AnyNoise = NoiseModel | Tensor | float | None

COUNTS = (1, 2, 4, 8)
"""How many estimates a mean may be of: the sizes of groups of symmetries of the square."""


def averaged(denoise: Callable[..., Tensor], images: Tensor, count: int, *told: AnyNoise) -> Tensor:
    """The mean of the estimates of images as they are, mirrored and turned.

    One after the other, so that no more memory is needed than for one.

    Args:
        denoise: maps images (N, C, H, W), and (N, C, W, H), to images of the same shape, or of one
            that is as many times as large. What it is told of the noise must not depend on the
            place but through the image, or turn with it.
        images: shape (N, C, H, W).
        count: 1 as they are; 2 mirrored left to right, too; 4 upside down, too; 8 transposed, too.
        told: noise of the images, given to `denoise` after them, and turned with them.

    Returns:
        The mean, upright.

    Raises:
        UsageError: `count` is none of these.
    """
    check_average(count)
    return sum(estimates(denoise, images, count, *told), torch.zeros(())) / count


def estimates(
    denoise: Callable[..., Tensor], images: Tensor, count: int, *told: AnyNoise
) -> Iterator[Tensor]:
    """What the mean is of, one after the other, each turned back; as for `averaged`."""
    for number in range(count):
        there = (_turned_noise(noise, number) for noise in told)
        yield _back(denoise(_turned(images, number), *there), number)


def _turned_noise(noise: AnyNoise, number: int) -> AnyNoise:
    """The noise of images that are turned: places turn with them."""
    if not isinstance(noise, NoiseModel) or noise.places is None:
        return noise
    factors = _turned(torch.tensor(noise.places.factors, dtype=torch.float64)[None, None], number)
    return noise.model_copy(update={"places": Places.of(factors[0, 0])})


def check_average(count: int, besides: str = "") -> None:
    """Refuse other numbers than those of `COUNTS`, and means of what is asked for `besides`."""
    if isinstance(count, bool) or count not in COUNTS:
        raise UsageError(f"average must be 1 (off), 2, 4 or 8, found {count}")
    if count > 1 and besides:
        raise UsageError(
            f"average {count} is for the estimate of least error alone; {besides} are those of the "
            "picture as it is, so leave out one or the other"
        )


def price(count: int) -> list[str]:
    """What a mean of so many costs, as a note; none where it is of one."""
    return [] if count == 1 else [f"the mean of {count} estimates, for {count} times the work"]


def _turned(images: Tensor, number: int) -> Tensor:
    """One of the eight symmetries of the square: the bits say what is done."""
    turned = images.mT if number & 4 else images
    return turned.flip(_axes(number)).contiguous()


def _back(images: Tensor, number: int) -> Tensor:
    """The inverse."""
    back = images.flip(_axes(number))
    return back.mT if number & 4 else back


def _axes(number: int) -> list[int]:
    """Axes that are mirrored."""
    return [3] * (number & 1) + [2] * (number >> 1 & 1)
