"""Images in blocks: a cost model fitted to some runs and tried on others, and memory.

`python -m benchmarks.blocks` writes `benchmarks/results/blocks.json`; minutes of an idle machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from PIL import Image
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


def strip(path: Path) -> None:
    """100,000 x 4,000 pixels of RGB, in a tiled BigTIFF."""
    band, dice = noisy((256, 100_000)).astype(np.int16), np.random.default_rng(1)

    def tiles() -> Iterator[Any]:
        for top in range(0, 4000, 256):
            rows = np.clip(band + dice.integers(-3, 4, band.shape), 0, 255).astype(np.uint8)
            for left in range(0, 100_000, 256):
                yield np.ascontiguousarray(rows[: 4000 - top, left : left + 256])

    tifffile.imwrite(
        path,
        tiles(),
        shape=(4000, 100_000, 3),
        dtype=np.uint8,
        tile=(256, 256),
        bigtiff=True,
        photometric="rgb",
    )


def picture(path: Path, size: tuple[int, int]) -> None:
    """A PNG, or an array of NumPy."""
    if path.suffix == ".npy":
        np.save(path, noisy(size))
    else:
        Image.fromarray(noisy(size)).save(path, compress_level=1)


CASES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "denoise, 12 megapixels, PNG": (
        "700MB",
        lambda path: picture(path, (3000, 4000)),
        "denoise in.png out.png",
    ),
    "denoise, 20,000 x 400": (
        "700MB",
        lambda path: picture(path, (400, 20_000)),
        "denoise in.npy out.zarr",
    ),
    "denoise, 100,000 x 4,000": ("2GB", strip, "denoise in.tif out.tif"),
    "upscale to 16,384 x 16,384, mean": (
        "2GB",
        lambda path: picture(path, (4096, 4096)),
        "upscale in.png out.tif --factor 4 --mode mean",
    ),
}
"""What is done, with how much memory: the input, and the command. The last two take long."""


def memory(folder: Path, names: list[str], shared: bool) -> list[dict[str, Any]]:
    """Commands and what they take, as the system measures it."""
    rows = []
    for name in names:
        limit, make, command = CASES[name]
        words = [str(folder / word) if "." in word else word for word in command.split()]
        make(Path(words[1]))
        found = peak([*words, "--max-memory", limit])
        label = f"{name} (with others on the machine)" if shared else name
        rows.append({"what": label, "limit": limit, **found})
        print(rows[-1])
        for file in folder.iterdir():
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    return rows


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--part", choices=["model", "memory"], action="append")
    parser.add_argument("--case", action="append", choices=[*CASES], help="the first two without")
    parser.add_argument("--shared", action="store_true", help="others use the machine: say so")
    options = parser.parse_args()
    content = json.loads(options.json.read_text()) if options.json.exists() else {}
    prior = scalewise.load("photos", device="cpu")
    parts = options.part or ["model", "memory"]
    with tempfile.TemporaryDirectory() as name:
        if "model" in parts:
            torch.set_num_threads(2)
            content["model"] = model(prior, Path(name))
        if "memory" in parts:
            rows = memory(Path(name), options.case or [*CASES][:2], options.shared)
            before = {row["what"].split(" (")[0]: row for row in content.get("memory", [])}
            before |= {row["what"].split(" (")[0]: row for row in rows}
            content["memory"] = [before[case] for case in CASES if case in before]
    content["version"] = scalewise.__version__
    options.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
