"""Peak memory of a piece of work, in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from scalewise.errors import ScalewiseError
from scalewise.speed.timing import Work

Maker = Callable[..., tuple[Work, Work]]
"""Makes a small work of the same kind, which loads and compiles what is needed, and the work."""

STATUS = Path("/proc/self/status")
RESET_PEAK = "5"


def peak_bytes(make: Maker, *arguments: object) -> int | None:
    """Bytes that a work needs at its peak, beyond what the process holds before it.

    On Linux, read from the resident memory of a new process that has done the small work; on
    other systems None, for want of a peak that can be set back.

    Args:
        make: gives the small work and the work; a function at the top of a module.
        arguments: of `make`, plain values.

    Raises:
        ScalewiseError: the process died, as of want of memory.
    """
    if not STATUS.exists():
        return None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([make.__module__])
    receiver, sender = context.Pipe(duplex=False)
    threads = torch.get_num_threads()
    process = context.Process(target=_child, args=(sender, threads, make, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        return int(receiver.recv())
    except EOFError:
        process.join()
        raise ScalewiseError(
            f"the process that measures memory ended early, with code {process.exitcode}; "
            "there may be too little memory for this size"
        ) from None
    finally:
        process.join()
        receiver.close()


def _child(sender: Connection, threads: int, make: Maker, arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(threads)
    small, work = make(*arguments)
    with torch.no_grad():
        small()
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text(RESET_PEAK)
        before = _status("VmRSS")
        work()
    sender.send(max(0, _status("VmHWM") - before))


def _status(key: str) -> int:
    """A figure of this process's memory, in bytes."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(key)
