"""Images in blocks: a cost model fitted to some runs and tried on others, and memory.

`python -m benchmarks.blocks` writes `benchmarks/results/blocks.json`; minutes of an idle machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

import scalewise
from scalewise import blocks
from scalewise.blocks import Limits
from scalewise.blocks.steps import reach
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.rasters import open_raster
from scalewise.windows import windows

RESULTS = Path(__file__).parent / "results" / "blocks.json"

FITTED = [((768, 768), 64), ((768, 1024), 128), ((1024, 1024), 256), ((1024, 1536), 1024)]
TRIED = [((1280, 1280), 512), ((1536, 1024), 128), ((640, 2048), 256)]
"""Height, width and tile of runs that the model is fitted to, and tried on."""

NOISE = NoiseModel.white(25 / 255)


def noisy(size: tuple[int, int]) -> Any:
    """Photographs side by side with noise, uint8."""
    from skimage import data

    photo = np.asarray(data.astronaut())
    tiled = np.tile(photo, (-(-size[0] // 512), -(-size[1] // 512), 1))[: size[0], : size[1]]
    dice = np.random.default_rng(0)
    return np.clip(tiled + dice.normal(0, 25, tiled.shape), 0, 255).astype(np.uint8)


def work_of(prior: MultiScalePrior, size: tuple[int, int], tile: int) -> dict[str, float]:
    """What denoising in blocks computes, reads and writes: the terms of the model.

    Returns:
        `coefficients` that pass through the networks of details, margins included; `low` pixels
        through the low-pass network; `bytes` read and written; `blocks`.
    """
    coefficients = moved = count = 0
    low = (size[0] >> prior.levels) * (size[1] >> prior.levels)
    for level in range(1, prior.levels + 1):
        inner = size[0] >> level, size[1] >> level
        margin = reach(prior.conditionals[level - 1]) or 0
        for part in windows((2 * inner[0], 2 * inner[1]), tile):
            outer = part.aligned(2).over(2).grown(margin, inner)
            area = outer.size[0] * outer.size[1]
            coefficients += area
            moved += 4 * area * (1 if level == 1 else 12) + 12 * area
            count += 1
        moved += 12 * inner[0] * inner[1] * 2
    return {
        "coefficients": float(coefficients),
        "low": float(low),
        "bytes": float(moved),
        "blocks": float(count),
    }


def run(prior: MultiScalePrior, size: tuple[int, int], tile: int, folder: Path) -> float:
    """Seconds of denoising, the least of two runs."""
    np.save(folder / "in.npy", noisy(size))
    source, found = open_raster(folder / "in.npy"), []
    for _ in range(2):
        start = time.perf_counter()
        blocks.denoise(
            source,
            prior,
            folder / "out.npy",
            noise=NOISE,
            limits=Limits(tile=tile),
            force=True,
        )
        found.append(time.perf_counter() - start)
    return min(found)


def model(prior: MultiScalePrior, folder: Path) -> dict[str, Any]:
    """Seconds for each coefficient, pixel of the low-pass image and block; how far it is off."""
    terms = ("coefficients", "low", "blocks")
    rows: list[dict[str, Any]] = []
    for kind, cases in (("fitted", FITTED), ("tried", TRIED)):
        for size, tile in cases:
            work = work_of(prior, size, tile)
            seconds = run(prior, size, tile, folder)
            rows.append({"kind": kind, "size": size, "tile": tile, "seconds": seconds, **work})
            print(rows[-1])
    fit = [row for row in rows if row["kind"] == "fitted"]
    design = np.array([[row[term] / row["seconds"] for term in terms] for row in fit])
    weights, _ = nnls(design, np.ones(len(fit)))
    for row in rows:
        row["predicted"] = float(sum(w * row[t] for w, t in zip(weights, terms, strict=True)))
        row["off"] = row["predicted"] / row["seconds"] - 1
    return {"seconds_per": dict(zip(terms, map(float, weights), strict=True)), "runs": rows}


def peak(command: list[str]) -> dict[str, float]:
    """Largest memory of a command in MB, and its seconds."""
    code = (
        "from pathlib import Path\nfrom scalewise.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "print('peak', Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=True
    )
    return {
        "megabytes": int(done.stdout.split("peak")[1]) * 1024 / 1e6,
        "seconds": time.perf_counter() - start,
    }


def memory(folder: Path, largest: bool) -> list[dict[str, Any]]:
    """Commands and what they take, as the system measures it."""
    from PIL import Image

    Image.fromarray(noisy((3000, 4000))).save(folder / "photo.png", compress_level=1)
    np.save(folder / "strip.npy", noisy((400, 20_000)))
    cases = [
        ("denoise, 12 megapixels, PNG", "700MB", ["denoise", "photo.png", "clean.png"]),
        ("denoise, 20,000 x 400", "700MB", ["denoise", "strip.npy", "strip.zarr"]),
    ]
    if largest:
        Image.fromarray(noisy((4096, 4096))).save(folder / "map.png", compress_level=1)
        enlarge = ["upscale", "map.png", "map.tif", "--factor", "4", "--mode", "mean"]
        cases.append(("upscale to 16,384 x 16,384, mean", "2GB", enlarge))
    rows = []
    for name, limit, command in cases:
        paths = [str(folder / word) if "." in word else word for word in command]
        rows.append({"what": name, "limit": limit, **peak([*paths, "--max-memory", limit])})
        print(rows[-1])
    return rows


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--part", choices=["model", "memory"], action="append")
    parser.add_argument("--largest", action="store_true", help="also 16,384 x 16,384 pixels")
    options = parser.parse_args()
    content = json.loads(options.json.read_text()) if options.json.exists() else {}
    prior = scalewise.load("photos", device="cpu")
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "model" in (options.part or ["model"]):
            content["model"] = model(prior, folder)
        if "memory" in (options.part or ["memory"]):
            content["memory"] = memory(folder, options.largest)
    content["version"] = scalewise.__version__
    options.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
