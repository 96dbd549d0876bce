"""Before and after, side by side: one look at what was done to a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from scalewise.cli.jobs import Job
    from scalewise.images import Picture

SIDE = 128
"""Side of the crops in pixels, of the output's size."""

MOST = 400
"""Images on a sheet, at most: beyond, every second one, every third, ..."""


class ContactSheet:
    """Collects the middle of every image before and after, and draws them in pairs.

    Args:
        path: the image file to write.
        sources: the images that will be worked on, in the order of the sheet.
    """

    def __init__(self, path: Path, sources: Sequence[Path]) -> None:
        self.path = path
        self.shown = list(sources)[:: max(1, -(-len(sources) // MOST))]
        self.pairs: dict[Path, tuple[Tensor, Tensor]] = {}

    def add(self, source: Path, before: Picture, after: Picture) -> None:
        """Remember the middle of a picture, its first plane; from any thread, in any order."""
        if source in self.shown:
            factor = max(1, after.pixels.shape[-1] // before.pixels.shape[-1])
            pair = _middle(before, SIDE // factor, factor), _middle(after, SIDE, 1)
            self.pairs[source] = pair

    def write(self, *, force: bool) -> None:
        """Write the sheet, if there is anything to show."""
        import math

        import torch

        from scalewise.evaluation import grid
        from scalewise.images import Picture, write_image

        if self.pairs:
            pairs = [self.pairs[source] for source in self.shown if source in self.pairs]
            cells = torch.stack([torch.cat(pair, dim=2) for pair in pairs])
            columns = max(1, math.ceil(math.sqrt(len(cells) / 2)))
            write_image(self.path, Picture(grid(cells, columns)), force=force)


def contact_sheet(path: Path | None, jobs: Sequence[Job], force: bool) -> ContactSheet | None:
    """A sheet of jobs for a file that can be written; None where none is wanted."""
    if path is None:
        return None
    from scalewise.images import check_output

    check_output(path, force=force)
    return ContactSheet(path, [job.source for job in jobs if not job.present])


@contextmanager
def sheet_of(contact: ContactSheet | None, force: bool) -> Iterator[None]:
    """Write the sheet after work on many images, of which some may have failed."""
    try:
        yield
    finally:
        if contact is not None:
            contact.write(force=force)


def _middle(picture: Picture, side: int, factor: int) -> Tensor:
    """The middle of a picture as (3, SIDE, SIDE), its pixels enlarged, gray around small ones."""
    import torch

    from scalewise.images import to_channels

    pixels = to_channels(picture.pixels[0], 3)[0]
    top, left = (max(0, (size - side) // 2) for size in pixels.shape[1:])
    crop = pixels[:, top : top + side, left : left + side]
    crop = crop.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    cell = torch.full((3, SIDE, SIDE), 0.5)
    cell[:, : crop.shape[1], : crop.shape[2]] = crop
    return cell
