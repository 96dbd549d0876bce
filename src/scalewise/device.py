"""From the name of a device to the device, and the threads that a thread computes with."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

import torch

from scalewise.errors import UsageError


def pick_device(name: str = "auto") -> torch.device:
    """Choose where to compute.

    Args:
        name: "cpu", "cuda" (also "cuda:1"), "mps", or "auto" for the best one there is.

    Raises:
        UsageError: the device is unknown or absent.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device must be auto, cpu, cuda or mps, found {name!r}")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(mps)}[device.type]
    if (device.index or 0) >= count:
        raise UsageError(f"device {name} is not there: PyTorch sees {count} of that type; use auto")
    return device


def use_threads(count: int) -> None:
    """Let the thread that calls compute with so many of the processor's.

    PyTorch keeps the number for each thread; those that compute for the first time afterwards take
    over the number that was set last.
    """
    torch.get_num_threads()  # takes over the number of the process, lest a later call does
    torch.set_num_threads(count)


def memory_of(device: torch.device) -> int | None:
    """Bytes of memory that a device has, or that this process may take; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = []
    with suppress(AttributeError, ValueError, OSError):  # where Python knows no such figures
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):  # no limit of a container, or "max"
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return min(limits, default=None)


def free_memory() -> int | None:
    """Bytes of main memory that this process may still take, in its container; None if unknown."""
    limits = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable"))
        limits.append(1024 * int(line.split()[1]))
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        most = int((group / "memory.max").read_text(encoding="ascii"))
        limits.append(most - int((group / "memory.current").read_text(encoding="ascii")))
    return max(0, min(limits)) if limits else memory_of(torch.device("cpu"))


def resident_memory() -> int:
    """Bytes of main memory that this process has now; 0 if unknown."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def give_memory_back() -> None:
    """Have the allocator give what is free back to the system, if it is that of GNU."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def share_memory_of_threads() -> None:
    """Have threads that begin from now on take memory from one heap, if it is that of GNU.

    With a heap each, what one thread has freed is of no use to the others, and
    `give_memory_back` finds little that is free.
    """
    arenas = -8  # M_ARENA_MAX
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(arenas, 1)
