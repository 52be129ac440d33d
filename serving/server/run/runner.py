"""Session runs for callers on an event loop, who must not be held up, and for callers in threads of their own."""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from serving.server.status import Code, StatusError

if TYPE_CHECKING:
    from serving.server.core.servable import Call, Servable

LOG = logging.getLogger("serving")
Array = NDArray[Any]
Outputs = list[Array]
Answer = Callable[[Outputs | StatusError], None]


@dataclass(eq=False, slots=True)
class Job:
    """A run asked for. Whoever takes it calls `end` once, in any thread, when nothing of it runs any more."""

    servable: Servable
    call: Call
    answer: Answer
    ended: Callable[[], None]
    is_abandoned: bool = False  # the caller has stopped waiting

    def end(self, outcome: Outputs | StatusError) -> None:
        try:
            self.ended()
        except Exception:  # one caller's trouble must not end the thread
            LOG.exception("A run could not be ended")
        self.answer(outcome)


def _nothing() -> None:
    return None


class Runner(ABC):
    """Runs calls.

    The servable must stay loaded until `ended` is called: after a timeout or a cancelled request the session may still
    be running. Both ways to run raise StatusError: DEADLINE_EXCEEDED after `timeout_s` (None: no limit),
    RESOURCE_EXHAUSTED or UNAVAILABLE if too much waits already, else the call's own.
    """

    @abstractmethod
    def run(
        self, servable: Servable, call: Call, timeout_s: float | None = None, ended: Callable[[], None] = _nothing
    ) -> Outputs:
        """Return what the call fetches; the calling thread waits, or does the work."""

    async def run_async(
        self, servable: Servable, call: Call, timeout_s: float | None = None, ended: Callable[[], None] = _nothing
    ) -> Outputs:
        """Return what the call fetches; the event loop goes on meanwhile."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Outputs] = loop.create_future()

        def answer(outcome: Outputs | StatusError) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, waiter, outcome)

        job = Job(servable, call, answer, ended)
        self._take(job, timeout_s)
        timer = None if timeout_s is None else loop.call_later(timeout_s, settle, waiter, too_late())
        try:
            return await waiter
        finally:
            job.is_abandoned = True
            if timer:
                timer.cancel()

    def _take(self, job: Job, timeout_s: float | None) -> None:
        try:
            if timeout_s is not None and timeout_s <= 0:
                raise too_late()
            self.submit(job)
        except BaseException:
            job.ended()
            raise

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Take a job, and see that it ends. Raises StatusError if it is not taken."""

    @abstractmethod
    def close(self) -> None:
        """End the threads when what they were given is done. Waits for nothing."""


class DirectRunner(Runner):
    """Each call a run of its own, at most `threads` at a time of either kind of caller.

    Of more than `max_waiting` calls from event loops the rest are shed; callers in threads wait their turn.
    """

    def __init__(self, threads: int, max_waiting: int = 100_000) -> None:
        self._work: SimpleQueue[Job | None] = SimpleQueue()
        self._turns = threading.BoundedSemaphore(threads)
        self._threads, self._max_waiting = threads, max_waiting
        for index in range(threads):
            # daemons: a run that never ends must not keep the process alive
            threading.Thread(target=self._loop, name=f"session-run-{index}", daemon=True).start()

    def run(
        self, servable: Servable, call: Call, timeout_s: float | None = None, ended: Callable[[], None] = _nothing
    ) -> Outputs:
        """Return what the call fetches; the calling thread does the work, and a run once begun is not cut short."""
        try:
            if timeout_s is not None and timeout_s <= 0:
                raise too_late()
            if not self._turns.acquire(timeout=timeout_s):
                raise too_late()
            try:
                return servable.call(*call)
            finally:
                self._turns.release()
        finally:
            ended()

    def submit(self, job: Job) -> None:
        if self._work.qsize() >= self._max_waiting:
            raise StatusError(Code.RESOURCE_EXHAUSTED, f"{self._max_waiting} requests are waiting for a thread already")
        self._work.put(job)

    def close(self) -> None:
        for _ in range(self._threads):
            self._work.put(None)

    def _loop(self) -> None:
        while (job := self._work.get()) is not None:
            _run_alone(job)
            del job  # its arrays and its servable must not live until the next one


def too_late() -> StatusError:
    return StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")


def _run_alone(job: Job) -> None:
    outcome: Outputs | StatusError = []
    if not job.is_abandoned:
        try:
            outcome = job.servable.call(*job.call)
        except StatusError as error:
            outcome = error
    job.end(outcome)


def settle(waiter: Future[Outputs] | asyncio.Future[Outputs], outcome: Outputs | StatusError) -> None:
    if waiter.done():
        return
    if isinstance(outcome, StatusError):
        waiter.set_exception(outcome)
    else:
        waiter.set_result(outcome)
