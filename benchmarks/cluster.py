"""Blocks and folders on a cluster of real processes: what it takes, and what it stands.

`python -m benchmarks.cluster` writes `benchmarks/results/cluster.json`. The processes are those of
`dask scheduler` and `dask worker`, each in a network namespace of its own if asked for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil

Command = list[str]

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

PATIENCE = 60.0
"""Seconds that a process is waited for."""


@dataclass
class Cluster:
    """A scheduler and its workers, each a process of its own with those that it starts.

    Args:
        within: what is put before the command of a process, by its name: scheduler, worker0, ...
        host: address that the scheduler listens at.
    """

    within: Callable[[str], Command] = lambda name: []
    host: str = "127.0.0.1"
    port: int = 0
    _scheduler: subprocess.Popen[str] | None = None
    _workers: list[subprocess.Popen[str]] = field(default_factory=list)

    def begin(self, workers: int) -> str:
        """Start a scheduler and workers that have a nanny each; its address."""
        command = ["dask", "scheduler", "--host", self.host, "--port", str(self.port)]
        self._scheduler = self._start("scheduler", [*command, "--no-dashboard"])
        assert self._scheduler.stderr is not None
        for line in self._scheduler.stderr:
            if "Scheduler at:" in line:
                address = line.split("Scheduler at:")[1].strip()
                break
        else:
            raise RuntimeError("no scheduler came to be")
        threading.Thread(target=self._scheduler.stderr.read, daemon=True).start()
        for number in range(workers):
            told = ["dask", "worker", address, "--nthreads", "1", "--no-dashboard"]
            worker = self._start(f"worker{number}", [*told, "--memory-limit", "0"], quiet=True)
            self._workers.append(worker)
        self._wait(workers)
        return address

    def computing(self) -> list[psutil.Process]:
        """The processes that compute now: those that nannies started."""
        found = []
        for nanny in self._workers:
            with suppress(psutil.Error):
                for process in psutil.Process(nanny.pid).children(recursive=True):
                    with suppress(psutil.Error):
                        if "spawn_main" in " ".join(process.cmdline()):
                            found.append(process)
        return found

    def kill_scheduler(self) -> None:
        """SIGKILL."""
        assert self._scheduler is not None
        self._scheduler.kill()
        self._scheduler.wait()

    def end(self) -> None:
        """End all processes."""
        for process in (*self._workers, self._scheduler):
            if process is not None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._workers.clear()

    def _start(self, name: str, command: Command, quiet: bool = False) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.within(name), sys.executable, "-m", *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if quiet else subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _wait(self, workers: int) -> None:
        end = time.monotonic() + PATIENCE
        while len(self.computing()) < workers:
            if time.monotonic() > end:
                raise RuntimeError("no workers came to be")
            time.sleep(0.1)


@contextmanager
def cluster(workers: int, **options: object) -> Iterator[tuple[Cluster, str]]:
    """A cluster that runs, and its address; it ends with the block."""
    there = Cluster(**options)  # type: ignore[arg-type]
    try:
        yield there, there.begin(workers)
    finally:
        there.end()
