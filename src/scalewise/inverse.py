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
from itertools import count

import torch
from torch import Tensor

from scalewise.operators import Filling, Operator
from scalewise.samplers import Callback, Multistep, Noise, StepRule, draw
from scalewise.score import Sigma, per_image

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


def measured(
    denoise: Callable[[Tensor, Tensor], Tensor],
    measurement: Tensor,
    operator: Operator,
    noise: Sigma = 0.0,
    *,
    iterations: int = ITERATIONS,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Make a denoiser that knows a measurement of one that does not.

    Args:
        denoise: maps (noisy, sigma of shape (N,)) to the least-squares clean estimate.
        measurement: of the clean images, shape (N, c, h, w).
        operator: what measured them.
        noise: standard deviation of the measurement's noise, a number, shape (N,) or a map.
        iterations: steps of conjugate gradients for the inverse, of one call of `denoise` each.

    Returns:
        The same kind of function, of `1 + iterations` calls.
    """
    variance = per_image(noise, measurement) ** 2

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

        doubt = torch.maximum(variance, (LEAST * level) ** 2)
        alike = level**2 * TYPICAL**2 / (level**2 + TYPICAL**2)

        def isotropic(rest: Tensor) -> Tensor:
            """`(c A A^T + s^2)^-1` times measurements, in calls of the operator alone."""
            scale = (alike + doubt).rsqrt()

            def product(scaled: Tensor) -> Tensor:
                there = scale * scaled
                return scale * (alike * operator.A(operator.A_adjoint(there)) + doubt * there)

            return scale * _solved(product, scale * rest)

        rest = measurement - operator.A(clean)
        towards = isotropic(rest)
        size = _dot(rest, towards)
        for left in reversed(range(iterations)):
            moved = spread(operator.A_adjoint(towards))
            seen = operator.A(moved) + doubt * towards
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
    """The nearest images that agree with a measurement, where the operator has a pseudo-inverse.

    What that would change by more than `MOST` stays: a pseudo-inverse of blur blows rounding up.
    """
    inverse = getattr(operator, "A_dagger", None)
    if inverse is None:
        return images
    change = inverse(measurement - operator.A(images))
    small = change.square().mean(dim=(1, 2, 3), keepdim=True).sqrt() <= MOST
    return torch.where(small, images + change, images)


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
