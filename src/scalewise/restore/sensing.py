"""The noise of a sensor, estimated from one mosaic of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from scalewise.errors import UsageError
from scalewise.images import Mosaic
from scalewise.networks import NoiseEstimator
from scalewise.noise_model import NoiseModel
from scalewise.restore.finding import find_noise
from scalewise.restore.lights import variance_line
from scalewise.stabilise import Stabiliser

SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the pixels of a plane below the intensities at which its noise is looked at."""

TOE, BENT = 0.0015, 0.02
"""Least and largest intensity at which the curve turns from straight to a square root: the curve
of sRGB does at 0.0031."""

ROUNDS, STEP = 2, 1e-3
"""Times that noise is looked at after a curve that makes it more even; step of its slope."""

LEAST = 1e-5
"""Least deviation that is told, in shares of the range."""


@dataclass(frozen=True)
class SensorNoise:
    """Counted photons and read noise: variance `gain * x + read ** 2`, x from 0 to 1 (saturated).

    Args:
        gain: share of the range of one photo-electron.
        read: deviation of read noise, as a share of the range.

    Raises:
        UsageError: one is negative or not finite.

    Examples:
        >>> noise = scalewise.restore.SensorNoise(gain=0.001, read=0.002)
        >>> f"{noise.model.sigma:.4f}"  # at half of saturation
        '0.0224'
    """

    gain: float
    read: float

    def __post_init__(self) -> None:
        """Check the range."""
        if not (0 <= self.gain < math.inf and 0 <= self.read < math.inf):
            raise UsageError(
                f"gain and read noise must be 0 or more, found {self.gain:g} and {self.read:g}"
            )

    def times(self, factor: float) -> SensorNoise:
        """That of intensities so many times as large.

        Args:
            factor: of the intensities, above 0.

        Examples:
            >>> brighter = scalewise.restore.SensorNoise(gain=0.001, read=0.002).times(2)
            >>> brighter.gain, brighter.read
            (0.002, 0.004)
        """
        return SensorNoise(factor * self.gain, factor * self.read)

    @property
    def model(self) -> NoiseModel:
        """Its description."""
        gain = max(self.gain, LEAST**2)
        return NoiseModel.photons(gain, 0.0, max(self.read, LEAST) / gain)

    def in_words(self, span: float) -> str:
        """A sentence, in the unit of a file whose range is so large.

        Args:
            span: stored value of white less that of black.

        Examples:
            >>> scalewise.restore.SensorNoise(gain=0.001, read=0.002).in_words(4096)
            'noise: a photo-electron is 4.1 of 4096 (--gain), read noise 2 electrons (--read-noise)'
        """
        gain, read = span * self.gain, span * self.read
        if not gain:
            return f"noise of {read:.3g} everywhere, of {span:.6g}"
        return (
            f"noise: a photo-electron is {gain:.3g} of {span:.6g} (--gain), read noise "
            f"{read / gain:.3g} electrons (--read-noise)"
        )


START = SensorNoise(1e-3, 1e-3)
"""Noise for whose curve that of a mosaic is looked at first."""


def photon_curve(noise: SensorNoise) -> NoiseModel:
    """Noise whose curve (`Stabiliser`) makes that of a sensor even, and is like that of displays.

    It is a square root above an intensity, straight below.
    """
    toe = noise.read**2 / noise.gain if noise.gain else math.inf
    return NoiseModel.photons(1.0, 0.0, math.sqrt(min(max(toe, TOE), BENT)))


def find_sensor_noise(mosaic: Mosaic, estimator: NoiseEstimator | None) -> SensorNoise:
    """Estimate what the noise of a sensor is like from one mosaic.

    The four planes of pixels of one colour, of half the size, are looked at after a curve like that
    of displays, which the estimator has learnt; variance that is linear in the intensity is fitted
    to what it says (the model of Foi et al., "Practical Poissonian-Gaussian noise modeling and
    fitting for single-image raw-data", IEEE TIP 2008).

    Args:
        mosaic: of which the noise is.
        estimator: that of a prior.
    """
    height, width = (side - side % 2 for side in mosaic.values.shape)
    planes = [
        mosaic.values[:height, :width][row::2, column::2] for row in (0, 1) for column in (0, 1)
    ]
    noise = START
    for _ in range(ROUNDS):
        curve = Stabiliser(noise.model, photon_curve(noise))
        places, variances = [], []
        for plane in planes:
            shown = curve.forward(plane)
            found = find_noise(shown[None], 1, estimator=estimator)
            at = torch.from_numpy(np.quantile(plane.clamp(0, 1).numpy(), SHARES))
            slope = (curve.forward(at + STEP) - curve.forward(at - STEP)) / (2 * STEP)
            level = found.scales[0][0] * found.at(curve.forward(at)) / slope
            places += at.tolist()
            variances += (level**2).tolist()
        growth, floor = variance_line(np.array(places), np.array(variances))
        noise = SensorNoise(growth, math.sqrt(floor))
    return noise
