"""Noise: position-keyed Gaussian fields, levels to train with, and levels that differ by band."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.checks import check_seed
from scalewise.networks import BandNoise, BandSigma
from scalewise.networks.base import overall
from scalewise.score import Sigma
from scalewise.wavelets import GAIN, decompose, merge
from scalewise.windows import Window

AnySigma = TypeVar("AnySigma", Sigma, Sigma | None)

BLOCK = 32
"""Side of the square blocks in which fields are drawn, in pixels of their own level."""


SAMPLES, PROBES = 1 << 10, 1 << 11
"""In place of a level: fields that samples of denoised images follow, and that probe derivatives,
lest they be the very noise that was added to an image with the same seed."""

QUIETEST = 0.05
"""Least noise of details that networks are told, over that of the low-pass image beside them: of
less they make nonsense, since no noise that they learnt from is so."""


@dataclass(frozen=True)
class GaussianField:
    """Standard white Gaussian noise as a function of its place, not of the order of calls.

    The value at a pixel depends on (seed, sample, level, step, position) alone, so a sample is
    the same whatever the batch, the tile, the number of workers and the device. Philox counters
    (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) give the bits and the
    Box-Muller formula the values, in float64 on the CPU.

    Attributes:
        seed: any integer from 0 to 2^63 - 1.
        samples: numbers of the samples in the batch, one field each.
        level: level of the transform that the field is for; 0 is noise added to images.
        channels: C of the field.
        size: height and width.
        origin: position of the first pixel within the whole image, for tiles.
    """

    seed: int
    samples: tuple[int, ...]
    _: KW_ONLY
    level: int
    channels: int
    size: tuple[int, int]
    origin: tuple[int, int] = (0, 0)

    def __call__(self, step: int) -> Tensor:
        """Return the field of one step, shape (len(samples), C, H, W), float32 on the CPU."""
        check_seed(self.seed)
        fields = [self._field(sample, step) for sample in self.samples]
        return torch.from_numpy(np.stack(fields))

    def _field(self, sample: int, step: int) -> np.ndarray:
        (top, left), (height, width) = self.origin, self.size
        rows = range(top // BLOCK, -(-(top + height) // BLOCK))
        columns = range(left // BLOCK, -(-(left + width) // BLOCK))
        blocks = [[self._block(sample, step, row, col) for col in columns] for row in rows]
        y, x = top - rows.start * BLOCK, left - columns.start * BLOCK
        return np.block(blocks)[:, y : y + height, x : x + width].astype(np.float32)

    def _block(self, sample: int, step: int, row: int, column: int) -> np.ndarray:
        key = [self.seed, sample]
        place = (self.level << 48) + (step & 0xFFFFFFFF)
        bits = np.random.Philox(key=key, counter=[0, row, column, place])
        half = self.channels * BLOCK * BLOCK // 2
        uniform = (bits.random_raw(2 * half) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        radius = np.sqrt(-2 * np.log1p(-uniform[:half]))
        angle = 2 * np.pi * uniform[half:]
        values = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
        return values.reshape(self.channels, BLOCK, BLOCK)


@dataclass(frozen=True, kw_only=True)
class LogNormalLevels:
    """Noise levels to train with: `log sigma` is normal (Karras et al. 2022, table 1).

    Attributes:
        median: median of sigma.
        spread: standard deviation of its logarithm.
        low: smallest level.
        high: largest level.
    """

    median: float
    spread: float
    low: float
    high: float

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw `count` levels, shape (count,), one from each of `count` equally likely strata."""
        places = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        normal = math.sqrt(2) * torch.erfinv((2 * places - 1).clamp(-0.999999, 0.999999))
        return (math.log(self.median) + self.spread * normal).exp().clamp(self.low, self.high)


@dataclass(frozen=True)
class NoiseLevels:
    """Standard deviation of noise that is not white, in the bands of each level.

    Noise that was blurred, interpolated or compressed has more in the coarse bands than in the fine
    ones; white noise of `sigma` has `GAIN ** j * sigma` at level `j`.

    Attributes:
        details: of the details of each level, level 1 (finest) first: a number, shape (N,), or a
            map that broadcasts over (N, C, h, w), the same for all three bands.
        low: of the low-pass image, likewise.
    """

    details: tuple[Sigma, ...]
    low: Sigma

    @classmethod
    def joined(cls, each: Sequence[NoiseLevels]) -> NoiseLevels:
        """That of a batch, of that of each of its images (one, or more alike)."""
        details = zip(*(levels.details for levels in each), strict=True)
        return cls(tuple(map(_joined, details)), _joined([levels.low for levels in each]))

    @property
    def coarser(self) -> NoiseLevels:
        """That of the low-pass image `x_1`."""
        return NoiseLevels(self.details[1:], self.low)

    def over(self, each: Callable[[Tensor], Tensor]) -> NoiseLevels:
        """What a function makes of the map (N or 1, ...) of every band."""
        return NoiseLevels(tuple(each(_map(d)) for d in self.details), each(_map(self.low)))

    def finest(self, level: Sigma | None = None) -> BandNoise:
        """That of the bands of level 1, for its network; its details at least `QUIETEST` of it.

        Args:
            level: overall one, where these are parts of maps.
        """
        low, details = self.coarser.whole, self.details[0]
        least = QUIETEST * low
        if bool((_map(details) < least).any()):
            details = torch.maximum(_map(details), least)
        return BandNoise(details, low, level)

    def to(self, device: torch.device) -> NoiseLevels:
        """The same on a device."""
        return self.over(lambda level: level.to(device))

    def times(self, share: Sigma) -> NoiseLevels:
        """That of noise so many times as strong: a number, or one per image, shape (N,)."""
        return self.over(lambda level: _map(share) * level)

    def shape(self, white: Tensor, wavelet: str) -> Tensor:
        """Give white noise of deviation 1 (N, C, H, W) these deviations, band by band.

        A linear map, its own transpose; applied twice it multiplies by the noise's covariance.
        """
        low, bands = decompose(white, len(self.details), wavelet)
        last = len(self.details)
        shaped = low * _map(self.low) / GAIN**last
        for level in range(last, 0, -1):
            deviation = _map(self.details[level - 1]) / GAIN**level
            if deviation.shape[1] > 1:
                deviation = deviation.repeat(1, 3, 1, 1)
            shaped = merge(shaped, bands[level - 1] * deviation, wavelet)
        return shaped

    @property
    def whole(self) -> Tensor:
        """Deviation in the image that the bands make, whose transform is orthogonal but for GAIN.

        Shape (N or 1, C or 1, H or 1, W or 1).
        """
        variance = _map(self.low).square()
        for details in reversed(self.details):
            parts = (variance, _map(details).square())
            low, fine = (_twice(part) if part.shape[-1] > 1 else part for part in parts)
            variance = (low + 3 * fine) / (2 * GAIN) ** 2
        return variance.sqrt()


def in_bands(
    sigma: Sigma | NoiseLevels | None,
) -> tuple[BandSigma | None, Sigma | NoiseLevels | None]:
    """Take the noise of an image to its bands of level 1.

    Args:
        sigma: of the image; None where it is not known.

    Returns:
        That of the bands, for `ConditionalDenoiser`, and that of the low-pass image, for the prior
        of the coarser levels.
    """
    if sigma is None:
        return None, None
    if isinstance(sigma, NoiseLevels):
        return sigma.finest(), sigma.coarser
    if isinstance(sigma, Tensor) and sigma.ndim == 4 and sigma.shape[-1] > 1:
        sigma = F.avg_pool2d(sigma.square(), 2).sqrt()
    return GAIN * sigma, GAIN * sigma


def part_of(sigma: BandSigma | None, window: Window) -> BandSigma | None:
    """The noise of a part of an image: windows of maps, of which the overall level stays."""
    if isinstance(sigma, BandNoise):
        level = sigma.level
        if level is None and isinstance(sigma.details, Tensor) and sigma.details.ndim == 4:
            level = overall(sigma.details)
        return BandNoise(cut(sigma.details, window), cut(sigma.low, window), level)
    if isinstance(sigma, Tensor) and sigma.ndim == 4 and sigma.shape[-1] > 1:
        return part_of(BandNoise(sigma, sigma), window)
    return sigma


def cut(sigma: AnySigma, window: Window) -> AnySigma:
    """The noise of a window of an image: of a map (N, C, H, W) that part, a number as it is."""
    if isinstance(sigma, Tensor) and sigma.ndim == 4 and sigma.shape[-1] > 1:
        return sigma[window.place]
    return sigma


def _map(sigma: Sigma) -> Tensor:
    """A noise level as a map of four axes."""
    level = torch.as_tensor(sigma)
    return level if level.ndim == 4 else level.reshape(-1, 1, 1, 1)


def _joined(levels: Sequence[Sigma]) -> Tensor:
    """Maps of images one after the other, all as large as the largest of them."""
    maps = [_map(level) for level in levels]
    shape = [max(sides) for sides in zip(*(level.shape[1:] for level in maps), strict=True)]
    return torch.cat([level.expand(-1, *shape) for level in maps])


def _twice(values: Tensor) -> Tensor:
    """Every value four times, as a square."""
    return values.repeat_interleave(2, -1).repeat_interleave(2, -2)
