"""The queue: what is visible first, one thread for that and one for whole pictures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any

from scalewise.errors import ScalewiseError

Message = dict[str, Any]
Task = Callable[["Job"], None]


class Cancelled(Exception):
    """Nobody waits for this any more."""


class Busy(ScalewiseError):
    """Too many wait already."""


class Job:
    """What one browser waits for: steps of work, and messages about them.

    Args:
        loop: of the server, which sends the messages.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._stopped = Event()

    def say(self, **message: Any) -> None:
        """Send a message; from any thread."""
        with suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(self._messages.put_nowait, message)

    def end(self) -> None:
        """Say that no message follows."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._messages.put_nowait, None)

    def cancel(self) -> None:
        """Have the work stop as soon as it looks."""
        self._stopped.set()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._stopped.is_set()

    def check(self) -> None:
        """Look whether somebody still waits.

        Raises:
            Cancelled: nobody does.
        """
        if self.cancelled:
            raise Cancelled

    async def messages(self) -> AsyncGenerator[Message]:
        """All messages, until the work ends; who stops listening cancels it."""
        try:
            while (message := await self._messages.get()) is not None:
                yield message
        finally:
            self.cancel()


class Queue:
    """Work that waits: `quick` for what is visible, `whole` for the rest of it.

    Two threads of the process compute. Pictures are computed one after another; what somebody
    looks at need not wait for a large one of somebody else.

    Args:
        most: jobs that may wait or be at work.
        prepare: called in each thread before its first work.
    """

    def __init__(self, most: int, prepare: Callable[[], object] = lambda: None) -> None:
        self._most, self._lock, self._jobs = most, Lock(), set[Job]()
        self._lanes: tuple[SimpleQueue[Any], ...] = SimpleQueue(), SimpleQueue()
        for lane in self._lanes:
            Thread(target=self._work, args=(lane, prepare), daemon=True).start()

    def submit(self, *, quick: Task | None, whole: Task | None) -> Job:
        """Put a job in: what is visible, then all of it; in the event loop.

        Raises:
            Busy: too many wait.
        """
        with self._lock:
            if len(self._jobs) >= self._most:
                raise Busy("too many pictures wait here already; try again in a minute")
            ahead = sum(not job.cancelled for job in self._jobs)
            self._jobs.add(job := Job(asyncio.get_running_loop()))
        if ahead:
            job.say(ahead=ahead)
        self._lanes[0].put((job, quick, whole))
        return job

    async def result(self, task: Callable[[Job], Any]) -> Any:
        """What a task gives, done in the quick lane."""
        found: list[Any] = []
        job = self.submit(quick=lambda job: found.append(task(job)), whole=None)
        async with aclosing(job.messages()) as messages:
            async for message in messages:
                if "error" in message:
                    raise ScalewiseError(message["error"])
        return found[0]

    def _work(self, lane: SimpleQueue[Any], prepare: Callable[[], object]) -> None:
        prepare()
        while True:
            job, task, after = lane.get()
            going = self._done(job, task)
            if going and after is not None:
                self._lanes[1].put((job, after, None))
                continue
            with self._lock:
                self._jobs.remove(job)
            job.end()

    def _done(self, job: Job, task: Task | None) -> bool:
        """Whether a task went well; what is wrong is said, in a sentence."""
        try:
            job.check()
            if task is not None:
                task(job)
            job.check()
            return True
        except Cancelled:
            return False
        except ScalewiseError as error:
            job.say(error=str(error))
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "alloc" not in str(error).lower():
                self._bug(job, error)
            else:
                job.say(error="this is too large for the memory of the machine; use a smaller one")
        except Exception as error:
            self._bug(job, error)
        return False

    @staticmethod
    def _bug(job: Job, error: Exception) -> None:
        """Tell the browser that it was no fault of its own, and the log what it was."""
        import logging

        logging.getLogger("scalewise.web").error("a request failed", exc_info=error)
        job.say(error="a fault in Scalewise; the terminal where it runs says more")
