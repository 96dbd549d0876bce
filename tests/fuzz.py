"""Damage valid files at random, and look for what is not refused in a sentence.

    python -m tests.fuzz findings --minutes 20 [--reader tiff] [--files 1000000]

Readers take turns, until the time is over or each has judged so many files. Each finding is a file
in the folder, named by what was wrong: another error than a sentence, more time or memory than its
pixels ask for, a reader that hung, or a process that died; of one fault `KEPT` files are kept.
`counts.json` adds up over runs. Findings that are mended become tests of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # as in the tests

from fuzz_readers import READERS, Reader

from scalewise.errors import ScalewiseError

TURN, STUCK = 60.0, 60.0
"""Seconds of a turn of a reader, in a process of its own, and those without progress that hang.

A file may take half of these of the processor, so that a busy machine finds nothing wrong.
"""

SECONDS, MEGABYTES = 1.0, 200
"""Of processor time and memory for a file, beside what its pixels take."""

PER_PIXEL = 60
"""Bytes for each pixel that is read."""

KEPT = 20
"""Files that are kept of one reader and fault; all are counted."""

GOOD = ("read", "refused")


class TooLong(BaseException):
    """Raised by the alarm."""


def _alarm(signum: int, frame: FrameType | None) -> None:
    raise TooLong


def peak(anew: bool = False) -> float:
    """Megabytes of memory at most, since the last call that began anew."""
    if anew:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def judged(reader: Reader, file: Path) -> str:
    """What reading a file led to: "read", "refused", or what was wrong."""
    before, start, pixels = peak(anew=True), time.process_time(), 0
    try:
        pixels = reader.read(file)
        result = "read"
    except ScalewiseError as error:
        result = "refused"
        if "\n" in str(error) or "cannot be encoded" in str(error):
            result = f"words-{type(error.__cause__).__name__}"
    except TooLong:
        result = "time"
    except Exception as error:
        result = f"error-{type(error).__name__}"
    spent = time.process_time() - start
    used = peak() - before
    if used > MEGABYTES + PER_PIXEL * pixels / 2**20:
        return f"memory-{used:.0f}MB"
    if spent > SECONDS + pixels / 1e6 and result != "time":
        return f"slow-{result}"
    return result


def damaged(reader: Reader, seed: int) -> tuple[str, bytes]:
    """The damaged file of a number, and its name."""
    files = reader.valid()
    rng = np.random.default_rng(seed)
    name = str(rng.choice(sorted(files)))
    return name, reader.damage(name, files[name], rng)


def keep(file: Path, findings: Path, fault: str, seed: int | str, name: str) -> None:
    """Copy a file into the findings, unless they have enough of its kind."""
    if sum(1 for _ in findings.glob(f"{fault}-*")) < KEPT:
        shutil.copy(file, findings / f"{fault}-{seed}-{name}")


def turn(
    kind: str,
    first: int,
    place: Path,
    findings: Path,
    results: Any,
    seconds: float = TURN,
    last: int = sys.maxsize,
) -> None:
    """Judge files for a turn, in a process of its own, at most until the one before the last."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, _alarm)
    reader, counts = READERS[kind], Counter[str]()
    with contextlib.suppress(FileNotFoundError):
        os.chdir(place)
    end, seed = time.monotonic() + seconds, first
    while time.monotonic() < end and seed < last:
        name, data = damaged(reader, seed)
        current = place / name
        current.write_bytes(data)
        (place / "current").write_text(f"{seed}\n{name}\n{json.dumps(counts)}")
        signal.setitimer(signal.ITIMER_PROF, STUCK / 2)
        result = judged(reader, current)
        signal.setitimer(signal.ITIMER_PROF, 0)
        counts[result] += 1
        if result not in GOOD:
            keep(current, findings, f"{kind}-{result}", seed, name)
        seed += 1
    results.put(counts)


def run_turn(
    kind: str, first: int, findings: Path, seconds: float = TURN, last: int = sys.maxsize
) -> Counter[str]:
    """Take a turn; what it led to, by how often."""
    context = multiprocessing.get_context("spawn")
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        place, results = Path(name), context.Queue()
        process = context.Process(
            target=turn, args=(kind, first, place, findings, results, seconds, last)
        )
        process.start()
        said, since, counts = "", time.monotonic(), None
        while counts is None:
            with contextlib.suppress(Exception):  # queue.Empty, by another name
                counts = results.get(timeout=1)
            current = place / "current"
            now = current.read_text() if current.exists() else ""
            said, since = (now, time.monotonic()) if now != said else (said, since)
            patience = 3 * STUCK if now else 20 * STUCK  # imports may take theirs
            if counts is None and (not process.is_alive() or time.monotonic() - since > patience):
                kind_of_end = "hang" if process.is_alive() else f"died{process.exitcode}"
                process.kill()
                seed, file, before = (now or "\n\n{}").split("\n")
                if file:
                    keep(place / file, findings, f"{kind}-{kind_of_end}", seed, file)
                counts = Counter(json.loads(before)) + Counter({kind_of_end: 1})
        process.join()
    return counts


def main(arguments: list[str] | None = None) -> None:
    """Take turns until the time is over, and count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("findings", type=Path, help="folder for the findings")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--reader", choices=READERS, action="append")
    parser.add_argument("--files", type=int, default=sys.maxsize, help="of each reader at most")
    parser.add_argument("--turn", type=float, default=TURN, help="seconds of each reader's")
    options = parser.parse_args(arguments)
    findings = options.findings.absolute()
    findings.mkdir(parents=True, exist_ok=True)
    record = findings / "counts.json"
    counts = json.loads(record.read_text()) if record.exists() else {}
    end = time.monotonic() + 60 * options.minutes
    kinds = list(options.reader or READERS)
    while kinds and time.monotonic() < end:
        for kind in list(kinds):
            so_far = Counter(counts.get(kind, {}))
            if sum(so_far.values()) >= options.files:
                kinds.remove(kind)
                continue
            if time.monotonic() >= end:
                break
            first = sum(so_far.values())
            so_far += run_turn(kind, first, findings, options.turn, options.files)
            counts[kind] = dict(so_far)
            record.write_text(json.dumps(counts, indent=2))
            sys.stdout.write(f"{kind}: {sum(so_far.values())} files: {dict(so_far)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
