"""Denoising with a measurement: the clean image given a noisy one and a linear measurement of it.

For `measurement = A clean + noise` of deviation `s`, and a state `noisy = clean + sigma z`, the
clean image given `noisy` alone has the mean `m = denoise(noisy)` and the covariance `C = sigma^2
dm/dnoisy` (Tweedie). Taken for Gaussian, it is given both

    E[clean | noisy, measurement] = m + C A^T (A C A^T + s^2)^-1 (measurement - A m),

exact where the images are Gaussian (Boys et al., "Tweedie moment projected diffusions for inverse
problems", TMLR 2024; with conjugate gradients, Rozet et al., "Learning diffusion priors from
observations by expectation maximization", NeurIPS 2024, "moment matching"). The inverse is by
conjugate gradients, each step one product with `C` and so one call of the network, preconditioned
by the isotropic case `C = c`, whose inverse costs none. That is itself found by conjugate
gradients, so the outer ones are flexible (Golub and Ye, "Inexact preconditioned conjugate gradient
method with inner-outer iteration", SIAM J. Sci. Comput. 1999). Any sampler that follows this
denoiser in place of `denoise` draws from `p(clean | measurement)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.checks import check_sigma
from scalewise.errors import ScalewiseError, UsageError
from scalewise.noise import NoiseLevels
from scalewise.noise_model import NoiseModel, smoothed
from scalewise.operators import Filling, Operator, check_operator
from scalewise.samplers import Callback, Multistep, Noise, StepRule, draw
from scalewise.score import Sigma, per_image
from scalewise.wavelets import mirror_to_multiple

PUSH = 0.1
"""How far a product with the covariance moves pixels, in deviations of the noise."""

ITERATIONS = 3
"""Steps of conjugate gradients, each of one call of the network."""

TYPICAL = 0.05
"""Deviation of the finest details of photographs, in [0, 1] intensities: `c = sigma^2 TYPICAL^2 /
(sigma^2 + TYPICAL^2)` is about what a denoiser leaves open."""

INNER = 10
"""Most steps of the inner conjugate gradients, which call no network."""

CLOSE = 1e-2
"""Residual at which those end, over the first."""

DRAWING = Multistep(30.0, 0.004, steps=28, rho=7.0, eta=1.0)
"""How samples are drawn, in [0, 1] intensities: from noise that hides even means of large areas."""

ERROR = 0.008
"""Mean squared error of an estimate over the deviation of the state's noise, where that is much
larger: what the packaged priors have on photographs, within a fifth for deviations of 5 to 50."""

STEPS = 4
"""Of the way from an interpolation."""

FILLED, END = 0.1, 0.004
"""Deviation, in [0, 1] intensities, that hides the errors of an interpolation; last one."""

LARGEST = 1.0
"""What a deviation can be over that of the noise. Networks are no exact denoisers: where a state is
like none that they learnt, their derivative can be anything."""

MOST = 0.05
"""Root mean square of what agreement with a measurement may change, in [0, 1] intensities."""

LEAST = 1e-4
"""Least deviation of a measurement's noise over that of the state's."""

AGREEING, AGREED = 30, 2e-4
"""Most steps of the conjugate gradients of a pseudo-inverse, and the root mean square of what they
may leave unexplained, in [0, 1] intensities: less than the rounding of 8 bits, which more steps
blow up (`benchmarks/LOG.md`)."""


@dataclass(frozen=True)
class MeasuredNoise:
    """Noise of measurements, (N, c, h, w): independent in pixels, or in the bands of a transform.

    Args:
        deviation: of pixels, a map that broadcasts over measurements.
        levels: deviations in bands, where pixels share noise, of measurements whose sides are the
            next multiples of `2 ** J`; None where they do not.
        wavelet: of the transform.
    """

    deviation: Tensor
    levels: NoiseLevels | None = None
    wavelet: str = "haar"

    @classmethod
    def of(
        cls,
        noise: Sigma | NoiseModel,
        measurement: Tensor,
        operator: Operator,
        wavelet: str = "haar",
    ) -> MeasuredNoise:
        """What is told of the noise of a measurement, checked.

        A curve is read at the intensities that were measured, beside pixels that see nothing at
        those around them.

        Args:
            noise: a deviation, one per image, a map of the size of the measurement, or a
                description.
            measurement: shape (N, c, h, w).
            operator: what measured.
            wavelet: of the bands of the description.

        Raises:
            UsageError: it is negative, not finite, of another shape, or described for pictures,
                which the measurement is none of.
        """
        plain = noise.plain if isinstance(noise, NoiseModel) else noise
        if not isinstance(plain, NoiseModel):
            check_sigma(plain, measurement)
            deviation = per_image(plain, measurement)
            sides = zip(deviation.shape[-2:], measurement.shape[-2:], strict=True)
            if any(found not in (1, wanted) for found, wanted in sides):
                raise UsageError(
                    f"a map of noise must have the height and width of the measurement, "
                    f"{tuple(measurement.shape[-2:])}, found {tuple(deviation.shape[-2:])}"
                )
            return cls(deviation)
        images = torch.ones_like(operator.A_adjoint(measurement))
        if _larger(measurement, images):
            raise UsageError(
                "noise that is not white is described for pictures, and what was measured is none: "
                f"shape {tuple(measurement.shape)} of images {tuple(images.shape)}; give one "
                "number, or a map of that shape"
            )
        levels = len(plain.scales) - 1
        lit = _lit(measurement, operator.A(images)) if plain.curve else measurement
        whole = mirror_to_multiple(lit, 1 << levels)
        found = plain.levels(whole, levels, wavelet)
        height, width = measurement.shape[-2:]
        deviation = found.whole.expand(-1, -1, *whole.shape[-2:])[..., :height, :width]
        return cls(deviation, found if levels else None, wavelet)

    @property
    def absent(self) -> Tensor:
        """Whether there is none, of each image or of all, shape (N or 1, 1, 1, 1)."""
        return self.deviation.amax(dim=(1, 2, 3), keepdim=True) == 0

    def times(self, measurements: Tensor, least: Tensor) -> Tensor:
        """The covariance, no less than a variance `least` (N, 1, 1, 1), times measurements."""
        if self.levels is None:
            return torch.maximum(self.deviation.square(), least) * measurements
        height, width = measurements.shape[-2:]
        multiple = 1 << len(self.levels.details)
        whole = F.pad(measurements, (0, -width % multiple, 0, -height % multiple))
        twice = self.levels.shape(self.levels.shape(whole, self.wavelet), self.wavelet)
        return twice[..., :height, :width] + least * measurements


def measured(
    denoise: Callable[[Tensor, Tensor], Tensor],
    measurement: Tensor,
    operator: Operator,
    noise: MeasuredNoise,
    *,
    iterations: int = ITERATIONS,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Make a denoiser that knows a measurement of one that does not.

    Args:
        denoise: maps (noisy, sigma of shape (N,)) to the least-squares clean estimate.
        measurement: of the clean images, shape (N, c, h, w).
        operator: what measured them.
        noise: of the measurement.
        iterations: steps of conjugate gradients for the inverse, of one call of `denoise` each.

    Returns:
        The same kind of function, of `1 + iterations` calls.
    """
    variance = noise.deviation.square()

    def denoised(noisy: Tensor, sigma: Tensor) -> Tensor:
        alone = clean = denoise(noisy, sigma)
        level = per_image(sigma, noisy)

        def spread(images: Tensor) -> Tensor:
            """The covariance times images, by a difference of estimates."""
            largest = images.abs().amax(dim=(1, 2, 3), keepdim=True)
            tiny = torch.finfo(images.dtype).tiny
            scale = PUSH * level / largest.clamp(min=tiny)
            found = level**2 * (denoise(noisy + scale * images, sigma) - alone) / scale
            bound = LARGEST * level**2 * _dot(images, images).sqrt()
            return found * (bound / _dot(found, found).sqrt().clamp(min=tiny)).clamp(max=1)

        least = (LEAST * level) ** 2
        alike = level**2 * TYPICAL**2 / (level**2 + TYPICAL**2)

        def isotropic(rest: Tensor) -> Tensor:
            """`(c A A^T + s^2)^-1` times measurements, in calls of the operator alone."""
            scale = (alike + torch.maximum(variance, least)).rsqrt()

            def product(scaled: Tensor) -> Tensor:
                there = scale * scaled
                told = noise.times(there, least)
                return scale * (alike * operator.A(operator.A_adjoint(there)) + told)

            return scale * _solved(product, scale * rest)

        rest = measurement - operator.A(clean)
        towards = isotropic(rest)
        size = _dot(rest, towards)
        for left in reversed(range(iterations)):
            moved = spread(operator.A_adjoint(towards))
            seen = operator.A(moved) + noise.times(towards, least)
            curve = _dot(towards, seen)
            step = torch.where(curve > 0, size / curve.clamp(min=1e-30), 0.0)
            clean = clean + step * moved
            if left:
                last, before = rest, size
                rest = rest - step * seen
                solved = isotropic(rest)
                size = _dot(rest, solved)
                turned = _dot(rest - last, solved) / before.clamp(min=1e-30)
                towards = solved + turned * towards
        return clean

    return denoised


@torch.no_grad()
def complete(
    denoise: Callable[[Tensor, Tensor], Tensor],
    measurement: Tensor,
    operator: Filling,
    noise: Sigma,
    field: Noise,
    *,
    steps: int = STEPS,
    callback: Callback | None = None,
) -> Tensor:
    """Return about the mean of images given a measurement that can be interpolated, in few calls.

    The steps begin at the interpolation, whose errors are taken for noise of deviation `FILLED`.
    What the measurement says against an estimate, `measurement - A m`, is interpolated too and
    added, as far as it is not noise, in place of a product with the covariance. An estimate is
    taken to err as those of photographs do (`ERROR`).

    Args:
        denoise: as for `measured`.
        measurement: as for `measured`.
        operator: that can interpolate, such as `operators.Demosaicking`.
        noise: as for `measured`.
        field: standard Gaussian noise of the images' shape, for `around`.
        steps: how many, of two calls of `denoise` each.
        callback: called after every step.

    Returns:
        Images, not clipped.
    """
    variance = per_image(noise, measurement) ** 2

    def completed(noisy: Tensor, sigma: Tensor) -> Tensor:
        alone = denoise(noisy, sigma)
        level = per_image(sigma, noisy)
        left = level**2 * ERROR / (level + ERROR)
        return alone + operator.fill(left / (left + variance) * (measurement - operator.A(alone)))

    deviation = float(variance.mean().sqrt())
    start, end = math.hypot(FILLED, 2 * deviation), max(deviation / 4, END)
    mean = operator.fill(measurement)
    return draw(
        around(completed, field),
        lambda step: torch.zeros_like(mean),
        Multistep(start, end, steps=steps, rho=3.0, eta=1.0),
        mean=mean,
        callback=callback,
    )


def around(
    denoise: Callable[[Tensor, Tensor], Tensor], noise: Noise
) -> Callable[[Tensor, Tensor], Tensor]:
    """A denoiser of states without noise, averaged over two with noise: one field, plus and minus.

    The reverse diffusion without its fresh noise goes to the mean, but its states are like none
    that networks have learnt. For Gaussian images the two noises cancel exactly; of photographs it
    gains up to 1.3 dB (`benchmarks/LOG.md`).

    Args:
        denoise: maps (noisy, sigma of shape (N,)) to the least-squares clean estimate.
        noise: standard Gaussian field of each call.
    """
    calls = count(1)

    def denoised(state: Tensor, sigma: Tensor) -> Tensor:
        field = per_image(sigma, state) * noise(next(calls))
        return (denoise(state + field, sigma) + denoise(state - field, sigma)) / 2

    return denoised


def estimate(
    denoise: Callable[[Tensor, Tensor], Tensor],
    noise: Noise,
    rule: StepRule,
    *,
    mean: Tensor,
    callback: Callback | None = None,
) -> Tensor:
    """Estimate the mean of what `draw` of the same arguments draws; exact for Gaussian images.

    The reverse diffusion without its fresh noise, in twice the calls (`around`).
    """
    return draw(
        around(denoise, noise), lambda _: torch.zeros_like(mean), rule, mean=mean, callback=callback
    )


def agreeing(images: Tensor, measurement: Tensor, operator: Operator) -> Tensor:
    """The nearest images that agree with a measurement.

    What that would change by more than `MOST` stays: a pseudo-inverse of blur blows rounding up.
    """
    change = pseudo_inverse(operator, measurement - operator.A(images))
    small = change.square().mean(dim=(1, 2, 3), keepdim=True).sqrt() <= MOST
    return torch.where(small, images + change, images)


def pseudo_inverse(operator: Operator, measurement: Tensor) -> Tensor:
    """The least of the images that explain a measurement best.

    By the operator's own `A_dagger`; where it has none, by conjugate gradients on the normal
    equations, started at zero (Hestenes and Stiefel, "Methods of conjugate gradients for solving
    linear systems", 1952, section 10), each step one `A` and one `A_adjoint`. They end early
    (`AGREED`), so that rounding is not blown up more than it must.

    Args:
        operator: what measured.
        measurement: shape (N, c, h, w).

    Returns:
        Shape (N, C, H, W).
    """
    own = getattr(operator, "A_dagger", None)
    if own is not None:
        return own(measurement)
    rest, tiny = measurement, torch.finfo(measurement.dtype).tiny
    slope = towards = operator.A_adjoint(rest)
    found, size = torch.zeros_like(slope), _dot(slope, slope)
    for _ in range(AGREEING):
        left = rest.square().mean(dim=(1, 2, 3), keepdim=True).sqrt() > AGREED
        if not bool(left.any()):
            break
        seen = operator.A(towards)
        step = torch.where(left, size / _dot(seen, seen).clamp(min=tiny), 0.0)
        found, rest = found + step * towards, rest - step * seen
        slope = operator.A_adjoint(rest)
        before, size = size, _dot(slope, slope)
        towards = slope + size / before.clamp(min=tiny) * towards
    return found


def images_of(measurement: Tensor, operator: Operator) -> Tensor:
    """Images of zeros, of which a measurement can be, after a look at whether the two fit.

    Args:
        measurement: floats that were passed for one, shape (N, c, h, w).
        operator: what was passed for its operator.

    Raises:
        UsageError: they are not finite, of another shape, no operator, or do not fit.
    """
    check_operator(operator)
    shape = tuple(measurement.shape)
    if measurement.ndim != 4 or 0 in shape:
        raise UsageError(f"measurement must have shape (N, c, h, w), each from 1, found {shape}")
    if not bool(measurement.isfinite().all()):
        raise UsageError("measurement holds NaN or infinite values; replace them first")
    kind = type(operator).__name__
    try:
        images = torch.zeros_like(operator.A_adjoint(measurement))
        again = tuple(operator.A(images).shape)
    except (ScalewiseError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of an operator of somebody else's
        raise UsageError(
            f"{kind} takes no measurement of shape {shape} ({type(error).__name__}: "
            f"{' '.join(str(error).split()):.200})"
        ) from error
    if images.ndim != 4 or len(images) != shape[0] or again != shape:
        raise UsageError(
            f"{kind} makes a measurement of shape {shape} to images of shape "
            f"{tuple(images.shape)}, and those to a measurement of {again}; A_adjoint must be the "
            "transpose of A"
        )
    return images


def _lit(measurement: Tensor, white: Tensor) -> Tensor:
    """A measurement whose pixels that see nothing, even of white, are filled from around them."""
    near = smoothed(white)
    around = torch.where(near > 0, smoothed(measurement) / near, measurement.mean())
    return torch.where(white > 0, measurement, around)


def _larger(measurement: Tensor, images: Tensor) -> bool:
    """Whether a measurement is larger than the images, or of other channels: it is no picture."""
    sides = zip(measurement.shape[-2:], images.shape[-2:], strict=True)
    return measurement.shape[1] != images.shape[1] or any(one > other for one, other in sides)


def _solved(product: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
    """Conjugate gradients for a positive definite matrix that is cheap to multiply by."""
    found, rest, towards = torch.zeros_like(right), right, right
    size = first = _dot(rest, rest)
    for _ in range(INNER):
        seen = product(towards)
        step = size / _dot(towards, seen).clamp(min=torch.finfo(right.dtype).tiny)
        found = found + step * towards
        rest = rest - step * seen
        before, size = size, _dot(rest, rest)
        if bool((size <= CLOSE**2 * first).all()):
            break
        towards = rest + size / before.clamp(min=torch.finfo(right.dtype).tiny) * towards
    return found


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(dim=(1, 2, 3), keepdim=True)
