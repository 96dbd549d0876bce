"""Training state on disk: written whole or not at all, read as data only."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from scalewise.errors import ScalewiseError
from scalewise.files import write_whole


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path`; what was there stays until all is on disk.

    Raises:
        ScalewiseError: the disk is full or the folder cannot be written.
    """
    try:
        write_whole(path, lambda file: torch.save(state, file))
    except (ScalewiseError, RuntimeError) as error:
        raise ScalewiseError(
            f"cannot write training state to {path}: {_reason(error)}; make room or choose another "
            "folder, then go on with --resume: the last state that was written is kept"
        ) from error


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote. Nothing in the file is executed.

    Raises:
        ScalewiseError: the file is missing, damaged, or holds more than data.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ScalewiseError(f"no training state at {path}; train without --resume") from error
    except Exception as error:
        raise ScalewiseError(
            f"the training state {path} is damaged ({_damage(error)}); remove it to train anew"
        ) from error
    if not isinstance(state, dict):
        raise ScalewiseError(f"{path} is not a training state; remove it to train anew")
    return state


def load_plain(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote, if that is no tensors, but plain values alone.

    Raises:
        ScalewiseError: as of `load_state`, or it holds anything else.
    """
    state = load_state(path)
    try:
        json.dumps(state)
    except (TypeError, ValueError, RecursionError) as error:
        raise ScalewiseError(
            f"the training state {path} is damaged (not plain values); remove it to train anew"
        ) from error
    return state


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder of training state for this process, so that no other run writes there.

    The file `lock` says who holds it. That of a process that is gone is taken over.

    Raises:
        ScalewiseError: another run holds the folder, or it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "lock"
    holder = {"process": os.getpid(), "host": platform.node(), "since": time.strftime("%F %T")}
    for _ in range(2):
        try:
            with lock.open("x", encoding="utf-8") as file:
                json.dump(holder, file)
            break
        except FileExistsError:
            _take_over(lock)
        except OSError as error:
            raise ScalewiseError(f"{lock}: cannot be written: {error.strerror}") from error
    else:
        raise ScalewiseError(f"{folder}: another run took it just now; wait for it to end")
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _take_over(lock: Path) -> None:
    """Remove the lock of a process that is gone, or say who holds it."""
    try:
        holder = json.loads(lock.read_text(encoding="utf-8"))
        process, host = int(holder["process"]), str(holder["host"])
    except (OSError, ValueError, TypeError, KeyError):
        holder, process, host = {}, 0, ""
    if host == platform.node() and not _runs(process):
        lock.unlink(missing_ok=True)
        return
    raise ScalewiseError(
        f"{lock.parent}: a training is running there (process {process or 'unknown'} on "
        f"{host or 'an unknown host'}, since {holder.get('since', 'unknown')}); wait for it, "
        f"choose another --out, or remove {lock} if that process is gone"
    )


def _runs(process: int) -> bool:
    """Whether a process of this machine is there."""
    if process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _damage(error: BaseException) -> str:
    """Why a state cannot be read; never PyTorch's advice to read it as code."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it is not whole, or holds more than data"


def _reason(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return text.splitlines()[0] if text else type(cause).__name__
