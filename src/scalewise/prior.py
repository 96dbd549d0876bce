"""The factorisation: the probability of an image, one scale at a time.

`p(x_0) = p(x_J) * prod_j p(details_j | x_j)` (Kadkhodaie et al., ICLR 2023, equation 5). The
low-pass image `x_J` has a network of global receptive field, the details of each level a local one
that sees the low-pass image beside them. Every method is a short loop over levels, from the
coarsest to the finest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from scalewise.calibration import Calibration
from scalewise.checks import (
    check_floats,
    check_images,
    check_seed,
    check_sigma,
    is_elsewhere,
    lazy,
    whole_number,
)
from scalewise.deepinv import DeepinvDenoiser
from scalewise.errors import UsageError
from scalewise.estimation import estimate_sigma
from scalewise.inverse import (
    DRAWING,
    ITERATIONS,
    MeasuredNoise,
    agreeing,
    estimate,
    images_of,
    measured,
)
from scalewise.likelihood import (
    SIGMA_MIN,
    Information,
    Likelihood,
    bits_per_dimension,
    check_settings,
    information,
)
from scalewise.networks import ConditionalDenoiser, Denoiser, NoiseEstimator, unit_of
from scalewise.noise import SAMPLES, NoiseLevels, in_bands
from scalewise.noise_model import NoiseModel
from scalewise.operators import Operator
from scalewise.posterior import Posterior, of_gray, posterior_of
from scalewise.samplers import Multistep, Sampler, draw, few_steps
from scalewise.scales import Noise, Scales, given
from scalewise.score import Sigma, per_image, residual_sigma, score_from_denoised
from scalewise.wavelets import GAIN, half, low_pass, mirror_to_multiple, split
from scalewise.windows import size_of

TINY = 1e-12
"""Least noise level of a score, which is infinite without noise."""

MIDDLE = 0.5
"""Intensity around which the search for an image begins."""

Callback = Callable[[int, Tensor], None]
"""Called with (level, x_level) as each scale is finished, coarsest first."""


class MultiScalePrior(Scales):
    """A probability distribution of images, held by one denoiser per scale.

    Args:
        low: denoiser of the low-pass image `x_J`; with no levels, of the image itself.
        details: denoisers of the details given the low-pass image, level 1 (finest) first.
        wavelet: the orthogonal wavelet between the scales.
        estimator: of noise that is not told; a statistic of white noise without.
        calibration: what images that are kept apart say of the uncertainty that noise leaves.
        upscaling: the same of enlargements, by factor.
        noise_floor: standard deviation of the noise of the images that it learnt from, in [0, 1]
            intensities: a prior of noisy images denoises, but knows no clean ones to draw.
        denoises_only: it learnt to remove noise, and neither draws nor enlarges.
        gray: the prior that denoises gray images in its place, see `denoiser_of`.

    Examples:
        >>> from scalewise.networks import LocalConditional, UNet
        >>> details = [LocalConditional(channels=3) for _ in range(2)]
        >>> prior = scalewise.MultiScalePrior(UNet(channels=3, size=(16, 16)), details)
        >>> prior.levels, prior.size
        (2, (64, 64))
    """

    def __init__(
        self,
        low: Denoiser,
        details: Sequence[ConditionalDenoiser] = (),
        wavelet: str = "haar",
        estimator: NoiseEstimator | None = None,
        calibration: Calibration | None = None,
        noise_floor: float = 0.0,
        upscaling: Mapping[int, Calibration] | None = None,
        denoises_only: bool = False,
        gray: MultiScalePrior | None = None,
    ) -> None:
        super().__init__(low, details, wavelet, noise_floor, denoises_only)
        self.estimator, self.calibration = estimator, calibration
        self.upscaling = dict(upscaling or {})
        self._gray = (gray,)  # in a tuple: a model of its own, whose weights are not among these

    @property
    def gray(self) -> MultiScalePrior | None:
        """The prior that denoises gray images in the place of this one."""
        return self._gray[0]

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> MultiScalePrior:
        """Move or convert all weights, those of `gray` too."""
        if self.gray is not None:
            self.gray._apply(function, recurse)
        super()._apply(function, recurse)  # type: ignore[no-untyped-call]
        return self

    def denoiser_of(self, channels: int) -> MultiScalePrior:
        """The prior that denoises pictures of so many channels: of one, `gray` where there is one.

        Examples:
            >>> from scalewise.networks import LocalDenoiser
            >>> gray = scalewise.MultiScalePrior(LocalDenoiser(channels=1, width=8))
            >>> prior = scalewise.MultiScalePrior(LocalDenoiser(channels=3, width=8), gray=gray)
            >>> prior.denoiser_of(3) is prior, prior.denoiser_of(1) is gray
            (True, True)
        """
        return self if self.gray is None or channels > 1 else self.gray

    @property
    def coarser(self) -> MultiScalePrior:
        """The prior of the low-pass image `x_1`: the same networks without the finest level."""
        return self.of_level(2)

    def of_level(self, level: int) -> MultiScalePrior:
        """The prior of `x_{level-1}`, whose details are those of `level` and coarser ones."""
        return MultiScalePrior(self.low, self.conditionals[level - 1 :], self.wavelet)

    def forward(self, noisy: Tensor, sigma: Noise | None = None) -> Tensor:
        """Return `E[x | noisy]` as `denoise` does, unchecked: for `torch.func` and `torch.export`.

        Args:
            noisy: shape (N, C, H, W), of the type and on the device of the weights.
            sigma: as for `denoise`; what is not given is estimated, which cannot be exported.
        """
        return self._estimate(noisy, sigma)

    def as_deepinv(self) -> DeepinvDenoiser:
        """This prior as a denoiser that the algorithms of deepinv take (`scalewise.deepinv`)."""
        return DeepinvDenoiser(self)

    def denoise(self, noisy: Tensor, sigma: Noise | None = None) -> Tensor:
        """Return the least-squares estimate of the images, `E[x | noisy]`.

        Args:
            noisy: images plus white Gaussian noise, shape (N, C, H, W), any H and W; of a Dask
                array the result is one too, computed when it is wanted (`scalewise.blocks.lazy`).
            sigma: noise standard deviation in the units of `noisy` ([0, 1] intensities), a number,
                shape (N,), or a map that broadcasts over `noisy`; 0 for none. `NoiseLevels` tells
                that of each level, for noise that is not white. Blind networks do without; where a
                network is noise-conditional and no level is given, that of white noise is
                estimated from each image.

        Returns:
            The denoised images, same shape; not clipped.

        Raises:
            UsageError: `noisy` has other channels or another shape, is not in [0, 1], or holds NaN;
                `sigma` is negative, of another shape, or tells of other levels.

        Examples:
            >>> prior = scalewise.load("photos", device="cpu")
            >>> generator, clean = torch.Generator().manual_seed(0), torch.full((1, 3, 32, 32), 0.5)
            >>> noisy = clean + 0.1 * torch.randn(clean.shape, generator=generator)
            >>> bool((prior.denoise(noisy, 0.1) - clean).std() < 0.03)
            True
        """
        if is_elsewhere(noisy):
            return lazy(noisy, "noisy").denoise(self, noisy, sigma)
        noise = 0.0 if sigma is None else self.check_noise(sigma, noisy)
        return self._estimate(
            self.checked(noisy, "noisy", math.inf if self.homogeneous else noise), sigma
        )

    def posterior(self, noisy: Tensor, sigma: Noise | None = None) -> Posterior:
        """Return the distribution of the clean images given noisy ones, `p(x | noisy)`.

        Its samples, the variance of every pixel, the main directions of what is uncertain, and
        estimates between the mean and a sharp image (`scalewise.posterior`).

        Args:
            noisy: as for `denoise`.
            sigma: as for `denoise`; where none is given it is that of white noise, estimated from
                each image, or read off the residual of networks that are blind.

        Raises:
            UsageError: as for `denoise`.

        Examples:
            >>> prior = scalewise.load("photos")
            >>> posterior = prior.posterior(torch.rand(1, 3, 32, 32), 0.1)
            >>> posterior.samples(2).shape
            torch.Size([2, 1, 3, 32, 32])
        """
        noise = 0.0 if sigma is None else self.check_noise(sigma, noisy)
        noisy = self.checked(noisy, "noisy", math.inf if self.homogeneous else noise)
        if sigma is None and not self.noise_conditional:
            sigma = residual_sigma(noisy, self._estimate(noisy, None))
        whole, told = self._whole(noisy, sigma)
        known = cast(Sigma | NoiseLevels, told)
        return posterior_of(
            self._denoise, whole, known, self.wavelet, size_of(noisy), self.need_clean
        )

    @torch.no_grad()
    def restore(
        self,
        measurement: Tensor,
        operator: Operator,
        noise: Sigma | NoiseModel = 0.0,
        *,
        samples: int | None = None,
        seed: int = 0,
        iterations: int = ITERATIONS,
        rule: Multistep = DRAWING,
        origin: tuple[int, int] = (0, 0),
        callback: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """Return images of which only a linear measurement is known.

        Draws from `p(x | measurement)` follow the reverse diffusion of the denoiser that knows the
        measurement (`scalewise.inverse`), in `1 + iterations` calls of the networks per step;
        without its fresh noise, and with twice the calls, it goes to an estimate of the mean, which
        it is for Gaussian images.

        Args:
            measurement: `operator.A(x)` plus white Gaussian noise, shape (N, c, h, w).
            operator: one of `scalewise.operators`, or a linear physics of deepinv; of gray images,
                a prior of colour ones serves too.
            noise: standard deviation of the noise, a number, shape (N,) or a map of the size of the
                measurement; of measurements that are pictures also a description, whose spectrum
                and curve are used. Where it is 0 the images agree with the measurement.
            samples: how many to draw of each image; None for the mean.
            seed: sample `i` of a seed is the same whatever else is drawn.
            iterations: of the inverse in each step, one call of the networks each.
            rule: the steps, in [0, 1] intensities.
            origin: position of the first pixel within a larger image, for tiles.
            callback: called with (step, noisy, clean) after every step.

        Returns:
            Shape (N, C, H, W), or (samples, N, C, H, W); not clipped.

        Raises:
            UsageError: the operator measures images of other channels, or is none; the measurement
                is none of its, or not finite; the noise has another size, or is described for
                pictures, which the measurement is none of.

        Examples:
            >>> from scalewise.operators import Inpainting
            >>> prior = scalewise.load("photos")
            >>> mask = (torch.arange(32) % 4 > 0).float().expand(32, 32)  # a column in four is lost
            >>> prior.restore(mask * torch.full((1, 3, 32, 32), 0.5), Inpainting(mask)).shape
            torch.Size([1, 3, 32, 32])
        """
        self.need_drawing()
        seed = check_seed(seed)
        check_floats(measurement, "measurement")
        measurement = measurement.to(*unit_of(self))
        start = images_of(measurement, operator) + MIDDLE
        gray = start.ndim == 4 and start.shape[1] == 1 < self.channels
        check_images(start, "what the operator measures", 1 if gray else self.channels)
        told = MeasuredNoise.of(noise, measurement, operator, self.wavelet)
        denoise = measured(
            of_gray(self._estimate, self.channels) if gray else self._estimate,
            measurement,
            operator,
            told,
            iterations=whole_number(iterations, "iterations"),
        )
        drawn = []
        for sample in range(1 if samples is None else whole_number(samples, "samples")):
            keys, size = (sample,) * len(start), size_of(start)
            field = self.noise_field(keys, SAMPLES, start.shape[1], size, seed, origin)
            find = estimate if samples is None else draw
            image = find(denoise, field, rule, mean=start, callback=callback)
            if bool(told.absent.any()):
                image = torch.where(told.absent, agreeing(image, measurement, operator), image)
            drawn.append(image)
        return drawn[0] if samples is None else torch.stack(drawn)

    def _estimate(self, noisy: Tensor, sigma: Noise | None) -> Tensor:
        """`E[x | noisy]` of checked images of any size; a level that is needed is estimated."""
        height, width = noisy.shape[-2:]
        return self._denoise(*self._whole(noisy, sigma))[..., :height, :width]

    def _whole(
        self, noisy: Tensor, sigma: Noise | None
    ) -> tuple[Tensor, Sigma | NoiseLevels | None]:
        """Noisy images, mirrored to a size that has all levels, and their noise to be told."""
        if sigma is None and self.noise_conditional:
            sigma = estimate_sigma(noisy, estimator=self.estimator)
        multiple = 1 << self.levels
        whole = mirror_to_multiple(noisy, multiple)
        if isinstance(sigma, NoiseModel):
            return whole, sigma.levels(whole, self.levels, self.wavelet)
        if sigma is None or isinstance(sigma, NoiseLevels):
            return whole, sigma
        level = per_image(sigma, noisy)
        if level[0].numel() == 1:
            return whole, level.flatten()
        return whole, mirror_to_multiple(level.expand_as(noisy), multiple)

    def _denoise(self, noisy: Tensor, sigma: Sigma | NoiseLevels | None) -> Tensor:
        """`E[x_0 | noisy]` from `E[x_1 | noisy]` and the noisy details, down to `x_J`."""
        if self.levels == 0:
            return self.denoise_low(noisy, sigma.low if isinstance(sigma, NoiseLevels) else sigma)
        sigma_bands, sigma_coarser = in_bands(sigma)
        low = self.coarser._denoise(low_pass(noisy, 1, self.wavelet), sigma_coarser)
        return self.denoise_finest(noisy, low, sigma_bands)

    def score(self, noisy: Tensor, sigma: Sigma) -> Tensor:
        """Return `grad log p_sigma(noisy)`, from the denoiser by Tweedie's formula.

        Args:
            noisy: shape (N, C, H, W).
            sigma: noise standard deviation, above 0, in the units of `noisy`.

        Returns:
            The score, same shape, in the inverse of the units of `noisy` (Kadkhodaie et al., ICLR
            2023, equation 2).

        Raises:
            UsageError: as for `denoise`, or `sigma` is 0.

        Examples:
            >>> from scalewise.exact import gaussian_prior
            >>> prior = gaussian_prior(torch.full((8, 8), 0.04), levels=1)  # of deviation 0.2
            >>> prior.score(torch.full((1, 1, 8, 8), 0.7).double(), 0.1).mean().round(decimals=3)
            tensor(-4., dtype=torch.float64)
        """
        noisy = self.checked(noisy, "noisy", check_sigma(sigma, noisy, least=TINY))
        return score_from_denoised(noisy, self._estimate(noisy, sigma), sigma)

    @torch.no_grad()
    def upscale(
        self,
        small: Tensor,
        factor: int = 2,
        *,
        samples: int = 1,
        seed: int = 0,
        sampler: Sampler = few_steps,
        callback: Callback | None = None,
    ) -> Tensor:
        """Draw sharp images whose low-pass image is the given one: `x_0 ~ p(x_0 | x_j)`.

        Args:
            small: images in [0, 1], shape (N, C, H, W).
            factor: 2, 4, ... up to `2 ** levels`.
            samples: how many to draw of each image.
            seed: sample `i` of a seed is the same whatever else is drawn.
            sampler: how to draw, `few_steps` or `paper_ascent` of `samplers`.
            callback: called as each scale is finished.

        Returns:
            Shape (samples, N, C, factor * H, factor * W); not clipped, so that their low-pass
            images equal `small` to float precision.

        Raises:
            UsageError: the model does not enlarge by `factor`, or learnt from noisy images alone;
                `small` has other channels or another shape, or is not in [0, 1].

        Examples:
            >>> prior = scalewise.load("photos", device="cpu")
            >>> small = torch.rand(1, 3, 16, 16)
            >>> large = prior.upscale(small, 2, samples=4)
            >>> means = torch.nn.functional.avg_pool2d(large[0], 2)
            >>> large.shape, torch.allclose(means, small, atol=1e-5)
            (torch.Size([4, 1, 3, 32, 32]), True)
        """
        if is_elsewhere(small):
            chosen = {"samples": samples, "seed": seed, "sampler": sampler}
            return lazy(small, "small").upscale(self, small, factor, **chosen)
        self.need_drawing()
        small = self.checked(small, "small")
        level, seed = self.check_factor(factor), check_seed(seed)
        samples = whole_number(samples, "samples")
        batches = [
            self._refine(small, level, (sample,) * len(small), seed, sampler, callback)
            for sample in range(samples)
        ]
        return torch.stack(batches)

    @torch.no_grad()
    def upscale_mean(self, small: Tensor, factor: int = 2) -> Tensor:
        """Return the least-squares estimate of the sharp images, `E[x_0 | x_j]`.

        Args:
            small: images in [0, 1], shape (N, C, H, W).
            factor: 2, 4, ... up to `2 ** levels`.

        Returns:
            Shape (N, C, factor * H, factor * W). One network call per level; blind networks,
            which cannot be told that there is no measurement, average 16 samples.

        Raises:
            UsageError: as for `upscale`.

        Examples:
            >>> prior = scalewise.load("photos")
            >>> prior.upscale_mean(torch.rand(1, 3, 16, 16), 4).shape
            torch.Size([1, 3, 64, 64])
        """
        if is_elsewhere(small):
            return lazy(small, "small").upscale_mean(self, small, factor)
        self.need_drawing()
        low = self.checked(small, "small")
        level = self.check_factor(factor)
        networks = self.conditionals[:level]
        if not all(network.noise_conditional for network in networks):
            return self.upscale(small, factor, samples=16).mean(0)
        for level in range(len(networks), 0, -1):
            low = self.of_level(level).expect_finest(low)
        return low

    @torch.no_grad()
    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        sampler: Sampler = few_steps,
        periodic: bool = False,
        first: int = 0,
        batch: int = 64,
        callback: Callback | None = None,
    ) -> Tensor:
        """Draw images from scratch: `x_J ~ p(x_J)`, then the details of each level given it.

        Args:
            count: how many.
            seed: sample `i` of a seed is the same whatever the count and the batch.
            size: height and width; those of the training images by default. A prior that learnt
                images as wholes (faces) draws no others; one that is `stationary` (a texture) any,
                256x256 by default; one of crops (photos) continues larger images like them.
            sampler: how to draw, `few_steps` or `paper_ascent` of `samplers`.
            periodic: draw images that tile the plane without a seam, from a stationary prior;
                sides are multiples of `2 ** levels`.
            first: number of the first sample.
            batch: how many to draw at a time.
            callback: called as each scale of a batch is finished.

        Returns:
            Shape (count, C, H, W); not clipped.

        Raises:
            UsageError: the model learnt from noisy images alone, does not say which size it
                learnt, where none is given, or is no model of images of this size, or of periodic
                ones.

        Examples:
            >>> prior = scalewise.load("photos")
            >>> prior.sample(2, seed=0, size=(32, 48)).shape
            torch.Size([2, 3, 32, 48])
        """
        self.need_drawing()
        count, batch = whole_number(count, "count"), whole_number(batch, "batch")
        seed, first = check_seed(seed), whole_number(first, "first", least=0)
        size = self.check_size(size, periodic)
        images = []
        for start in range(first, first + count, batch):
            keys = tuple(range(start, min(first + count, start + batch)))
            low_size = (half(size[0], self.levels), half(size[1], self.levels))
            low = self.draw_low(keys, seed, sampler, low_size, periodic=periodic)
            if callback:
                callback(self.levels, low)
            images.append(self._refine(low, self.levels, keys, seed, sampler, callback, periodic))
        return torch.cat(images)[..., : size[0], : size[1]]

    def nll(
        self,
        images: Tensor,
        *,
        seed: int = 0,
        sigma_min: float = SIGMA_MIN,
        steps: int = 16,
        draws: int = 3,
        first: int = 0,
        batch: int = 16,
    ) -> Likelihood:
        """Return bits per dimension: `-log2 p(x_0)`, the sum of `-log2 p(details_j | x_j)`.

        From the networks' denoising errors (`scalewise.likelihood`), for 8-bit units (densities
        over intensities from 0 to 255) and coefficients smoothed by white noise of `sigma_min`,
        each factor given the clean low-pass image. Gradients flow to images that ask for them.

        Args:
            images: in [0, 1], shape (N, C, H, W), sides multiples of `2 ** levels`.
            seed: the noise of image `i` is a function of (seed, first + i).
            sigma_min: noise level in image units; 0.242 / 255, of entropy zero, by default.
            steps: noise levels per scale.
            draws: network calls per noise level, from 2.
            first: number of the first image.
            batch: how many images to measure at a time.

        Returns:
            Bits per dimension of each image and factor, and their standard errors.

        Raises:
            UsageError: `images` have other channels, or sides that `2 ** levels` does not divide; a
                setting is out of range; the model learnt from noisy images alone.

        Examples:
            >>> prior = scalewise.load("photos")
            >>> smooth, rough = torch.full((1, 3, 32, 32), 0.5), torch.rand(1, 3, 32, 32)
            >>> likelihood = prior.nll(torch.cat([smooth, rough]), steps=4, draws=2)
            >>> bool(likelihood.total[0] < likelihood.total[1])
            True
        """
        self.need_drawing()
        images = self.checked(images, "images")
        check_settings(sigma_min, steps, draws)
        seed, batch = check_seed(seed), whole_number(batch, "batch")
        _check_multiple(images, 1 << self.levels)
        parts = []
        with torch.set_grad_enabled(torch.is_grad_enabled() and images.requires_grad):
            for start in range(0, len(images), batch):
                part = images[start : start + batch]
                keys = tuple(range(first + start, first + start + len(part)))
                factors = self._factors(part, keys, seed, sigma_min, steps, draws)
                parts.append(bits_per_dimension(factors, sigma_min))
        bits, errors = zip(*parts, strict=True)
        return Likelihood(torch.cat(bits), torch.cat(errors))

    def _factors(
        self,
        images: Tensor,
        keys: tuple[int, ...],
        seed: int,
        sigma: float,
        steps: int,
        draws: int,
    ) -> list[Information]:
        """What noise of `sigma` leaves of the details of each level and of `x_J`, finest first."""
        low, factors = images, []
        for level, network in enumerate(self.conditionals, start=1):
            low, details = split(low, self.wavelet)
            sigma = GAIN * sigma
            noise = self.noise_field(keys, level, 3 * self.channels, size_of(low), seed)
            factors.append(
                information(
                    given(network, low),
                    details,
                    noise,
                    sigma_range=(network.sigma_range[0], sigma),
                    mean=network.prior_mean(low),
                    steps=steps,
                    draws=draws,
                )
            )
        noise = self.noise_field(keys, self.levels + 1, self.channels, size_of(low), seed)
        last = information(
            self.low,
            low,
            noise,
            sigma_range=(self.low.sigma_range[0], sigma),
            mean=self.low.prior_mean(size_of(low)),
            steps=steps,
            draws=draws,
        )
        return [*factors, last]

    def _refine(
        self,
        low: Tensor,
        level: int,
        keys: tuple[int, ...],
        seed: int,
        sampler: Sampler,
        callback: Callback | None,
        periodic: bool = False,
    ) -> Tensor:
        """Draw the details of levels `level` to 1 and merge each: `x_{j-1} ~ p(x_{j-1} | x_j)`."""
        for j in range(level, 0, -1):
            low = self.refine(low, j, keys, seed, sampler, periodic=periodic)
            if callback:
                callback(j - 1, low)
        return low


def _check_multiple(images: Tensor, multiple: int) -> None:
    height, width = size_of(images)
    if height % multiple or width % multiple:
        raise UsageError(
            f"images must have sides that are multiples of {multiple}, found {height}x{width}; "
            f"cut them to {height - height % multiple}x{width - width % multiple}"
        )
