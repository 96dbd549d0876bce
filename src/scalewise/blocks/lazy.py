"""Arrays of Dask: denoised and enlarged lazily, block by block, on any scheduler.

`prior.denoise(array)` of a Dask array comes here. A block of the result depends on windows of the
noisy image and of the estimate of the next coarser level, so a graph has one task for each block of
each level; the low-pass image is computed in one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scalewise import windows
from scalewise.blocks.denoising import overall_of
from scalewise.blocks.steps import (
    DenoiseLevel,
    DenoiseLow,
    Growth,
    RefineLevel,
    check_model,
    reach,
    reach_of_draws,
)
from scalewise.checks import check_seed, whole_number
from scalewise.errors import UsageError
from scalewise.estimation import estimate_sigma
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.rasters.raster import tiles_of
from scalewise.samplers import SAMPLERS, Sampler, few_steps
from scalewise.scales import Noise
from scalewise.wavelets import low_pass, mirrored_places
from scalewise.windows import Window

SIDE = 1024
"""Side of the blocks of a result, where those of the array are larger or of several sizes."""


class Part(NamedTuple):
    """A window of an image that is in memory, as `blocks.steps` read images."""

    values: Any
    window: Window

    def read(self, window: Window) -> Tensor:
        """Pixels of a smaller window, shape (1, C, h, w)."""
        values = np.ascontiguousarray(self.values[window.inside(self.window).place])
        return torch.from_numpy(values).float()


def denoise(prior: MultiScalePrior, noisy: Any, sigma: Noise | None = None) -> Any:
    """`E[x | noisy]` of a Dask array, as a Dask array.

    Args:
        prior: of as many channels.
        noisy: intensities, shape (N, C, H, W), of any chunks.
        sigma: deviation of white noise, one number for all; a `NoiseModel`; or None to estimate
            that of white noise, from tiles all over each image.

    Raises:
        UsageError: the array has another shape, or the noise is told in another way.

    Examples:
        >>> import dask.array
        >>> noisy = dask.array.random.random((1, 3, 64, 64), chunks=(1, 3, 32, 32))
        >>> clean = scalewise.load("photos").denoise(noisy.astype("float32"), 0.1)
        >>> clean.shape, clean.compute().dtype
        ((1, 3, 64, 64), dtype('float32'))
    """
    import dask.array as da

    check_model(prior)
    _check(prior, noisy)
    if not (sigma is None or isinstance(sigma, NoiseModel | float | int)):
        raise UsageError("sigma of a Dask array must be a number, a NoiseModel, or None")
    images = [_denoised(prior, noisy[index : index + 1], sigma) for index in range(len(noisy))]
    return da.concatenate(images, axis=0)


def upscale(
    prior: MultiScalePrior,
    small: Any,
    factor: int = 2,
    *,
    samples: int = 1,
    seed: int = 0,
    sampler: Sampler = few_steps,
) -> Any:
    """Sharp images whose low-pass images are those of a Dask array; as `prior.upscale`.

    Args:
        prior: of as many channels.
        small: intensities, shape (N, C, H, W), of any chunks.
        factor: 2, 4, ...
        samples: how many to draw of each image.
        seed: sample `i` of a seed is the same whatever else is drawn.
        sampler: `few_steps`.

    Returns:
        Shape (samples, N, C, factor * H, factor * W).

    Raises:
        UsageError: as for `prior.upscale`; the sampler looks at all of an image.

    Examples:
        >>> import dask.array
        >>> small = dask.array.full((1, 3, 16, 16), 0.5, dtype="float32")
        >>> scalewise.load("photos").upscale(small, 2).shape
        (1, 1, 3, 32, 32)
    """
    import dask.array as da

    names = [name for name, known in SAMPLERS.items() if known is sampler]
    if not names:
        raise UsageError("sampler of a Dask array must be few_steps or another of SAMPLERS")
    count, seed = whole_number(samples, "samples"), check_seed(seed)
    drawn = [_enlarged(prior, small, factor, names[0], sample, seed) for sample in range(count)]
    return da.stack(drawn)


def upscale_mean(prior: MultiScalePrior, small: Any, factor: int = 2) -> Any:
    """The least-squares estimate of sharp images, of a Dask array; as `prior.upscale_mean`.

    Examples:
        >>> import dask.array
        >>> small = dask.array.full((1, 3, 16, 16), 0.5, dtype="float32")
        >>> scalewise.load("photos").upscale_mean(small, 2).shape
        (1, 3, 32, 32)
    """
    return _enlarged(prior, small, factor, None, 0, 0)


def _check(prior: MultiScalePrior, images: Any) -> None:
    if images.ndim != 4 or images.shape[1] != prior.channels or 0 in images.shape:
        raise UsageError(
            f"a Dask array must have shape (N, {prior.channels}, H, W) for this model, found "
            f"{images.shape}"
        )


def _side(images: Any, multiple: int) -> int:
    """Side of the blocks of a result: that of the array's chunks, if it may be."""
    sides = {side for axis in (-2, -1) for side in images.chunks[axis][:-1]}
    if len(sides) == 1 and max(sides) <= 2 * SIDE:
        (side,) = sides
        return side + -side % multiple
    return SIDE


def _denoised(prior: MultiScalePrior, noisy: Any, sigma: Any) -> Any:
    """One image (1, C, H, W)."""
    import dask
    import dask.array as da

    size = (noisy.shape[-2], noisy.shape[-1])
    side = _side(noisy, 1 << prior.levels)
    model = dask.delayed(prior, pure=False)
    noise: Any = sigma
    if sigma is None and prior.noise_conditional:
        tiles = da.block([[noisy[tile.place] for tile in row] for row in tiles_of(size)])
        noise = dask.delayed(_estimated)(model, tiles)
    elif isinstance(sigma, float | int):
        noise = NoiseModel.white(float(sigma))
    for axis, length in ((-2, size[0]), (-1, size[1])):
        places = mirrored_places(0, length + -length % (1 << prior.levels), length)
        if len(places) > length:
            noisy = da.take(noisy, places.numpy(), axis=axis)
    pyramid = [noisy.astype(np.float32)]
    for _ in range(prior.levels):
        finer = pyramid[-1]
        shape = (1, finer.shape[1], finer.shape[2] // 2, finer.shape[3] // 2)
        pyramid.append(_blocks(_reduced, shape, side, [(finer, 2, 1, 0)]))
    low_size = pyramid[-1].shape[-2:]
    margin = reach(prior.low)
    far = max(low_size) if margin is None else margin
    clean = _blocks(
        _clean_low,
        pyramid[-1].shape,
        side,
        [(pyramid[-1], 1, 1, far + 1)],
        model,
        noise,
        low_size,
        margin,
    )
    for level in range(prior.levels, 0, -1):
        size_low = pyramid[level].shape[-2:]
        around = (reach(prior.conditionals[level - 1]) or 0) + (4 << prior.levels - level)
        overall = None
        if isinstance(noise, NoiseModel) and noise.varies:
            overall = dask.delayed(_overall)(_growth(pyramid[level], side, noise), noise, level)
        clean = _blocks(
            _clean,
            pyramid[level - 1].shape,
            side,
            [(pyramid[level - 1], 1, 1, 2 * around), (clean, 1, 2, around)],
            model,
            noise,
            level,
            size_low,
            reach(prior.conditionals[level - 1]) or 0,
            overall,
        )
    return clean[..., : size[0], : size[1]]


def _enlarged(
    prior: MultiScalePrior, small: Any, factor: int, sampler: str | None, sample: int, seed: int
) -> Any:
    """Images (N, C, H, W), enlarged."""
    import dask
    import dask.array as da

    check_model(prior)
    prior.need_drawing()
    _check(prior, small)
    side, model = _side(small, 2), dask.delayed(prior, pure=False)
    images = []
    for index in range(len(small)):
        low = small[index : index + 1].astype(np.float32)
        for level in range(prior.check_factor(factor), 0, -1):
            network = prior.conditionals[level - 1]
            margin = reach(network) if sampler is None else reach_of_draws(network, sampler)
            if margin is None or (sampler is None and not network.noise_conditional):
                raise UsageError("this way of enlarging looks at all of an image at every step")
            shape = (1, low.shape[1], 2 * low.shape[2], 2 * low.shape[3])
            size = low.shape[-2:]
            inputs = [(low, 1, 2, margin)]
            low = _blocks(
                _sharp, shape, side, inputs, model, level, size, margin, sampler, sample, seed
            )
        images.append(low)
    return da.concatenate(images, axis=0)


def _blocks(
    function: Any,
    shape: tuple[int, ...],
    side: int,
    inputs: list[tuple[Any, int, int, int]],
    *facts: Any,
) -> Any:
    """An array of blocks, each of windows of other arrays.

    Args:
        function: gives the values of a block, told the parts, its window and what else there is.
        shape: of the array, (1, C, H, W).
        side: of its blocks.
        inputs: arrays, each with how many of its pixels there are for so many of the result's, and
            its margin.
        facts: what else the function is told.
    """
    import dask
    import dask.array as da

    chunks = [_Chunks(array) for array, *_ in inputs]
    rows: list[list[Any]] = []
    for window in windows.windows((shape[-2], shape[-1]), side):
        parts = []
        for (array, more, fewer, margin), held in zip(inputs, chunks, strict=True):
            place = window.aligned(fewer).over(fewer).times(more)
            parts.append(held.around(place.grown(margin, array.shape[-2:])))
        values = [chunk for chunk, _ in parts]
        told = partial(_computed, function, window, [place for _, place in parts])
        found = dask.delayed(told, pure=False)(values, *facts)
        block = (1, shape[1], *window.size)
        empty = np.empty((0, 0, 0, 0), np.float32)
        if window.left == 0:
            rows.append([])
        rows[-1].append(da.from_delayed(found, block, np.float32, meta=empty))
    return da.block(rows)


class _Chunks:
    """The chunks of an array, of which a block is given those that it needs as they are.

    Slices of them would be taken as soon as a chunk is there, and held until they are needed.
    """

    def __init__(self, array: Any) -> None:
        array = array.rechunk({0: -1, 1: -1})
        self._held = array.to_delayed(optimize_graph=False)[0, 0]
        self._ends = [np.cumsum((0, *sides)).tolist() for sides in array.chunks[-2:]]

    def around(self, window: Window) -> tuple[list[list[Any]], Window]:
        """The chunks that a window meets, in rows, and the window that they fill."""
        rows, columns = (
            range(bisect_right(ends, start) - 1, bisect_left(ends, stop))
            for ends, start, stop in zip(self._ends, window[0::2], window[1::2], strict=True)
        )
        tops, lefts = self._ends
        filled = Window(
            tops[rows.start], tops[rows.stop], lefts[columns.start], lefts[columns.stop]
        )
        return [[self._held[row, column] for column in columns] for row in rows], filled


def _computed(
    function: Any, window: Window, places: list[Window], values: list[Any], *facts: Any
) -> Any:
    parts = [Part(np.block(value), place) for value, place in zip(values, places, strict=True)]
    with torch.no_grad():
        return function(parts, window, *facts)


class _Block:
    """Where a step writes its only block."""

    def __init__(self, window: Window) -> None:
        self.window, self.values = window, np.empty(0, np.float32)

    def __setitem__(self, place: Any, values: Any) -> None:
        self.values = np.asarray(values, np.float32)[None]


def _growth(pixels: Any, side: int, noise: NoiseModel) -> Any:
    """Sums over blocks of what a curve makes of noise, and how many values there are."""
    import dask.array as da

    size = pixels.shape[-2:]
    found = []
    for window in windows.windows(size, side):
        place = window.grown(1, size)
        part = pixels[place.place].rechunk(-1)
        found.append(
            da.map_blocks(
                _grown,
                part,
                window=window,
                place=place,
                size=size,
                noise=noise,
                chunks=((pixels.shape[1] + 1,),),
                drop_axis=[0, 1, 2],
                dtype=np.float64,
                meta=np.empty(0),
            )
        )
    return da.stack(found).sum(axis=0)


def _grown(
    values: Any, window: Window, place: Window, size: tuple[int, int], noise: NoiseModel
) -> Any:
    return np.array(Growth(Part(values, place), size, noise).sums(window))


def _reduced(parts: list[Part], window: Window) -> Any:
    return low_pass(parts[0].read(window.times(2)), 1).numpy()


def _clean_low(
    parts: list[Part],
    window: Window,
    prior: MultiScalePrior,
    noise: NoiseModel | None,
    size: tuple[int, int],
    margin: int | None,
) -> Any:
    target = _Block(window)
    DenoiseLow(parts[0], size, noise, margin, target)(prior, window)
    return target.values


def _clean(
    parts: list[Part],
    window: Window,
    prior: MultiScalePrior,
    noise: NoiseModel | None,
    level: int,
    size: tuple[int, int],
    margin: int,
    overall: float | None,
) -> Any:
    target = _Block(window)
    DenoiseLevel(level, parts[0], parts[1], size, noise, overall, margin, target)(prior, window)
    return target.values


def _sharp(
    parts: list[Part],
    window: Window,
    prior: MultiScalePrior,
    level: int,
    size: tuple[int, int],
    margin: int,
    sampler: str | None,
    sample: int,
    seed: int,
) -> Any:
    target = _Block(window)
    RefineLevel(level, parts[0], size, margin, sampler, sample, seed, target)(prior, window)
    return target.values


def _estimated(prior: MultiScalePrior, looked: Any) -> NoiseModel:
    """White noise, as `prior.denoise` estimates it."""
    noisy = torch.from_numpy(np.ascontiguousarray(looked)).float()
    return NoiseModel.white(float(estimate_sigma(noisy, estimator=prior.estimator)))


def _overall(sums: Any, noise: NoiseModel, level: int) -> float:
    """Root mean square of the noise of the details of a level, over all of the image."""
    return overall_of([sums], noise, level)
