"""Making the noise of a picture the same everywhere, and coming back without bias."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior

RANGE, NODES = (-1.0, 2.0), 6001
"""Intensities for which the transform is tabled, and at how many."""

LEAST = 0.02
"""Least deviation that counts, over that of middle intensities: what divides must not vanish."""

SKEW = 3 / 8
"""Of the square of how fast the variance grows, added to it: counts are not Gaussian, and are even
down to few photons with it (Anscombe, "The transformation of Poisson, binomial and
negative-binomial data", Biometrika 1948)."""

DRAWS = 21
"""Nodes of the quadrature over the noise of a pixel."""


class Stabiliser:
    """A transform of intensities after which noise that depends on them no longer does.

    `f(x)` is the integral of 1 / deviation(x) (Bartlett, "The use of transformations", Biometrics
    1947; for photons Anscombe's), scaled to keep 0 and 1. The inverse is that of `E[f(noisy)]`, not
    of `f`, so that means are not biased (Mäkitalo and Foi, "Optimal inversion of the generalized
    Anscombe transformation", IEEE TIP 2013); the noise of a pixel is taken for Gaussian.

    Args:
        noise: with a curve.
        shape: noise that the transform is for instead, so that several pictures, of other noise
            each, share a transform; means are not biased all the same.

    Examples:
        >>> from scalewise.stabilise import Stabiliser
        >>> stabiliser = Stabiliser(scalewise.NoiseModel.photons(gain=0.01))
        >>> even = stabiliser.forward(torch.tensor([0.0, 0.25, 1.0])).round(decimals=2)
        >>> even, stabiliser.noise.is_white
        (tensor([0.0000, 0.4700, 1.0000]), True)
    """

    def __init__(self, noise: NoiseModel, shape: NoiseModel | None = None) -> None:
        places = np.linspace(*RANGE, NODES)
        deviation = noise.sigma * noise.at(torch.from_numpy(places)).numpy()
        factor = (shape or noise).at(torch.from_numpy(places)).numpy()
        factor = np.maximum(factor, LEAST * np.median(factor[(places >= 0) & (places <= 1)]))
        growth = np.maximum(0, np.gradient((noise.sigma * factor) ** 2, places))
        wide = np.sqrt(factor**2 + SKEW * (growth / noise.sigma) ** 2)
        steps = np.diff(places) * (1 / wide[1:] + 1 / wide[:-1]) / 2
        summed = np.concatenate([[0.0], np.cumsum(steps)])
        start, end = np.interp([0, 1], places, summed)
        self.places, self.values = places, (summed - start) / (end - start)
        nodes, weights = np.polynomial.hermite_e.hermegauss(DRAWS)
        means = sum(
            weight * np.interp(places + node * deviation, places, self.values)
            for node, weight in zip(nodes, weights / weights.sum(), strict=True)
        )
        self.means = np.maximum.accumulate(means)
        self.deviations = deviation / factor / (end - start)
        self.noise = noise.model_copy(update={"curve": ()}).times(1 / (end - start))

    def forward(self, picture: Tensor) -> Tensor:
        """Stabilise intensities; without a `shape`, `noise` is that of the result.

        Args:
            picture: intensities, any shape.

        Examples:
            >>> from scalewise.stabilise import Stabiliser
            >>> stabiliser = Stabiliser(scalewise.NoiseModel.photons(gain=0.01))
            >>> stabiliser.forward(torch.tensor([0.0, 1.0]))
            tensor([0., 1.])
        """
        return _interpolated(picture, self.places, self.values)

    def deviation(self, picture: Tensor) -> Tensor:
        """What noise is left with after it, at intensities: the same where no shape was given.

        Args:
            picture: intensities, any shape.

        Returns:
            Standard deviations after `forward`, the shape of `picture`.

        Examples:
            >>> from scalewise.stabilise import Stabiliser
            >>> stabiliser = Stabiliser(scalewise.NoiseModel.photons(gain=0.01))
            >>> dark, bright = stabiliser.deviation(torch.tensor([0.3, 0.9]))
            >>> bool((dark - bright).abs() < 0.001)
            True
        """
        return _interpolated(picture, self.places, self.deviations)

    def inverse(self, clean: Tensor) -> Tensor:
        """Intensities of what was denoised.

        Args:
            clean: denoised values of `forward`, any shape.

        Examples:
            >>> from scalewise.stabilise import Stabiliser
            >>> stabiliser = Stabiliser(scalewise.NoiseModel.photons(gain=0.001))
            >>> stabiliser.inverse(stabiliser.forward(torch.tensor([0.2, 0.8]))).round(decimals=2)
            tensor([0.2000, 0.8000])
        """
        return _interpolated(clean, self.means, self.places)


def stabiliser_of(noise: NoiseModel, prior: MultiScalePrior | None = None) -> Stabiliser | None:
    """What makes noise even before networks see it; None where it is, or they see it as it is.

    Args:
        noise: of the images.
        prior: that denoises. Where it sees maps of noise it is told of it, but for noise that grows
            with the intensity, as that of photons does, which is better made even (its maps would
            have to be read off the noise itself); None in training on noisy images, where maps
            would tell of the noise that is to be removed.

    Examples:
        >>> from scalewise.stabilise import stabiliser_of
        >>> stabiliser_of(scalewise.NoiseModel.white(0.1)) is None
        True
    """
    maps = prior is not None and prior.noise_maps and prior.noise_floor == 0
    return Stabiliser(noise) if noise.curve and (noise.grows or not maps) else None


def _interpolated(values: Tensor, places: np.ndarray, there: np.ndarray) -> Tensor:
    found = np.interp(values.detach().cpu().double().numpy(), places, there)
    return torch.from_numpy(found).to(values)
