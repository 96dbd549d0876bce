"""Images of any size on the command line: when they are worked on in blocks, and within what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalewise.errors import ScalewiseError, UsageError

if TYPE_CHECKING:
    from scalewise.blocks import Limits
    from scalewise.rasters import Raster

LARGE = 4_000_000
"""Pixels of an image from which it is worked on in blocks, where nothing speaks against it."""

STEPS = 100
"""Of the bar, per image."""

PANEL = "Memory and machines"

MaxMemory = Annotated[
    str | None,
    typer.Option(
        metavar="AMOUNT",
        help="Memory that the process may take in all, such as 2GB; half of what is free without "
        "it. Images are then worked on in blocks.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Tile = Annotated[
    int | None,
    typer.Option(
        min=8,
        max=1 << 16,
        metavar="PIXELS",
        help="Side of the blocks; as large as the memory allows without it. It changes nothing but "
        "the last digits of floats.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        min=1,
        max=1024,
        help="Processes that compute the blocks of an image, or the small images of a folder "
        "instead of --jobs (extra big).",
        rich_help_panel=PANEL,
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="A Dask scheduler that runs, such as tcp://host:8786, whose workers compute the "
        "blocks, or the small images of a folder, and see the same files.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]


@dataclass(frozen=True)
class Wish:
    """What was asked for of memory and machines.

    Args:
        memory: of `--max-memory`.
        tile: of `--tile`.
        workers: of `--workers`.
        scheduler: of `--scheduler`.
        others: names of options that images in blocks do not know, and whether they were given.
        images: how many there are.
    """

    memory: str | None
    tile: int | None
    workers: int
    scheduler: str | None
    others: Mapping[str, bool]
    images: int = 1

    @property
    def given(self) -> bool:
        """Whether anything of it was that an image is to be cut for."""
        return bool(self.memory or self.tile) or (self._several and not self.spreads)

    @property
    def spreads(self) -> bool:
        """Whether workers take small images of a folder as they are, not the blocks of each."""
        return self.images > 1 and self._several and not (self.memory or self.tile)

    @property
    def _several(self) -> bool:
        return self.workers > 1 or self.scheduler is not None

    @property
    def limits(self) -> Limits:
        """What the run may take."""
        from scalewise.blocks import Limits

        return Limits(self.memory, self.tile, self.workers, self.scheduler)

    def check(self) -> None:
        """Refuse an amount of memory that is none, before anything is read."""
        from scalewise.blocks import parse_memory

        parse_memory(self.memory)
        if self.workers > 1 and self.scheduler is not None:
            raise UsageError("--workers are of this machine, --scheduler has its own; give one")
        if self.spreads and self.others.get("--sheet"):
            raise UsageError("--sheet is of images that this process works on; give --jobs instead")

    def draws(self, size: tuple[int, int], output: Path) -> bool:
        """Whether an image of this size is to be drawn in blocks.

        Raises:
            UsageError: it can only be drawn in blocks, which do not know an option.
        """
        from scalewise.rasters import is_array

        must = self.given or is_array(output)
        refused = [name for name, given in self.others.items() if given]
        if must and refused:
            raise UsageError(f"{', '.join(refused)} is not for images that are drawn in blocks")
        return must or (size[0] * size[1] >= LARGE and not refused)

    def raster(
        self, source: Path, output: Path, black: float | None, white: float | None
    ) -> Raster | None:
        """The image, if it is to be worked on in blocks; None if as a whole.

        Raises:
            UsageError: it can only be worked on in blocks, which do not know an option.
        """
        from scalewise.images.reading import count_pixels
        from scalewise.rasters import WholeOnly, is_array, open_raster

        must = is_array(source) or source.is_dir() or is_array(output)
        refused = [name for name, given in self.others.items() if given]
        if refused and (must or self.given):
            raise UsageError(
                f"{', '.join(refused)} {'is' if len(refused) == 1 else 'are'} not for images that "
                "are worked on in blocks (arrays, and with --max-memory, --tile, --workers or "
                "--scheduler); leave it out, or cut the image"
            )
        if not (must or self.given) and (refused or count_pixels(source) < LARGE):
            return None
        try:
            raster = open_raster(source, black=black, white=white, unpack_to=output.parent)
        except WholeOnly:
            if must or self.given:
                raise
            return None
        return None if raster.hidden and not must and not self.given else raster


def counted(fill: Callable[[float], object]) -> Callable[[int], Callable[[int], None]]:
    """Progress of blocks as the share of a bar."""

    def begin(total: int) -> Callable[[int], None]:
        done = 0

        def advance(pixels: int) -> None:
            nonlocal done
            done += pixels
            fill(min(1.0, done / max(1, total)))

        return advance

    return begin


def check_array_output(output: Path, force: bool, skip_existing: bool) -> None:
    """Check a result that is an array, or of one, before long work."""
    from scalewise.files import check_name

    if not output.parent.is_dir():
        raise ScalewiseError(f"{output}: folder {output.parent} does not exist; create it first")
    check_name(output)
    if output.exists() and not (force or skip_existing):
        raise ScalewiseError(f"{output} exists; give --force to overwrite it")
