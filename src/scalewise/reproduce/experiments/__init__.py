"""The experiments, in the order of the report; one file each."""

from scalewise.reproduce.experiment import Experiment
from scalewise.reproduce.experiments import (
    bits,
    brightness,
    cost,
    denoising,
    filters,
    flat_synthesis,
    generalisation,
    levels,
    markov,
    price,
    score,
    synthesis,
    upscaling,
    wavelets,
)

EXPERIMENTS: tuple[Experiment, ...] = (
    score.EXPERIMENT,
    flat_synthesis.EXPERIMENT,
    denoising.EXPERIMENT,
    levels.EXPERIMENT,
    upscaling.EXPERIMENT,
    synthesis.EXPERIMENT,
    markov.EXPERIMENT,
    filters.EXPERIMENT,
    cost.EXPERIMENT,
    bits.EXPERIMENT,
    price.EXPERIMENT,
    generalisation.EXPERIMENT,
    brightness.EXPERIMENT,
    wavelets.EXPERIMENT,
)
