"""Hidden parts: what is being written, before it is moved to its place.

A part lies in the folder of its place, as `.scalewise-MACHINE-TOKEN.part`, and its writer holds a
lock on it (`flock`). The system lets go of the lock when the writer ends, however it ends, so that
a part which can be locked is one that a killed process left behind. Such leftovers of this machine
are removed before the first part of a process in the same folder. Where locks are not known (some
network folders, Windows) they stay, as do those of other machines.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    _LOCKS = False
else:
    _LOCKS = True

_NAME = ".scalewise-{machine:08x}-{token}.part"
_PATTERN = re.compile(r"\.scalewise-([0-9a-f]{8})-[0-9a-f]{16}\.part")


@contextmanager
def part_file(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file to write and to move to its place; if it was not moved, it is removed.

    Raises:
        OSError: it cannot be made.
    """
    _clean(os.path.realpath(folder))
    while True:
        part = folder / _name()
        with part.open("xb") as stream:
            if not _is_held(stream.fileno(), part):
                continue
            try:
                yield part, stream
            finally:
                with suppress(OSError):
                    part.unlink(missing_ok=True)
            return


@contextmanager
def part_folder(folder: Path) -> Iterator[Path]:
    """A new folder to fill and to move to its place; if it was not moved, it is removed.

    Raises:
        OSError: it cannot be made.
    """
    _clean(os.path.realpath(folder))
    number = None
    while number is None:
        part = folder / _name()
        part.mkdir()
        number = _hold_folder(part)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if number >= 0:
            os.close(number)


@contextmanager
def hold(folder: Path) -> Iterator[bool]:
    """Hold a folder that stays, so that one process at a time writes to it.

    Yields:
        False if another process holds it. Where locks are not known, always true.
    """
    if not _LOCKS:
        yield True
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # network folders without locks
            pass
        yield True
    finally:
        os.close(number)


def _name() -> str:
    return _NAME.format(machine=_machine(), token=secrets.token_hex(8))


def _machine() -> int:
    """A number that tells this machine from others."""
    return zlib.crc32(os.fsencode(platform.node()))


@lru_cache(maxsize=1024)  # a folder of many images is looked through once
def _clean(folder: str) -> None:
    """Remove what dead processes of this machine left in a folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _PATTERN.fullmatch(entry.name)
            if found and int(found[1], 16) == _machine():
                _remove_dead(Path(entry.path))


def _remove_dead(part: Path) -> None:
    """Remove a part that nobody holds: a file or a folder, but no link."""
    if not _LOCKS:
        return
    with suppress(OSError):
        number = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not _lock(number, wait=False):
                return
            if stat.S_ISDIR(os.fstat(number).st_mode):
                shutil.rmtree(part)
            elif stat.S_ISREG(os.fstat(number).st_mode):
                part.unlink()
        finally:
            os.close(number)


def _hold_folder(part: Path) -> int | None:
    """Open and hold a new folder: its number, -1 without locks; None if it was taken away."""
    if not _LOCKS:
        return -1
    with suppress(FileNotFoundError):
        number = os.open(part, os.O_RDONLY)
        if _is_held(number, part):
            return number
        os.close(number)
    return None


def _is_held(number: int, part: Path) -> bool:
    """Hold a new part; false if another process took it for a leftover before it was locked."""
    _lock(number, wait=True)
    try:
        return os.path.samestat(os.fstat(number), part.stat())
    except FileNotFoundError:
        return False


def _lock(number: int, *, wait: bool) -> bool:
    """Lock an open file; false if another holds it, or the folder knows no locks."""
    if not _LOCKS:
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True
