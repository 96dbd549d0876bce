"""Noise: position-keyed Gaussian fields, levels to train with, and blind level estimation."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.checks import check_seed
from scalewise.score import Sigma
from scalewise.wavelets import GAIN

BLOCK = 32
"""Side of the square blocks in which fields are drawn, in pixels of their own level."""

CROWDED = 0.005
"""Share of pixels at a channel's least or largest value above which they are saturated."""

SOLID = 17
"""Side of the squares of one value that are no noisy area: larger than flat blocks of JPEG."""

LEAST = 0.05
"""Least share of patches that must be left, for others not to count."""

TWO_VALUES = 0.02
"""Share of other pixels below which an image is one of black and white alone, without noise."""

BLOCK_SIDE, FEWEST_BLOCKS = 12, 16
"""Side of the blocks of which the quietest are found, and how many there must be."""

QUIET, QUIET_OF_WHITE = 0.15, 0.883
"""Share of the blocks that are quiet, and what their root mean square is for unit white noise."""

PATCHES = 12_500
"""About how many patches a noise level is estimated from, at most four times as many."""


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
        level: level of the transform that the field is for.
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

    @property
    def coarser(self) -> NoiseLevels:
        """That of the low-pass image `x_1`."""
        return NoiseLevels(self.details[1:], self.low)

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
) -> tuple[Sigma | tuple[Sigma, Sigma] | None, Sigma | NoiseLevels | None]:
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
        return (sigma.details[0], sigma.coarser.whole), sigma.coarser
    if isinstance(sigma, Tensor) and sigma.ndim == 4 and sigma.shape[-1] > 1:
        sigma = F.avg_pool2d(sigma.square(), 2).sqrt()
    return GAIN * sigma, GAIN * sigma


def _map(sigma: Sigma) -> Tensor:
    """A noise level as a map of four axes."""
    level = torch.as_tensor(sigma)
    return level if level.ndim == 4 else level.reshape(-1, 1, 1, 1)


def _twice(values: Tensor) -> Tensor:
    """Every value four times, as a square."""
    return values.repeat_interleave(2, -1).repeat_interleave(2, -2)


def estimate_sigma(noisy: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Estimate the standard deviation of white noise from each noisy image alone.

    Eigenvalues of the covariance of small patches: image structure fills few directions, noise
    all of them alike, so the largest set of small eigenvalues whose mean is their median holds
    noise only (Chen, Zhu and Heng, "An efficient statistical method for image noise level
    estimation", ICCV 2015).

    Gray images have fewer directions to tell texture from noise by: theirs is at most that of the
    quietest blocks (`quiet_sigma`).

    Areas that hold no noise, or only a part of it, do not count: saturated ones, at a least or
    largest value that many pixels share, and constant ones, such as borders and masks; unless
    hardly anything else is there.

    Args:
        noisy: shape (N, C, H, W), any H and W from 1.
        valid: bool of shape (N, 1, H, W), true where pixels count; all by default.

    Returns:
        Estimated sigma per image, shape (N,), in the units of `noisy`; 0 where an image has too
        few pixels to tell.
    """
    masks = [None] * len(noisy) if valid is None else list(valid[:, 0].cpu())
    pairs = zip(noisy.detach(), masks, strict=True)
    return torch.stack([_sigma_of_one(image, mask) for image, mask in pairs])


def _sigma_of_one(image: Tensor, valid: Tensor | None = None) -> Tensor:
    """Chen's estimate for one image (C, H, W), in patches of up to about 80 values."""
    channels, height, width = image.shape
    if channels == 3 and bool((image == image[:1]).all()):
        image, channels = image[:1], 1
    patch = round(math.sqrt(80 / channels))
    while (height - patch + 1) * (width - patch + 1) < 16 * channels * patch**2:
        patch -= 1  # enough patches to know their covariance
    values = channels * patch**2
    if patch < 2 or values < 8:
        return _sigma_of_small(image)
    plain = image.cpu()
    usable = _usable(plain, valid)
    if usable is not None and float(usable.double().mean()) < TWO_VALUES:
        return image.new_zeros(())
    covariance = _patch_covariance(plain, patch, usable)
    eigenvalues = torch.linalg.eigvalsh(covariance).clamp(min=0)
    counts = torch.arange(1, values + 1)
    means = eigenvalues.cumsum(0) / counts
    medians = (eigenvalues[(counts - 1) // 2] + eigenvalues[counts // 2]) / 2
    found = means[means <= medians][-1].sqrt().to(image)
    return (
        torch.minimum(found, _sigma_of_quiet(plain, usable).to(found)) if channels == 1 else found
    )


def quiet_sigma(gray: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Estimate the noise of gray images from their quietest blocks.

    Texture has no say in it, as long as some blocks hold none. A Laplacian of two second
    differences leaves hardly any structure (Immerkær, "Fast noise variance estimation", CVIU 1996);
    the quantile `QUIET` of its root mean square in blocks of 12x12 pixels is that of the noise.

    Args:
        gray: shape (N, 1, H, W).
        valid: bool of shape (N, 1, H, W), true where pixels count; all by default.

    Returns:
        Estimated sigma per image, shape (N,), in the units of `gray`; infinite where an image has
        too few blocks to tell.
    """
    masks = [None] * len(gray) if valid is None else list(valid[:, 0].cpu())
    images = zip(gray.detach().cpu(), masks, strict=True)
    return torch.stack([_sigma_of_quiet(image, _usable(image, mask)) for image, mask in images])


def _sigma_of_quiet(image: Tensor, usable: Tensor | None) -> Tensor:
    """`quiet_sigma` of one image (1, H, W)."""
    if min(image.shape[1:]) < BLOCK_SIDE + 2:
        return image.new_full((), math.inf)
    stencil = image.new_tensor([1.0, -2.0, 1.0])
    residual = F.conv2d(image[None], stencil.outer(stencil)[None, None] / 6)
    energy = F.avg_pool2d(residual.square(), BLOCK_SIDE).flatten()
    if usable is not None:
        lost = F.max_pool2d((~usable)[None, None].float(), 3, 1)
        energy = energy[F.max_pool2d(lost, BLOCK_SIDE).flatten() == 0]
    if len(energy) < FEWEST_BLOCKS:
        return image.new_full((), math.inf)
    return energy.quantile(QUIET).sqrt() / QUIET_OF_WHITE


def _usable(image: Tensor, valid: Tensor | None) -> Tensor | None:
    """Pixels (H, W) that hold all of the noise; None where that is all of them."""
    ends = torch.stack([image.flatten(1).amin(1), image.flatten(1).amax(1)])[:, :, None, None]
    at_end = image == ends
    crowded = at_end.sum(dim=(2, 3), keepdim=True) > max(8, CROWDED * image[0].numel())
    lost = (at_end & crowded).flatten(0, 1).any(0) | _solid(image)
    if valid is not None:
        lost |= ~valid
    return ~lost if bool(lost.any()) else None


def _solid(image: Tensor) -> Tensor:
    """Pixels (H, W) of squares of side `SOLID` that are of one value throughout."""
    if min(image.shape[1:]) < SOLID:
        return torch.zeros(image.shape[1:], dtype=torch.bool)
    high = F.max_pool2d(image[None].float(), SOLID, 1)
    low = -F.max_pool2d(-image[None].float(), SOLID, 1)
    constant = (high == low).all(dim=1, keepdim=True).float()
    return F.max_pool2d(F.pad(constant, [SOLID - 1] * 4), SOLID, 1)[0, 0].bool()


def _patch_covariance(image: Tensor, patch: int, usable: Tensor | None = None) -> Tensor:
    """Covariance of the overlapping patches; in a large image, of evenly spread ones.

    Patches with pixels that are not usable are left out, unless few would be left.
    """
    high, wide = image.shape[1] - patch + 1, image.shape[2] - patch + 1
    whole = None
    if usable is not None:
        whole = F.max_pool2d((~usable)[None, None].float(), patch, 1)[0, 0] == 0
        if int(whole.sum()) < max(LEAST * high * wide, 16 * len(image) * patch**2):
            whole = None
    step = max(1, math.isqrt((high * wide if whole is None else int(whole.sum())) // PATCHES))
    patches = image.unfold(1, patch, step).unfold(2, patch, step)
    values = patches.permute(3, 0, 4, 1, 2).double().flatten(3).flatten(0, 2)
    if whole is not None:
        values = values[:, whole[::step, ::step].flatten()]
    every = step == 1 and whole is None
    products = _products(values, image, patch) if every else values @ values.T
    means, count = values.mean(dim=1), values.shape[1]
    return (products / count - means.outer(means)) * (count / (count - 1))


def _products(values: Tensor, image: Tensor, patch: int) -> Tensor:
    """`values @ values.T` where `values` (row by row, patches last) are of all patches of an image.

    Two rows of a patch, one patch further down, are the next two: their products differ by those
    at the top and at the bottom of the image alone. So only products with the first row are sums
    over all patches.
    """
    size = len(values) // patch
    products = values.new_empty(len(values), len(values))
    products[:size] = values[:size] @ values.T
    products[:, :size] = products[:size].T
    borders = image[:, : patch - 1], image[:, 1 - patch :]
    columns = (rows.unfold(2, patch, 1).permute(1, 0, 3, 2).double() for rows in borders)
    top, bottom = (rows.flatten(0, 2) for rows in columns)
    change = bottom @ bottom.T - top @ top.T
    for above in range(0, len(change), size):
        following = products[above : above + size, :-size] + change[above : above + size]
        products[above + size : above + 2 * size, size:] = following
    return products


def _sigma_of_small(image: Tensor) -> Tensor:
    """Median absolute diagonal difference, for images too small for patch statistics."""
    if min(image.shape[1:]) < 2:
        return image.new_zeros(())
    a, b = image[:, :-1, :-1], image[:, :-1, 1:]
    c, d = image[:, 1:, :-1], image[:, 1:, 1:]
    return ((a - b - c + d) / 2).abs().median() / 0.6745
