"""From the name of a model to its folder."""

from __future__ import annotations

import re
from pathlib import Path

from scalewise.errors import ScalewiseError, UsageError

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"

FILES = (CONFIG, WEIGHTS, CARD)
"""What a model folder holds."""

TRAINING = "training"
"""Folder within a model folder that holds the state, logs and pictures of its training."""

PACKAGED = Path(__file__).parents[1] / "weights"
"""The folder of the models in the wheel."""


def packaged() -> list[str]:
    """Names of the models that come with the package, sorted.

    Examples:
        >>> scalewise.packaged()
        ['deep-field', 'faces', 'gravel', 'photos', 'photos-free', 'photos-gray']
    """
    return sorted(config.parent.name for config in PACKAGED.glob(f"*/{CONFIG}"))


def resolve(name: str | Path) -> Path:
    """Find the folder of a model.

    Args:
        name: a model folder, the name of a packaged model, or a hub id `owner/name`, which is
            downloaded once. A folder that holds no model does not hide a packaged one.

    Raises:
        UsageError: nothing has that name.
        ScalewiseError: the hub has no such model or cannot be reached.
    """
    folder = Path(name)
    if (folder / CONFIG).is_file():
        return folder
    if str(name) in packaged():
        return PACKAGED / name
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UsageError(f"{name}: is a file; give the folder that holds {CONFIG} and {WEIGHTS}")
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(name)):
        return _from_hub(str(name))
    known = ", ".join(packaged()) or "none"
    raise UsageError(
        f"no model is called {str(name)!r}; give a model folder, a hub id owner/name, or a "
        f"packaged model ({known})"
    )


def _from_hub(name: str) -> Path:
    """Folder of a model on the Hugging Face hub, from the cache if it is there."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except Exception as error:  # of the hub, of HTTP and of the file system
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ScalewiseError(
            f"{name}: no such folder here, and the Hugging Face hub did not give a model of that "
            f"name ({reason}); check the name and the connection"
        ) from error
