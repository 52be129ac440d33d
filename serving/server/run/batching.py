"""Requests that share a session run: queued by what they feed and fetch, joined on dimension 0, cut apart after."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from serving.server.core.status import Code, StatusError, invalid_argument
from serving.server.run.batches import Batch, Key, Ran, Whole, run_batch
from serving.server.run.merging import rows_of
from serving.server.run.runner import Job, Pool, Runner

GATHER_S, QUIET_TURNS = 0.002, 2  # how long a batch without a timeout may gather; the event loop's turns that end it


@dataclass(frozen=True)
class BatchingOptions:
    """BatchingParameters, with the defaults of TensorFlow Serving."""

    max_batch_size: int = 1000
    batch_timeout_s: float = 0.0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    thread_pool_name: str = ""
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None  # only with splitting; None: max_batch_size

    def check(self) -> None:
        """Raise StatusError, INVALID_ARGUMENT, for what no batch could be made with."""
        for name, least, is_wrong in (
            ("num_batch_threads", "positive", self.num_batch_threads < 1),
            ("max_batch_size", "positive", self.max_batch_size < 1),
            ("batch_timeout_micros", "non-negative", self.batch_timeout_s < 0),
            ("max_enqueued_batches", "non-negative", self.max_enqueued_batches < 0),
            ("max_execution_batch_size", "positive", self.run_size < 1),
        ):
            if is_wrong:
                raise invalid_argument(f"{name} must be {least}; was {self._given(name)}")
        if self.run_size > self.max_batch_size:
            raise invalid_argument(
                "max_execution_batch_size should be less than or equal to max_batch_size; was "
                f"{self.run_size}, max_batch_size {self.max_batch_size}"
            )
        self._check_allowed()

    def _check_allowed(self) -> None:
        sizes = self.allowed_batch_sizes
        if not sizes:
            return
        limit = "max_execution_batch_size" if self.enable_large_batch_splitting else "max_batch_size"
        if sizes[-1] not in (self.run_size, self.max_batch_size):
            raise invalid_argument(
                f"Last entry in allowed_batch_sizes must match {limit}; last entry was {sizes[-1]}; "
                f"expected {self.run_size}"
            )
        if sizes[0] < 1 or any(a >= b for a, b in pairwise(sizes)):
            raise invalid_argument("allowed_batch_sizes entries must be monotonically increasing")

    def _given(self, name: str) -> int:
        if name == "batch_timeout_micros":
            return round(self.batch_timeout_s * 1e6)
        return self.run_size if name == "max_execution_batch_size" else int(getattr(self, name))

    @property
    def run_size(self) -> int:
        """The rows of the largest run."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size is not None:
            return self.max_execution_batch_size
        return self.max_batch_size

    def padded(self, rows: int) -> int:
        """Return the smallest allowed size that holds so many rows."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)


def _nothing(*values: float) -> None:
    return None


@dataclass(frozen=True)
class BatchingHooks:
    """What is called on the event loop for the metrics of batching."""

    queuing_latency_us: Callable[[float], None] = _nothing
    wrapped_run: Callable[[], None] = _nothing
    padding_size: Callable[[int, int], None] = _nothing  # padding, execution batch size
    input_batch_size: Callable[[int, int], None] = _nothing  # rows, how many inputs have them
    processed_batch_size: Callable[[int], None] = _nothing


class BatchingRunner(Runner):
    """Runs calls of a version with `batching` options in batches; the `direct` runner gets those of other versions
    and those without a dimension.

    Queues live on the event loop. The threads of `options` serve them all; what comes while they are busy, or within
    `GATHER_S` as long as the loop still turns up arrivals, gathers, so that batches grow with the load even without a
    timeout. A batch that fails is run again job by job: one client's
    bad example must not fail the others.
    """

    def __init__(self, options: BatchingOptions, direct: Runner, hooks: BatchingHooks | None = None) -> None:
        self._pool = Pool(options.num_batch_threads, "batch")
        self._direct = direct
        self._hooks = hooks or BatchingHooks()
        self._free = options.num_batch_threads
        self._open: dict[Key, Batch] = {}
        self._ready: deque[Batch] = deque()
        self._is_gathering = False
        self._arrived = 0

    def close(self) -> None:
        """End the threads when what they were given is done. Waits for nothing."""
        self._pool.close()
        self._direct.close()

    def submit(self, job: Job) -> None:
        """Queue a job. Raises INVALID_ARGUMENT for what cannot be batched, UNAVAILABLE if its queue is full."""
        options = job.servable.batching
        if options is None or not any(value.ndim for value in job.call.values):  # no dimension to be joined on
            self._direct.submit(job)
            return
        job.servable.check_dtypes(job.call.feeds, job.call.values)
        rows = rows_of(job.call.values)
        self._hooks.input_batch_size(rows, len(job.call.values))
        key = job.servable, job.call.feeds, job.call.fetches
        if rows <= options.run_size:
            self._enqueue(key, options, job, rows)
        elif options.enable_large_batch_splitting:
            self._enqueue_split(key, options, job, rows)
        else:
            raise invalid_argument(f"Task size {rows} is larger than maximum input batch size {options.max_batch_size}")

    def _enqueue(self, key: Key, options: BatchingOptions, job: Job, rows: int) -> None:
        batch = self._open.get(key)
        if batch is None or batch.total + rows > options.run_size:
            enqueued = self._enqueued(key)
            if enqueued >= max(options.max_enqueued_batches, 1):
                raise StatusError(
                    Code.UNAVAILABLE,
                    f"The batch scheduling queue to which this task was submitted is full; currently {enqueued} "
                    f"batches enqueued and max_enqueued_batches is {options.max_enqueued_batches}",
                )
            if batch is not None:
                self._shut(batch)
            batch = self._open[key] = Batch(key, options)
            if not batch.is_due:
                batch.timer = job.waiter.get_loop().call_later(options.batch_timeout_s, self._fall_due, batch)
        batch.add(job, rows)
        if batch.total == options.run_size:
            self._shut(batch)
        self._arrived += 1
        if not self._is_gathering:
            self._is_gathering = True
            loop = job.waiter.get_loop()
            loop.call_soon(self._gather, loop, time.perf_counter() + GATHER_S, self._arrived, QUIET_TURNS)

    def _enqueue_split(self, key: Key, options: BatchingOptions, job: Job, rows: int) -> None:
        limit, taken, closed = options.run_size, 0, self._enqueued(key)
        if key in self._open:
            taken, closed = self._open[key].total, closed - 1
        capacity = (options.max_enqueued_batches - closed) * limit - taken
        if rows > capacity:
            raise StatusError(
                Code.UNAVAILABLE,
                f"The batch scheduling queue to which this task was submitted is full; task size is {rows} but "
                f"scheduling capacity is only {capacity} (num_enqueued_batches={closed + 1}, "
                f"max_enqueued_batches={options.max_enqueued_batches}, open_batch_size={taken}, "
                f"max_execution_batch_size={limit})",
            )
        cuts = [0, *range(limit - taken, rows, limit), rows]
        whole = Whole(job, len(cuts) - 1)
        for start, stop in pairwise(cuts):
            self._enqueue(key, options, whole.part([value[start:stop] for value in job.call.values]), stop - start)

    def _enqueued(self, key: Key) -> int:
        return sum(batch.key == key for batch in self._ready) + (key in self._open)

    def _shut(self, batch: Batch) -> None:
        """Let nobody join any more: the batch goes as soon as a thread is free, whatever else gathers."""
        del self._open[batch.key]
        self._ready.append(batch)
        self._start_ready()

    def _fall_due(self, batch: Batch) -> None:
        batch.is_due = True
        self._dispatch()

    def _gather(self, loop: asyncio.AbstractEventLoop, until_s: float, seen: int, turns: int) -> None:
        """Dispatch once the loop has turned without an arrival: what is on its way already joins the batch.

        An idle loop turns in microseconds; a busy one is reading other requests.
        """
        turns = turns - 1 if seen == self._arrived else QUIET_TURNS
        if turns and time.perf_counter() < until_s:
            loop.call_soon(self._gather, loop, until_s, self._arrived, turns)
            return
        self._is_gathering = False
        self._dispatch()

    def _dispatch(self) -> None:
        self._start_ready()
        while self._free and (due := next((batch for batch in self._open.values() if batch.is_due), None)):
            self._shut(due)

    def _start_ready(self) -> None:
        while self._free and self._ready:
            batch = self._ready.popleft()
            if batch.timer is not None:
                batch.timer.cancel()
            self._free -= 1
            self._pool.put(partial(self._work, batch))

    def _work(self, batch: Batch) -> None:
        ran = run_batch(batch)
        self._pool.on_loop(batch.jobs[0].waiter.get_loop(), partial(self._finish, batch, ran))

    def _finish(self, batch: Batch, ran: Ran) -> None:
        self._free += 1
        self._dispatch()  # before the answers: the thread works while they are written
        for job, outcome in zip(batch.jobs, ran.outcomes, strict=True):
            if isinstance(outcome, StatusError):
                job.end(None, outcome)
            else:
                job.end(outcome, None)
        for queued_s in batch.queued_s:
            self._hooks.queuing_latency_us((ran.started_s - queued_s) * 1e6)
        for _ in range(ran.runs):
            self._hooks.wrapped_run()
        if ran.size:
            self._hooks.padding_size(ran.padding, ran.size)
            self._hooks.processed_batch_size(ran.size)
