"""Blocks on many processes or machines, by Dask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from scalewise.blocks.run import Alone, Step, Team
from scalewise.device import give_memory_back, share_memory_of_threads
from scalewise.errors import ScalewiseError
from scalewise.prior import MultiScalePrior
from scalewise.windows import Window

AGAIN = 100
"""How often a block may be lost with a worker before the run gives up."""

AHEAD = 2
"""Blocks per worker that wait for it."""

PATIENCE = "30s"
"""How long a scheduler is waited for."""


@contextmanager
def team_of(
    prior: MultiScalePrior, workers: int = 1, scheduler: str | None = None
) -> Iterator[Team]:
    """Who computes the blocks: this process, others of this machine, or those of a scheduler.

    Args:
        prior: that they compute with; it travels once to each worker.
        workers: processes of this machine; 1 for this one alone.
        scheduler: address of one that runs, such as tcp://host:8786.

    Raises:
        ScalewiseError: the extra big is not installed, or the scheduler does not answer.
    """
    if workers == 1 and scheduler is None:
        yield Alone(prior)
        return
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ScalewiseError(
            "for several workers the extra big is needed: pip install 'scalewise[big]'"
        ) from error
    settings = {
        "distributed.scheduler.allowed-failures": AGAIN,
        "distributed.comm.timeouts.connect": PATIENCE,
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
    }
    with dask.config.set(settings):
        if scheduler is None:
            with (
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=":0",
                    memory_limit=0,
                    silence_logs=50,
                ) as cluster,
                Client(cluster) as client,
            ):
                yield _Cluster(client, prior, workers)
            return
        try:
            client = Client(scheduler, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            raise ScalewiseError(
                f"no scheduler of Dask answers at {scheduler} ({error}); dask scheduler starts one"
            ) from error
        with client:
            count = len(client.scheduler_info(n_workers=-1)["workers"])
            if count == 0:
                raise ScalewiseError(f"the scheduler at {scheduler} has no workers; start some")
            yield _Cluster(client, prior, count)


@dataclass
class _Cluster:
    """The workers of a scheduler."""

    client: Any
    prior: MultiScalePrior
    workers: int

    def __post_init__(self) -> None:
        self._model = self._sent(self.prior)

    def _sent(self, value: Any) -> Any:
        """A value that lies with every worker."""
        return self.client.scatter(value, broadcast=True, hash=False)

    def results(self, step: Step, parts: list[Window]) -> Iterator[tuple[Window, Any]]:
        """What a step returned for each block, as they are done."""
        from distributed import as_completed

        shared = self._sent(step)
        waiting = iter(parts)
        tries: dict[Any, tuple[Window, int]] = {}
        futures = as_completed()

        def submit(part: Window, number: int) -> None:
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
                if self._gone(shared, self._model):  # with all workers that had it
                    shared, self._model = self._sent(step), self._sent(self.prior)
                submit(part, number + 1)
                continue
            for following in islice(waiting, 1):
                submit(following, 1)
            yield part, result

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


def _computed(step: Step, prior: MultiScalePrior, part: Window) -> Any:
    """Compute a block on a worker, with its share of the processor."""
    import torch

    threads = int(os.environ.get("OMP_NUM_THREADS", "1") or 1)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    share_memory_of_threads()
    with torch.no_grad():
        found = step(prior, part)
    give_memory_back()
    return found
