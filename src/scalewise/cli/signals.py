"""Ctrl-C and the like end the program in a sentence, at any moment.

A signal raises `Ended`, a `SystemExit`, so that everything is put in order on the way out. Imports
and finalizers may swallow exceptions or translate them; there the process is left at once. Python
raises it in the main thread; others are ended by `halt`, which raises `Halted` in them likewise.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

SENTENCES = {"SIGINT": "Stopped.", "SIGTERM": "Ended by SIGTERM.", "SIGHUP": "Ended by SIGHUP."}
"""What is said on each signal; the exit code is 128 and its number."""


class Ended(SystemExit):
    """The program was told to end.

    Args:
        number: of the signal.
    """

    code: int

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.sentence = SENTENCES[signal.Signals(number).name]


class Halted(SystemExit):
    """A thread was told to end; nothing is said of it, as of every `SystemExit` of a thread."""


def halt(thread: threading.Thread) -> None:
    """Raise `Halted` in another thread, before its next line of Python, so that it puts in order.

    What a library computes there without Python is finished before. Within a finalizer it is lost.
    """
    import ctypes

    if thread.is_alive() and thread.ident is not None:
        place, kind = ctypes.c_ulong(thread.ident), ctypes.py_object(Halted)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(place, kind)


def catch() -> None:
    """From now on, signals raise `Ended`; those that the parent process ignores stay ignored."""
    sys.unraisablehook = _swallowed
    _handle(_end)


def leave_at_once() -> None:
    """From now on, when the work is done, signals end the process without more ado."""
    _handle(_leave_now)


def _handle(handler: Any) -> None:
    for name in SENTENCES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    """Raise `Ended`, or leave at once where an exception may be lost."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            _leave_now(number)
        frame = frame.f_back
    raise Ended(number)


def _leave_now(number: int, _: FrameType | None = None) -> NoReturn:
    """Say why, and end the process."""
    with suppress(OSError, AttributeError, ValueError, RuntimeError):
        sys.stdout.flush()
    with suppress(OSError):
        os.write(2, (SENTENCES[signal.Signals(number).name] + "\n").encode())
    os._exit(128 + number)


def _swallowed(unraisable: Any) -> None:
    """Leave where `Ended` was raised within a finalizer, which would have swallowed it."""
    if isinstance(unraisable.exc_value, Ended):
        _leave_now(unraisable.exc_value.code - 128)
    if not isinstance(unraisable.exc_value, Halted):
        sys.__unraisablehook__(unraisable)
