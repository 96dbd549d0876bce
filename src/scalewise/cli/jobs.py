"""Images to work on, one by one or several at once: a bad one is reported, the rest go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from scalewise.cli.batches import Work, outcomes
from scalewise.cli.console import Bar, Record, Share, show, tell
from scalewise.cli.large import Wish
from scalewise.cli.program import report
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
    work: Callable[[Job, Share], Record],
    title: str,
    steps: int = 1,
    as_json: bool = False,
    together: int = 1,
    *,
    several: Callable[[Sequence[Job]], list[Record | Exception]] | None = None,
    wish: Wish | None = None,
) -> None:
    """Work on all images; a bad one is reported and the rest go on.

    Records are printed as images are finished: in the order of the jobs where one is worked on at a
    time. Of several images, a last line says how many were done, left as they were, or failed.

    Args:
        jobs: the images; those that are present are left out.
        work: works on one, in any thread, and tells what was done.
        title: what is done, for the progress bar.
        steps: steps of the bar per image; `work` may take them as it goes.
        as_json: print records as JSON.
        together: how many images at once, at most.
        several: works on small ones of one size as a batch, in any thread; see `batches.Work`.
        wish: whether other processes work on the small ones; `work` and `several` travel there.

    Raises:
        ScalewiseError: some of several images failed; of a single one, whatever went wrong.
    """
    wanted = [job for job in jobs if not job.present]
    failed: set[Job] = set()
    with Bar(title, steps * len(wanted), len(wanted)) as bar:

        def new_share() -> Share:
            return Share(bar, steps)

        with outcomes(Work(work, several), wanted, new_share, together, wish) as found:
            for job, record, error in found:
                with bar.aside():
                    if as_json or error is None:
                        show(record, as_json)
                    if error is not None and len(jobs) == 1:
                        raise error
                    if error is not None:
                        failed.add(job)
                        report(error)
    if len(jobs) > 1 and not as_json:
        names = [job.source.name for job in wanted if job in failed]
        typer.echo(summary(len(wanted) - len(failed), len(jobs) - len(wanted), names))
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
