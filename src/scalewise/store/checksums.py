"""The checksums of the packaged models: whether their files are those that were released."""

from __future__ import annotations

import hashlib
from pathlib import Path

from scalewise.errors import ScalewiseError
from scalewise.store.names import PACKAGED

SUMS = "SHA256SUMS"
"""A file beside the packaged models, in the format of `sha256sum`: a digest and a name per line."""


def recorded(folder: Path = PACKAGED) -> dict[str, str]:
    """The digest of every packaged file, by its name within the folder, as it was released.

    Raises:
        ScalewiseError: the list is missing or damaged.
    """
    file = folder / SUMS
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        pairs = [line.split("  ", 1) for line in lines]
        sums = {name: digest for digest, name in pairs if len(digest) == 64}
    except (OSError, ValueError) as error:
        raise ScalewiseError(
            f"{file}: the list of checksums is missing or damaged; install Scalewise again"
        ) from error
    if len(sums) != len(lines) or not sums:
        raise ScalewiseError(f"{file}: the list of checksums is damaged; install Scalewise again")
    return sums


def check(folder: Path = PACKAGED) -> dict[str, list[str]]:
    """What is wrong with each packaged model, in sentences; an empty list where nothing is.

    Models that are listed and not there are told too, and files that are there and not listed.

    Raises:
        ScalewiseError: the list of checksums is missing or damaged.
    """
    sums = recorded(folder)
    there = {path.relative_to(folder).as_posix() for path in folder.glob("*/*") if path.is_file()}
    found: dict[str, list[str]] = {name.split("/")[0]: [] for name in sorted(sums.keys() | there)}
    for name in sorted(sums.keys() | there):
        problem = _problem(folder, name, sums.get(name))
        if problem:
            found[name.split("/")[0]].append(f"{folder / name}: {problem}")
    return found


def _problem(folder: Path, name: str, wanted: str | None) -> str:
    """What is wrong with one file; nothing if it is as it was released."""
    if wanted is None:
        return "is not of this release of Scalewise; remove it"
    try:
        with (folder / name).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read: {error.strerror or error}; install Scalewise again"
    if digest != wanted:
        return (
            f"its SHA-256 is {digest[:12]}..., not {wanted[:12]}...: it was changed or damaged; "
            "install Scalewise again"
        )
    return ""
