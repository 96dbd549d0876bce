"""A run over blocks, whatever it does: planned, done, and completed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scalewise import store, windows
from scalewise.blocks.cluster import team_of
from scalewise.blocks.files import (
    check_target,
    complete,
    fitted,
    new_result,
)
from scalewise.blocks.memory import Cost, block_side, parse_memory
from scalewise.blocks.run import Run, check_space, partial, remember_run
from scalewise.device import give_memory_back, share_memory_of_threads
from scalewise.errors import ScalewiseError, UsageError
from scalewise.images import Picture
from scalewise.noise_model import NoiseModel
from scalewise.rasters import Raster
from scalewise.rasters.opening import NPY, ZARR, same_file

Advance = Callable[[int], object]


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
