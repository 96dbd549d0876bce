"""Denoising, enlarging and drawing images of any size, block by block."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scalewise import store, windows
from scalewise.blocks.cluster import team_of
from scalewise.blocks.files import (
    Result,
    check_target,
    complete,
    fitted,
    new_result,
)
from scalewise.blocks.memory import Cost, block_side, parse_memory
from scalewise.blocks.run import Run, check_space, partial, remember_run
from scalewise.blocks.steps import (
    DenoiseLevel,
    DenoiseLow,
    DrawLow,
    Finish,
    Growth,
    Pixels,
    Reduce,
    RefineLevel,
    Source,
    Stored,
    gray_noise,
    reach,
    reach_of_draws,
)
from scalewise.device import give_memory_back, share_memory_of_threads
from scalewise.errors import ScalewiseError, UsageError
from scalewise.images import Picture, to_channels
from scalewise.networks import unit_of
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.rasters import Raster
from scalewise.rasters.opening import NPY, ZARR, same_file
from scalewise.rasters.raster import LOOKED_AT, TILE, hollow
from scalewise.restore.defects import find_defects
from scalewise.restore.finding import noise_for
from scalewise.stabilise import stabiliser_of
from scalewise.wavelets import GAIN, half, is_haar

Advance = Callable[[int], object]

FINDING = 40
"""Bytes for each value that is looked at to find what the noise is like."""

REDUCING, NETWORK, DRAWING, GLOBAL = 80, 48, 130, 96 << 20
"""Bytes for each pixel and channel of a block that is reduced, of one that a network passes through
once, of one that is drawn, and of the windows of a network that sees all of an image."""


@dataclass(frozen=True)
class Limits:
    """What a run may take.

    Args:
        memory: such as "2GB", of the process that is started; None for half of what is free.
        tile: side of the blocks, in pixels; None for the largest that the memory allows.
        workers: processes; 1 for this one.
        scheduler: address of a scheduler of Dask, instead.
        on_disk: keep what is done on disk even where memory would do, so that a run can go on.

    Examples:
        >>> from scalewise.blocks import Limits
        >>> Limits("2GB", workers=4).tile is None
        True
    """

    memory: str | None = None
    tile: int | None = None
    workers: int = 1
    scheduler: str | None = None
    on_disk: bool = False


ANY = Limits()
"""Half of the memory that is free, in this process."""


@dataclass(frozen=True)
class Outcome:
    """What there is to tell of a run.

    Args:
        noise: of each plane.
        notes: sentences.
        side: of the blocks.

    Examples:
        >>> scalewise.blocks.Outcome(notes=("alpha was kept as it is",)).notes
        ('alpha was kept as it is',)
    """

    noise: tuple[NoiseModel, ...] = ()
    notes: tuple[str, ...] = ()
    side: int = 0


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
        prior: of any number of channels.
        output: file or store (`docs/large.md`).
        noise: what it is like; None to estimate it, from tiles all over a large image.
        strength: how much of it to remove.
        mask: where, an image of the same size; black stays as it is.
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
    check_model(prior)
    work = _Denoising(source, prior, noise, strength, mask)
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
        source.picture,
        Path(output),
        limits=limits,
        force=force,
        quality=quality,
        progress=progress,
    )


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
    prior.need_clean()
    levels = prior.check_factor(factor)
    work = _Enlarging(source, prior, levels, None if mean else sampler, sample, seed)
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
        picture,
        Path(output),
        limits=limits,
        force=force,
        quality=quality,
        progress=progress,
    )


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
    prior.need_clean()
    if prior.low.receptive_field is None:
        raise UsageError(
            "this model draws the low-pass image as a whole, of the size that it learnt; images of "
            "any size need one whose networks are all local, such as a texture"
        )
    work = _Drawing(prior, size, sampler, sample, seed)
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


def check_model(prior: MultiScalePrior) -> None:
    """Refuse priors whose results cannot be computed in blocks.

    Raises:
        UsageError: the wavelet is another than that of Haar, or a network of details sees all.
    """
    if prior.levels and not is_haar(prior.wavelet):
        raise UsageError(
            f"the model's wavelet is {prior.wavelet}, whose filters go around the ends of an "
            "image; images are computed in blocks with haar alone"
        )
    for level, network in enumerate(prior.conditionals, start=1):
        if reach(network) is None:
            raise UsageError(
                f"the network of level {level} sees all of an image, which cannot be cut in blocks"
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


def run_work(
    work: Any,
    key: dict[str, Any],
    source: Raster | None,
    picture: Picture,
    output: Path,
    *,
    limits: Limits,
    force: bool,
    quality: int | None,
    progress: Callable[[int], Advance] | None,
) -> Outcome:
    """Plan a run, do it, and complete the output.

    Args:
        work: its steps.
        key: what it depends on, but for the input and the model.
        source: what is read, if anything.
        picture: what is made, with pixels that take no memory.
        output: file or store.
        limits: what the run may take.
        force: the output may exist.
        quality: of a JPEG or WebP.
        progress: called with the number of pixels of all steps.
    """
    share_memory_of_threads()
    check_target(output)
    if output.exists() and not force:
        raise ScalewiseError(f"{output} exists; give --force to overwrite it")
    if limits.tile is not None and limits.tile < work.multiple:
        raise UsageError(
            f"--tile must be {work.multiple} or more for this model, found {limits.tile}"
        )
    picture, notes = fitted(picture, output)
    most = parse_memory(limits.memory)
    samples = picture.pixels.shape[1] + (picture.alpha is not None)
    values = picture.pixels.shape[0] * int(np.prod(picture.pixels.shape[2:])) * samples
    between = 4 * work.between
    held = values * np.dtype(picture.depth).itemsize + between
    disk = limits.on_disk or limits.workers > 1 or limits.scheduler is not None
    disk |= output.suffix.lower() in (ZARR, NPY) or held > most // 4
    costs = [*work.costs, Cost(0, 16 * samples)]
    key |= {
        "input": None if source is None else same_file(source.name),
        "intensities": None if source is None else str(source.picture.intensities),
        "model": store.fingerprint(work.prior),
        "tile": limits.tile,
    }
    with _place(output, key, force, disk) as (folder, side):
        if side is None:
            each = most if limits.workers == 1 else most // limits.workers
            give_memory_back()
            side = block_side(
                costs, each, (0 if disk else held) + work.fixed, work.multiple, work.before
            )
            if limits.tile is not None:
                side = min(side, limits.tile - limits.tile % work.multiple)
            if folder is not None:
                check_space(folder, int(1.2 * values * np.dtype(picture.depth).itemsize) + between)
                remember_run(folder, key, side)
        with team_of(work.prior, limits.workers, limits.scheduler) as team, torch.no_grad():
            run = Run(team, side, folder)
            if progress is not None:
                run.advance = progress(work.pixels)
            work.source = _shared(run, source, folder is not None and team.workers > 1)
            result = new_result(run, source, picture, output)
            found = work.do(run, result)
            complete(run, result, source, quality)
    return Outcome(found, tuple(dict.fromkeys([*work.notes, *notes])), side)


@contextmanager
def _place(
    output: Path, key: dict[str, Any], force: bool, disk: bool
) -> Iterator[tuple[Path | None, int | None]]:
    """The folder of a run, which goes once the output is there; none for a run in memory."""
    if not disk:
        yield None, None
        return
    with partial(output, key, force) as (folder, side):
        try:
            yield folder, side
        except UsageError:
            if side is None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        except OSError as error:
            raise ScalewiseError(
                f"{output}: cannot be written: {error.strerror or error}; what is done is kept in "
                f"{folder}, and the same command goes on"
            ) from error
        shutil.rmtree(folder, ignore_errors=True)


def _shared(run: Run, source: Raster | None, several: bool) -> Raster | None:
    """A source that every worker can read: one that was decoded here is put on disk first."""
    if source is None or not several or source.portable:
        return source
    shape = source.layout.shape
    chunks = [1] * len(shape)
    chunks[source.layout.rows] = chunks[source.layout.columns] = run.side
    if source.layout.samples is not None:
        chunks[source.layout.samples] = source.layout.depth
    array = run.on_disk("source", shape, tuple(chunks), str(source.array.dtype))
    for plane in range(source.layout.planes):
        for part in windows.windows(source.size, run.side):
            place = source.layout.place(plane, part)
            array[place] = source.array[place]
    return replace(source, array=array)


class _Denoising:
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
        self.source: Raster | None = source
        self.prior, self.noise, self.strength, self.mask = prior, noise, strength, mask
        self.notes = list(source.picture.notes)
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
        if noise is None:
            looked = min(height * width, LOOKED_AT * TILE**2)
            self.before = FINDING * source.channels * looked

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
            noise = noise_for(prior, looked)
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
            _values_of(self.mask),
            blend,
        )
        self._levels(run, f"plane{plane}", pixels, told, finish)
        return noise if noise is not None else _of_residual(looked, prior)

    def _levels(
        self, run: Run, name: str, pixels: Source, noise: NoiseModel | None, finish: Finish
    ) -> None:
        """Down to the low-pass image, and up again."""
        prior, sizes = self.prior, self.sizes
        noisy: list[Pixels] = [pixels]
        for level in range(1, prior.levels + 1):
            target = run.array(f"{name}-noisy{level}", prior.channels, sizes[level])
            run.do(f"{name}-noisy{level}", Reduce(noisy[-1], target), sizes[level])
            noisy.append(Stored(target))
        last = prior.levels
        target = (
            finish if last == 0 else run.array(f"{name}-clean{last}", prior.channels, sizes[-1])
        )
        low = DenoiseLow(noisy[-1], sizes[-1], noise, reach(prior.low), target)
        run.do(f"{name}-clean{last}", low, sizes[-1])
        for level in range(last, 0, -1):
            clean = Stored(target)
            overall = self._overall(run, f"{name}-level{level}", noisy[level], level, noise)
            if level > 1:
                target = run.array(f"{name}-clean{level - 1}", prior.channels, sizes[level - 1])
            step = DenoiseLevel(
                level,
                noisy[level - 1],
                clean,
                sizes[level],
                noise,
                overall,
                self.margins[level - 1],
                finish if level == 1 else target,
            )
            run.do(f"{name}-clean{level - 1}", step, sizes[level - 1])

    def _overall(
        self, run: Run, name: str, pixels: Pixels, level: int, noise: NoiseModel | None
    ) -> float | None:
        """Root mean square of a level's noise over all of an image, where it differs."""
        if noise is None or not noise.curve:
            return None
        sums = run.do(name, Growth(pixels, self.sizes[level], noise), self.sizes[level])
        return overall_of(sums, noise, level)


def overall_of(sums: Any, noise: NoiseModel, level: int) -> float:
    """Root mean square of the noise of a level's details, of what `Growth` found in each block."""
    total = np.sum(sums, axis=0)
    factors = total[:-1] / total[-1]
    deviations = np.square(noise.scale(level)) * GAIN ** (2 * level)
    return float(np.sqrt((np.broadcast_to(deviations, factors.shape) * factors).mean()))


class _Enlarging:
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
        self.notes = list(source.picture.notes)
        self.multiple, self.fixed, self.before = 1 << levels, 0, 0
        self.margins = [_margin(prior, level, sampler) for level in range(1, levels + 1)]
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


class _Drawing:
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
        self.margins = [_margin(prior, level, sampler) for level in range(1, levels + 1)]
        self.low_margin = _drawn(reach_of_draws(prior.low, sampler))
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


def _margin(prior: MultiScalePrior, level: int, sampler: str | None) -> int:
    """Coefficients of a level that a detail depends on, drawn or expected."""
    network = prior.conditionals[level - 1]
    if sampler is not None:
        return _drawn(reach_of_draws(network, sampler))
    if not network.noise_conditional:
        raise UsageError(
            "this model is told no noise level, so its mean is that of many samples, which are not "
            "averaged in blocks; give --mode sample"
        )
    return reach(network) or 0


def _drawn(margin: int | None) -> int:
    if margin is None:
        raise UsageError(
            "this way of drawing looks at all of an image at every step (its noise is read off the "
            "residual); images are drawn in blocks with --sampler few-steps"
        )
    return margin


def _values_of(mask: Raster | None) -> Any:
    """A mask as an array (H, W) from 0 to 1."""
    return None if mask is None else _Mask(mask)


@dataclass(frozen=True)
class _Mask:
    """A mask, read in windows."""

    raster: Raster

    def __getitem__(self, place: Any) -> Any:
        rows, columns = place[-2:]
        window = windows.Window(rows.start, rows.stop, columns.start, columns.stop)
        return to_channels(self.raster.pixels(0, window), 1)[0][0].numpy()


def _of_residual(looked: Tensor, prior: MultiScalePrior) -> NoiseModel:
    """The noise that networks which are told none find."""
    given = to_channels(looked, prior.channels)[0][None].to(*unit_of(prior))
    return NoiseModel.white(float((given - prior.denoise(given)).square().mean().sqrt()))
