"""Measures of sets of samples that several experiments take."""

from __future__ import annotations

import torch
from torch import Tensor

from scalewise.evaluation import level_distances, radial_power_spectrum
from scalewise.prior import MultiScalePrior

COARSE = 1 / 12
"""Cycles per pixel below which structure counts as large: longer than 12 pixels."""


def depth_of(side: int) -> int:
    """Levels that leave a low-pass image of about six pixels, at which layout shows."""
    return max(1, (side // 6).bit_length() - 1)


def distances(samples: Tensor, reference: Tensor) -> dict[str, float]:
    """How far samples are from reference images, at small and large scales.

    Args:
        samples: shape (N, C, H, W); clipped to [0, 1] first.
        reference: shape (M, C, H, W).

    Returns:
        Sliced Wasserstein distances `level 1` ... and `low` of a low-pass image of about 6x6
        pixels (see `level_distances`), and the root mean square of the decimal logarithm of the
        ratio of radial power spectra: `spectrum` over all frequencies, `coarse spectrum` over
        those below `COARSE`.
    """
    samples = samples.clamp(0, 1)
    found = level_distances(samples, reference, levels=depth_of(reference.shape[-1]))
    frequency, own = radial_power_spectrum(samples)
    _, wanted = radial_power_spectrum(reference)
    ratio = (own.clamp(min=1e-12) / wanted.clamp(min=1e-12)).log10().square()
    coarse = frequency < COARSE
    return {
        **found,
        "spectrum": float(ratio.mean().sqrt()),
        "coarse spectrum": float(ratio[coarse].mean().sqrt()),
    }


def floor(training: Tensor, reference: Tensor, count: int, seed: int) -> dict[str, float]:
    """The same distances of as many training images: what perfect samples would have."""
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(seed))
    parts = [order[k : k + count] for k in range(0, min(4, len(training) // count) * count, count)]
    found = [distances(training[part], reference) for part in parts or [order[:count]]]
    return {name: sum(d[name] for d in found) / len(found) for name in found[0]}


def scales_of(prior: MultiScalePrior, count: int, seed: int, size: int) -> list[Tensor]:
    """Samples at every scale as they are drawn, coarsest first: (count, C, h, w) each."""
    scales: list[Tensor] = []
    prior.sample(
        count, seed=seed, size=(size, size), callback=lambda _, low: scales.append(low.cpu())
    )
    return scales
