"""What libraries print beside the errors that they raise, left out in any number of threads."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

_LOCK, _UNDO = Lock(), ExitStack()
_INSIDE: list[None] = []


@contextmanager
def silent() -> Iterator[None]:
    """Leave out the warnings of Pillow and the log of tifffile: an error tells what is wrong.

    Both are settings of the whole process, so the first of several threads makes them, and the last
    takes them back.
    """
    with _LOCK:
        if not _INSIDE:
            _UNDO.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.")
            log = logging.getLogger("tifffile")
            _UNDO.callback(setattr, log, "disabled", log.disabled)
            log.disabled = True
        _INSIDE.append(None)
    try:
        yield
    finally:
        with _LOCK:
            _INSIDE.pop()
            if not _INSIDE:
                _UNDO.close()
