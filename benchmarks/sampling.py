"""Quality of samples against the number of network calls, for every solver.

    python -m benchmarks.sampling --model MODELS/faces320-rf13

Samples of the paper's procedure, drawn with thousands of calls, are the measure: half of them are
the reference, and the distance of the other half from it is what no solver can be asked to beat.
The low-pass image is compared with theirs; details are drawn given their low-pass images.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import RESULTS, ROOT, facts, load_prior, pyplot, write_figure, write_json
from scalewise.evaluation import radial_power_spectrum, sliced_wasserstein
from scalewise.evaluation.distances import level_distances
from scalewise.files import write_whole
from scalewise.networks import Network
from scalewise.prior import MultiScalePrior
from scalewise.samplers import (
    Multistep,
    Sampler,
    StepRule,
    StochasticAscent,
    few_steps,
    paper_ascent,
)
from scalewise.speed.sampling import counted
from scalewise.wavelets import split

LOW_CALLS = (5, 8, 12, 20, 40, 80)
DETAIL_CALLS = (2, 3, 4, 6, 8, 10, 12, 20, 40)
SEEDS = (100, 200, 300, 400)
"""Of our samples, whose noise is not the procedure's; of low-pass images there is a set of each."""


@dataclass(frozen=True)
class Euler(Multistep):
    """First-order steps on the same schedule: DDIM (Song et al. 2021), for comparison."""

    def move(self, *arguments: Any) -> Any:
        """Step towards the denoised state of this level alone."""
        step, noisy, clean, sigma, _, noise = arguments
        return super().move(step, noisy, clean, sigma, None, noise)


def solvers(network: Network, calls: int) -> dict[str, StepRule]:
    """Rules of about so many calls each, by the name in the results."""
    rule = few_steps(network)
    assert isinstance(rule, Multistep)
    start, end = rule.start, rule.end
    return {
        "second order": Multistep(start, end, steps=calls),
        "second order, fresh noise": Multistep(start, end, steps=calls, eta=1.0),
        "first order": Euler(start, end, steps=calls),
        "stochastic ascent": _ascent(network, calls),
    }


def _ascent(network: Network, calls: int) -> StepRule:
    """The paper's ascent, of growing steps, made to end at `calls`: more stochastic, more calls."""
    rule = paper_ascent(network)
    assert isinstance(rule, StochasticAscent)
    return replace(rule, h=min(1.0, 2.0 / calls), beta=min(1.0, 6.0 / calls), growing=True)


def always(rule: StepRule) -> Sampler:
    """The sampler that has one rule for every network."""
    return lambda network: rule


def published(prior: MultiScalePrior, count: int, batch: int, cache: Path) -> list[Tensor]:
    """All scales of the procedure's samples, `x_J` first; what was drawn before is read."""
    cache.mkdir(parents=True, exist_ok=True)
    scales: list[list[Tensor]] = []
    for first in range(0, count, batch):
        part = cache / f"published-{first}-{batch}.pt"
        if not part.exists():
            write_whole(part, partial(torch.save, _all_scales(prior, batch, first)))
            print(f"the paper's procedure: {first + batch} of {count} images", flush=True)
        scales.append(torch.load(part, weights_only=True))
    return [torch.cat(scale)[:count] for scale in zip(*scales, strict=True)]


def _all_scales(prior: MultiScalePrior, count: int, seed: int) -> list[Tensor]:
    """Samples by the paper's ascent as they grow, `x_J` first."""
    scales: list[Tensor] = []
    prior.sample(
        count, seed=seed, sampler=paper_ascent, callback=lambda _, x: scales.append(x.clone())
    )
    return scales


def low_curve(
    prior: MultiScalePrior, aim: Tensor, floor: Tensor, batch: int
) -> list[dict[str, Any]]:
    """Distances of low-pass samples from the procedure's, by solver and calls; means over sets."""
    rows: list[dict[str, Any]] = [
        {"solver": "the paper's procedure", "calls": None, **_low_distance(floor, aim)}
    ]
    top = MultiScalePrior(prior.low, [], prior.wavelet)
    size = (aim.shape[-2], aim.shape[-1])
    for calls in LOW_CALLS:
        for name, rule in solvers(prior.low, calls).items():
            with counted(top) as found:
                sets = [
                    top.sample(len(aim), seed=seed, size=size, sampler=always(rule), batch=batch)
                    for seed in SEEDS
                ]
            batches = len(SEEDS) * -(-len(aim) // batch)
            rows.append({"solver": name, "calls": found["low"] / batches})
            distances = [_low_distance(low, aim) for low in sets]
            rows[-1] |= {key: fmean(d[key] for d in distances) for key in distances[0]}
            rows[-1]["deviation"] = stdev(d["distance"] for d in distances)
            print(rows[-1], flush=True)
    return rows


def details_curve(
    prior: MultiScalePrior, level: int, low: Tensor, aim: Tensor, floor: Tensor
) -> list[dict[str, Any]]:
    """Distances of the details of a level, drawn given the procedure's low-pass images."""
    rows: list[dict[str, Any]] = [{"solver": "the paper's procedure", "calls": None}]
    rows[0] |= _details_distance(floor, aim, prior.wavelet)
    network = prior.conditionals[level - 1]
    one = MultiScalePrior(prior.low, [network], prior.wavelet)
    for calls in DETAIL_CALLS:
        for name, rule in solvers(network, calls).items():
            with counted(one) as found:
                images = one.upscale(low, 2, samples=1, seed=SEEDS[0], sampler=always(rule))
            rows.append({"solver": name, "calls": found["level 1"], "level": level})
            rows[-1] |= _details_distance(images[0], aim, prior.wavelet)
            print(rows[-1], flush=True)
    return rows


def _low_distance(low: Tensor, aim: Tensor) -> dict[str, float]:
    """Distances of the images less their means, of the means, and of the spectra."""
    level, wanted = (x.mean(dim=(1, 2, 3), keepdim=True) for x in (low, aim))
    spread = (aim - wanted).std().item()
    return {
        "distance": sliced_wasserstein(low - level, aim - wanted) / spread,
        "brightness": (level.mean() - wanted.mean()).item(),
        "spectrum_db": _spectrum_gap(low, aim),
    }


def _details_distance(images: Tensor, aim: Tensor, wavelet: str) -> dict[str, float]:
    energy = split(images, wavelet)[1].square().mean() / split(aim, wavelet)[1].square().mean()
    return {
        "distance": level_distances(images, aim, levels=1, wavelet=wavelet, patches_per_image=512)[
            "level 1"
        ],
        "spectrum_db": _spectrum_gap(images, aim),
        "energy": energy.sqrt().item(),
    }


def _spectrum_gap(images: Tensor, aim: Tensor) -> float:
    """Mean absolute difference of radial power spectra, in decibels."""
    (_, power), (_, wanted) = radial_power_spectrum(images), radial_power_spectrum(aim)
    return (10 * (power / wanted).log10()).abs().mean().item()


def plot(content: dict[str, Any], file: Path) -> None:
    """Draw distance and spectrum against calls, for the low-pass image and each level's details."""
    levels = sorted({row["level"] for row in content["details"] if "level" in row}, reverse=True)
    columns = {"low-pass image": content["low"]}
    size = len(content["details"]) // len(levels)
    for place, level in enumerate(levels):
        columns[f"details, level {level}"] = content["details"][place * size : (place + 1) * size]
    measures = {"distance": "sliced Wasserstein distance", "spectrum_db": "gap of spectra in dB"}
    shape = (len(measures), len(columns))
    figure, axes = pyplot().subplots(*shape, figsize=(11, 5), layout="constrained", sharex="col")
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize="medium")
    for line, (key, unit) in zip(axes, measures.items(), strict=True):
        line[0].set_ylabel(unit)
        for axis, rows in zip(line, columns.values(), strict=True):
            for name in dict.fromkeys(row["solver"] for row in rows[1:]):
                points = sorted((r["calls"], r[key]) for r in rows if r["solver"] == name)
                axis.plot(*zip(*points, strict=True), ".-", label=name)
            axis.axhline(rows[0][key], color="gray", ls="--", label="the paper's own spread")
            axis.set_xscale("log", base=2)
            axis.grid(alpha=0.3)
            axis.xaxis.set_major_formatter("{x:g}")
    for axis in axes[-1]:
        axis.set_xlabel("network calls")
    axes[0, 0].legend(fontsize="x-small")
    write_figure(figure, file)


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True, help="folder of the imported networks")
    parser.add_argument("--images", type=int, default=16, help="of the paper's procedure")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--cache", type=Path, default=Path("sampling-cache"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=RESULTS / "sampling.json")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "images" / "sampling.svg")
    options = parser.parse_args(arguments)
    prior = load_prior(options.model, options.device)
    scales = published(prior, options.images, options.batch, options.cache)
    half = options.images // 2
    content: dict[str, Any] = {"benchmark": "sampling", "model": Path(options.model).name}
    content |= facts(options.device) | {"images": options.images}
    content["low"] = low_curve(prior, scales[0][:half], scales[0][half:], options.batch)
    content["details"] = []
    for place in range(prior.levels):
        level, low, images = prior.levels - place, scales[place], scales[place + 1]
        content["details"] += details_curve(prior, level, low[:half], images[:half], images[half:])
        write_json(options.json, content)
    plot(content, options.plot)


if __name__ == "__main__":
    main()
