"""How much is said on stderr, besides results: errors alone, notes and progress, or everything.

What other libraries warn of is for who works on them: it is shown in "debug" alone.
"""

from __future__ import annotations

import os
import sys
import warnings

from scalewise.errors import UsageError

VARIABLE = "SCALEWISE_LOG"
LEVELS = ("error", "info", "debug")
"""Errors alone; notes and progress too, the default; warnings of libraries and tracebacks too."""

_chosen = {"level": "info"}


def choose(*, quiet: bool, verbose: bool) -> None:
    """Take the level from the options, else from the environment.

    Raises:
        UsageError: both options are given, or the variable names no level.
    """
    _chosen["level"] = "info"
    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other; give one of them")
    named = os.environ.get(VARIABLE) or "info"
    if named not in LEVELS:
        raise UsageError(f"{VARIABLE} must be one of {', '.join(LEVELS)}, found {named!r:.40}")
    _chosen["level"] = "error" if quiet else "debug" if verbose else named


def is_quiet() -> bool:
    """Whether errors alone are said."""
    return _chosen["level"] == "error"


def shows_all() -> bool:
    """Whether tracebacks and the warnings of libraries are shown."""
    return _chosen["level"] == "debug" or os.environ.get("SCALEWISE_DEBUG", "0") not in ("", "0")


def tune_libraries() -> None:
    """Let libraries warn and log in this process as the level says; `python -W` goes first."""
    import logging

    if shows_all():
        logging.basicConfig(level=logging.INFO)
        if not sys.warnoptions:
            warnings.simplefilter("default")
        return
    logging.getLogger().addHandler(logging.NullHandler())
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if is_quiet():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
