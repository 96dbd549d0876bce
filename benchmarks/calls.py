"""The number of calls and the sampler's noise, weighed by all measures of faces together.

    python -m benchmarks.calls --model faces

Every setting draws as many samples as there are validation faces, from the same noise, and gets
what `benchmarks.faces` measures: cascades, classifier, distances over their floors, contrast, the
nearest training faces. Settings are chosen here; figures to quote come from other samples.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import DATA, RESULTS, facts, load_prior, read_json, write_json
from benchmarks.faces import found_by_cascades, read_faces, two_sample_accuracy
from scalewise.evaluation import measure_samples
from scalewise.networks import Network
from scalewise.prior import MultiScalePrior
from scalewise.samplers import Multistep, Sampler, StepRule, few_steps

SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "low 12": ({"steps": 12}, {}),
    "low 20": ({"steps": 20}, {}),
    "low 80": ({"steps": 80}, {}),
    "low without fresh noise": ({"eta": 0.0, "s_noise": 1.0}, {}),
    "low, noise as it is": ({"s_noise": 1.0}, {}),
    "low, noise 1.02": ({"s_noise": 1.02}, {}),
    "details 5": ({}, {"steps": 5}),
    "details 20": ({}, {"steps": 20}),
    "details 20 with fresh noise": ({}, {"steps": 20, "eta": 1.0}),
}
"""What each changes of the rule of the low-pass image, and of that of details."""


def sampler_of(low: dict[str, Any], details: dict[str, Any]) -> Sampler:
    """The default rules, changed."""

    def sampler(network: Network) -> StepRule:
        rule = few_steps(network)
        assert isinstance(rule, Multistep)
        return replace(rule, **(details if network.conditional else low))

    return sampler


def measure(
    prior: MultiScalePrior, samples: Tensor, validation: Tensor, training: Tensor
) -> dict[str, Any]:
    """All measures of one setting."""
    found = measure_samples(
        samples, validation, training=training, levels=prior.levels, wavelet=prior.wavelet
    )
    floors = {level: floor["mean"] for level, floor in found["floor"].items()}
    ratios = {level: found["distances"][level] / floors[level] for level in floors}
    classifiers = [two_sample_accuracy(samples, validation, seed) for seed in range(2)]
    nearest = found["nearest"]["image"]
    return {
        "cascades": found_by_cascades(samples),
        "classifier": sum(one["accuracy"] for one in classifiers) / len(classifiers),
        "floors": ratios,
        "contrast": {name: quantiles["50%"] for name, quantiles in found["contrast"].items()},
        "nearest": {name: nearest[name]["50%"] for name in ("samples", "reference")},
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure every setting, and write the JSON file; settings that are there are kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="faces")
    parser.add_argument("--faces", type=Path, default=DATA / "faces")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS / "calls.json")
    options = parser.parse_args(arguments)
    prior = load_prior(options.model, options.device)
    training = read_faces(options.faces / "training", prior.channels)
    validation = read_faces(options.faces / "validation", prior.channels)
    content = read_json(options.out) or {"settings": {}}
    for name in options.settings:
        low, details = SETTINGS[name]
        if name in content["settings"]:
            continue
        with torch.no_grad():
            samples = prior.sample(
                len(validation), seed=options.seed, batch=32, sampler=sampler_of(low, details)
            )
        found = measure(prior, samples.clamp(0, 1).cpu(), validation, training)
        content["settings"][name] = found
        write_json(options.out, {**content, **facts(options.device), "seed": options.seed})
        print(name, found, flush=True)


if __name__ == "__main__":
    main()
