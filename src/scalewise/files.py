"""Files written whole or not at all, and JSON that every reader takes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from scalewise.errors import ScalewiseError
from scalewise.parts import part_file


def write_whole(path: str | Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all: what was there stays until all is on disk.

    A link is written through, and the permissions of a file that is replaced are kept. What killed
    processes left of their writing in the folder is removed (`scalewise.parts`).

    Args:
        path: the file; its folder must exist.
        content: what it will hold, or a function that writes it to a binary stream.

    Raises:
        ScalewiseError: it cannot be written.
    """
    file = Path(os.path.realpath(path))
    if os.path.lexists(file) and not os.path.isfile(file):
        raise ScalewiseError(f"{path}: cannot be written: it is no file that can be replaced")
    try:
        with part_file(file.parent) as (part, stream):
            with suppress(FileNotFoundError):
                part.chmod(file.stat().st_mode & 0o7777)  # before anything is in it
            if callable(content):
                content(stream)
            else:
                stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
            if os.name == "nt":  # where open files cannot be moved
                stream.close()
            part.replace(file)
    except OSError as error:
        raise ScalewiseError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_writable(path: str | Path, *, force: bool = False) -> None:
    """Check before long work that a file can be written.

    Args:
        path: the file.
        force: it may exist.

    Raises:
        ScalewiseError: its folder is missing or not writable, its name is too long, it is a
            folder or another thing that is no file, or it exists.
    """
    file = Path(path)
    if not os.path.isdir(file.parent):
        raise ScalewiseError(f"{file}: folder {file.parent} does not exist; create it first")
    if os.path.isdir(file):
        raise ScalewiseError(f"{file}: is a folder; give the name of a file")
    if os.path.lexists(file) and not force:
        raise ScalewiseError(f"{file} exists; give --force to overwrite it")
    real = Path(os.path.realpath(file))
    if os.path.lexists(real) and not os.path.isfile(real):
        raise ScalewiseError(f"{file}: is no file that can be replaced; give another name")
    check_name(real)
    if not os.access(real.parent, os.W_OK):
        raise ScalewiseError(f"{file}: folder {real.parent} is not writable")


def check_name(path: Path) -> None:
    """Check that a name is not too long for its folder.

    Raises:
        ScalewiseError: it is.
    """
    length, longest = len(os.fsencode(path.name)), longest_name(path.parent)
    if length > longest:
        raise ScalewiseError(
            f"{path}: its name has {length} bytes, more than the {longest} that the folder takes; "
            "give a shorter one"
        )


def longest_name(folder: Path) -> int:
    """Most bytes of a file's name in a folder."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):
        return 255


def to_json(value: object, *, indent: int | None = None) -> str:
    """One JSON text, ended by a new line; NaN and infinite numbers become null."""
    return json.dumps(finite(value), indent=indent, ensure_ascii=False) + "\n"


def write_json(path: str | Path, value: object, *, indent: int | None = 2) -> None:
    """Write a JSON file, whole or not at all; NaN and infinite numbers become null.

    Raises:
        ScalewiseError: it cannot be written.
    """
    write_whole(path, to_json(value, indent=indent).encode())


def finite(value: object) -> object:
    """The same value, with NaN and infinite numbers as None, which JSON can hold."""
    if isinstance(value, dict):
        return {str(name): finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def flat(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Walk through nested JSON: the names and numbers that lead to each value, and its words."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, (*path, str(key)))
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for place, inner in enumerate(value, start=1):
            yield from flat(inner, (*path, str(place)))
    elif isinstance(value, list):
        yield path, ", ".join(map(_words, value))
    elif value is not None:
        yield path, _words(value)


def _words(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
