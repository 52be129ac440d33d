"""Session runs off the event loop, in threads, with as little between the two as can be."""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from serving.server.core.status import Code, StatusError

if TYPE_CHECKING:
    from serving.server.core.predict import Call
    from serving.server.core.servable import Servable

Array = NDArray[Any]


@dataclass(eq=False, slots=True)
class Job:
    """A run asked for: `ended` is called once, on the event loop, when nothing of it runs any more."""

    servable: Servable
    call: Call
    waiter: asyncio.Future[list[Array]]
    ended: Callable[[], None]

    @property
    def is_abandoned(self) -> bool:
        """Whether the caller has stopped waiting."""
        return self.waiter.done()

    def run(self, pool: Pool) -> None:
        """Run alone, in a thread, and end on the loop."""
        outputs, error = None, None
        if not self.is_abandoned:
            try:
                outputs = self.servable.call(*self.call)
            except StatusError as failed:
                error = failed
        pool.on_loop(self.waiter.get_loop(), lambda: self.end(outputs, error))

    def end(self, outputs: list[Array] | None, error: StatusError | None) -> None:
        """Answer the caller if it still waits. On the event loop only."""
        self.ended()
        if self.waiter.done():
            return
        if error is not None:
            self.waiter.set_exception(error)
        else:
            self.waiter.set_result(outputs or [])


class Runner(ABC):
    """Runs calls for coroutines of one event loop."""

    async def run(
        self, servable: Servable, call: Call, timeout_s: float | None = None, ended: Callable[[], None] = lambda: None
    ) -> list[Array]:
        """Return what the call fetches.

        The servable must stay loaded until `ended` is called: after a timeout or a cancelled request the session may
        still be running. Raises StatusError: DEADLINE_EXCEEDED after `timeout_s` (None: no limit),
        RESOURCE_EXHAUSTED or UNAVAILABLE if too much waits already, else the call's own.
        """
        loop = asyncio.get_running_loop()
        job = Job(servable, call, loop.create_future(), ended)
        try:
            if timeout_s is not None and timeout_s <= 0:
                raise _too_late()
            self.submit(job)
        except BaseException:
            ended()
            raise
        if timeout_s is None:
            return await job.waiter
        timer = loop.call_later(timeout_s, _expire, job.waiter)
        try:
            return await job.waiter
        finally:
            timer.cancel()

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Take a job, on the event loop; see that its `end` is called. Raises StatusError if it is not taken."""

    @abstractmethod
    def close(self) -> None:
        """End the threads when what they were given is done. Waits for nothing."""


class DirectRunner(Runner):
    """Each call a run of its own, in one of `threads` threads; of more than `max_waiting` calls the rest are shed."""

    def __init__(self, threads: int, max_waiting: int = 100_000) -> None:
        self._pool = Pool(threads, "session-run")
        self._max_waiting = max_waiting

    def submit(self, job: Job) -> None:
        """Take a job. Raises RESOURCE_EXHAUSTED if too many wait."""
        if self._pool.waiting >= self._max_waiting:
            raise StatusError(Code.RESOURCE_EXHAUSTED, f"{self._max_waiting} requests are waiting for a thread already")
        self._pool.put(lambda: job.run(self._pool))

    def close(self) -> None:
        """End the threads when what they were given is done. Waits for nothing."""
        self._pool.close()


class Inbox:
    """A way from threads to an event loop that wakes it once for many callbacks."""

    def __init__(self) -> None:
        self._callbacks: deque[Callable[[], object]] = deque()
        self._is_woken = False

    def put(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        """Call back on the event loop, from a thread. After the loop's end it is not called."""
        self._callbacks.append(callback)
        if not self._is_woken:
            self._is_woken = True
            try:
                loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed
                self._callbacks.clear()
                self._is_woken = False

    def _drain(self) -> None:
        # first: what is added from here on wakes the loop again, or is still seen below
        self._is_woken = False
        for _ in range(len(self._callbacks)):  # those and no more: the loop has other things to do
            try:
                self._callbacks.popleft()()
            except Exception:  # one caller's trouble must not keep the others waiting
                logging.getLogger(__name__).exception("What a thread has handed over could not be taken")


class Pool:
    """Threads that do work in order of arrival; `on_loop` is their way back to the event loop."""

    def __init__(self, threads: int, name: str) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.on_loop = Inbox().put
        self.threads = threads
        for index in range(threads):
            # daemons: a run that never ends must not keep the process alive
            threading.Thread(target=self._loop, name=f"{name}-{index}", daemon=True).start()

    @property
    def waiting(self) -> int:
        """The amount of work no thread has begun."""
        return self._work.qsize()

    def put(self, work: Callable[[], None]) -> None:
        """Do work, which raises nothing, in a thread."""
        self._work.put(work)

    def close(self) -> None:
        """End the threads when what was put is done. Waits for nothing."""
        for _ in range(self.threads):
            self._work.put(None)

    def _loop(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # its arrays and its servable must not live until the next one


def _expire(waiter: asyncio.Future[list[Array]]) -> None:
    if not waiter.done():
        waiter.set_exception(_too_late())


def _too_late() -> StatusError:
    return StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
