"""The folder of a report: what was asked for, and each result, written whole as it is done.

`report.json` says which run the folder belongs to. `results/NAME.json` is the result of an
experiment, written after its figures, so that what is there is complete. `networks/` holds what was
trained.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from scalewise.errors import ScalewiseError, UsageError
from scalewise.files import write_json, write_whole
from scalewise.reproduce.experiment import Figure, Result, plain

STATE, RESULTS, NETWORKS, PAGE = "report.json", "results", "networks", "index.html"
OURS = (STATE, RESULTS, NETWORKS, PAGE, "reference", ".reference.part")
FORMAT = 1


@dataclass(frozen=True)
class _About:
    """What the pages tell of a result beside what was found."""

    name: str
    title: str
    claim: str
    rule: str
    seed: int
    command: str
    seconds: float


_ABOUT, _RESULT = TypeAdapter(_About), TypeAdapter(Result)


class ReportFolder:
    """Stored results of one run.

    Args:
        path: the folder; its parent must exist.
        identity: settings and data that results depend on, as JSON values.
        force: replace the results of another run, and tolerate files that are not ours.

    Raises:
        ScalewiseError: the folder holds another run's results or other files, or cannot be made.
    """

    def __init__(self, path: Path, identity: dict[str, Any], force: bool = False) -> None:
        self.path, self.identity = path, identity
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path}: is a file; a report is a folder, give another name")
        if not path.resolve().parent.is_dir():
            raise ScalewiseError(
                f"{path}: folder {path.resolve().parent} does not exist; create it first"
            )
        self._claim(force)

    def _claim(self, force: bool) -> None:
        """Make the folder this run's, or say what is in the way."""
        there = sorted(p.name for p in self.path.iterdir()) if self.path.exists() else []
        foreign = [name for name in there if name not in OURS]
        if there and not force and (foreign or STATE not in there):
            raise ScalewiseError(
                f"{self.path}: holds files that are no report's ({(foreign or there)[0]}); give "
                "another folder, or --force to write the report beside them"
            )
        found = read_json(self.path / STATE) if STATE in there else None
        if found is not None and found.get("identity") != self.identity:
            if not force:
                raise UsageError(
                    f"{self.path}: holds the results of another run "
                    f"({_differences(found.get('identity'), self.identity)}); give the same "
                    "settings to go on with it, another folder, or --force to replace it"
                )
            self._forget()
        self.path.mkdir(exist_ok=True)
        (self.path / RESULTS).mkdir(exist_ok=True)
        write_json(self.path / STATE, {"format": FORMAT, "identity": self.identity}, indent=1)

    def _forget(self) -> None:
        """Remove another run's results and networks."""
        for name in OURS:
            entry = self.path / name
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)

    def done(self, name: str) -> bool:
        """Whether an experiment's result is there."""
        return (self.path / RESULTS / f"{name}.json").is_file()

    def keep(self, name: str, result: Result, about: dict[str, Any]) -> None:
        """Store a result: the figures first, then the rest, whole.

        Args:
            name: of the experiment.
            result: what it found.
            about: title, claim, command, seconds and the like.
        """
        folder = self.path / RESULTS
        for figure in result.figures:
            write_whole(folder / file_of(name, figure), figure.data)
        write_json(folder / f"{name}.json", {**about, "name": name, **plain(result)}, indent=1)

    def results(self, names: Iterable[str]) -> list[tuple[dict[str, Any], Result]]:
        """Stored results in the given order: what is known about each, and the result."""
        return [self._read(name) for name in names if self.done(name)]

    def _read(self, name: str) -> tuple[dict[str, Any], Result]:
        folder = self.path / RESULTS
        path = folder / f"{name}.json"
        stored = read_json(path)
        try:
            _ABOUT.validate_python(stored)
            figures = [dict(figure, data=b"") for figure in stored["figures"]]
            result = _RESULT.validate_python(stored | {"figures": figures})
            data = [(folder / file_of(name, figure)).read_bytes() for figure in result.figures]
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ScalewiseError(
                f"{path}: damaged ({_reason(error)}); remove it to measure it anew"
            ) from error
        pairs = zip(result.figures, data, strict=True)
        return stored, replace(result, figures=[replace(each, data=read) for each, read in pairs])


def file_of(name: str, figure: Figure) -> str:
    """File name of an experiment's figure."""
    return f"{name}-{figure.name}.{figure.suffix}"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of the report.

    Raises:
        ScalewiseError: it is damaged.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ScalewiseError(f"{path}: damaged ({error}); remove it to make it anew") from error
    if not isinstance(fields, dict):
        raise ScalewiseError(f"{path}: expected a JSON object; remove it to make it anew")
    return fields


def _reason(error: Exception) -> str:
    """What is wrong, and where."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _differences(found: object, wanted: dict[str, Any]) -> str:
    if not isinstance(found, dict):
        return "of an unknown form"
    names = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    return "; ".join(f"{name}: {found.get(name)} there, {wanted.get(name)} here" for name in names)
