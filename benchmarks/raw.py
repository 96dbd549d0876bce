"""Mosaics of cameras: quality against time, and developed raw files beside LibRaw's.

    python -m benchmarks.raw --model photos

Parts of McMaster, which nothing was chosen on, become mosaics with white noise (quality against
time, in intensities of displays; `benchmarks.inverse` has `prior.restore` on the same), and raw
files of a camera that there is not, with noise of photons (developed pictures, in sRGB). LibRaw's
are made in a process of their own, with the same white balance and matrix, without automatic
brightness.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import DATA, RESULTS, facts, load_prior, read_images, write_json
from benchmarks.inverse import middle, plain
from benchmarks.raw_files import photographed, write_dng
from scalewise.images import read_raw
from scalewise.inverse import complete
from scalewise.metrics import psnr
from scalewise.noise import SAMPLES, GaussianField
from scalewise.operators import Demosaicking
from scalewise.prior import MultiScalePrior
from scalewise.restore import demosaic

SIDE = 128
"""Of the middle parts of McMaster that are measured."""

LEVELS = (0.0, 5.0, 10.0, 20.0)
"""White noise of mosaics, in 8-bit units."""

SENSORS = {
    "no noise": (0.0, 0.0),
    "20,000 electrons": (1 / 20_000, 0.0003),
    "2,000 electrons": (1 / 2_000, 0.001),
    "400 electrons": (1 / 400, 0.004),
}
"""Share of the range of one photo-electron, by how many saturate a pixel; and of read noise."""

LIBRAW = {
    "AHD": "",
    "AHD, FBDD": "fbdd_noise_reduction=rawpy.FBDDNoiseReductionMode.Full",
    "AHD, median": "median_filter_passes=2",
}
"""What LibRaw is asked for; its wavelet denoiser (noise_thr) ends in a crash here."""

PROGRAM = """
import sys, numpy, rawpy
with rawpy.imread(sys.argv[1]) as raw:
    numpy.save(sys.argv[2], raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16,
        gamma=(2.4, 12.92), demosaic_algorithm=rawpy.DemosaicAlgorithm.AHD, {}))
"""


def ways(prior: MultiScalePrior) -> dict[str, Callable[[Tensor, float], Tensor]]:
    """From a mosaic and the deviation of its noise to an image."""
    operator = Demosaicking()

    def quick(steps: int) -> Callable[[Tensor, float], Tensor]:
        def run(seen: Tensor, noise: float) -> Tensor:
            size = (seen.shape[-2], seen.shape[-1])
            field = GaussianField(0, (0,), level=SAMPLES, channels=3, size=size)
            return complete(prior.denoise, seen, operator, noise, field, steps=steps)

        return run

    found: dict[str, Callable[[Tensor, float], Tensor]] = {
        "bilinear": lambda seen, noise: plain(operator, seen, noise, seen),
        "Malvar, He, Cutler": lambda seen, noise: operator.fill(seen),
        "that, then denoise": lambda seen, noise: prior.denoise(
            operator.fill(seen), 1.3 * noise + 2 / 255
        ),
        **{f"{steps} steps": quick(steps) for steps in (2, 4, 8)},
    }
    return found


def against_time(prior: MultiScalePrior, images: dict[str, Tensor]) -> dict[str, Any]:
    """PSNR and seconds of every way from mosaics with white noise."""
    found: dict[str, Any] = {}
    for level in LEVELS:
        for name, run in ways(prior).items():
            scores, began = [], time.perf_counter()
            for index, image in enumerate(images.values()):
                clean = middle(image, SIDE)
                generator = torch.Generator().manual_seed(index)
                seen = Demosaicking().A(clean)
                seen = seen + level / 255 * torch.randn(seen.shape, generator=generator)
                scores.append(float(psnr(clean, run(seen, level / 255), clip=True)))
            seconds = (time.perf_counter() - began) / len(images)
            row = {"psnr": scores, "seconds": seconds}
            found.setdefault(name, {})[f"{level:g}"] = row
            print(level, name, f"{np.mean(scores):.2f} dB, {seconds:.2f} s", flush=True)
    return found


def developed(prior: MultiScalePrior, images: dict[str, Tensor]) -> dict[str, Any]:
    """PSNR of developed raw files, whose noise nobody tells."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "a.dng", Path(folder) / "a.npy"
        for name, (gain, read) in SENSORS.items():
            for index, image in enumerate(images.values()):
                clean = middle(image, 2 * SIDE)
                picture = clean[0].permute(1, 2, 0).double().numpy()
                write_dng(file, photographed(picture, gain=gain, read=read, seed=index))
                shown = {}
                for method, asked in LIBRAW.items():
                    command = [sys.executable, "-c", PROGRAM.format(asked), str(file), str(out)]
                    subprocess.run(command, check=True, timeout=60)
                    pixels = torch.from_numpy(np.load(out).astype(np.float32) / 65535)
                    shown[method] = pixels.permute(2, 0, 1)[None]
                shown["Scalewise"] = demosaic(read_raw(file), prior).picture.pixels
                for method, pixels in shown.items():
                    score = float(psnr(clean, pixels, clip=True))
                    found.setdefault(name, {}).setdefault(method, []).append(score)
            print(
                name, {key: float(np.mean(each)) for key, each in found[name].items()}, flush=True
            )
    return found


def main() -> None:
    """Measure, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="photos")
    parser.add_argument("--mcmaster", type=Path, default=DATA / "eval" / "mcmaster")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS / "raw.json")
    options = parser.parse_args()
    prior = load_prior(options.model, options.device)
    images = read_images(options.mcmaster, 3, options.images)
    found = {
        "mosaics": against_time(prior, images),
        "developed": developed(prior, images),
    }
    write_json(options.out, {**facts(), **found})


if __name__ == "__main__":
    main()
