"""What the noise of an image is like, from it alone: a spectrum, and a curve over the light."""

from scalewise.spectrum.differences import HIGHER, overall, rises
from scalewise.spectrum.estimating import BELIEVED, LESS, Estimate, estimate_noise, look_at
from scalewise.spectrum.looking import deviations_of
from scalewise.spectrum.plausible import HIDDEN
from scalewise.spectrum.statistics import Statistics

__all__ = [
    "BELIEVED",
    "HIDDEN",
    "HIGHER",
    "LESS",
    "Estimate",
    "Statistics",
    "deviations_of",
    "estimate_noise",
    "look_at",
    "overall",
    "rises",
]
