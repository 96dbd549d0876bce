"""Filling holes of images of any size: what is far from a hole is not looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scalewise.blocks.denoising import check_mask
from scalewise.blocks.files import Result
from scalewise.blocks.memory import Cost
from scalewise.blocks.run import Run
from scalewise.blocks.steps import Finish, Leave, Source, kept, share_of, shown, values_of
from scalewise.blocks.work import ANY, Advance, Limits, Outcome, run_work
from scalewise.errors import UsageError
from scalewise.images import to_channels
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.rasters import Raster
from scalewise.rasters.opening import same_file
from scalewise.restore.inverting import WIDEST, around, fill, wide_hole
from scalewise.restore.result import conversion
from scalewise.windows import Window, meeting, windows

CELL = 64
"""Side of the squares in which holes are looked for first; more than what is looked at around one,
so that holes which are filled together lie in neighbouring squares."""

BYTES = 1200
"""For each pixel and channel around a hole that is filled."""


def inpaint(
    source: Raster,
    mask: Raster,
    prior: MultiScalePrior,
    output: str | Path,
    *,
    mean: bool = False,
    sample: int = 0,
    seed: int = 0,
    limits: Limits = ANY,
    force: bool = False,
    quality: int | None = None,
    progress: Callable[[int], Advance] | None = None,
) -> Outcome:
    """Fill holes of an image of any size; known pixels stay as they are.

    Args:
        source: the image; its planes one by one.
        mask: an image of the same size, above 0 where it is not known.
        prior: of any number of channels.
        output: file or store.
        mean: the mean of all likely ones, not a sample.
        sample: number of the sample.
        seed: of the samples.
        limits: what the run may take.
        force: the output may exist.
        quality: of a JPEG or WebP.
        progress: called with the number of pixels of all steps; returns what is called with those
            that are done.

    Raises:
        UsageError: the mask has another size, is all white or black, or a hole is too large for
            the memory.
        ScalewiseError: a block cannot be read or written.

    Examples:
        >>> import tempfile, numpy
        >>> from scalewise.rasters import open_raster
        >>> hole = numpy.zeros((48, 64), "uint8")
        >>> hole[20:22, 30:40] = 255
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     numpy.save(f"{folder}/known.npy", numpy.full((48, 64, 3), 100, "uint8"))
        ...     numpy.save(f"{folder}/hole.npy", hole)
        ...     known, mask = (open_raster(f"{folder}/{name}.npy") for name in ("known", "hole"))
        ...     output = f"{folder}/filled.npy"
        ...     _ = scalewise.blocks.inpaint(known, mask, scalewise.load("photos"), output)
        ...     numpy.load(output).shape
        (48, 64, 3)
    """
    work = _Filling(source, mask, prior, None if mean else sample, seed)
    key = {"task": "inpaint", "mask": same_file(mask.name), "sample": work.sample, "seed": seed}
    return run_work(
        work,
        key,
        source,
        shown(source.picture, prior),
        Path(output),
        limits=limits,
        force=force,
        quality=quality,
        progress=progress,
    )


def find_holes(mask: Raster) -> tuple[list[Window], int]:
    """Windows that hold all holes, as `restore.inpaint` orders them, and the widest's width."""
    from scipy import ndimage  # takes long to load

    height, width = mask.size
    cells = np.zeros((-(-height // CELL), -(-width // CELL)), bool)
    for band in windows(mask.size, 32 * CELL):
        hole = _hole(mask, band)
        rows, columns = np.nonzero(hole)
        cells[(band.top + rows) // CELL, (band.left + columns) // CELL] = True
    labels, _ = ndimage.label(ndimage.maximum_filter(cells, 3))
    found: list[tuple[tuple[int, int], Window]] = []
    widest = 0
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        whole = Window(
            rows.start * CELL,
            min(rows.stop * CELL, height),
            columns.start * CELL,
            min(columns.stop * CELL, width),
        )
        own = np.kron(labels[rows, columns] == number, np.ones((CELL, CELL), bool))
        hole = _hole(mask, whole) & own[: whole.size[0], : whole.size[1]]
        boxes, wide = around(torch.from_numpy(hole))
        widest = max(widest, wide)
        for box in boxes:
            part = Window(
                whole.top + box[0].start,
                whole.top + box[0].stop,
                whole.left + box[1].start,
                whole.left + box[1].stop,
            )
            first = np.argmax(hole[box].any(1))
            place = part.top + int(first), part.left + int(np.argmax(hole[box][first]))
            found.append((place, part))
    return [part for _, part in sorted(found)], widest


def _hole(mask: Raster, window: Window) -> Any:
    """Where a window is a hole: bool of shape (h, w)."""
    return (share_of(mask, window) > 0).numpy()


@dataclass(frozen=True)
class Fill:
    """The pixels of one hole.

    Args:
        source: the plane.
        mask: where holes are.
        numbers: of the holes.
        sample: number of the sample; None for the mean.
        seed: of the plane.
        result: what is known, and is to be filled.
    """

    source: Source
    mask: Raster
    numbers: dict[Window, int]
    sample: int | None
    seed: int
    result: Result

    def __call__(self, prior: MultiScalePrior, window: Window) -> None:
        """Fill one hole."""
        inside = torch.from_numpy(_hole(self.mask, window))
        raster, plane = self.source.raster, self.source.plane
        samples = None if self.sample is None else self.sample + 1
        given = self.source.read(window)[0]
        drawn = fill(given, inside, prior, samples, self.seed, self.numbers[window])[-1:]
        picture = self.result.picture
        new = values_of(to_channels(drawn, picture.pixels.shape[1])[0], picture)[0]
        values = kept(raster, plane, window, picture)
        colours = np.where(inside.numpy()[..., None], new, values[..., : new.shape[-1]])
        values = np.concatenate([colours, values[..., new.shape[-1] :]], axis=-1)
        self.result.layout.put(self.result.array, plane, window, values)


class _Filling:
    """The steps of filling holes."""

    def __init__(
        self, source: Raster, mask: Raster, prior: MultiScalePrior, sample: int | None, seed: int
    ) -> None:
        check_mask(mask, source)
        self.source: Raster | None = source
        self.prior, self.mask, self.sample, self.seed = prior, mask, sample, seed
        self.holes, widest = find_holes(mask)
        if not self.holes:
            raise UsageError(
                "the mask is black everywhere; it must be white where the picture is to be filled"
            )
        self.notes = [
            *source.picture.notes,
            *conversion(source.picture, prior),
            *([wide_hole(widest)] if widest > WIDEST else []),
        ]
        self.multiple, self.before, self.between = 1, 0, 0
        largest = max(hole.size[0] * hole.size[1] for hole in self.holes)
        self.fixed = BYTES * source.channels * largest
        inside = sum(hole.size[0] * hole.size[1] for hole in self.holes)
        self.pixels = source.layout.planes * (source.size[0] * source.size[1] + inside)
        self.costs = [Cost(0, 8 * source.layout.depth)]

    def do(self, run: Run, result: Result) -> tuple[NoiseModel, ...]:
        """Copy what is known, and fill the holes of all planes."""
        source = self.source
        assert source is not None
        numbers = {hole: number for number, hole in enumerate(self.holes)}
        channels = 1 if self.prior.channels == 1 else source.channels
        result = replace(result, output=Path())
        for plane in range(source.layout.planes):
            known = Source(source, plane, channels)
            finish = Finish(result.array, result.layout, plane, result.picture, source=known)
            run.do(f"plane{plane}-known", Leave(finish), source.size)
            step = Fill(
                known,
                self.mask,
                numbers,
                self.sample,
                self.seed + plane,
                result,
            )
            for number, parts in enumerate(_apart(self.holes, source.size, run.side)):
                run.do(f"plane{plane}-holes{number}", step, source.size, parts)
        return ()


def _apart(holes: list[Window], size: tuple[int, int], side: int) -> list[list[Window]]:
    """Holes in groups of those that touch no common block, which may be filled at once."""
    groups: list[tuple[list[Window], set[Window]]] = []
    for hole in holes:
        blocks = set(meeting(size, side, [hole]))
        for members, taken in groups:
            if not taken & blocks:
                members.append(hole)
                taken |= blocks
                break
        else:
            groups.append(([hole], blocks))
    return [members for members, _ in groups]
