"""Drawing images of any size from scratch, level by level, block by block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from scalewise.blocks.files import Result
from scalewise.blocks.memory import DRAWING, Cost
from scalewise.blocks.run import Run
from scalewise.blocks.steps import DrawLow, Finish, RefineLevel, Stored, check_model, margin_of
from scalewise.blocks.work import ANY, Advance, Limits, Outcome, run_work
from scalewise.errors import UsageError
from scalewise.images import Picture
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.rasters import Raster
from scalewise.wavelets import half


def synthesize(
    prior: MultiScalePrior,
    output: str | Path,
    size: tuple[int, int],
    *,
    sample: int = 0,
    seed: int = 0,
    sampler: str = "few-steps",
    limits: Limits = ANY,
    force: bool = False,
    quality: int | None = None,
    progress: Callable[[int], Advance] | None = None,
) -> Outcome:
    """Draw an image of any size from scratch, for priors that are the same everywhere.

    Args:
        prior: whose networks all have a bounded receptive field.
        output: file or store.
        size: height and width.
        sample: number of the sample.
        seed: of the samples.
        sampler: name of how to draw.
        limits: what the run may take.
        force: the output may exist.
        quality: of a JPEG or WebP.
        progress: as for `denoise`.

    Raises:
        UsageError: as for `denoise`; the low-pass network sees all of an image.
        ScalewiseError: as for `denoise`.

    Examples:
        >>> import tempfile, numpy
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     prior, output = scalewise.load("gravel"), f"{folder}/gravel.npy"
        ...     outcome = scalewise.blocks.synthesize(prior, output, (64, 96))
        ...     numpy.load(output).shape
        (64, 96)
    """
    check_model(prior)
    prior.need_drawing()
    if prior.low.receptive_field is None:
        raise UsageError(
            "this model draws the low-pass image as a whole, of the size that it learnt; images of "
            "any size need one whose networks are all local, such as a texture"
        )
    work = Drawing(prior, size, sampler, sample, seed)
    key = {
        "task": "synthesize",
        "size": list(size),
        "sampler": sampler,
        "sample": sample,
        "seed": seed,
    }
    picture = Picture(torch.zeros(()).expand(1, prior.channels, *size))
    return run_work(
        work,
        key,
        None,
        picture,
        Path(output),
        limits=limits,
        force=force,
        quality=quality,
        progress=progress,
    )


class Drawing:
    """The steps of drawing from scratch."""

    def __init__(
        self, prior: MultiScalePrior, size: tuple[int, int], sampler: str, sample: int, seed: int
    ) -> None:
        self.source: Raster | None = None
        self.prior, self.sampler, self.sample, self.seed = prior, sampler, sample, seed
        self.notes: list[str] = []
        levels = prior.levels
        self.multiple, self.fixed, self.before = 1 << max(1, levels), 0, 0
        low = half(size[0], levels), half(size[1], levels)
        self.sizes = [(low[0] << levels - j, low[1] << levels - j) for j in range(levels + 1)]
        self.margins = [margin_of(network, sampler) for network in prior.conditionals[:levels]]
        self.low_margin = margin_of(prior.low, sampler)
        self.between = prior.channels * sum(h * w for h, w in self.sizes[1:])
        self.pixels = sum(h * w for h, w in self.sizes)
        each = DRAWING * prior.channels
        self.costs = [Cost(2 * margin, each) for margin in self.margins]
        self.costs.append(Cost(self.low_margin, 2 * each))

    def do(self, run: Run, result: Result) -> tuple[NoiseModel, ...]:
        """Draw the image."""
        prior, levels = self.prior, self.prior.levels
        finish = Finish(result.array, result.layout, 0, result.picture)
        coarser: Any = None
        for level in range(levels, -1, -1):
            name, size = f"x{level}", self.sizes[level]
            target: Any = finish if level == 0 else run.array(name, prior.channels, size)
            if level == levels:
                step: Any = DrawLow(
                    size, self.low_margin, self.sampler, self.sample, self.seed, target
                )
            else:
                step = RefineLevel(
                    level + 1,
                    Stored(coarser),
                    self.sizes[level + 1],
                    self.margins[level],
                    self.sampler,
                    self.sample,
                    self.seed,
                    target,
                )
            run.do(name, step, size)
            coarser = target
        return ()
