"""What a noisy image leaves open: the distribution of the clean image given it.

A denoiser that is told the noise holds all of it. For `noisy = clean + S z`, with white Gaussian
`z`, the noise of the state `clean + t S z` falls from `t = 1` to 0, and

- the reverse diffusion that starts at `noisy` itself ends in a draw from `p(clean | noisy)`;
- the probability flow from there ends in an image that is as sharp as clean ones and as near to the
  truth as sharp ones can be: for Gaussian images it is the optimal transport of the mean (Freirich,
  Michaeli and Meir, "A theory of the distortion-perception tradeoff in Wasserstein space", NeurIPS
  2021), between which and the mean the optimal trade of distortion and perception is a straight
  line (there);
- the derivative of the denoiser is the covariance: `Cov[clean | noisy] = dE[clean | noisy]/dnoisy
  S S^T` (Tweedie's formula once more; Manor and Michaeli, "On the posterior distribution in
  denoising", ICLR 2024).

No scales here: one denoiser, one array. `MultiScalePrior.posterior` makes it of the factorisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.checks import check_seed, whole_number
from scalewise.errors import UsageError
from scalewise.noise import SAMPLES, GaussianField, NoiseLevels
from scalewise.samplers import Multistep, Noise, StepRule, draw
from scalewise.score import Sigma, per_image

S = TypeVar("S")
"""How a denoiser is told the noise."""

DIFFUSION = Multistep(1.0, 0.02, steps=12, rho=5.0, eta=1.0)
"""How samples are drawn, in shares of the noise."""

FLOW = Multistep(1.0, 0.02, steps=8, rho=3.0)
"""How the flow is followed."""

SPACING = 4
"""Pixels between the probes of one call: the covariance of pixels farther apart is taken for 0."""

PUSH = 0.5
"""How far probes move pixels, in deviations of the noise."""


DRAWS = 8
"""Samples of which the deviation of an enlargement is taken."""

WINDOW = 3
"""Side of the squares over which the variance of few samples is averaged: windows of 1, 5 and 7
have wider intervals on photographs."""


def spread(samples: Tensor, mean: Tensor) -> Tensor:
    """Standard deviation of every pixel about a mean, from few samples.

    Their variance is averaged over squares of 3x3 pixels, since eight samples alone tell it within
    a half.

    Args:
        samples: shape (K, N, C, H, W).
        mean: shape (N, C, H, W).

    Returns:
        Shape (N, C, H, W).
    """
    variance = (samples - mean).square().mean(0)
    return F.avg_pool2d(variance, WINDOW, 1, WINDOW // 2, count_include_pad=False).sqrt()


VARIANCE_ERROR = 0.1
"""Relative error of the mean variance that networks tell of one image: as seen on photographs."""


def expected_error(rest: float, variance: float, sigma: float, values: int) -> float:
    """Mean squared error of the mean `E[clean | noisy]`, without the truth.

    Two estimates, averaged by what each is worth: the mean variance of the posterior, and Stein's
    `|noisy - mean|^2 - sigma^2 + 2 variance` (Stein, "Estimation of the mean of a multivariate
    normal distribution", Annals of Statistics 1981), which is right for any denoiser whose
    derivative has that trace, but only on average over the noise.

    Args:
        rest: mean square of `noisy - mean`.
        variance: mean variance of the values.
        sigma: true standard deviation of white noise.
        values: how many were averaged over.
    """
    stein = rest - sigma**2 + 2 * variance
    chance = 2 * sigma**4 / values
    weight = chance / max(1e-30, chance + (VARIANCE_ERROR * variance) ** 2)
    return max(1e-12, weight * variance + (1 - weight) * stein)


class Directions(NamedTuple):
    """The ways in which the estimate of an image is most uncertain.

    Attributes:
        variances: along each of them, largest first, shape (N, K).
        images: of unit norm, orthogonal, shape (K, N, C, H, W).

    Examples:
        >>> posterior = scalewise.load("photos").posterior(torch.rand(1, 3, 32, 32), 0.1)
        >>> variances, images = posterior.directions(2, rounds=2)
        >>> aside = posterior.mean() + variances[0, 0].sqrt() * images[0]  # by one deviation
    """

    variances: Tensor
    images: Tensor


@dataclass(frozen=True)
class Posterior:
    """The distribution of clean images given noisy ones.

    Attributes:
        denoise: maps (noisy, share of the noise (N,)) to the least-squares clean estimate.
        noisy: shape (N, C, H, W).
        shape: gives white noise the standard deviation and the spectrum of the image's: linear, its
            own transpose.
        size: height and width of the part that is asked for, from the upper left.
        check: called before images are drawn, to refuse that where nothing is known of clean ones.

    Examples:
        >>> from scalewise.exact import gaussian_prior
        >>> prior = gaussian_prior(torch.full((8, 8), 0.01), levels=1)
        >>> posterior = prior.posterior(torch.full((1, 1, 8, 8), 0.7).double(), 0.1)
        >>> posterior.mean().mean().round(decimals=3), posterior.variance().mean().round(decimals=4)
        (tensor(0.6000, dtype=torch.float64), tensor(0.0050, dtype=torch.float64))
    """

    denoise: Callable[[Tensor, Tensor], Tensor]
    noisy: Tensor
    shape: Callable[[Tensor], Tensor]
    size: tuple[int, int]
    check: Callable[[], None] = lambda: None

    @property
    def gray(self) -> Posterior:
        """That of images whose channels are all alike, and so is their noise, as one channel."""
        channels = self.noisy.shape[1]

        def shape(white: Tensor) -> Tensor:
            return self.shape(white.expand(-1, channels, -1, -1))[:, :1]

        gray = of_gray(self.denoise, channels)
        return Posterior(gray, self.noisy[:, :1], shape, self.size, self.check)

    @torch.no_grad()
    def mean(self) -> Tensor:
        """The least-squares estimate `E[clean | noisy]`, shape (N, C, H, W); one call.

        Examples:
            >>> posterior = scalewise.load("photos").posterior(torch.rand(1, 3, 32, 32), 0.1)
            >>> posterior.mean().shape
            torch.Size([1, 3, 32, 32])
        """
        return self._cut(self._clean)

    @torch.no_grad()
    def samples(
        self, count: int, *, seed: int = 0, first: int = 0, rule: StepRule = DIFFUSION
    ) -> Tensor:
        """Draw clean images from `p(clean | noisy)`.

        Exact for Gaussian images as the steps of `rule` grow in number and its end nears 0.

        Args:
            count: how many of each image.
            seed: sample `i` of a seed is the same whatever else is drawn.
            first: number of the first sample.
            rule: how to go from a share of 1 of the noise to nearly none.

        Returns:
            Shape (count, N, C, H, W), not clipped.

        Raises:
            UsageError: the model learnt from noisy images alone.

        Examples:
            >>> posterior = scalewise.load("photos").posterior(torch.rand(1, 3, 32, 32), 0.1)
            >>> two = posterior.samples(2, seed=1)
            >>> torch.allclose(two[1:], posterior.samples(1, seed=1, first=1), atol=1e-5)
            True
        """
        count, first = whole_number(count, "samples"), whole_number(first, "first", least=0)
        drawn = []
        for sample in range(first, first + count):
            field = self._field(check_seed(seed), sample)
            drawn.append(self._cut(self._follow(rule, _then(field, self.shape))))
        return torch.stack(drawn)

    @torch.no_grad()
    def faithful(self, fidelity: float, *, rule: StepRule = FLOW) -> Tensor:
        """An estimate between the mean and the nearest image that is as sharp as clean ones.

        Args:
            fidelity: 1 for the mean, the least error; 0 for images that are distributed as clean
                ones are, at the least error that this costs.
            rule: how to follow the flow.

        Returns:
            Shape (N, C, H, W), not clipped.

        Raises:
            UsageError: `fidelity` is not from 0 to 1.

        Examples:
            >>> posterior = scalewise.load("photos").posterior(torch.rand(1, 3, 32, 32), 0.1)
            >>> bool(posterior.faithful(0.0).std() > posterior.faithful(1.0).std())
            True
        """
        if not 0 <= fidelity <= 1:
            raise UsageError(f"fidelity must be from 0 to 1, found {fidelity:g}")
        mean = self.mean()
        if fidelity == 1:
            return mean
        return torch.lerp(self._cut(self._follow(rule, lambda step: self.noisy)), mean, fidelity)

    @torch.no_grad()
    def covariance(self, images: Tensor) -> Tensor:
        """Multiply images (N, C, H, W) by the covariance of the clean ones given the noisy ones.

        By a difference of two estimates, of the noisy image pushed to both sides.

        Args:
            images: shape (N, C, H, W), any values: the product is linear in them.

        Returns:
            Shape (N, C, H, W), in squared intensities times the unit of `images`.

        Examples:
            >>> from scalewise.exact import gaussian_prior
            >>> prior = gaussian_prior(torch.full((8, 8), 0.01), levels=1)  # independent pixels
            >>> posterior = prior.posterior(torch.full((1, 1, 8, 8), 0.7).double(), 0.1)
            >>> posterior.covariance(torch.ones(1, 1, 8, 8).double()).mean().round(decimals=4)
            tensor(0.0050, dtype=torch.float64)
        """
        whole = self._whole(images)
        pushed = self.shape(self.shape(whole))
        scale = self._scale(pushed)
        difference = self._denoise(self.noisy + scale * pushed)
        difference = difference - self._denoise(self.noisy - scale * pushed)
        return self._cut(difference / (2 * scale))

    @torch.no_grad()
    def variance(self, *, seed: int = 0, spacing: int = SPACING) -> Tensor:
        """Variance of every pixel given the noisy image, without samples.

        The diagonal of the covariance, by probes of many far pixels at a time with random signs, of
        each channel at other places (Tang and Saad, "A probing method for computing the diagonal of
        a matrix inverse", Numerical Linear Algebra with Applications 2012), averaged over 3x3
        pixels with weights 1, 2, 1 each way: `spacing ** 2 + 1` calls.

        Args:
            seed: of the signs.
            spacing: pixels between the probes of one call.

        Returns:
            Shape (N, C, H, W), 0 or more.

        Examples:
            >>> posterior = scalewise.load("photos").posterior(torch.rand(1, 3, 32, 32), 0.1)
            >>> variance = posterior.variance()
            >>> variance.shape, bool((variance < 0.1**2).double().mean() > 0.9)
            (torch.Size([1, 3, 32, 32]), True)
        """
        spacing = whole_number(spacing, "spacing")
        signs = self._field(check_seed(seed), 0)
        found = torch.zeros_like(self.noisy)
        for call, places in enumerate(self._lattices(spacing)):
            signed = torch.where(places, signs(call).sign(), 0.0)
            pushed = self.shape(self.shape(signed))
            scale = self._scale(pushed)
            difference = (self._denoise(self.noisy + scale * pushed) - self._clean) / scale
            found = torch.where(places, difference * signed, found)
        return self._cut(_smoothed(found).clamp(min=0))

    @torch.no_grad()
    def directions(
        self,
        count: int,
        *,
        region: tuple[int, int, int, int] | None = None,
        rounds: int = 16,
        seed: int = 0,
    ) -> Directions:
        """The main directions of the covariance: the ways in which the estimate may be wrong.

        The best that the images `start, Cov start, Cov^2 start, ...` span (block Krylov and
        Rayleigh-Ritz: Musco and Musco, "Randomized block Krylov methods", NeurIPS 2015), in
        `2 * count * rounds` calls.

        Args:
            count: how many.
            region: (top, left, height, width) of the part of the image to look at; all of it by
                default.
            rounds: powers of the covariance.
            seed: of where it starts.

        Raises:
            UsageError: `region` holds fewer values of the image than directions are wanted.

        Examples:
            >>> posterior = scalewise.load("photos").posterior(torch.rand(1, 3, 32, 32), 0.1)
            >>> found = posterior.directions(2, region=(8, 8, 16, 16), rounds=4)
            >>> found.variances.shape, found.images.shape
            (torch.Size([1, 2]), torch.Size([2, 1, 3, 32, 32]))
        """
        count, rounds = whole_number(count, "directions"), whole_number(rounds, "rounds")
        top, left, height, width = region or (0, 0, *self.size)
        rows, columns = slice(top, top + height), slice(left, left + width)
        pixels = self._cut(self.noisy)[..., rows, columns].shape
        if math.prod(pixels[1:]) < count:
            raise UsageError(f"region {region} has fewer than {count} values of the image")
        whole = torch.zeros_like(self._cut(self.noisy))

        def turned(images: Tensor) -> Tensor:
            """Images of the region times the covariance."""
            found = []
            for each in images:
                whole[..., rows, columns] = each
                found.append(self.covariance(whole)[..., rows, columns])
            return torch.stack(found)

        seed = check_seed(seed)
        start = [self._cut(self._field(seed, one)(0))[..., rows, columns] for one in range(count)]
        block = torch.stack(start)
        basis = images = block[:0]
        for _ in range(min(rounds, math.prod(pixels[1:]) // count)):
            for _ in range(2):  # once more, against rounding
                block = _orthogonal(block - _combined(basis, _products(basis, block)))
            basis, block = torch.cat([basis, block]), turned(block)
            images = torch.cat([images, block])
        within = _products(basis, images)
        variances, turn = torch.linalg.eigh((within + within.mT) / 2)
        found = torch.zeros_like(whole).repeat(count, 1, 1, 1, 1)
        found[..., rows, columns] = _combined(basis, turn.flip(2)[..., :count])
        return Directions(variances.flip(1)[:, :count], found)

    def _follow(self, rule: StepRule, noise: Noise) -> Tensor:
        """Go from the noisy image to a clean one."""
        self.check()
        return draw(self.denoise, noise, rule, first=self.noisy)

    @cached_property
    def _clean(self) -> Tensor:
        """The least-squares estimate of all of the noisy image."""
        return self._denoise(self.noisy)

    @cached_property
    def _level(self) -> Tensor:
        """Standard deviation of the noise of each image, shape (N, 1, 1, 1)."""
        noise = self.shape(self._field(0, 0)(0))
        return noise.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()

    def _denoise(self, noisy: Tensor) -> Tensor:
        return self.denoise(noisy, noisy.new_ones(len(noisy)))

    def _field(self, seed: int, sample: int) -> Callable[[int], Tensor]:
        """White noise of a sample, on the device and in the type of the image."""
        count, channels, height, width = self.noisy.shape
        field = GaussianField(
            seed, (sample,) * count, level=SAMPLES, channels=channels, size=(height, width)
        )
        return lambda step: field(step).to(self.noisy)

    def _lattices(self, spacing: int) -> Iterator[Tensor]:
        """Disjoint sets of far pixels that together are all, as masks (1, C, H, W)."""
        channels, height, width = self.noisy.shape[1:]
        axis = torch.arange(max(height, width), device=self.noisy.device) % spacing
        for y in range(spacing):
            for x in range(spacing):
                parts = []
                for channel in range(channels):
                    away = channel * spacing // channels
                    rows = axis[:height] == (y + away) % spacing
                    columns = axis[:width] == (x + away) % spacing
                    parts.append(rows[:, None] & columns[None])
                yield torch.stack(parts)[None]

    def _scale(self, pushed: Tensor) -> Tensor:
        """What makes of a push one of `PUSH` deviations of the noise at its largest."""
        largest = pushed.abs().amax(dim=(1, 2, 3), keepdim=True)
        tiny = torch.finfo(pushed.dtype).tiny
        return (PUSH * self._level / largest.clamp(min=tiny)).clamp(min=tiny)

    def _whole(self, images: Tensor) -> Tensor:
        """Images of the part that is asked for, zero in the rest."""
        whole = torch.zeros_like(self.noisy)
        whole[..., : self.size[0], : self.size[1]] = images
        return whole

    def _cut(self, images: Tensor) -> Tensor:
        """The part that is asked for."""
        return images[..., : self.size[0], : self.size[1]]


def posterior_of(
    denoise: Callable[[Tensor, Sigma | NoiseLevels], Tensor],
    noisy: Tensor,
    noise: Sigma | NoiseLevels,
    wavelet: str,
    size: tuple[int, int],
    check: Callable[[], None],
) -> Posterior:
    """Make the posterior of a denoiser that is told noise: a level, a map, or that of each band.

    Args:
        denoise: maps (noisy, noise) to the least-squares clean estimate.
        noisy: shape (N, C, H, W).
        noise: that of the images.
        wavelet: of the bands.
        size: as in `Posterior`.
        check: as in `Posterior`.
    """
    if isinstance(noise, NoiseLevels):
        return Posterior(
            lambda state, share: denoise(state, noise.times(share)),
            noisy,
            lambda white: noise.shape(white, wavelet),
            size,
            check,
        )
    level = per_image(noise, noisy)
    flat = level[0].numel() == 1

    def denoised(state: Tensor, share: Tensor) -> Tensor:
        there = level * per_image(share, state)
        return denoise(state, there.flatten() if flat else there)

    return Posterior(denoised, noisy, lambda white: level * white, size, check)


def of_gray(denoise: Callable[[Tensor, S], Tensor], channels: int) -> Callable[[Tensor, S], Tensor]:
    """A denoiser of gray images (N, 1, H, W), by one of colours, which sees channels alike."""

    def denoised(noisy: Tensor, sigma: S) -> Tensor:
        return denoise(noisy.expand(-1, channels, -1, -1), sigma).mean(1, keepdim=True)

    return denoised


def _then(field: Callable[[int], Tensor], shape: Callable[[Tensor], Tensor]) -> Noise:
    """The shaped fields of all steps."""
    return lambda step: shape(field(step))


def _smoothed(images: Tensor) -> Tensor:
    """Weighted means over 3x3 pixels."""
    for axis in (2, 3):
        first, last = images.narrow(axis, 0, 1), images.narrow(axis, -1, 1)
        longer = torch.cat([first, images, last], dim=axis)
        size = images.shape[axis]
        sides = longer.narrow(axis, 0, size) + longer.narrow(axis, 2, size)
        images = images / 2 + sides / 4
    return images


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Inner products of images (I, N, C, H, W) and (J, N, C, H, W), shape (N, I, J)."""
    return torch.einsum("inchw,jnchw->nij", first, second)


def _combined(basis: Tensor, weights: Tensor) -> Tensor:
    """Sums of images (I, N, C, H, W) by weights (N, I, J), shape (J, N, C, H, W)."""
    return torch.einsum("inchw,nij->jnchw", basis, weights)


def _orthogonal(images: Tensor) -> Tensor:
    """An orthonormal basis of what images (K, N, C, H, W) span."""
    unit = torch.linalg.qr(images.flatten(2).permute(1, 2, 0))[0]
    return unit.permute(2, 0, 1).reshape(images.shape)
