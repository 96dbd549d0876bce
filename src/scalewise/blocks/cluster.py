"""Blocks on many processes or machines, by Dask."""

from __future__ import annotations

import asyncio
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from scalewise.blocks.run import Alone, Part, Team
from scalewise.device import give_memory_back, share_memory_of_threads
from scalewise.errors import ScalewiseError
from scalewise.prior import MultiScalePrior

AGAIN = 100
"""How often a block may be lost with a worker before the run gives up."""

AHEAD = 2
"""Blocks per worker that wait for it."""

PATIENCE = 30.0
"""Seconds that a scheduler is waited for, and its first worker."""

RECOVERY = 120.0
"""Seconds that another worker is waited for, when the last one has died."""

SENDING = 60.0
"""Seconds that the model may be under way to a worker."""

STARTS = 5
"""How often workers of this machine are started anew, if one dies before it is there."""

RECENT = 2.0
"""Seconds for which the number of workers counts."""


@contextmanager
def team_of(
    prior: MultiScalePrior | None, workers: int = 1, scheduler: str | None = None
) -> Iterator[Team]:
    """Who computes the blocks: this process, others of this machine, or those of a scheduler.

    Args:
        prior: that they compute with; it travels once to each worker, as a step does. None where
            the steps have their own.
        workers: processes of this machine; 1 for this one alone.
        scheduler: address of one that runs, such as tcp://host:8786.

    Raises:
        ScalewiseError: the extra big is not installed, the scheduler does not answer, or workers
            cannot be started.
    """
    if workers == 1 and scheduler is None:
        yield Alone(prior)
        return
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise ScalewiseError(
            "for several workers the extra big is needed: pip install 'scalewise[big]'"
        ) from error
    settings = {
        "distributed.scheduler.allowed-failures": AGAIN,
        "distributed.comm.timeouts.connect": f"{PATIENCE}s",
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
    }
    with dask.config.set(settings):
        if scheduler is None:
            with _of_this_machine(workers) as cluster, Client(cluster) as client:
                yield _Cluster(client, prior)
            return
        try:
            client = Client(scheduler, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            raise ScalewiseError(
                f"no scheduler of Dask answers at {scheduler} ({error}); dask scheduler starts one"
            ) from error
        with client:
            try:
                client.wait_for_workers(1, timeout=PATIENCE)
            except TimeoutError as error:
                raise ScalewiseError(
                    f"the scheduler at {scheduler} has no workers; start some"
                ) from error
            yield _Cluster(client, prior)


def _of_this_machine(workers: int) -> Any:
    """A scheduler in this process, and workers in others."""
    from distributed import LocalCluster

    for _ in range(STARTS):
        try:
            return LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",  # of two runs at once each has one
                memory_limit=0,
                silence_logs=50,
            )
        except RuntimeError as error:  # a worker ended before it was there
            reason = error
    raise ScalewiseError(
        f"the {workers} workers could not be started ({reason}); with fewer --workers, or less "
        "else on this machine, they may"
    ) from reason


@dataclass
class _Cluster:
    """The workers of a scheduler."""

    client: Any
    prior: MultiScalePrior | None

    def __post_init__(self) -> None:
        self._model = self._sent(self.prior)
        self._counted, self._threads = 0.0, 1

    @property
    def workers(self) -> int:
        """How many blocks are computed at once: workers come and go, and are counted anew."""
        if time.monotonic() > self._counted + RECENT and self.client.status == "running":
            with suppress(OSError):
                self._threads = max(1, sum(self.client.nthreads().values()))
            self._counted = time.monotonic()
        return self._threads

    def results(
        self, step: Callable[[Any, Part], Any], parts: Sequence[Part]
    ) -> Iterator[tuple[Part, Any]]:
        """What a step returned for each part, as they are done."""
        from distributed import as_completed

        shared = self._sent(step)
        waiting = iter(parts)
        tries: dict[Any, tuple[Part, int]] = {}
        futures = as_completed()

        def submit(part: Part, number: int) -> None:
            future = self.client.submit(_computed, shared, self._model, part, pure=False)
            tries[future] = part, number
            futures.add(future)

        for part in islice(waiting, AHEAD * self.workers):
            submit(part, 1)
        for future in futures:
            part, number = tries.pop(future)
            try:
                result = future.result()
            except ScalewiseError:
                raise
            except Exception as error:
                lost = type(error).__name__ in LOST
                if not lost or number >= AGAIN:
                    raise ScalewiseError(_why(error)) from error
                self._wait(error)
                if self._gone(shared, self._model):  # with all workers that had it
                    shared, self._model = self._sent(step), self._sent(self.prior)
                submit(part, number + 1)
                continue
            room = AHEAD * self.workers - len(tries)
            for following in islice(waiting, max(0, room)):
                submit(following, 1)
            yield part, result

    def _sent(self, value: Any) -> Any:
        """A value that lies with a worker, from which others get it; it may die while it is sent.

        Dask's broadcast would wait for good for a worker that dies then, and let nothing else be
        sent.
        """

        async def send() -> Any:
            """Send it; for a worker that dies at the wrong moment Dask looks in vain, or waits."""
            options = {"hash": False, "asynchronous": True}
            try:
                return await asyncio.wait_for(
                    self.client.scatter(_Whole(value), **options), SENDING
                )
            except (TimeoutError, KeyError) as error:
                raise ConnectionError("a worker went away while it was sent to") from error

        for _ in range(AGAIN):
            try:
                self.client.wait_for_workers(1, timeout=RECOVERY)
                return self.client.sync(send)
            except (OSError, CancelledError) as error:
                self._wait(error)
                if isinstance(error, TimeoutError):  # no worker came, for long
                    raise self._lost from error
                time.sleep(0.1)
        raise self._lost

    def _wait(self, error: Exception) -> None:
        """Wait for a scheduler that does not answer; it may have been away for a moment."""
        while self.client.status == "connecting":
            time.sleep(0.1)
        if self.client.status != "running":
            raise self._lost from error

    @property
    def _lost(self) -> ScalewiseError:
        return ScalewiseError(
            "the scheduler of Dask, or the last of its workers, is gone; what is done is kept, and "
            "the same command goes on (of a folder with --skip-existing), with the --scheduler "
            "that is there then"
        )

    @staticmethod
    def _gone(*futures: Any) -> bool:
        """Whether what was sent is not there any more."""
        return any(future.status != "finished" for future in futures)


LOST = ("KilledWorker", "CommClosedError", "CancelledError", "FutureCancelledError")


def _why(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.errno is not None:
        return f"a worker cannot write or read a block ({error.strerror})"
    if isinstance(error, MemoryError):
        return "a worker ran out of memory; give less --max-memory, or fewer --workers"
    return f"a block could not be computed on the cluster ({words:.300}); run again to go on"


@dataclass(frozen=True)
class _Whole:
    """A value that travels pickled: Dask's own way with tensors loses how they lie in memory.

    With it went the layout of the weights, which the speed and the last digits depend on.
    """

    value: Any

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle

        return _opened, (cloudpickle.dumps(self.value),)


def _opened(content: bytes) -> _Whole:
    return _Whole(pickle.loads(content))


def _computed(step: _Whole, prior: _Whole, part: Any) -> Any:
    """Compute a part on a worker, with its share of the processor."""
    import torch

    threads = int(os.environ.get("OMP_NUM_THREADS", "1") or 1)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    share_memory_of_threads()
    with torch.no_grad():
        found = step.value(prior.value, part)
    give_memory_back()
    return found
