"""The map of uncertainty without samples, beside the deviation of many samples.

    python -m benchmarks.variance --model photos

Middles of validation photographs with white noise that is told. Calls of the networks are counted.
Two hundred samples tell a deviation within 5 %, so no map can agree with theirs but so far: the
maps of each half of them say how far. What is in the JSON file is kept, so a run that was killed
goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import DATA, RESULTS, facts, load_prior, read_images, read_json, write_json
from scalewise.data.image_set import middle
from scalewise.evaluation import Record, add_noise
from scalewise.posterior import Posterior
from scalewise.prior import MultiScalePrior

CROP, BATCH = 96, 2
"""Side of the middle parts of images, and how many are measured at a time."""


class Counted:
    """A denoiser whose calls are counted.

    Args:
        denoise: as in `Posterior`.
    """

    def __init__(self, denoise: Any) -> None:
        self.denoise, self.calls = denoise, 0

    def __call__(self, noisy: Tensor, share: Tensor) -> Tensor:
        """One call."""
        self.calls += 1
        denoised: Tensor = self.denoise(noisy, share)
        return denoised


def counted(prior: MultiScalePrior, noisy: Tensor, sigma: float) -> tuple[Posterior, Counted]:
    """The posterior of images (N, C, H, W), and the count of its calls."""
    posterior = prior.posterior(noisy, sigma)
    denoise = Counted(posterior.denoise)
    return replace(posterior, denoise=denoise), denoise


def batched(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """So many at a time as are measured together."""
    names = iter(names)
    while batch := tuple(islice(names, BATCH)):
        yield batch


def correlation(first: Tensor, second: Tensor) -> float:
    """Of the values of two maps."""
    return float(torch.corrcoef(torch.stack([first, second]).flatten(1))[0, 1])


def measured(prior: MultiScalePrior, noisy: Tensor, sigma: float, count: int) -> list[Record]:
    """Both maps of images (N, C, H, W), compared; `sigma` in 8-bit units."""
    posterior, denoise = counted(prior, noisy, sigma / 255)
    map_of = posterior.variance().sqrt()
    calls_map = denoise.calls
    posterior, denoise = counted(prior, noisy, sigma / 255)
    samples = posterior.samples(count)
    records = []
    for fast, drawn in zip(map_of, samples.unbind(1), strict=True):
        slow = drawn.std(0)
        record: Record = {"samples": count, "calls_map": calls_map, "calls_samples": denoise.calls}
        record |= {
            "correlation": correlation(fast, slow),
            "ratio": float(fast.mean() / slow.mean()),
        }
        record["halves"] = correlation(drawn[: count // 2].std(0), drawn[count // 2 :].std(0))
        gray = [each.square().mean(0).sqrt() for each in (fast, slow)]
        records.append(record | {"correlation_gray": correlation(*gray)})
    return records


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="photos")
    parser.add_argument("--photos", type=Path, default=DATA / "photos" / "validation")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--sigma", type=float, default=25.0)
    parser.add_argument("--json", type=Path, default=RESULTS / "variance.json")
    options = parser.parse_args(arguments)
    prior = load_prior(options.model, "cpu")
    images = read_images(options.photos, prior.channels, options.images)
    noisy = {
        name: add_noise(middle(image, CROP), options.sigma / 255, 0, index)
        for index, (name, image) in enumerate(images.items())
    }
    settings = {"model": Path(options.model).name, "sigma": options.sigma, "crop": CROP}
    records: list[Record] = read_json(options.json).get("records", [])
    done = {record["image"] for record in records}
    for names in batched(name for name in noisy if name not in done):
        batch = torch.stack([noisy[name] for name in names])
        found = measured(prior, batch, options.sigma, options.samples)
        records += [{"image": name} | one for name, one in zip(names, found, strict=True)]
        print(names, found, flush=True)
        write_json(options.json, {**facts(), **settings, "records": records})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
