"""Denoising images of any size, level by level, block by block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from scalewise import windows
from scalewise.blocks.files import Result
from scalewise.blocks.memory import FINDING, GLOBAL, MOST, NETWORK, REDUCING, Cost
from scalewise.blocks.run import Run
from scalewise.blocks.steps import (
    DenoiseLevel,
    DenoiseLow,
    Finish,
    Growth,
    Leave,
    Pixels,
    Reduce,
    Source,
    Stored,
    check_model,
    gray_noise,
    reach,
    share_of,
    shown,
)
from scalewise.blocks.work import ANY, Advance, Limits, Outcome, run_work
from scalewise.device import give_memory_back
from scalewise.errors import UsageError
from scalewise.images import to_channels
from scalewise.networks import unit_of
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.rasters import Raster
from scalewise.rasters.opening import same_file
from scalewise.rasters.raster import LOOKED_AT, TILE
from scalewise.restore.defects import find_defects
from scalewise.restore.finding import noise_for
from scalewise.restore.result import conversion
from scalewise.stabilise import stabiliser_of
from scalewise.wavelets import GAIN
from scalewise.windows import Window


def denoise(
    source: Raster,
    prior: MultiScalePrior,
    output: str | Path,
    *,
    noise: NoiseModel | None = None,
    strength: float = 1.0,
    mask: Raster | None = None,
    limits: Limits = ANY,
    force: bool = False,
    quality: int | None = None,
    progress: Callable[[int], Advance] | None = None,
) -> Outcome:
    """Denoise an image of any size.

    Args:
        source: the noisy image; its planes are denoised one by one.
        prior: of any number of channels; of gray images perhaps another, as for `restore.denoise`.
        output: file or store (`docs/large.md`).
        noise: what it is like; None to estimate it, from tiles all over a large image.
        strength: how much of it to remove.
        mask: where, an image of the same size; black stays as it is, and costs next to nothing
            where whole blocks are.
        limits: what the run may take.
        force: the output may exist.
        quality: of a JPEG or WebP.
        progress: called with the number of pixels of all steps; returns what is called with those
            that are done.

    Raises:
        UsageError: the memory is too little, or an argument does not fit.
        ScalewiseError: a block cannot be read or written.

    Examples:
        >>> import tempfile, numpy
        >>> from scalewise.rasters import open_raster
        >>> noisy = numpy.random.default_rng(0).normal(128, 20, (96, 128)).astype("uint8")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     numpy.save(f"{folder}/noisy.npy", noisy)
        ...     source, prior = open_raster(f"{folder}/noisy.npy"), scalewise.load("photos")
        ...     outcome = scalewise.blocks.denoise(source, prior, f"{folder}/clean.npy")
        ...     clean = numpy.load(f"{folder}/clean.npy")
        >>> clean.shape, 18 < 255 * outcome.noise[0].sigma < 22, bool(clean.std() < 5)
        ((96, 128), True, True)
    """
    work = Denoising(source, prior, noise, strength, mask)
    check_model(work.prior)
    key = {
        "task": "denoise",
        "noise": None if noise is None else noise.model_dump(mode="json"),
        "strength": strength,
        "mask": None if mask is None else same_file(mask.name),
    }
    return run_work(
        work,
        key,
        source,
        shown(source.picture, work.prior),
        Path(output),
        limits=limits,
        force=force,
        quality=quality,
        progress=progress,
    )


def check_mask(mask: Raster, source: Raster) -> None:
    """Refuse a mask of another size than the image.

    Raises:
        UsageError: it has another.
    """
    if mask.size != source.size:
        raise UsageError(
            f"the mask has {mask.size[1]}x{mask.size[0]} pixels, the image "
            f"{source.size[1]}x{source.size[0]}; they must be of one size"
        )


class Denoising:
    """The steps of denoising."""

    def __init__(
        self,
        source: Raster,
        prior: MultiScalePrior,
        noise: NoiseModel | None,
        strength: float,
        mask: Raster | None,
    ) -> None:
        if strength < 0:
            raise UsageError(f"strength must be 0 or more, found {strength:g}")
        if mask is not None:
            check_mask(mask, source)
        prior = prior.denoiser_of(source.channels)
        self.source: Raster | None = source
        self.prior, self.noise, self.strength, self.mask = prior, noise, strength, mask
        self.notes = [*source.picture.notes, *conversion(source.picture, prior)]
        self.multiple = 1 << max(1, prior.levels)
        height, width = source.size
        whole = tuple(side + -side % (1 << prior.levels) for side in (height, width))
        self.sizes = [(whole[0] >> j, whole[1] >> j) for j in range(prior.levels + 1)]
        self.margins = [reach(network) or 0 for network in prior.conditionals]
        coarse = sum(h * w for h, w in self.sizes[1:])
        self.between = 2 * prior.channels * coarse * min(1, source.layout.planes)
        self.pixels = source.layout.planes * (2 * coarse + self.sizes[0][0] * self.sizes[0][1])
        self.costs = [
            Cost(2 * margin + (4 << prior.levels - level), NETWORK * prior.channels)
            for level, margin in enumerate(self.margins, start=1)
        ]
        self.costs.append(Cost(0, REDUCING * prior.channels))
        self.fixed = GLOBAL if prior.low.receptive_field is None else 0
        self.before = 0
        looked = min(height * width, LOOKED_AT * TILE**2)
        if noise is None or looked == height * width:  # for noise, for defects of all of an image
            self.before = min(FINDING * source.channels * looked, MOST)

    def do(self, run: Run, result: Result) -> tuple[NoiseModel, ...]:
        """Denoise all planes; the noise of each."""
        assert self.source is not None
        if self.source.has_alpha:
            self.notes.append(
                "alpha was kept as it is; hidden pixels were denoised with the others"
            )
        return tuple(self._plane(run, result, plane) for plane in range(self.source.layout.planes))

    def _plane(self, run: Run, result: Result, plane: int) -> NoiseModel:
        source, prior = self.source, self.prior
        assert source is not None
        looked = source.looked_at(plane)
        for sentence in find_defects(looked) if looked.shape[1:] == source.size else ():
            self.notes.append(sentence)
        noise = self.noise
        if noise is None and prior.noise_conditional:
            noise = self._found(prior, looked, source)
            give_memory_back()
        reduced = source.channels > prior.channels
        told = None if noise is None else gray_noise(noise, reduced).times(self.strength)
        if told is not None and told.channels > 1 and not prior.noise_maps and told.uneven:
            raise UsageError(
                "the noise differs much between the channels, which this model cannot be told; "
                "denoise them one by one"
            )
        if noise is not None and noise.sigma == 0:
            self.notes.append("no noise was found; sigma says how much to remove all the same")
        even = None
        if told is not None and told.sigma > 0 and (transform := stabiliser_of(told, prior)):
            even, told = told, transform.noise
        pixels = Source(source, plane, prior.channels, even)
        blend = self.strength if told is None else 1.0
        if told is not None and told.sigma == 0:
            blend = 0.0
        finish = Finish(
            result.array,
            result.layout,
            plane,
            result.picture,
            even,
            Source(source, plane, prior.channels),
            self.mask,
            blend,
        )
        self._levels(run, f"plane{plane}", pixels, told, finish)
        return noise if noise is not None else _of_residual(looked, prior)

    @staticmethod
    def _found(prior: MultiScalePrior, looked: Tensor, source: Raster) -> NoiseModel:
        """The noise of what was looked at: all of a plane, or tiles of it, which have no places."""
        return noise_for(prior, looked, whole=looked.shape[1:] == source.size)

    def _levels(
        self, run: Run, name: str, pixels: Source, noise: NoiseModel | None, finish: Finish
    ) -> None:
        """Down to the low-pass image, and up again, where something is wanted."""
        prior, sizes, last = self.prior, self.sizes, self.prior.levels
        wanted = self._wanted(run.side, finish)
        if not wanted:
            run.do(f"{name}-left", Leave(finish), sizes[0])
            return
        noisy: list[Pixels] = [pixels]
        for level in range(1, last + 1):
            array = run.array(f"{name}-noisy{level}", prior.channels, sizes[level])
            run.do(f"{name}-noisy{level}", Reduce(noisy[-1], array), sizes[level])
            noisy.append(Stored(array))
        clean: list[Any] = [finish]
        for level in range(1, last + 1):
            clean.append(run.array(f"{name}-clean{level}", prior.channels, sizes[level]))
        steps: list[Any] = []
        for level in range(1, last + 1):
            overall = self._overall(run, f"{name}-level{level}", noisy[level], level, noise)
            steps.append(
                DenoiseLevel(
                    level,
                    noisy[level - 1],
                    Stored(clean[level]),
                    sizes[level],
                    noise,
                    overall,
                    self.margins[level - 1],
                    clean[level - 1],
                )
            )
        steps.append(DenoiseLow(noisy[-1], sizes[-1], noise, reach(prior.low), clean[last]))
        parts = [wanted]
        for level, step in enumerate(steps[:-1], start=1):
            reads = (step.reads(prior, part) for part in parts[-1])
            parts.append(windows.meeting(sizes[level], run.side, reads))
        for level in range(last, -1, -1):
            others = [*set(windows.windows(sizes[level], run.side)).difference(parts[level])]
            run.do(f"{name}-left{level}", Leave(clean[level]), sizes[level], sorted(others))
            run.do(f"{name}-clean{level}", steps[level], sizes[level], parts[level])

    def _wanted(self, side: int, finish: Finish) -> list[Window]:
        """The blocks of the result that are not as the source is."""
        if finish.strength == 0:
            return []
        parts = list(windows.windows(self.sizes[0], side))
        if self.mask is None:
            return parts
        image = Window(0, self.mask.size[0], 0, self.mask.size[1])
        return [part for part in parts if (share_of(self.mask, part.common(image)) > 0).any()]

    def _overall(
        self, run: Run, name: str, pixels: Pixels, level: int, noise: NoiseModel | None
    ) -> float | None:
        """Root mean square of a level's noise over all of an image, where it differs."""
        if noise is None or not noise.varies:
            return None
        sums = run.do(name, Growth(pixels, self.sizes[level], noise), self.sizes[level])
        return overall_of(sums, noise, level)


def overall_of(sums: Any, noise: NoiseModel, level: int) -> float:
    """Root mean square of the noise of a level's details, of what `Growth` found in each block."""
    total = np.sum(sums, axis=0)
    factors = total[:-1] / total[-1]
    deviations = np.square(noise.scale(level)) * GAIN ** (2 * level)
    return float(np.sqrt((np.broadcast_to(deviations, factors.shape) * factors).mean()))


def _of_residual(looked: Tensor, prior: MultiScalePrior) -> NoiseModel:
    """The noise that networks which are told none find."""
    given = to_channels(looked, prior.channels)[0][None].to(*unit_of(prior))
    return NoiseModel.white(float((given - prior.denoise(given)).square().mean().sqrt()))
