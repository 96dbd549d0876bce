"""A texture of a gigapixel, drawn block by block; and parts of it that are drawn by themselves.

    scalewise train ../shared/data/textures/gravel.png --out fast-gravel --recipe texture-fast
    python -m benchmarks.gigapixel fast-gravel gravel.ome.zarr

draws 32,768 x 32,768 pixels to an OME-Zarr with its pyramid, tells memory and time, and compares
parts from all over the image with the same ones drawn from nothing: a block needs no other block,
so the order is nobody's business. `--drawn SECONDS MEGABYTES` compares with a store that is there.
An hour of one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor

import scalewise
from benchmarks.blocks import peak
from benchmarks.common import RESULTS, ROOT, facts, write_json
from scalewise.blocks.steps import margin_of
from scalewise.images import Picture, write_image
from scalewise.prior import MultiScalePrior
from scalewise.samplers import SAMPLERS
from scalewise.wavelets import half
from scalewise.windows import Window

SIDE, PART, SEED = 32_768, 300, 0
"""Sides of the image and of the parts, in pixels, and the seed of the sample."""

SAMPLER, LIMIT = "few-steps", "2GB"

VIEW = 256
"""Side of the views in the picture of the documentation, in pixels: that of the coarsest image."""


@torch.no_grad()
def part_of(prior: MultiScalePrior, window: Window, side: int) -> Tensor:
    """A window of sample 0, shape (1, C, h, w), of nothing but the seed and its place."""
    sampler, levels = SAMPLERS[SAMPLER], prior.levels
    needed = [window]
    for level, network in enumerate(prior.conditionals, start=1):
        size = (half(side, level),) * 2
        inner = needed[-1].aligned(2).over(2)
        needed.append(inner.grown(margin_of(network, SAMPLER), size))
    low = needed[-1].grown(margin_of(prior.low, SAMPLER), (half(side, levels),) * 2)
    found = prior.draw_low((0,), SEED, sampler, low.size, (low.top, low.left))
    found = found[needed[-1].inside(low).place]
    for level in range(levels, 0, -1):
        outer = needed[level]
        found = prior.refine(found, level, (0,), SEED, sampler, (outer.top, outer.left))
        found = found[needed[level - 1].inside(outer.times(2)).place]
    return found


def compared(prior: MultiScalePrior, values: Any, count: int) -> list[dict[str, int]]:
    """Largest difference of parts of the store to those drawn alone, in values of 8 bits."""
    dice, rows = np.random.default_rng(0), []
    for _ in range(count):
        top, left = (int(place) for place in dice.integers(0, SIDE - PART, 2))
        window = Window(top, top + PART, left, left + PART)
        alone = (255 * part_of(prior, window, SIDE)[0, 0].clamp(0, 1)).round().numpy()
        there = np.asarray(values[window.place[1:]]).astype(float)
        rows.append({"top": top, "left": left, "difference": int(np.abs(alone - there).max())})
        print(rows[-1])
    return rows


def views(store: Any, levels: list[str], path: Path) -> None:
    """Middles of the coarsest image of the pyramid, of the third, and of the finest."""
    shown = []
    for name in (levels[-1], levels[2], levels[0]):
        array = store[name]
        top, left = ((side - VIEW) // 2 for side in array.shape)
        view = np.asarray(array[top : top + VIEW, left : left + VIEW]) / 255
        shown += [torch.from_numpy(view), torch.ones(VIEW, 8)]
    write_image(path, Picture(torch.cat(shown[:-1], 1)[None].float()), quality=90, force=True)


def main() -> None:
    """Draw, measure, compare, and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--drawn", type=float, nargs=2, metavar=("SECONDS", "MEGABYTES"))
    parser.add_argument("--parts", type=int, default=12)
    parser.add_argument("--json", type=Path, default=RESULTS / "gigapixel.json")
    parser.add_argument("--views", type=Path, default=ROOT / "docs" / "images" / "gigapixel.jpg")
    options = parser.parse_args()
    prior = scalewise.load(str(options.model), device="cpu")
    if options.drawn is None:
        command = ["synthesize", str(options.store), "--model", str(options.model), "-n", "1"]
        found = peak([*command, "--size", f"{SIDE}x{SIDE}", "--max-memory", LIMIT])
    else:
        found = {"seconds": options.drawn[0], "megabytes": options.drawn[1]}
    store = zarr.open_group(str(options.store), mode="r")
    levels = sorted(store.array_keys(), key=int)
    sizes = [list(store[name].shape) for name in levels]
    parts = compared(prior, store[levels[0]], options.parts)
    views(store, levels, options.views)
    content = {"size": SIDE, "limit": LIMIT, **found, "pyramid": sizes, "part": PART}
    write_json(options.json, {**facts(), **content, "parts": parts})


if __name__ == "__main__":
    main()
