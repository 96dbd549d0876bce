"""Images to work on one by one: a bad one is reported, and the rest go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from scalewise.cli.console import Bar, Record, show, tell
from scalewise.cli.program import explain, report
from scalewise.errors import ScalewiseError

NAMED = 20
"""Images that failed whose names are in a summary, at most."""


@dataclass(frozen=True)
class Job:
    """One image to work on.

    Args:
        source: the file to read.
        targets: the files to write, one per sample.
        deviation: the file of the standard deviation of the samples, if wanted.
        present: whether all outputs exist and are to be left as they are.
    """

    source: Path
    targets: tuple[Path, ...]
    deviation: Path | None = None
    present: bool = False

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All that will be written."""
        return self.targets if self.deviation is None else (*self.targets, self.deviation)

    @property
    def written(self) -> Record:
        """What will be written, for a record."""
        names = [str(path) for path in self.targets]
        return {
            "output": names if len(names) > 1 else names[0],
            "uncertainty": None if self.deviation is None else str(self.deviation),
        }


def nothing_to_do(jobs: Sequence[Job]) -> bool:
    """Whether the outputs of all images exist and are to be left, which is told."""
    if not all(job.present for job in jobs):
        return False
    tell([f"nothing to do: the outputs of all {len(jobs)} images exist"])
    return True


def work_through(
    jobs: Sequence[Job],
    work: Callable[[Job, Bar], Record],
    title: str,
    steps: int = 1,
    as_json: bool = False,
) -> None:
    """Work on images one by one; a bad one is reported and the rest go on.

    Of several images, a last line says how many were done, left as they were, or failed.

    Args:
        jobs: the images; those that are present are left out.
        work: works on one, and tells what was done.
        title: what is done, for the progress bar.
        steps: steps of the bar per image; `work` may take them as it goes.
        as_json: print records as JSON.

    Raises:
        ScalewiseError: some of several images failed; of a single one, whatever went wrong.
    """
    failed: list[str] = []
    wanted = [job for job in jobs if not job.present]
    with Bar(title, steps * len(wanted)) as bar:
        for place, job in enumerate(wanted, start=1):
            start = time.perf_counter()
            try:
                record = work(job, bar) | {"seconds": round(time.perf_counter() - start, 3)}
            except Exception as error:
                failed.append(job.source.name)
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
    if len(jobs) > 1 and not as_json:
        typer.echo(summary(len(wanted) - len(failed), len(jobs) - len(wanted), failed))
    if failed:
        rest = "the others are written" if len(failed) < len(wanted) else "none is written"
        raise ScalewiseError(f"{len(failed)} of {len(wanted)} images failed; {rest}")


def summary(done: int, present: int, failed: Sequence[str]) -> str:
    """How many images were done, left as they were, and failed, and the names of those."""
    parts = [f"{done} done"]
    if present:
        parts.append(f"{present} left as they were")
    if failed:
        more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        parts.append(f"{len(failed)} failed: {', '.join(failed[:NAMED])}{more}")
    return ", ".join(parts)
