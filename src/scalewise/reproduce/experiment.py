"""What an experiment is, and what it finds: tables, figures, numbers, and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from scalewise.reproduce.context import Context

Verdict = Literal["holds", "does not hold", "partly", "not tested"]

Cell = str | float | int | None

AHEAD = 0.1
"""dB by which 9x9 may be better before the largest network counts as not having learnt enough."""


@dataclass(frozen=True)
class Table:
    """Rows of measurements.

    Attributes:
        title: what is in it, with units and conditions.
        columns: their names.
        rows: one value per column; None where there is none.
    """

    title: str
    columns: list[str]
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Figure:
    """A picture, as the bytes of a file.

    Attributes:
        name: a word for the file's name.
        caption: what it shows.
        data: the bytes.
        suffix: "svg" or "png".
        private: shows face or photo data, so it stays out of the public report.
    """

    name: str
    caption: str
    data: bytes
    suffix: Literal["svg", "png"]
    private: bool = False


@dataclass(frozen=True)
class Result:
    """What an experiment found.

    Attributes:
        verdict: on the claim, by a rule that stands in the experiment's code.
        sentence: quotes the measurement that decides.
        tables: the measurements.
        figures: pictures of them.
        numbers: all measurements as plain JSON values.
        notes: conditions and limits that a reader must know.
    """

    verdict: Verdict
    sentence: str
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Experiment:
    """A claim and how to test it.

    Attributes:
        name: a word, for `--only` and for file names.
        title: a line.
        claim: what is said to be so, and where (the paper's section, or ours).
        rule: what decides the verdict, fixed before anything was measured.
        run: tests it.
        needs: data without which it cannot be tested: "faces", "textures", "reference".
    """

    name: str
    title: str
    claim: str
    rule: str
    run: Callable[[Context], Result]
    needs: tuple[Literal["faces", "textures", "reference"], ...] = ()


def judge(parts: Mapping[str, bool]) -> Verdict:
    """Verdict from the parts of a rule: all true, none, or some."""
    values = list(parts.values())
    if not values:
        return "not tested"
    return "holds" if all(values) else "partly" if any(values) else "does not hold"


def judge_against(parts: Mapping[str, bool], ahead: float, tolerance: float) -> tuple[Verdict, str]:
    """Verdict of a comparison with a larger network, unless that one has not learnt enough.

    A larger receptive field can do whatever a smaller one can. Where it comes out worse, the
    comparison tells of training, not of receptive fields.

    Args:
        parts: of the rule.
        ahead: by how much the smaller network is better, in the unit of the comparison.
        tolerance: by how much it may be.

    Returns:
        The verdict, and what to put before the sentence.
    """
    if ahead <= tolerance:
        return judge(parts), ""
    return "not tested", "The largest network is behind the small one, so learnt too little: "


def told(parts: Mapping[str, bool]) -> str:
    """The parts of a rule, each with its outcome, as a phrase."""
    return "; ".join(f"{name}: {'yes' if value else 'no'}" for name, value in parts.items())


def plain(result: Result) -> dict[str, Any]:
    """A result as JSON values, its figures without their bytes."""
    fields = asdict(result)
    for figure in fields["figures"]:
        del figure["data"]
    return fields
