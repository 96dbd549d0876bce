"""Training state on disk: written whole or not at all, read as data only."""

from __future__ import annotations

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
            f"the training state {path} is damaged ({_reason(error)}); remove it to train anew"
        ) from error
    if not isinstance(state, dict):
        raise ScalewiseError(f"{path} is not a training state; remove it to train anew")
    return state


def _reason(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return text.splitlines()[0] if text else type(cause).__name__
