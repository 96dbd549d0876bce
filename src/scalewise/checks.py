"""What people pass to a prior, checked: each fault is told with how to mend it."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from scalewise.errors import UsageError

BRIGHTEST = 4.0
"""Mean size of intensities beyond which, less what noise adds, they are on another scale."""

TOP = 100.0
"""Largest intensity that is still taken for a highlight."""

ELSEWHERE = {"dask": "scalewise.blocks.lazy"}
"""Modules that denoise and enlarge arrays of other libraries, by these."""


def check_floats(array: Any, name: str, *, scale: str = "") -> None:
    """Check that something is a dense tensor of floats.

    Args:
        array: what was passed.
        name: of the argument.
        scale: of the values, for the sentence, such as " in [0, 1]".

    Raises:
        UsageError: it is no tensor, has no values, or is of another type.
    """
    if not isinstance(array, Tensor):
        raise UsageError(
            f"{name} must be a tensor of floats{scale}, found {type(array).__name__}; "
            "torch.as_tensor makes one"
        )
    if array.layout != torch.strided or array.is_meta:
        found = "on the meta device, without values" if array.is_meta else str(array.layout)
        raise UsageError(f"{name} must be a dense tensor with values, found one {found}")
    if not array.is_floating_point():
        top = 1 if array.dtype == torch.bool else _top(array.dtype)
        raise UsageError(
            f"{name} must hold floats{scale}, found {str(array.dtype).removeprefix('torch.')}; "
            + (f"convert them: {name}.float() / {top}" if top else "take their real part first")
        )


@dataclass(frozen=True)
class Shape:
    """Which arrays (N, C, H, W) an operator takes, and what of it says so.

    Args:
        size: height and width; None where any will do.
        owner: what has that size, to go before it in a sentence, such as "the mask is".
        channels: C; None where any will do.
    """

    size: tuple[int, int] | None = None
    owner: str = ""
    channels: int | None = None

    def check(self, array: Any, name: str) -> None:
        """Check an array.

        Args:
            array: what was passed.
            name: what it is, such as "image".

        Raises:
            UsageError: it is no tensor of floats, or of another shape.
        """
        check_floats(array, name)
        shape = tuple(array.shape)
        if array.ndim != 4 or 0 in shape or self.channels not in (None, shape[1]):
            wanted = "C" if self.channels is None else self.channels
            raise UsageError(
                f"{name} must have shape (N, {wanted}, H, W), each from 1, found {shape}"
            )
        if self.size not in (None, shape[2:]):
            raise UsageError(
                f"{self.owner} {self.size[1]}x{self.size[0]}, the {name} {shape[3]}x{shape[2]}; "
                "they must be the same size"
            )


def check_images(images: Any, name: str, channels: int, *, sigma: float = 0.0) -> None:
    """Check that something is a batch of images with intensities in about [0, 1].

    Args:
        images: what was passed; floats of shape (N, C, H, W) are wanted.
        name: of the argument.
        channels: C.
        sigma: standard deviation of the noise that is said to be in them.

    Raises:
        UsageError: it is no tensor, of another type, shape or scale, or not finite.
    """
    check_floats(images, name, scale=" in [0, 1]")
    if images.ndim != 4 or images.shape[1] != channels or 0 in images.shape:
        raise UsageError(
            f"{name} must have shape (N, {channels}, H, W) with H and W from 1, found "
            f"{tuple(images.shape)}; scalewise.images.to_channels converts gray and RGB"
        )
    values = images.detach().abs().float()
    largest = float(values.max())
    if not math.isfinite(largest) or bool(images.float().isnan().any()):
        raise UsageError(f"{name} holds NaN or infinite values; replace them first")
    if float(values.mean()) > BRIGHTEST + 2 * sigma or largest > TOP + 10 * sigma:
        divisor = next((top for top in (255, 65535) if largest <= 1.5 * top), largest)
        raise UsageError(
            f"{name} must be in [0, 1] intensities, found values to {largest:.4g}; "
            f"divide by {divisor:.6g}"
        )


def check_sigma(sigma: Any, noisy: Tensor, *, least: float = 0.0) -> float:
    """Check a noise level, and give the largest one.

    Args:
        sigma: what was passed: a number, or a tensor of shape (), (N,), or a map that broadcasts
            over images, (N or 1, C or 1, any height, any width).
        noisy: the images that it is of, shape (N, C, H, W).
        least: 0 where no noise may be meant; what must be exceeded otherwise is just above it.

    Raises:
        UsageError: it is negative or not finite, of another length, or on another scale.
    """
    try:
        levels = torch.as_tensor(sigma, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"sigma must be a number or one per image, found {type(sigma).__name__}"
        ) from error
    of_map = levels.ndim == 4 and all(
        found in (1, wanted) for found, wanted in zip(levels.shape, noisy.shape[:2], strict=False)
    )
    if levels.numel() != 1 and tuple(levels.shape) != (len(noisy),) and not of_map:
        raise UsageError(
            f"sigma must be a number or of shape ({len(noisy)},), one per image, found "
            f"{tuple(levels.shape)}"
        )
    smallest, largest = float(levels.min()), float(levels.max())
    if not (smallest >= least and math.isfinite(largest)):
        wanted = "0 or more" if least == 0 else "above 0"
        raise UsageError(f"sigma must be finite and {wanted}, found {smallest:g}")
    if largest >= 4 and largest > 10 * float(noisy.detach().float().std(correction=0)):
        raise UsageError(
            f"sigma is in the units of the images, found {largest:g} for images in [0, 1]; "
            f"{largest:g} of 255 is {largest / 255:.4g}"
        )
    return largest


def whole_number(value: Any, name: str, *, least: int | None = 1) -> int:
    """An integer of any kind (NumPy's too) as Python's, or a sentence.

    Raises:
        UsageError: it is no integer, or below `least`.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise UsageError(f"{name} must be an integer, found {value!r}") from error
    if least is not None and number < least:
        raise UsageError(f"{name} must be {least} or more, found {number}")
    return number


def check_seed(seed: Any) -> int:
    """A seed, from 0 to 2^63 - 1.

    Raises:
        UsageError: it is another thing.
    """
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**63:
        raise UsageError(f"seed must be an integer from 0 to 2^63 - 1, found {seed!r}")
    return number


def is_elsewhere(array: object) -> bool:
    """Whether an array is none of PyTorch."""
    return not isinstance(array, Tensor)


def lazy(array: object, name: str) -> Any:
    """The module that computes with arrays of another library than PyTorch.

    Raises:
        UsageError: nothing does with these.
    """
    library = type(array).__module__.partition(".")[0]
    if library not in ELSEWHERE:
        raise UsageError(
            f"{name} must be a tensor of PyTorch or an array of Dask, found "
            f"{type(array).__name__}; scalewise.restore takes NumPy arrays and pictures"
        )
    return import_module(ELSEWHERE[library])


def _top(dtype: torch.dtype) -> int:
    """The largest value of an integer type; 0 of one that is not real."""
    return 0 if dtype.is_complex else int(torch.iinfo(dtype).max)
