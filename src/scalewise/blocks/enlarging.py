"""Enlarging images of any size, level by level, block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from scalewise.blocks.files import Result
from scalewise.blocks.memory import DRAWING, NETWORK, Cost
from scalewise.blocks.run import Run
from scalewise.blocks.steps import (
    Finish,
    Pixels,
    RefineLevel,
    Source,
    Stored,
    check_model,
    margin_of,
    shown,
)
from scalewise.blocks.work import ANY, Advance, Limits, Outcome, run_work
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.rasters import Raster
from scalewise.rasters.raster import hollow
from scalewise.restore.result import conversion


def upscale(
    source: Raster,
    prior: MultiScalePrior,
    output: str | Path,
    *,
    factor: int = 2,
    mean: bool = False,
    sample: int = 0,
    seed: int = 0,
    sampler: str = "few-steps",
    limits: Limits = ANY,
    force: bool = False,
    quality: int | None = None,
    progress: Callable[[int], Advance] | None = None,
) -> Outcome:
    """Enlarge an image of any size; what is drawn depends on its place alone.

    Args:
        source: the small image; its planes one by one.
        prior: of any number of channels.
        output: file or store.
        factor: enlargement of each side: 2, 4, ...
        mean: the least-squares estimate, not a sample.
        sample: number of the sample.
        seed: of the samples.
        sampler: name of how to draw.
        limits: what the run may take.
        force: the output may exist.
        quality: of a JPEG or WebP.
        progress: as for `denoise`.

    Raises:
        UsageError: as for `denoise`; the prior does not know the factor.
        ScalewiseError: as for `denoise`.

    Examples:
        >>> import tempfile, numpy
        >>> from scalewise.rasters import open_raster
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     numpy.save(f"{folder}/small.npy", numpy.full((16, 24), 100, "uint8"))
        ...     source, prior = open_raster(f"{folder}/small.npy"), scalewise.load("photos")
        ...     _ = scalewise.blocks.upscale(source, prior, f"{folder}/big.npy", mean=True)
        ...     numpy.load(f"{folder}/big.npy").shape
        (32, 48)
    """
    check_model(prior)
    prior.need_drawing()
    levels = prior.check_factor(factor)
    work = Enlarging(source, prior, levels, None if mean else sampler, sample, seed)
    key = {
        "task": "upscale",
        "factor": factor,
        "sampler": work.sampler,
        "sample": sample,
        "seed": seed,
    }
    size = (factor * source.size[0], factor * source.size[1])
    large = hollow(source.layout.resized(size), source.picture.intensities, source.picture.depth)
    picture = replace(source.picture, pixels=large.pixels, alpha=large.alpha).scaled(factor)
    return run_work(
        work,
        key,
        source,
        shown(picture, prior),
        Path(output),
        limits=limits,
        force=force,
        quality=quality,
        progress=progress,
    )


class Enlarging:
    """The steps of enlarging."""

    def __init__(
        self,
        source: Raster,
        prior: MultiScalePrior,
        levels: int,
        sampler: str | None,
        sample: int,
        seed: int,
    ) -> None:
        self.source: Raster | None = source
        self.prior, self.levels, self.sampler = prior, levels, sampler
        self.sample, self.seed = sample, seed
        self.notes = [*source.picture.notes, *conversion(source.picture, prior)]
        self.multiple, self.fixed, self.before = 1 << levels, 0, 0
        self.margins = [margin_of(network, sampler) for network in prior.conditionals[:levels]]
        height, width = source.size
        self.sizes = [(height << levels - j, width << levels - j) for j in range(levels + 1)]
        self.between = prior.channels * sum(h * w for h, w in self.sizes[1:-1])
        self.pixels = source.layout.planes * sum(h * w for h, w in self.sizes[:-1])
        each = (NETWORK if sampler is None else DRAWING) * prior.channels
        self.costs = [Cost(2 * margin, each) for margin in self.margins]
        self.costs.append(Cost(0, 200 * source.channels))

    def do(self, run: Run, result: Result) -> tuple[NoiseModel, ...]:
        """Enlarge all planes."""
        source, prior = self.source, self.prior
        assert source is not None
        for plane in range(source.layout.planes):
            low: Pixels = Source(source, plane, prior.channels)
            finish = Finish(
                result.array,
                result.layout,
                plane,
                result.picture,
                source=Source(source, plane, source.channels),
                factor=1 << self.levels,
            )
            for level in range(self.levels, 0, -1):
                name = f"plane{plane}-x{level - 1}"
                size = self.sizes[level - 1]
                target: Any = finish if level == 1 else run.array(name, prior.channels, size)
                step = RefineLevel(
                    level,
                    low,
                    self.sizes[level],
                    self.margins[level - 1],
                    self.sampler,
                    self.sample,
                    self.seed + plane,
                    target,
                )
                run.do(name, step, size)
                low = Stored(target)
        return ()
