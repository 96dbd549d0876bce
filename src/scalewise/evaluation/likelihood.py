"""Likelihood measured: bits per dimension of images under a prior, per level."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

from torch import Tensor

from scalewise.errors import UsageError
from scalewise.evaluation.records import Callback, Record, crop_to_multiple
from scalewise.images import to_channels
from scalewise.likelihood import SIGMA_MIN
from scalewise.prior import MultiScalePrior


def evaluate_likelihood(
    prior: MultiScalePrior,
    images: Mapping[str, Tensor],
    *,
    seed: int = 0,
    sigma_min: float = SIGMA_MIN,
    callback: Callback | None = None,
) -> list[Record]:
    """Measure the bits per dimension of each image, see `MultiScalePrior.nll`.

    Images are converted to the channels of the prior, so a gray image under a prior of RGB images
    is one of three equal channels, and are cut so that `2 ** levels` divides their sides.

    Args:
        prior: what gives images their probability.
        images: in [0, 1] by name, each (C, H, W).
        seed: the noise of image `i` is a function of (seed, i).
        sigma_min: noise level in image units.
        callback: called with every record.

    Returns:
        One record per image, with `image`, `height` and `width` that were measured, `bits` per
        dimension by part (`level 1`, ..., `low`, and their sum `total`), `per_coefficient` of each
        part's own, `error` (standard error of `total` by the noise drawn) and `seconds`.

    Raises:
        UsageError: an image is smaller than `2 ** levels` pixels.

    Examples:
        >>> from scalewise.evaluation import evaluate_likelihood
        >>> prior = scalewise.load("photos")
        >>> (record,) = evaluate_likelihood(prior, {"random": torch.rand(3, 32, 32)})
        >>> list(record["bits"])
        ['level 1', 'level 2', 'level 3', 'low', 'total']
    """
    records = []
    parts = [*(f"level {level}" for level in range(1, prior.levels + 1)), "low"]
    for index, (name, image) in enumerate(images.items()):
        clean = crop_to_multiple(to_channels(image, prior.channels)[0], 1 << prior.levels)
        if 0 in clean.shape:
            raise UsageError(
                f"image {name!r} is too small: the model needs sides from {1 << prior.levels} "
                f"pixels, found {tuple(image.shape[-2:])}"
            )
        start = time.perf_counter()
        found = prior.nll(clean[None], seed=seed, sigma_min=sigma_min, first=index)
        total = found.total.item()
        record = {
            "image": name,
            "height": clean.shape[-2],
            "width": clean.shape[-1],
            "bits": dict(zip(parts, found.bits[0].tolist(), strict=True)) | {"total": total},
            "per_coefficient": dict(zip(parts, found.per_coefficient[0].tolist(), strict=True))
            | {"total": total},
            "error": found.error.item(),
            "seconds": time.perf_counter() - start,
        }
        records.append(record)
        if callback:
            callback(record)
    return records


def mean_bits(records: Sequence[Record]) -> list[Record]:
    """Average records of `evaluate_likelihood` over images.

    Returns:
        One record per part and for their sum, `part`, with mean `bits` per dimension and
        `per_coefficient`, the `standard_error` of `bits` over images (None for one image), and the
        `count` of images.
    """
    means = []
    for part in records[0]["bits"]:
        bits = [record["bits"][part] for record in records]
        own = [record["per_coefficient"][part] for record in records]
        spread = statistics.stdev(bits) / len(bits) ** 0.5 if len(bits) > 1 else None
        means.append(
            {
                "part": part,
                "bits": statistics.fmean(bits),
                "standard_error": spread,
                "per_coefficient": statistics.fmean(own),
                "count": len(bits),
            }
        )
    return means
