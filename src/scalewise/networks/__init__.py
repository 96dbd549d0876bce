"""Denoising networks: local ones with a declared receptive field, and a global one."""

from scalewise.networks.base import (
    BandNoise,
    Bands,
    BandSigma,
    ConditionalDenoiser,
    Denoiser,
    Network,
    in_gray,
    parameters_of,
    unit_of,
    with_noise_maps,
)
from scalewise.networks.bias_free import BiasFreeConditional, BiasFreeDenoiser
from scalewise.networks.convolution import spread_kernels
from scalewise.networks.estimator import NoiseEstimator
from scalewise.networks.local import LocalConditional, LocalDenoiser, deepened
from scalewise.networks.probe import probe_receptive_field
from scalewise.networks.unet import UNet

__all__ = [
    "BandNoise",
    "BandSigma",
    "Bands",
    "BiasFreeConditional",
    "BiasFreeDenoiser",
    "ConditionalDenoiser",
    "Denoiser",
    "LocalConditional",
    "LocalDenoiser",
    "Network",
    "NoiseEstimator",
    "UNet",
    "deepened",
    "in_gray",
    "parameters_of",
    "probe_receptive_field",
    "spread_kernels",
    "unit_of",
    "with_noise_maps",
]
