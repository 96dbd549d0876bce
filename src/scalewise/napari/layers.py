"""Denoising the array of an image layer, plane by plane, in the unit and the type of the layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from scalewise import restore
from scalewise.errors import UsageError
from scalewise.images import Intensities, Picture
from scalewise.images.exposure import find_ranges
from scalewise.images.filling import filled
from scalewise.images.kinds import DEPTHS, Array, Depth
from scalewise.images.picture import to_tensor
from scalewise.networks.strips import watched
from scalewise.prior import MultiScalePrior

LOOKED_AT = 16
"""Planes, spread over a layer, that black and white are found in: memory may not hold all."""

_WIDER: dict[str, Depth] = {"int64": "int32", "uint64": "uint32"}


class Denoised(NamedTuple):
    """What became of a layer.

    Attributes:
        data: of the shape and the type of the layer.
        uncertainty: float32, standard deviation of every pixel in the unit of the layer, or None;
            of colours it is the root mean square, without the axis of colours.
        sigma: deviation of the noise of each plane, in the unit of the layer.
        notes: sentences on what was found, converted or left alone.

    Examples:
        >>> import numpy as np
        >>> from scalewise.napari.layers import Denoised
        >>> Denoised(np.zeros((8, 8)), None, sigma=(12.0,), notes=()).sigma
        (12.0,)
    """

    data: Array
    uncertainty: Array | None
    sigma: tuple[float, ...]
    notes: tuple[str, ...]


class Stopped(Exception):
    """Denoising was stopped from outside."""


@dataclass(frozen=True)
class Layout:
    """How the planes of a layer lie in its array.

    Attributes:
        leading: sizes of the axes before height and width.
        size: height and width.
        colours: 3 for RGB, 4 for RGB and alpha, 0 for gray.
        channel_axis: which of the leading axes counts channels, each with a range of its own.
    """

    leading: tuple[int, ...]
    size: tuple[int, int]
    colours: int = 0
    channel_axis: int | None = None

    @classmethod
    def of(cls, data: Any, rgb: bool, channel_axis: int | None) -> Layout:
        """The layout of an array, or a sentence that says why it has none.

        Raises:
            UsageError: it has too few axes, no pixels, or no colours where `rgb` says so; or there
                is no such axis of channels.
        """
        shape = tuple(int(side) for side in data.shape)
        colours = shape[-1] if rgb and shape else 0
        if rgb and colours not in (3, 4):
            raise UsageError(f"a layer of colours must end in 3 or 4 of them, found shape {shape}")
        plain = shape[:-1] if rgb else shape
        if len(plain) < 2 or 0 in plain:
            raise UsageError(f"a layer must have height and width, found shape {shape}")
        leading = plain[:-2]
        if channel_axis is not None and not 0 <= channel_axis < len(leading):
            raise UsageError(
                f"the axis of channels must be one of the {len(leading)} before height and width, "
                f"counted from 0, found {channel_axis}"
            )
        return cls(leading, (plain[-2], plain[-1]), colours, channel_axis)

    @property
    def planes(self) -> int:
        """How many planes there are."""
        return math.prod(self.leading)

    def places(self) -> Iterator[tuple[int, ...]]:
        """Index of each plane."""
        return np.ndindex(*self.leading)

    def channel(self, place: tuple[int, ...]) -> int:
        """Number of the channel of a plane; 0 where there are none."""
        return 0 if self.channel_axis is None else place[self.channel_axis]

    def read(self, data: Any, place: tuple[int, ...]) -> Array:
        """One plane (H, W, C) of an array, or of something lazy that gives arrays."""
        plane = np.asarray(data[place])
        return plane.reshape(*self.size, self.colours or 1)


def denoise_layer(
    data: Any,
    prior: MultiScalePrior,
    *,
    rgb: bool = False,
    channel_axis: int | None = None,
    noise: float | None = None,
    uncertainty: bool = False,
) -> Denoised:
    """Denoise the array of a layer, plane by plane.

    Args:
        data: shape (..., Y, X), or (..., Y, X, 3 or 4) with `rgb`; integers or floats, a NumPy
            array or what gives one plane by plane, such as a Dask or Zarr array.
        prior: of any number of channels.
        rgb: whether the last axis holds colours, and alpha if there are 4.
        channel_axis: which of the leading axes counts channels, each gray with a range of its own;
            None for planes of one kind, as those of a stack or a film.
        noise: standard deviation of white noise in the unit of the layer; None to estimate what
            the noise of each plane is like.
        uncertainty: whether to tell the standard deviation of every pixel too.

    Returns:
        The denoised array and what was found. Integers are rounded and clipped to their type; NaN
        and infinite values, and alpha, stay as they are.

    Raises:
        UsageError: the array or the noise cannot be.

    Examples:
        >>> import numpy as np
        >>> from scalewise.napari.layers import denoise_layer
        >>> film = np.random.default_rng(0).integers(90, 110, (2, 32, 32)).astype(np.uint16)
        >>> denoised = denoise_layer(film, scalewise.load("photos"), noise=6.0)
        >>> denoised.data.shape, denoised.data.dtype, bool(denoised.data.std() < film.std())
        ((2, 32, 32), dtype('uint16'), True)
    """
    work = denoising(
        data, prior, rgb=rgb, channel_axis=channel_axis, noise=noise, uncertainty=uncertainty
    )
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value


def denoising(
    data: Any,
    prior: MultiScalePrior,
    *,
    rgb: bool = False,
    channel_axis: int | None = None,
    noise: float | None = None,
    uncertainty: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[tuple[int, int], None, Denoised]:
    """The same in steps: yields (planes done, planes in all) after every plane.

    Args:
        data: as for `denoise_layer`, and so are the others.
        prior: that denoises.
        rgb: whether there are colours.
        channel_axis: of channels.
        noise: deviation.
        uncertainty: whether to tell it.
        stop: asked between the strips of a plane, on the CPU; true ends the work.

    Raises:
        UsageError: the array or the noise cannot be.
        Stopped: `stop` said so.
    """
    layout = Layout.of(data, rgb, channel_axis)
    depth = _depth(np.dtype(data.dtype))
    if noise is not None and not 0 <= noise < math.inf:
        raise UsageError(f"noise must be 0 or more, in the unit of the layer, found {noise}")
    ranges = _ranges(data, layout, depth)
    shape = (*layout.leading, *layout.size)
    clean = np.empty((*shape, layout.colours) if rgb else shape, data.dtype)
    deviation = np.empty(shape, np.float32) if uncertainty else None
    sigmas, notes = [], _range_notes(ranges, depth)

    def check(pixels: int) -> None:
        if stop():
            raise Stopped

    for done, place in enumerate(layout.places(), start=1):
        values, intensities = layout.read(data, place), ranges[layout.channel(place)]
        black, white = intensities.at(0)
        picture, lost = _picture(values, depth, intensities)
        with watched(check):
            result = restore.denoise(
                picture,
                prior,
                sigma=None if noise is None else noise / (white - black),
                uncertainty=uncertainty,
            )
        found = _stored(result.picture, values)
        found[lost] = values[..., : found.shape[-1]][lost]
        clean[place] = _joined(found, values).reshape(clean[place].shape)
        if deviation is not None and result.deviation is not None:
            told = result.deviation.intensities.stored(result.deviation.pixels)[0]
            deviation[place] = np.where(lost, np.nan, told.square().mean(0).sqrt().numpy())
        sigmas.append(result.sigma[0] * (white - black))
        notes += _in_words(result.notes)
        yield done, layout.planes
    return Denoised(clean, deviation, tuple(sigmas), tuple(dict.fromkeys(notes)))


def _depth(dtype: np.dtype[Any]) -> Depth:
    """The type of an array as pictures know it."""
    name = _WIDER.get(dtype.name, dtype.name)
    for depth in DEPTHS:
        if name == depth:
            return depth
    raise UsageError(
        f"a layer must hold integers or floats of at most 64 bits, found {dtype.name}; convert it "
        "first"
    )


def _ranges(data: Any, layout: Layout, depth: Depth) -> dict[int, Intensities]:
    """Black and white of each channel, found as in files."""
    places: dict[int, list[tuple[int, ...]]] = {}
    for place in layout.places():
        places.setdefault(layout.channel(place), []).append(place)
    found = {}
    for channel, where in places.items():
        count = min(len(where), LOOKED_AT)
        chosen = [where[round(k * (len(where) - 1) / max(1, count - 1))] for k in range(count)]
        planes = np.stack([layout.read(data, place) for place in chosen])
        colours, finite = planes[..., :3], None
        if planes.dtype.kind == "f":
            finite = np.isfinite(colours).all(axis=-1)
            colours = np.where(finite[..., None], colours, 0)
        visible = None if planes.shape[-1] < 4 else planes[..., 3] > 0
        if finite is not None and not finite.all():
            visible = finite if visible is None else visible & finite
        found[channel], _ = find_ranges(
            colours, depth, channels=(0,) * len(planes), visible=visible
        )
    return found


def _range_notes(ranges: dict[int, Intensities], depth: Depth) -> list[str]:
    """Which range was taken for black to white, where the type does not say it."""
    told = []
    for channel, intensities in ranges.items():
        if intensities.source == "found":
            which = f"channel {channel + 1}: " if len(ranges) > 1 else ""
            told.append(f"{which}{intensities} taken for black to white")
    return told


def _picture(values: Array, depth: Depth, intensities: Intensities) -> tuple[Picture, Array]:
    """A picture of one plane (H, W, C), and where (H, W) it holds no numbers."""
    colours = values[..., :3]
    lost = np.asarray(~np.isfinite(colours).all(axis=-1))
    pixels = to_tensor(np.where(lost[..., None], 0, colours)[None], intensities.at)
    missing = None
    if lost.any():
        missing = torch.from_numpy(lost)[None, None]
        pixels = filled(pixels, (~missing).to(pixels))
    alpha = None
    if values.shape[-1] == 4:
        top = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1
        alpha = to_tensor(values[None, ..., 3:], lambda _: (0.0, float(top))).clamp(0, 1)
    return Picture(pixels, alpha, depth=depth, intensities=intensities, missing=missing), lost


def _stored(picture: Picture, like: Array) -> Array:
    """Values (H, W, C) in the unit and the type of a layer; of gray models too, C colours."""
    values = picture.intensities.stored(picture.pixels.double())[0].permute(1, 2, 0).numpy()
    if like.dtype.kind in "iu":
        ends = np.iinfo(like.dtype)
        values = np.clip(np.rint(values), ends.min, ends.max)
    shape = (*like.shape[:2], min(3, like.shape[2]))
    return np.broadcast_to(values, shape).astype(like.dtype)


def _joined(colours: Array, values: Array) -> Array:
    """Denoised colours, and the alpha of the layer."""
    return np.concatenate([colours, values[..., 3:]], axis=-1) if values.shape[-1] == 4 else colours


def _in_words(notes: tuple[str, ...]) -> list[str]:
    """Notes without what is said in the options and the unit of the command line.

    That a gray layer was repeated for a model of colours is left out too: what comes back is gray.
    """
    unwanted = ("sigma ", "gray image converted")
    found = [note for note in notes if not note.startswith(unwanted)]
    for hint in ("; fix ", "; sigma "):
        found = [note.partition(hint)[0] for note in found]
    return found
