"""The orthogonal wavelet transform, one level at a time, and the only normalisation.

One level splits an image into a half-size low-pass image and three bands of details. The transform
is orthogonal up to the constant `GAIN`, chosen so that a low-pass image is again an image with the
intensities of the one it came from (for Haar: 2x2 means), and so that white noise of standard
deviation `sigma` in the image has `GAIN * sigma` in every band.

Source: Mallat, "A theory for multiresolution signal decomposition", IEEE TPAMI 1989; the
normalisation is that of Kadkhodaie et al., ICLR 2023, section 3.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from scalewise.errors import ScalewiseError

GAIN = 0.5
"""Gain of one level on the orthonormal transform; the noise of each band over that of the image."""


def split(image: Tensor, wavelet: str = "haar") -> tuple[Tensor, Tensor]:
    """Split an image into its low-pass image and its details: one level of the transform.

    Odd heights and widths are first extended by repeating the last row or column, and boundaries
    are periodic, so the result equals `GAIN * pywt.dwt2(image, wavelet, mode="periodization")`.

    Args:
        image: shape (N, C, H, W), any intensities, any H and W from 1.
        wavelet: name of an orthogonal wavelet in PyWavelets ("haar", "db2", "sym4", ...).

    Returns:
        `low` of shape (N, C, ceil(H/2), ceil(W/2)), an image again, and `details` of shape
        (N, 3C, ceil(H/2), ceil(W/2)): all horizontal bands, then vertical, then diagonal ones.

    Raises:
        ScalewiseError: the wavelet is unknown or not orthogonal.

    Examples:
        >>> from scalewise.wavelets import split
        >>> low, details = split(torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]]))
        >>> low.flatten(), details.flatten()  # the mean; horizontal, vertical and diagonal details
        (tensor([4.]), tensor([-2., -1.,  0.]))
    """
    even = _extend_to_even(image)
    if is_haar(wavelet):
        a, b = even[..., 0::2, 0::2], even[..., 0::2, 1::2]
        c, d = even[..., 1::2, 0::2], even[..., 1::2, 1::2]
        bands = (a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d)
        low, horizontal, vertical, diagonal = (GAIN / 2 * band for band in bands)
    else:
        smooth, rough = _analyse(even, -2, wavelet)
        low, vertical = (GAIN * band for band in _analyse(smooth, -1, wavelet))
        horizontal, diagonal = (GAIN * band for band in _analyse(rough, -1, wavelet))
    return low, torch.cat([horizontal, vertical, diagonal], dim=1)


def merge(
    low: Tensor, details: Tensor, wavelet: str = "haar", size: tuple[int, int] | None = None
) -> Tensor:
    """Rebuild an image from its low-pass image and its details: the inverse of `split`.

    Args:
        low: shape (N, C, h, w).
        details: shape (N, 3C, h, w).
        wavelet: the wavelet used in `split`.
        size: height and width of the image, needed where they are odd; (2h, 2w) by default.

    Returns:
        The image, of shape ``(N, C, *size)``.

    Examples:
        >>> from scalewise.wavelets import merge, split
        >>> image = torch.rand(1, 3, 5, 7)
        >>> torch.allclose(merge(*split(image, "db2"), "db2", size=(5, 7)), image, atol=1e-6)
        True
    """
    horizontal, vertical, diagonal = details.chunk(3, dim=1)
    if is_haar(wavelet):
        top, bottom = low + horizontal, low - horizontal
        left, right = vertical + diagonal, vertical - diagonal
        blocks = torch.stack([top + left, top - left, bottom + right, bottom - right], dim=2)
        even = torch.nn.functional.pixel_shuffle(blocks.flatten(1, 2), 2)
        scale = 1 / (2 * GAIN)
    else:
        smooth = _synthesise(low, vertical, -1, wavelet)
        rough = _synthesise(horizontal, diagonal, -1, wavelet)
        even = _synthesise(smooth, rough, -2, wavelet)
        scale = 1 / GAIN
    if scale != 1:
        even = scale * even
    return even if size is None else even[..., : size[0], : size[1]]


def decompose(image: Tensor, levels: int, wavelet: str = "haar") -> tuple[Tensor, list[Tensor]]:
    """Split an image `levels` times: the coarsest low-pass image and the details of each level.

    Args:
        image: shape (N, C, H, W).
        levels: number of levels J, from 0.
        wavelet: as in `split`.

    Returns:
        `x_J` and the list of details of levels 1 (finest) to J (coarsest).

    Examples:
        >>> from scalewise.wavelets import decompose
        >>> low, details = decompose(torch.rand(1, 3, 32, 48), levels=2)
        >>> low.shape, [tuple(bands.shape) for bands in details]
        (torch.Size([1, 3, 8, 12]), [(1, 9, 16, 24), (1, 9, 8, 12)])
    """
    details = []
    for _ in range(levels):
        image, detail = split(image, wavelet)
        details.append(detail)
    return image, details


def low_pass(image: Tensor, levels: int, wavelet: str = "haar") -> Tensor:
    """Return the low-pass image `x_J` after `levels` levels; for Haar the 2^J x 2^J means.

    Args:
        image: shape (N, C, H, W).
        levels: number of levels J, from 0.
        wavelet: as in `split`.

    Returns:
        Shape (N, C, ceil(H / 2^J), ceil(W / 2^J)), in the intensities of `image`.

    Examples:
        >>> from scalewise.wavelets import low_pass
        >>> image = torch.rand(1, 1, 8, 8)
        >>> torch.allclose(low_pass(image, 3).flatten(), image.mean())
        True
    """
    return decompose(image, levels, wavelet)[0]


def half(size: int, levels: int = 1) -> int:
    """Length of a side of `size` pixels after `levels` levels: halved and rounded up each time."""
    for _ in range(levels):
        size = (size + 1) // 2
    return size


def mirror_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Extend images below and to the right, by mirroring, to sides that `multiple` divides.

    The last pixel is not repeated, so white noise stays white within each 2x2 block. Any size
    from 1x1 can be extended.
    """
    for axis in (-2, -1):
        length = images.shape[axis]
        if length % multiple:
            places = mirrored_places(0, length + -length % multiple, length)
            images = images.index_select(axis, places.to(images.device))
    return images


def mirrored_places(start: int, stop: int, length: int) -> Tensor:
    """Which of `length` pixels stand at places from `start` on, where mirrored ones follow."""
    period = max(1, 2 * length - 2)
    places = torch.arange(start, stop) % period
    return torch.where(places < length, places, period - places)


def is_haar(wavelet: str) -> bool:
    """Tell whether a name means the Haar wavelet, whose filters never cross a block's border."""
    return wavelet in ("haar", "db1")


def _extend_to_even(image: Tensor) -> Tensor:
    for axis in (-2, -1):
        if image.shape[axis] % 2:
            last = image.narrow(axis, image.shape[axis] - 1, 1)
            image = torch.cat([image, last], dim=axis)
    return image


@cache
def filters(wavelet: str) -> dict[Literal["low", "high"], tuple[float, ...]]:
    """Orthonormal analysis filters of a wavelet, from PyWavelets.

    Raises:
        ScalewiseError: the wavelet is unknown or not orthogonal.

    Examples:
        >>> from scalewise.wavelets import filters
        >>> [round(tap, 4) for tap in filters("haar")["low"]]
        [0.7071, 0.7071]
    """
    import pywt

    if wavelet not in pywt.wavelist(kind="discrete"):
        raise ScalewiseError(
            f"wavelet {wavelet!r} is not known; take an orthogonal one that PyWavelets names, "
            "such as haar, db2, db4, sym4 or coif1"
        )
    bank = pywt.Wavelet(wavelet)
    taps = np.asarray(bank.dec_lo)
    shifts = [taps[2 * k :] @ taps[: len(taps) - 2 * k] for k in range(len(taps) // 2)]
    exact = abs(shifts[0] - 1) < 1e-8 and all(abs(shift) < 1e-8 for shift in shifts[1:])
    if not (bank.orthogonal and exact):  # dmey is named orthogonal but is cut short
        raise ScalewiseError(
            f"wavelet {wavelet!r} is not orthogonal; take one of the families haar, db, sym, coif"
        )
    return {"low": tuple(bank.dec_lo), "high": tuple(bank.dec_hi)}


def _analyse(signal: Tensor, axis: int, wavelet: str) -> tuple[Tensor, Tensor]:
    """Periodic convolution with both filters along an axis, then every second value."""
    bank = filters(wavelet)
    index = torch.arange(0, signal.shape[axis], 2, device=signal.device)
    shift = len(bank["low"]) // 2
    low = high = torch.zeros((), dtype=signal.dtype, device=signal.device)
    for k, (tap_low, tap_high) in enumerate(zip(bank["low"], bank["high"], strict=True)):
        shifted = signal.index_select(axis, (index + shift - k) % signal.shape[axis])
        low, high = low + tap_low * shifted, high + tap_high * shifted
    return low, high


def _synthesise(low: Tensor, high: Tensor, axis: int, wavelet: str) -> Tensor:
    """Adjoint of `_analyse`, which is its inverse because the wavelet is orthogonal."""
    bank = filters(wavelet)
    length = 2 * low.shape[axis]
    index = torch.arange(0, length, 2, device=low.device)
    shift = len(bank["low"]) // 2
    shape = list(low.shape)
    shape[axis] = length
    signal = torch.zeros(shape, dtype=low.dtype, device=low.device)
    for k, (tap_low, tap_high) in enumerate(zip(bank["low"], bank["high"], strict=True)):
        target = (index + shift - k) % length
        signal = signal.index_add(axis, target, tap_low * low + tap_high * high)
    return signal
