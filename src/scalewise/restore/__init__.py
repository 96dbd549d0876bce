"""Restoring pictures: what any caller does to an image file with a prior.

    prior = scalewise.load("photos")
    picture = scalewise.read_image("noisy.tif")
    cleaned = scalewise.restore.denoise(picture, prior)
    scalewise.write_image("clean.tif", cleaned.picture)

Planes are restored one by one, in intensities from black to white, with the channels that the prior
knows; all else that a file says goes with them.
"""

from scalewise.restore.answering import Asking, Question, answered, answered_together
from scalewise.restore.averaging import averaged, check_average
from scalewise.restore.checking import Check, check
from scalewise.restore.defects import DEFECTS, check_defects, find_defects, remove_defects
from scalewise.restore.demosaicking import demosaic
from scalewise.restore.denoising import (
    STRONGEST,
    Strength,
    denoise,
    denoise_plane,
    denoising,
    visible,
)
from scalewise.restore.finding import (
    GRAY_GAIN,
    find_noise,
    noise_for,
    noise_levels,
    noise_of_frame,
    photon_noise,
    spectrum_of,
)
from scalewise.restore.inverting import deblur, enlarge, inpaint
from scalewise.restore.lights import LOOKED_AT
from scalewise.restore.result import Restored
from scalewise.restore.sensing import SensorNoise, find_sensor_noise
from scalewise.restore.together import measured_field, measured_photons, noise_together
from scalewise.restore.upscaling import fit_to_type, upscale

__all__ = [
    "DEFECTS",
    "GRAY_GAIN",
    "LOOKED_AT",
    "STRONGEST",
    "Asking",
    "Check",
    "Question",
    "Restored",
    "SensorNoise",
    "Strength",
    "answered",
    "answered_together",
    "averaged",
    "check",
    "check_average",
    "check_defects",
    "deblur",
    "demosaic",
    "denoise",
    "denoise_plane",
    "denoising",
    "enlarge",
    "find_defects",
    "find_noise",
    "find_sensor_noise",
    "fit_to_type",
    "inpaint",
    "measured_field",
    "measured_photons",
    "noise_for",
    "noise_levels",
    "noise_of_frame",
    "noise_together",
    "photon_noise",
    "remove_defects",
    "spectrum_of",
    "upscale",
    "visible",
]
