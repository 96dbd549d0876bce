"""One level of the factorisation on disk: blocks that depend on bounded windows of other arrays.

Each step is called with a prior and a window of its output, reads what that depends on, and writes
that block and nothing else. So blocks can be computed in any order, on any machine, and again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise import windows
from scalewise.blocks.run import DamagedBlock
from scalewise.errors import UsageError
from scalewise.images import Picture, to_channels
from scalewise.images.writing import stored_values
from scalewise.networks import Network, probe_receptive_field, unit_of
from scalewise.networks.base import BandSigma
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.rasters import Layout, Raster
from scalewise.restore.finding import GRAY_GAIN
from scalewise.restore.upscaling import fit_to_type
from scalewise.samplers import SAMPLERS, Multistep
from scalewise.score import Sigma
from scalewise.stabilise import Stabiliser
from scalewise.wavelets import GAIN, is_haar, low_pass
from scalewise.windows import Window

CUBIC = 3
"""Pixels that bicubic interpolation needs around a window, at least."""


class Pixels(Protocol):
    """An image that is read in windows."""

    def read(self, window: Window) -> Tensor:
        """Pixels of a window, shape (1, C, h, w), float32."""


class Stored(NamedTuple):
    """An array (C, H, W) of float32, in memory or on disk."""

    array: Any

    def read(self, window: Window) -> Tensor:
        """Pixels of a window.

        Raises:
            DamagedBlock: a block on disk is damaged.
        """
        try:
            values = np.array(self.array[window.place], np.float32)
        except Exception as error:  # codecs raise a dozen types
            raise DamagedBlock(Path(self.array.store.root).name) from error
        return torch.from_numpy(values)[None]


class Source(NamedTuple):
    """Intensities of one plane of a raster, in the channels of a prior, with even noise.

    Attributes:
        raster: what is read.
        plane: number of the plane.
        channels: of the prior.
        noise: that is made even; None where it is as it is.
    """

    raster: Raster
    plane: int
    channels: int
    noise: NoiseModel | None = None

    def read(self, window: Window) -> Tensor:
        """Pixels of a window, mirrored beyond the end."""
        pixels = to_channels(self.raster.pixels(self.plane, window), self.channels)[0][None]
        return pixels if self.noise is None else stabiliser(self.noise).forward(pixels)


@lru_cache(maxsize=4)
def stabiliser(noise: NoiseModel) -> Stabiliser:
    """What makes noise even; its tables take a moment."""
    return Stabiliser(noise)


@dataclass(frozen=True)
class Finish:
    """The last step of a plane: from float intensities to stored values of the result.

    Args:
        result: array of the result.
        layout: of its axes.
        plane: number of the plane.
        picture: whose depth and range the values have.
        noise: that was made even before; None where it was not.
        source: the plane as it was, where something of it stays: alpha, what a mask leaves.
        mask: where what was found counts, of the size of the result.
        strength: share of it that counts, for networks that are told no noise.
        factor: of an enlargement, whose blocks have the means of the source.
    """

    result: Any
    layout: Layout
    plane: int
    picture: Picture
    noise: NoiseModel | None = None
    source: Source | None = None
    mask: Raster | None = None
    strength: float = 1.0
    factor: int = 1

    def __call__(self, found: Tensor, window: Window) -> None:
        """Write what was found (1, C, h, w), as far as the image goes."""
        part = window.common(Window(0, self.layout.size[0], 0, self.layout.size[1]))
        found = found[part.inside(window).place]
        if self.noise is not None:
            found = stabiliser(self.noise).inverse(found)
        channels = self.picture.pixels.shape[1]
        found = to_channels(found, channels)[0]
        if self.factor > 1 and self.source is not None:
            small = to_channels(self.source.read(part.over(self.factor)), channels)[0]
            found = fit_to_type(found, small, self.picture, self.factor)
        elif self.source is not None and (self.mask is not None or self.strength != 1):
            found = self._partly(found, part, channels)
        self.layout.put(
            self.result, self.plane, part, values_of(found, self.picture, self._alpha(part))[0]
        )

    def keep(self, window: Window) -> None:
        """Write what the source has there."""
        assert self.source is not None
        part = window.common(Window(0, self.layout.size[0], 0, self.layout.size[1]))
        values = kept(self.source.raster, self.plane, part, self.picture)
        self.layout.put(self.result, self.plane, part, values)

    def _alpha(self, part: Window) -> Tensor | None:
        """Alpha of the source; enlarged as that of whole images is."""
        if self.picture.alpha is None or self.source is None:
            return None
        raster, around = self.source.raster, part.over(self.factor)
        if self.factor == 1:
            return raster.alpha(self.plane, part)[None]
        outer = around.grown(CUBIC, raster.size)
        alpha = raster.alpha(self.plane, outer)[None].float()
        large = F.interpolate(alpha, scale_factor=self.factor, mode="bicubic").clamp(0, 1)
        return large[part.inside(outer.times(self.factor)).place]

    def _partly(self, found: Tensor, part: Window, channels: int) -> Tensor:
        assert self.source is not None
        before = to_channels(self.source.raster.pixels(self.plane, part), channels)[0][None]
        share = torch.full((1, 1, 1, 1), self.strength)
        if self.mask is not None:
            share = share * share_of(self.mask, part)
        return torch.where(share > 0, torch.lerp(before, found, share), before)


def share_of(mask: Raster, window: Window) -> Tensor:
    """A window (h, w) of a mask, from 0 to 1."""
    return to_channels(mask.pixels(0, window), 1)[0][0]


def values_of(found: Tensor, picture: Picture, alpha: Tensor | None = None) -> Any:
    """Stored values (1, h, w, S) of intensities (1, C, h, w), and of alpha (1, 1, h, w)."""
    return stored_values(
        replace(picture, pixels=found.float(), alpha=alpha, missing=None), Path("the result")
    )


def shown(picture: Picture, prior: MultiScalePrior) -> Picture:
    """What a prior makes of a picture: a gray one, if it is of gray ones."""
    return replace(picture, pixels=picture.pixels[:, :1]) if prior.channels == 1 else picture


def kept(raster: Raster, plane: int, window: Window, picture: Picture) -> Any:
    """Values (h, w, S) of a window as they are, in the type and range of a result."""
    was, channels = raster.picture, picture.pixels.shape[1]
    same = (was.depth, was.intensities) == (picture.depth, picture.intensities)
    if same and channels == raster.channels:
        samples = channels + (picture.alpha is not None)
        return raster.stored(plane, window)[..., :samples]
    found = to_channels(raster.pixels(plane, window), channels)[0][None]
    alpha = None if picture.alpha is None else raster.alpha(plane, window)[None]
    return values_of(found, picture, alpha)[0]


@dataclass(frozen=True)
class Leave:
    """What is not asked for: of a result as the source has it, of what comes between nothing."""

    target: Any

    def __call__(self, prior: MultiScalePrior, window: Window) -> None:
        """Fill one block."""
        if isinstance(self.target, Finish):
            self.target.keep(window)
        else:
            self.target[window.place] = 0


@dataclass(frozen=True)
class Reduce:
    """`x_j` of `x_{j-1}`, for the wavelet of Haar."""

    source: Pixels
    target: Any

    def __call__(self, prior: MultiScalePrior, window: Window) -> None:
        """Compute one block."""
        self.target[window.place] = low_pass(self.source.read(window.times(2)), 1)[0].numpy()


@dataclass(frozen=True)
class Growth:
    """Mean square of what curve and places make of noise, over a block of `x_j`."""

    pixels: Pixels
    size: tuple[int, int]
    noise: NoiseModel

    def __call__(self, prior: MultiScalePrior, window: Window) -> list[float]:
        """As `sums`."""
        return self.sums(window)

    def sums(self, window: Window) -> list[float]:
        """The sum of each channel, and the number of values."""
        outer = window.grown(1, self.size)
        pixels = self.pixels.read(outer)
        factors = self.noise.part(outer, self.size).factor(pixels)[window.inside(outer).place]
        sums = factors.expand(*pixels.shape[:2], -1, -1).double().square().sum(dim=(0, 2, 3))
        return [*sums.tolist(), factors[0, 0].numel()]


@dataclass(frozen=True)
class DenoiseLevel:
    """`E[x_{j-1} | noisy]` of the noisy `x_{j-1}` and the estimate of `x_j`.

    Args:
        level: j.
        noisy: `x_{j-1}`.
        low: estimate of `x_j`.
        size: height and width of `x_j`.
        noise: of the image; None where networks are told none.
        overall: root mean square of the noise of the details over all of the image, where it is
            not the same everywhere.
        margin: coefficients that the network looks at to each side.
        target: array that the estimate goes to; of level 1 what finishes it.
    """

    level: int
    noisy: Pixels
    low: Pixels
    size: tuple[int, int]
    noise: NoiseModel | None
    overall: float | None
    margin: int
    target: Any

    def reads(self, prior: MultiScalePrior, window: Window) -> Window:
        """The part of `x_j` that a block of `x_{j-1}` depends on."""
        deeper = prior.levels - self.level
        around = self.margin if self.overall is None else self.margin + (2 << deeper)
        outer = window.aligned(2).over(2).grown(around, self.size)
        return outer if self.overall is None else outer.aligned(1 << deeper)

    def __call__(self, prior: MultiScalePrior, window: Window) -> None:
        """Compute one block of `x_{j-1}`."""
        outer = self.reads(prior, window)
        unit, sub = unit_of(prior), prior.of_level(self.level)
        noisy, low = self.noisy.read(outer.times(2)).to(*unit), self.low.read(outer).to(*unit)
        found = sub.denoise_finest(noisy, low, self._sigma(sub, noisy, outer))
        found = found[window.inside(outer.times(2)).place]
        write(self.target, found, window)

    def _sigma(self, prior: MultiScalePrior, noisy: Tensor, part: Window) -> BandSigma | None:
        """The noise of the bands, as the whole image would tell it."""
        if self.noise is None:
            return None
        noise = self.noise.coarser(self.level - 1).part(part, self.size)
        if noise.is_white:
            return GAIN * noise.scale(1)[0]
        levels = noise.levels(noisy, prior.levels)
        return levels.finest(self.overall)


@dataclass(frozen=True)
class DenoiseLow:
    """`E[x_J | noisy]` of the noisy low-pass image.

    Args:
        noisy: `x_J`.
        size: its height and width.
        noise: of the image.
        margin: pixels that the network looks at to each side; None for all.
        target: array that the estimate goes to; where there are no levels what finishes it.
    """

    noisy: Pixels
    size: tuple[int, int]
    noise: NoiseModel | None
    margin: int | None
    target: Any

    def __call__(self, prior: MultiScalePrior, window: Window) -> None:
        """Compute one block."""

        def look(part: Window) -> Tensor:
            outer = part.grown(1, self.size)
            noisy = self.noisy.read(outer).to(*unit_of(prior))
            inner = part.inside(outer).place
            return prior.low(noisy[inner], self._sigma(prior, noisy, outer, inner))

        if self.margin is None:
            found = windows.blended(look, self.size, window)
        else:
            outer = window.grown(self.margin, self.size)
            found = look(outer)[window.inside(outer).place]
        write(self.target, found, window)

    def _sigma(
        self, prior: MultiScalePrior, noisy: Tensor, outer: Window, inner: Any
    ) -> Sigma | None:
        if self.noise is None:
            return None
        noise = self.noise.coarser(prior.levels).part(outer, self.size)
        if noise.is_white:
            return noise.scale(1)[0]
        deviation = noisy.new_tensor(noise.scale(1)).view(1, -1, 1, 1)
        return deviation * noise.factor(noisy)[inner] if noise.varies else deviation


@dataclass(frozen=True)
class RefineLevel:
    """`x_{j-1}` drawn, or its mean, given `x_j`.

    Args:
        level: j.
        low: `x_j`.
        size: its height and width.
        margin: coefficients that a detail depends on to each side.
        sampler: name of how to draw; None for the mean.
        sample: number of the sample.
        seed: of the samples.
        target: array that it goes to; of level 1 what finishes it.
    """

    level: int
    low: Pixels
    size: tuple[int, int]
    margin: int
    sampler: str | None
    sample: int
    seed: int
    target: Any

    def __call__(self, prior: MultiScalePrior, window: Window) -> None:
        """Compute one block of `x_{j-1}`."""
        outer = window.aligned(2).over(2).grown(self.margin, self.size)
        low = self.low.read(outer).to(*unit_of(prior))
        if self.sampler is None:
            found = prior.of_level(self.level).expect_finest(low)
        else:
            origin = outer.top, outer.left
            keys, sampler = (self.sample,), SAMPLERS[self.sampler]
            found = prior.refine(low, self.level, keys, self.seed, sampler, origin)
        write(self.target, found[window.inside(outer.times(2)).place], window)


@dataclass(frozen=True)
class DrawLow:
    """`x_J` drawn from scratch, by a network of bounded receptive field; as `RefineLevel`."""

    size: tuple[int, int]
    margin: int
    sampler: str
    sample: int
    seed: int
    target: Any

    def __call__(self, prior: MultiScalePrior, window: Window) -> None:
        """Compute one block."""
        outer = window.grown(self.margin, self.size)
        origin = outer.top, outer.left
        sampler = SAMPLERS[self.sampler]
        found = prior.draw_low((self.sample,), self.seed, sampler, outer.size, origin)
        write(self.target, found[window.inside(outer).place], window)


def write(target: Any, found: Tensor, window: Window) -> None:
    """Put a block (1, C, h, w) where it belongs."""
    found = found.float().cpu()
    if isinstance(target, Finish):
        target(found, window)
    else:
        target[window.place] = found[0].numpy()


def reach(network: Network) -> int | None:
    """Pixels that an output of a network truly depends on, to each side; None for all."""
    if network not in _PROBED:
        with torch.enable_grad():
            _PROBED[network] = probe_receptive_field(network)
    field = _PROBED[network]
    return None if field is None else field // 2


_PROBED: WeakKeyDictionary[Network, int | None] = WeakKeyDictionary()


def reach_of_draws(network: Network, sampler: str) -> int | None:
    """The same of a sample, whose every step looks that far again; None if it cannot be told.

    It begins around what the network expects, which looks as far once more.
    """
    rule, once = SAMPLERS[sampler](network), reach(network)
    if once is None or not isinstance(rule, Multistep):
        return None
    return once * (rule.steps + 1)


def margin_of(network: Network, sampler: str | None) -> int:
    """Coefficients to every side that one depends on, drawn or expected (None).

    Raises:
        UsageError: it depends on all, or nothing can be expected.
    """
    if sampler is None and not network.noise_conditional:
        raise UsageError(
            "this model is told no noise level, so its mean is that of many samples, which are not "
            "averaged in blocks; give --mode sample"
        )
    margin = reach(network) if sampler is None else reach_of_draws(network, sampler)
    if margin is None:
        raise UsageError(
            "this way of drawing looks at all of an image at every step (its noise is read off the "
            "residual); images are drawn in blocks with --sampler few-steps"
        )
    return margin


def check_model(prior: MultiScalePrior) -> None:
    """Refuse priors whose results cannot be computed in blocks.

    Raises:
        UsageError: the wavelet is another than that of Haar, or a network of details sees all.
    """
    if prior.levels and not is_haar(prior.wavelet):
        raise UsageError(
            f"the model's wavelet is {prior.wavelet}, whose filters go around the ends of an "
            "image; images are computed in blocks with haar alone"
        )
    for level, network in enumerate(prior.conditionals, start=1):
        if reach(network) is None:
            raise UsageError(
                f"the network of level {level} sees all of an image, which cannot be cut in blocks"
            )


def gray_noise(noise: NoiseModel, reduced: bool) -> NoiseModel:
    """What a gray prior is told of the noise of a colour image."""
    return noise.as_gray(GRAY_GAIN) if reduced else noise
