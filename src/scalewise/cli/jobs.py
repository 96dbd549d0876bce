"""Images to work on one by one: a bad one is reported, and the rest go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scalewise.cli.console import Bar, Record, show
from scalewise.cli.program import explain, report
from scalewise.errors import ScalewiseError


@dataclass(frozen=True)
class Job:
    """One image to work on.

    Args:
        source: the file to read.
        targets: the files to write, one per sample.
        deviation: the file of the standard deviation of the samples, if wanted.
    """

    source: Path
    targets: tuple[Path, ...]
    deviation: Path | None = None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All that will be written."""
        return self.targets if self.deviation is None else (*self.targets, self.deviation)


def work_through(
    jobs: Sequence[Job],
    work: Callable[[Job, Bar], Record],
    title: str,
    steps: int = 1,
    as_json: bool = False,
) -> None:
    """Work on images one by one; a bad one is reported and the rest go on.

    Args:
        jobs: the images.
        work: works on one, and tells what was done.
        title: what is done, for the progress bar.
        steps: steps of the bar per image; `work` may take them as it goes.
        as_json: print records as JSON.

    Raises:
        ScalewiseError: some of several images failed; of a single one, whatever went wrong.
    """
    failed = 0
    with Bar(title, steps * len(jobs)) as bar:
        for place, job in enumerate(jobs, start=1):
            start = time.perf_counter()
            try:
                record = work(job, bar) | {"seconds": round(time.perf_counter() - start, 3)}
            except Exception as error:
                failed += 1
                record = {"input": str(job.source), "output": None, "error": explain(error)}
                with bar.aside():
                    if as_json:
                        show(record, as_json)
                    if len(jobs) == 1:
                        raise
                    report(error)
            else:
                with bar.aside():
                    show(record, as_json)
            bar.move_to(place * steps)
    if failed:
        rest = "the others are written" if failed < len(jobs) else "none is written"
        raise ScalewiseError(f"{failed} of {len(jobs)} images failed; {rest}")
