"""Several images at once: threads that share the networks and divide the processor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Generic, NoReturn, TypeVar

from scalewise.cli.signals import halt

LOST_SECONDS = 2.0
"""After which a thread that was told to end, and has not, is told once more."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def at_once(
    work: Callable[[Item], Result], items: Sequence[Item], count: int
) -> Iterator[Iterable[Result]]:
    """Work on several items at once; one at a time is worked on by the thread that asks.

    Every thread computes with its share of the threads that PyTorch has. Items are begun in their
    order, one per thread, so that no more than `count` are in memory. Whoever leaves the context by
    an exception (after a signal, say) ends all threads, within a step of their work.

    Args:
        work: on one item, in any thread.
        items: all of them.
        count: how many at once, at most.

    Yields:
        The results, as they come; what `work` raises is raised in their place.
    """
    count = min(count, len(items))
    if count <= 1:
        yield map(work, items)
        return
    import torch

    from scalewise.device import use_threads

    total = torch.get_num_threads()
    team = _Team(work, items, count, lambda: use_threads(max(1, total // count)))
    try:
        team.start()
        yield team.results()
    except BaseException:
        team.halt()
        raise
    finally:
        team.join()
        use_threads(total)  # the number for threads to come


class _Team(Generic[Item, Result]):
    """Threads that take one item after the other.

    Args:
        work: on one item.
        items: all of them.
        count: number of threads.
        prepare: called by every thread before its first.
    """

    def __init__(
        self,
        work: Callable[[Item], Result],
        items: Sequence[Item],
        count: int,
        prepare: Callable[[], None],
    ) -> None:
        self._work, self._prepare, self._total = work, prepare, len(items)
        self._waiting: SimpleQueue[Item] = SimpleQueue()
        for item in items:
            self._waiting.put(item)
        self._done: SimpleQueue[Callable[[], Result]] = SimpleQueue()
        self._leaving = Event()
        self._threads = [Thread(target=self._run) for _ in range(count)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def results(self) -> Iterator[Result]:
        """What was made of all items, as they come; what was raised is raised."""
        for _ in range(self._total):
            yield self._done.get()()

    def halt(self) -> None:
        """End what the threads are doing, and wait until they have put in order."""
        self._leaving.set()
        while alive := [thread for thread in self._threads if thread.is_alive()]:
            for thread in alive:
                halt(thread)
            for thread in alive:
                thread.join(LOST_SECONDS)

    def join(self) -> None:
        """Wait until all threads have ended."""
        self._leaving.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _run(self) -> None:
        self._prepare()
        while not self._leaving.is_set():
            try:
                item = self._waiting.get_nowait()
            except Empty:
                return
            self._done.put(self._outcome(item))

    def _outcome(self, item: Item) -> Callable[[], Result]:
        """What gives the result for an item, or raises what went wrong."""
        try:
            result = self._work(item)
        except BaseException as error:
            return partial(_throw, error)
        return lambda: result


def _throw(error: BaseException) -> NoReturn:
    raise error
