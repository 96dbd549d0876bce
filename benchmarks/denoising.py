"""Denoising by a prior, blind, beside BM3D and non-local means, which are told the noise level.

    python -m benchmarks.denoising --model photos

Every value depends on (image, noise level, seed) alone, so those of the two baselines are kept in
the JSON file and taken from it when the package that made them has the same version: a run that
was interrupted goes on where it was. Without `--model`, only the baselines are run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import (
    DATA,
    RESULTS,
    facts,
    load_prior,
    read_images,
    read_json,
    write_json,
)
from scalewise.evaluation import SIGMAS, Record, add_noise, compare, evaluate_denoise, means

Sets = dict[str, dict[str, Tensor]]
SAVE_SECONDS = 20.0

SETS = {
    "gray photos": ("photos", 1),
    "Set12": ("set12", 1),
    "photos": ("photos", 3),
    "McMaster": ("mcmaster", 3),
}
"""By name: the option that tells the folder, and how many channels images are to have."""


def bm3d(noisy: np.ndarray, sigma: float | np.ndarray) -> np.ndarray:
    """BM3D of the PyPI package, default profile, on one thread; (H, W) or (H, W, 3).

    Noise is a deviation, or a power spectrum (H, W) that is its square times H W where it is white.
    """
    import bm3d as package

    profile = package.BM3DProfile()
    profile.num_threads = 1  # more threads may change the order of sums
    denoise = package.bm3d if noisy.ndim == 2 else package.bm3d_rgb
    with patch.object(np, "trapz", np.trapezoid, create=True):  # spectra ask for its former name
        return np.asarray(denoise(noisy, sigma, profile))


def non_local_means(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Non-local means of scikit-image, with the settings of its documentation's example."""
    from skimage.restoration import denoise_nl_means

    axis = None if noisy.ndim == 2 else -1
    return np.asarray(
        denoise_nl_means(
            noisy,
            patch_size=5,
            patch_distance=6,
            h=0.6 * sigma,
            sigma=sigma,
            fast_mode=True,
            channel_axis=axis,
        )
    )


BASELINES: dict[str, tuple[str, Callable[[np.ndarray, float], np.ndarray]]] = {
    "non-local means": ("scikit-image", non_local_means),
    "BM3D": ("bm3d", bm3d),
}
"""By method: the package whose version counts, and the function."""


def run_baseline(method: str, clean: Tensor, sigma: float, seed: int, index: int) -> Record:
    """PSNR, SSIM and seconds of a baseline on one image, told `sigma` in 8-bit units."""
    noisy = add_noise(clean, sigma / 255, seed, index)
    array = noisy.movedim(0, -1).squeeze(-1).double().numpy()
    start = time.perf_counter()
    denoised = BASELINES[method][1](array, sigma / 255)
    seconds = time.perf_counter() - start
    estimate = torch.from_numpy(denoised.reshape(*array.shape[:2], -1)).movedim(-1, 0)
    return {**compare(clean, estimate), "seconds": seconds}


class Report:
    """The JSON file: one record per set, image, noise level and method.

    Args:
        path: the file; records of an earlier run with the same seed are kept.
        seed: of the noise.
        device: where the prior runs.
    """

    def __init__(self, path: Path, seed: int, device: str) -> None:
        content = read_json(path)
        known = content if content.get("seed") == seed else {}
        self.path, self.seed, self.facts = path, seed, facts(device)
        self.runs: dict[str, Any] = known.get("runs", {})
        self.records: list[Record] = known.get("records", [])
        self.saved = time.monotonic()

    def version(self, package: str) -> str:
        """Name and version of an installed package."""
        return f"{package} {self.facts['versions'][package]}"

    def drop(self, method: str, keep: Callable[[Record], bool]) -> None:
        """Forget the records of a method that are not to be kept."""
        self.records = [r for r in self.records if r["method"] != method or keep(r)]

    def add(self, record: Record) -> None:
        """Add a record, show it, and save from time to time."""
        self.records.append(record)
        self.runs[record["method"]] = self.facts
        place = f"{record['set']:12} {record['image']:12} {record['sigma']:5g}"
        print(f"{place} {record['method']:16} {record['psnr']:6.2f} dB", flush=True)
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the file."""
        numbers = [{k: v for k, v in r.items() if k != "index"} for r in self.records]
        averages = means(numbers, "set", "sigma", "method")
        content = {"benchmark": "denoising", "seed": self.seed, "units": "8-bit sigma, dB"}
        write_json(
            self.path,
            {**content, "runs": self.runs, "means": averages, "records": self.records},
        )
        self.saved = time.monotonic()


def _of_version(version: str, record: Record) -> bool:
    return bool(record["package"] == version)


def run_baselines(report: Report, sets: Sets, sigmas: list[float]) -> None:
    """Run what is not in the report yet."""
    for method, (package, _) in BASELINES.items():
        version = report.version(package)
        report.drop(method, partial(_of_version, version))
        done = {_key(record) for record in report.records}
        for kind, images in sets.items():
            for index, (name, clean) in enumerate(images.items()):
                for sigma in sigmas:
                    head = {"set": kind, "image": name, "index": index, "sigma": sigma}
                    record: Record = {**head, "method": method, "package": version}
                    if _key(record) not in done:
                        report.add(record | run_baseline(method, clean, sigma, report.seed, index))


def run_prior(report: Report, sets: Sets, sigmas: list[float], model: str, device: str) -> None:
    """Run the prior, blind, on these sets and levels; earlier values of it on them are dropped."""
    prior = load_prior(model, device)
    report.drop(
        "scalewise", lambda record: record["set"] not in sets or record["sigma"] not in sigmas
    )
    for kind, images in sets.items():
        places = {name: index for index, name in enumerate(images)}

        def add(record: Record, kind: str = kind, places: dict[str, int] = places) -> None:
            head = {"set": kind, "image": record["image"], "index": places[record["image"]]}
            made = {"method": "scalewise", "package": report.version("scalewise"), "model": model}
            report.add(head | {"sigma": record["sigma"]} | made | record)

        evaluate_denoise(prior, images, sigmas=sigmas, seed=report.seed, callback=add)


def _key(record: Record) -> tuple[Any, ...]:
    return tuple(record[name] for name in ("set", "image", "index", "sigma", "method"))


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", help="packaged name or folder; baselines only where absent")
    parser.add_argument("--photos", type=Path, default=DATA / "photos" / "validation")
    parser.add_argument("--set12", type=Path, default=DATA / "eval" / "set12")
    parser.add_argument("--mcmaster", type=Path, default=DATA / "eval" / "mcmaster")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS, metavar="SET")
    parser.add_argument("--images", type=int, default=20, help="at most so many of each set")
    parser.add_argument("--sigma", type=float, nargs="+", default=list(SIGMAS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=RESULTS / "denoising.json")
    options = parser.parse_args(arguments)
    report = Report(options.json, options.seed, options.device)
    sets: Sets = {}
    for name in options.sets:
        folder, channels = SETS[name]
        sets[name] = read_images(getattr(options, folder), channels, options.images)
    if options.model:
        run_prior(report, sets, options.sigma, options.model, options.device)
    run_baselines(report, sets, options.sigma)
    report.save()


if __name__ == "__main__":
    main()
