"""Synthesis measured: are samples distributed like images, and are they new?"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import torch
from torch import Tensor

from scalewise.evaluation.distances import (
    level_distances,
    nearest_distances,
    radial_power_spectrum,
)
from scalewise.evaluation.records import Record
from scalewise.prior import Callback, MultiScalePrior
from scalewise.wavelets import low_pass

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def evaluate_synthesize(
    prior: MultiScalePrior,
    reference: Tensor,
    *,
    training: Tensor | None = None,
    count: int = 256,
    seed: int = 0,
    callback: Callback | None = None,
) -> Record:
    """Draw samples of the size of the reference images and measure them.

    Args:
        prior: what to draw from.
        reference: validation images in [0, 1], shape (M, C, H, W).
        training: what the prior was trained on, shape (K, C, H, W).
        count: how many samples.
        seed: sample `i` of a seed is the same whatever the count.
        callback: called as each scale of a batch is finished, see `MultiScalePrior.sample`.

    Returns:
        See `measure_samples`.

    Examples:
        >>> from scalewise.evaluation import evaluate_synthesize
        >>> from scalewise.exact import gaussian_prior
        >>> prior = gaussian_prior(torch.full((16, 16), 0.01), levels=1)
        >>> sorted(evaluate_synthesize(prior, prior.sample(8, seed=1).float(), count=4))
        ['brightness', 'contrast', 'counts', 'distances', 'spectrum']
    """
    size = (reference.shape[-2], reference.shape[-1])
    samples = prior.sample(count, seed=seed, size=size, callback=callback).cpu()
    return measure_samples(
        samples, reference, training=training, levels=prior.levels, wavelet=prior.wavelet
    )


def measure_samples(
    samples: Tensor,
    reference: Tensor,
    *,
    training: Tensor | None,
    levels: int,
    wavelet: str = "haar",
) -> Record:
    """Compare samples with validation images, and both with the training images.

    Args:
        samples: shape (N, C, H, W); clipped to [0, 1] first, as writing files would.
        reference: validation images, shape (M, C, H, W).
        training: training images, shape (K, C, H, W), or None.
        levels: levels at which to compare.
        wavelet: the wavelet between them.

    Returns:
        `distances` by level (see `level_distances`) of the samples from the reference, and as
        `floor` the same for as many training images: the mean and standard deviation over up to
        eight disjoint parts of the training set. `nearest`: quantiles of the distance to the
        nearest training image, for samples and for reference images, of whole images and of
        low-pass ones. `brightness` and `contrast`: quantiles of the images' mean and standard
        deviation. `spectrum`: radial power spectra.
    """
    samples = samples.clamp(0, 1)
    sets = {"samples": samples, "reference": reference}
    record: Record = {
        "counts": {name: len(images) for name, images in sets.items()},
        "distances": level_distances(samples, reference, levels=levels, wavelet=wavelet),
    }
    if training is not None:
        record["counts"]["training"] = len(training)
        record["floor"] = _floor(training, reference, len(samples), levels, wavelet)
        record["nearest"] = {
            "image": _nearest(sets, training),
            "low": _nearest(
                {name: low_pass(images, levels, wavelet) for name, images in sets.items()},
                low_pass(training, levels, wavelet),
            ),
        }
        sets["training"] = training
    pixels = {name: images.flatten(1) for name, images in sets.items()}
    record["brightness"] = {name: quantiles(values.mean(1)) for name, values in pixels.items()}
    record["contrast"] = {name: quantiles(values.std(1)) for name, values in pixels.items()}
    record["spectrum"] = _spectra(sets)
    return record


def quantiles(values: Tensor) -> dict[str, float]:
    """Quantiles of values (N,), by name: `0%` is the least, `50%` the median."""
    found = values.double().quantile(torch.tensor(QUANTILES, dtype=torch.float64))
    return {f"{100 * q:g}%": value for q, value in zip(QUANTILES, found.tolist(), strict=True)}


def _floor(
    training: Tensor, reference: Tensor, count: int, levels: int, wavelet: str
) -> dict[str, Record]:
    """Mean and standard deviation of the distances of training parts from the reference."""
    found = [
        level_distances(part, reference, levels=levels, wavelet=wavelet)
        for part in _parts(training, count)
    ]
    return {
        name: {
            "mean": statistics.fmean(distances[name] for distances in found),
            "std": statistics.stdev(d[name] for d in found) if len(found) > 1 else None,
        }
        for name in found[0]
    }


def _parts(training: Tensor, count: int, most: int = 8) -> Iterator[Tensor]:
    """Disjoint random parts of `count` images; one smaller part where there are fewer images."""
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(0))
    for part in range(max(1, min(most, len(training) // count))):
        yield training[order[part * count : (part + 1) * count]]


def _nearest(sets: dict[str, Tensor], training: Tensor) -> dict[str, dict[str, float]]:
    return {name: quantiles(nearest_distances(images, training)) for name, images in sets.items()}


def _spectra(sets: dict[str, Tensor]) -> dict[str, list[float]]:
    spectra = {name: radial_power_spectrum(images) for name, images in sets.items()}
    frequency = next(iter(spectra.values()))[0]
    powers = {name: power.tolist() for name, (_, power) in spectra.items()}
    return {"frequency": frequency.tolist(), **powers}
