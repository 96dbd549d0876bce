"""Small images of one size are worked on together: here by threads, or by workers elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scalewise.cli.console import Bar, Record, Share
from scalewise.cli.large import LARGE, Wish
from scalewise.cli.program import explain
from scalewise.cli.workers import at_once
from scalewise.errors import ScalewiseError

if TYPE_CHECKING:
    from scalewise.cli.jobs import Job

IMAGES, PIXELS = 16, 1 << 18
"""How many images are a batch, at most, and how many pixels they have together."""

Outcome = tuple["Job", Record, Exception | None]


@dataclass(frozen=True)
class Work:
    """What is done to images.

    Args:
        one: works on an image, in any thread, and tells what was done.
        several: works on images of one size as a batch, and tells what was done with each, or what
            went wrong; None where they are taken one by one.
    """

    one: Callable[[Job, Share], Record]
    several: Callable[[Sequence[Job]], list[Record | Exception]] | None = None

    def attempt(self, jobs: Sequence[Job], new_share: Callable[[], Share]) -> list[Outcome]:
        """What became of some images."""
        start = time.perf_counter()
        if self.several is None or len(jobs) == 1:
            return [self._one(job, new_share()) for job in jobs]
        found = self.several(jobs)
        seconds = round((time.perf_counter() - start) / len(jobs), 3)
        for _ in jobs:
            new_share().finish()
        return [
            _failed(job, each)
            if isinstance(each, Exception)
            else (job, each | {"seconds": seconds}, None)
            for job, each in zip(jobs, found, strict=True)
        ]

    def _one(self, job: Job, share: Share) -> Outcome:
        start = time.perf_counter()
        try:
            record = self.one(job, share) | {"seconds": round(time.perf_counter() - start, 3)}
        except Exception as error:
            return _failed(job, error)
        finally:
            share.finish()
        return job, record, None

    def __call__(self, prior: None, jobs: Sequence[Job]) -> list[Outcome]:
        """What became of some images, on a worker; errors in words, which travel."""
        found = self.attempt(jobs, lambda: Share(Bar("", 1), 1))
        return [
            (job, record, None if error is None else ScalewiseError(explain(error)))
            for job, record, error in found
        ]


def _failed(job: Job, error: Exception) -> Outcome:
    return job, {"input": str(job.source), "output": None, "error": explain(error)}, error


@contextmanager
def outcomes(
    work: Work,
    jobs: Sequence[Job],
    new_share: Callable[[], Share],
    together: int = 1,
    wish: Wish | None = None,
) -> Iterator[Iterable[Outcome]]:
    """What becomes of images, as they are finished.

    Small ones go to workers, in batches, if that is wished, and large ones come after them, block
    by block; else all are worked on here, so many at once, small ones in batches if there are
    several at once. Batches depend on the images alone.

    Args:
        work: what is done.
        jobs: the images.
        new_share: of the progress bar, for each of them.
        together: how many batches at once here, at most.
        wish: whether workers have the small ones.
    """
    if wish is not None and wish.spreads:
        yield _spread(work, jobs, new_share, wish)
        return
    batched = work.several is not None and together > 1
    parts = _batches(jobs, dict(_sizes(jobs))) if batched else [[job] for job in jobs]
    with at_once(lambda part: work.attempt(part, new_share), parts, together) as found:
        yield (outcome for part in found for outcome in part)


def _spread(
    work: Work, jobs: Sequence[Job], new_share: Callable[[], Share], wish: Wish
) -> Iterator[Outcome]:
    from scalewise.blocks import team_of

    sizes = dict(_sizes(jobs))
    small = [job for job in jobs if _pixels(sizes.get(job)) < LARGE]
    with team_of(None, wish.workers, wish.scheduler) as team:
        for _, part in team.results(work, _batches(small, sizes)):
            for outcome in part:
                new_share().finish()
                yield outcome
    for job in jobs:
        if _pixels(sizes.get(job)) >= LARGE:
            yield from work.attempt([job], new_share)


def _batches(jobs: Sequence[Job], sizes: dict[Job, tuple[int, int]]) -> list[list[Job]]:
    """Images of one size in parts, in the order of their first; of unknown size each alone."""
    parts: list[list[Job]] = []
    growing: dict[tuple[int, int], list[Job]] = {}
    for job in jobs:
        size = sizes.get(job)
        part = None if size is None else growing.get(size)
        if size is None or part is None or len(part) >= min(IMAGES, PIXELS // _pixels(size)):
            parts.append(part := [])
        part.append(job)
        if size is not None:
            growing[size] = part
    return parts


def _sizes(jobs: Sequence[Job]) -> Iterator[tuple[Job, tuple[int, int]]]:
    from scalewise.images.reading import size_of

    for job in jobs:
        if (size := size_of(job.source)) is not None:
            yield job, size


def _pixels(size: tuple[int, int] | None) -> int:
    return 0 if size is None else size[0] * size[1]
