"""Measuring a prior: denoising, super-resolution, synthesis, likelihood, and pictures."""

from scalewise.evaluation.calibration import (
    evaluate_calibration,
    evaluate_upscaling_calibration,
    learn_calibration,
    learn_upscaling,
)
from scalewise.evaluation.comparing import Comparison, compare_models
from scalewise.evaluation.denoising import SIGMAS, add_noise, compare, evaluate_denoise
from scalewise.evaluation.distances import (
    level_distances,
    nearest_distances,
    radial_power_spectrum,
    sliced_wasserstein,
)
from scalewise.evaluation.likelihood import evaluate_likelihood, mean_bits
from scalewise.evaluation.records import Callback, Record, crop_to_multiple, means
from scalewise.evaluation.reliability import reliability_diagram
from scalewise.evaluation.sheets import grid, sheet
from scalewise.evaluation.synthesis import evaluate_synthesize, measure_samples
from scalewise.evaluation.unseen import evaluate_unseen
from scalewise.evaluation.upscaling import evaluate_upscale, interpolate
from scalewise.metrics import psnr, ssim

__all__ = [
    "SIGMAS",
    "Callback",
    "Comparison",
    "Record",
    "add_noise",
    "compare",
    "compare_models",
    "crop_to_multiple",
    "evaluate_calibration",
    "evaluate_denoise",
    "evaluate_likelihood",
    "evaluate_synthesize",
    "evaluate_unseen",
    "evaluate_upscale",
    "evaluate_upscaling_calibration",
    "grid",
    "interpolate",
    "learn_calibration",
    "learn_upscaling",
    "level_distances",
    "mean_bits",
    "means",
    "measure_samples",
    "nearest_distances",
    "psnr",
    "radial_power_spectrum",
    "reliability_diagram",
    "sheet",
    "sliced_wasserstein",
    "ssim",
]
