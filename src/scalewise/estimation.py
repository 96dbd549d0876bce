"""The level of white noise of an image, estimated from the image alone."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.networks.estimator import NoiseEstimator

CROWDED = 0.005
"""Share of pixels at a channel's least or largest value above which they are saturated."""

SOLID = 17
"""Side of the squares of one value that are no noisy area: larger than flat blocks of JPEG."""

LEAST = 0.05
"""Least share of patches that must be left, for others not to count."""

TWO_VALUES = 0.02
"""Share of other pixels below which an image is one of black and white alone, without noise."""

CLOSE, CROWD = 9, 0.3
"""Side of the squares in which pixels at the ends of the range are counted, and the share of them
that makes an area without noise."""

COUNTING = 0.1
"""Share of the area of the channel of which most counts, from which on a channel counts."""

LEARNT_SIDE = 32
"""Least side of a gray image whose noise level is left to a learned estimator."""

BLOCK_SIDE, FEWEST_BLOCKS = 12, 16
"""Side of the blocks of which the quietest are found, and how many there must be."""

QUIET, QUIET_OF_WHITE = 0.15, 0.883
"""Share of the blocks that are quiet, and what their root mean square is for unit white noise."""

PATCHES = 12_500
"""About how many patches a noise level is estimated from, at most four times as many."""


def estimate_sigma(
    noisy: Tensor, *, valid: Tensor | None = None, estimator: NoiseEstimator | None = None
) -> Tensor:
    """Estimate the standard deviation of white noise from each noisy image alone.

    Eigenvalues of the covariance of small patches: image structure fills few directions, noise
    all of them alike, so the largest set of small eigenvalues whose mean is their median holds
    noise only (Chen, Zhu and Heng, "An efficient statistical method for image noise level
    estimation", ICCV 2015).

    Gray images have fewer directions to tell texture from noise by: theirs is what the learned
    `estimator` says; without one it is at most that of the quietest blocks (`quiet_sigma`).

    Areas that hold no noise, or only a part of it, do not count: saturated ones, at a least or
    largest value that many pixels of a channel share, and constant ones, such as borders and masks;
    unless hardly anything else is there. Nor do channels in which that is almost everything, as in
    pictures of red flowers, and of one dye.

    Args:
        noisy: shape (N, C, H, W), any H and W from 1.
        valid: bool of shape (N, 1, H, W), true where pixels count; all by default.
        estimator: that of a prior, for gray images of at least `LEARNT_SIDE` pixels a side.

    Returns:
        Estimated sigma per image, shape (N,), in the units of `noisy`; 0 where an image has too
        few pixels to tell.
    """
    masks = [None] * len(noisy) if valid is None else list(valid[:, 0].cpu())
    pairs = zip(noisy.detach(), masks, strict=True)
    return torch.stack([_sigma_of_one(image, mask, estimator) for image, mask in pairs])


def _sigma_of_one(
    image: Tensor, valid: Tensor | None = None, estimator: NoiseEstimator | None = None
) -> Tensor:
    """Chen's estimate for one image (C, H, W), in patches of up to about 80 values."""
    channels, height, width = image.shape
    if channels == 3 and bool((image == image[:1]).all()):
        image, channels = image[:1], 1
    if channels == 1 and estimator is not None and min(height, width) >= LEARNT_SIDE:
        found = _learnt_sigma(image, valid, estimator)
        if math.isfinite(found):
            return image.new_tensor(found)
    patch = round(math.sqrt(80 / channels))
    while (height - patch + 1) * (width - patch + 1) < 16 * channels * patch**2:
        patch -= 1  # enough patches to know their covariance
    values = channels * patch**2
    if patch < 2 or values < 8:
        return _sigma_of_small(image)
    plain = image.cpu()
    usable = usable_pixels(plain, valid)
    if usable is not None:
        counting = counting_channels(usable)
        if len(counting) < channels:
            return _sigma_of_one(image[counting], valid, estimator)
        if float(usable.any(0).double().mean()) < TWO_VALUES:
            return image.new_zeros(())
    covariance = _patch_covariance(plain, patch, None if usable is None else usable.all(0))
    eigenvalues = torch.linalg.eigvalsh(covariance).clamp(min=0)
    counts = torch.arange(1, values + 1)
    means = eigenvalues.cumsum(0) / counts
    medians = (eigenvalues[(counts - 1) // 2] + eigenvalues[counts // 2]) / 2
    found = means[means <= medians][-1].sqrt().to(image)
    return (
        torch.minimum(found, _sigma_of_quiet(plain, usable).to(found)) if channels == 1 else found
    )


def _learnt_sigma(image: Tensor, valid: Tensor | None, estimator: NoiseEstimator) -> float:
    """What the estimator says of one gray image (1, H, W); NaN if it has no place to look at."""
    plain = image.detach().cpu()
    usable = usable_pixels(plain, valid)
    if usable is not None and float(usable.double().mean()) < TWO_VALUES:
        return 0.0
    weight = next(estimator.parameters())
    mask = None if usable is None else usable[None].to(weight.device)
    with torch.no_grad():
        return float(estimator(plain[None].to(weight), mask))


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
    return torch.stack(
        [_sigma_of_quiet(image, usable_pixels(image, mask)) for image, mask in images]
    )


def _sigma_of_quiet(image: Tensor, usable: Tensor | None) -> Tensor:
    """`quiet_sigma` of one image (1, H, W)."""
    if min(image.shape[1:]) < BLOCK_SIDE + 2:
        return image.new_full((), math.inf)
    energy = block_energy(image, usable, BLOCK_SIDE).flatten()
    return of_quietest(energy[energy.isfinite()])


def block_energy(image: Tensor, usable: Tensor | None, stride: int) -> Tensor:
    """What blocks of an image (1, H, W) hold of second differences, shape (rows, columns).

    Args:
        image: of at least `BLOCK_SIDE + 2` pixels a side.
        usable: bool of shape (1, H, W), true where pixels count; all by default.
        stride: pixels from one block to the next.

    Returns:
        Means of squares; infinite where not all pixels of a block count.
    """
    stencil = image.new_tensor([1.0, -2.0, 1.0])
    residual = F.conv2d(image[None], stencil.outer(stencil)[None, None] / 6)
    energy = F.avg_pool2d(residual.square(), BLOCK_SIDE, stride)[0, 0]
    if usable is None:
        return energy
    lost = F.max_pool2d((~usable)[None].float(), 3, 1)
    return torch.where(F.max_pool2d(lost, BLOCK_SIDE, stride)[0, 0] == 0, energy, math.inf)


def of_quietest(energy: Tensor) -> Tensor:
    """Deviation of the white noise of which the quietest blocks are."""
    if len(energy) < FEWEST_BLOCKS:
        return energy.new_full((), math.inf)
    return energy.quantile(QUIET).sqrt() / QUIET_OF_WHITE


def usable_pixels(image: Tensor, valid: Tensor | None) -> Tensor | None:
    """Pixels of each channel (C, H, W) that hold all of the noise; None where that is all of them.

    Args:
        image: shape (C, H, W).
        valid: bool of shape (H, W), true where pixels count; all by default.
    """
    ends = torch.stack([image.flatten(1).amin(1), image.flatten(1).amax(1)])[:, :, None, None]
    at_end = image == ends
    crowded = at_end.sum(dim=(2, 3), keepdim=True) > max(8, CROWDED * image[0].numel())
    lost = (at_end & crowded).any(0) | _solid(image)
    if valid is not None:
        lost |= ~valid
    return ~lost if bool(lost.any()) else None


def usable_areas(usable: Tensor) -> Tensor:
    """Pixels (C, H, W) but those in areas of which much is lost.

    Noise takes single ones to black or white.
    """
    lost = F.avg_pool2d((~usable).float(), CLOSE, 1, CLOSE // 2, count_include_pad=False)
    return lost <= CROWD


def counting_channels(usable: Tensor) -> list[int]:
    """Channels of which more than a few areas hold noise, of usable pixels (C, H, W)."""
    shares = usable_areas(usable).flatten(1).double().mean(1)
    return (shares >= COUNTING * shares.max()).nonzero().flatten().tolist()


def _solid(image: Tensor) -> Tensor:
    """Pixels (C, H, W) of squares of side `SOLID` that are of one value throughout."""
    if min(image.shape[1:]) < SOLID:
        return torch.zeros_like(image, dtype=torch.bool)
    alike = image[..., 1:] == image[..., :-1]
    if int(alike.sum(dim=(1, 2)).max()) < SOLID * (SOLID - 1):  # fewer than one square has
        return torch.zeros_like(image, dtype=torch.bool)
    high, low = _largest(image[None].float()), -_largest(-image[None].float())
    constant = (high == low).float()
    return _largest(F.pad(constant, [SOLID - 1] * 4))[0].bool()


def _largest(images: Tensor) -> Tensor:
    """Largest value of every square of side `SOLID`, along one axis after the other."""
    return F.max_pool2d(F.max_pool2d(images, (SOLID, 1), 1), (1, SOLID), 1)


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
