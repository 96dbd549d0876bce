"""Files written whole or not at all, and JSON that every reader takes."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from scalewise.errors import ScalewiseError

PART = ".part"
"""Suffix of the hidden temporary files that writing leaves behind when it is killed."""


def write_whole(path: str | Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all: what was there stays until all is on disk.

    A link is written through, and the permissions of a file that is replaced are kept.

    Args:
        path: the file; its folder must exist.
        content: what it will hold, or a function that writes it to a binary stream.

    Raises:
        ScalewiseError: it cannot be written.
    """
    file = Path(os.path.realpath(path))
    part = file.with_name(f".{secrets.token_hex(8)}{PART}")
    try:
        with part.open("xb") as stream:
            if callable(content):
                content(stream)
            else:
                stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(OSError):
            part.chmod(file.stat().st_mode & 0o777)
        part.replace(file)
    except OSError as error:
        raise ScalewiseError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


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
