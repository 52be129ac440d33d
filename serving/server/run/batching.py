"""Requests that share a session run: queued by what they feed and fetch, joined on dimension 0, cut apart after."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from serving.server.run.merging import merge, rows_of, split
from serving.server.run.options import BatchingOptions
from serving.server.run.runner import Job, Outputs, Runner
from serving.server.status import Code, StatusError, as_status, invalid_argument

if TYPE_CHECKING:
    from serving.server.core.servable import Call, Servable

Array = NDArray[Any]
Key: TypeAlias = "tuple[Servable, tuple[str, ...], tuple[str, ...]]"  # version, feeds, fetches


def _nothing(*values: float) -> None:
    return None


@dataclass(frozen=True)
class BatchingHooks:
    """What is called, in any thread, for the metrics of batching."""

    queuing_latency_us: Callable[[float], None] = _nothing
    wrapped_run: Callable[[], None] = _nothing
    padding_size: Callable[[int, int], None] = _nothing  # padding, execution batch size
    input_batch_size: Callable[[int, int], None] = _nothing  # rows, how many inputs have them
    processed_batch_size: Callable[[int], None] = _nothing


class Batch:
    """Jobs that will share a run."""

    __slots__ = ("due_s", "jobs", "key", "options", "queued_s", "rows", "total")

    def __init__(self, key: Key, options: BatchingOptions) -> None:
        self.key, self.options = key, options
        self.jobs: list[Job] = []
        self.rows: list[int] = []
        self.queued_s: list[float] = []
        self.total = 0
        self.due_s = time.perf_counter() + options.batch_timeout_s

    def add(self, job: Job, rows: int) -> None:
        self.jobs.append(job)
        self.rows.append(rows)
        self.queued_s.append(time.perf_counter())
        self.total += rows


class BatchingRunner(Runner):
    """Runs calls of a version with `batching` options in batches; the `direct` runner gets all others.

    The threads of `options` serve all queues. What comes while they are busy gathers, so that batches grow with the
    load even without a timeout. A batch that fails is run again job by job: one client's bad example must not fail the
    others.
    """

    def __init__(self, options: BatchingOptions, direct: Runner, hooks: BatchingHooks | None = None) -> None:
        super().__init__()
        self._direct = direct
        self._hooks = hooks or BatchingHooks()
        self._changed = threading.Condition()  # guards all below
        self._open: dict[Key, Batch] = {}
        self._ready: deque[Batch] = deque()
        self._is_closed = False
        for index in range(options.num_batch_threads):
            threading.Thread(target=self._loop, name=f"batch-{index}", daemon=True).start()

    def run(
        self, servable: Servable, call: Call, timeout_s: float | None = None, ended: Callable[[], None] = lambda: None
    ) -> Outputs:
        """Return what the call fetches; the calling thread waits, or does the work if it is not to be batched."""
        if _is_batched(servable, call):
            return super().run(servable, call, timeout_s, ended)
        return self._direct.run(servable, call, timeout_s, ended)

    def close(self) -> None:
        """End the threads when what they were given is done. Waits for nothing."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._direct.close()

    def submit(self, job: Job) -> None:
        """Queue a job. Raises INVALID_ARGUMENT for what cannot be batched, UNAVAILABLE if its queue is full."""
        options = job.servable.batching
        if options is None or not _is_batched(job.servable, job.call):
            self._direct.submit(job)
            return
        job.servable.check_dtypes(job.call.feeds, job.call.values)
        rows = rows_of(job.call.values)
        self._hooks.input_batch_size(rows, len(job.call.values))
        if rows > options.max_batch_size:
            raise invalid_argument(f"Task size {rows} is larger than maximum input batch size {options.max_batch_size}")
        key = job.servable, job.call.feeds, job.call.fetches
        with self._changed:
            if rows <= options.run_size:
                self._enqueue(key, options, job, rows)
            else:
                self._enqueue_split(key, options, job, rows)

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
        batch.add(job, rows)
        if batch.total == options.run_size:
            self._shut(batch)
        self._changed.notify()

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
        parts = _Parts(job, len(cuts) - 1)
        for index, (start, stop) in enumerate(pairwise(cuts)):
            self._enqueue(key, options, parts.part(index, start, stop), stop - start)

    def _enqueued(self, key: Key) -> int:
        return sum(batch.key == key for batch in self._ready) + (key in self._open)

    def _shut(self, batch: Batch) -> None:
        """Let nobody join any more: the batch goes as soon as a thread is free, whatever else gathers."""
        del self._open[batch.key]
        self._ready.append(batch)

    # --- in the batch threads

    def _loop(self) -> None:
        while (batch := self._next()) is not None:
            self._run(batch)
            del batch  # its arrays and its servable must not live until the next one

    def _next(self) -> Batch | None:
        """Wait for a batch that is full or due; None at the end."""
        with self._changed:
            while True:
                if self._ready:
                    return self._ready.popleft()
                now_s = time.perf_counter()
                due = next((batch for batch in self._open.values() if batch.due_s <= now_s or self._is_closed), None)
                if due is not None:
                    return self._open.pop(due.key)
                if self._is_closed:
                    return None
                soonest_s = min((batch.due_s for batch in self._open.values()), default=None)
                self._changed.wait(None if soonest_s is None else soonest_s - now_s)

    def _run(self, batch: Batch) -> None:
        """Run a batch; if that fails, each job alone."""
        started_s = time.perf_counter()
        jobs, rows = batch.jobs, batch.rows
        if any(job.is_abandoned for job in jobs):
            wanted = [(job, size) for job, size in zip(jobs, rows, strict=True) if not job.is_abandoned]
            for job in jobs:
                if job.is_abandoned:
                    job.end([])
            if not wanted:
                return
            jobs, rows = [job for job, _ in wanted], [size for _, size in wanted]
        outcomes = _run_jobs(batch.options, jobs, rows)
        self._count(batch.options, sum(rows))
        if len(jobs) > 1 and isinstance(outcomes[0], StatusError):
            outcomes = []
            for job, size in zip(jobs, rows, strict=True):
                outcomes += _run_jobs(batch.options, [job], [size])
                self._hooks.wrapped_run()
        for queued_s in batch.queued_s:
            self._hooks.queuing_latency_us((started_s - queued_s) * 1e6)
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.end(outcome)

    def _count(self, options: BatchingOptions, rows: int) -> None:
        self._hooks.wrapped_run()
        size = options.padded(rows)
        if size:
            self._hooks.padding_size(size - rows, size)
            self._hooks.processed_batch_size(size)


class _Parts:
    """A job run in parts: it ends when all of them have."""

    def __init__(self, job: Job, count: int) -> None:
        self._job = job
        self._outcomes: list[Outputs | StatusError | None] = [None] * count
        self._lock = threading.Lock()

    def part(self, index: int, start: int, stop: int) -> Job:
        """Return the job of some rows."""
        values = [value[start:stop] for value in self._job.call.values]

        def answer(outcome: Outputs | StatusError) -> None:
            with self._lock:
                self._outcomes[index] = outcome
                is_last = None not in self._outcomes
            if is_last:
                self._job.end(self._joined())

        return Job(self._job.servable, self._job.call._replace(values=values), answer, lambda: None)

    def _joined(self) -> Outputs | StatusError:
        pieces: list[Outputs] = []
        for outcome in self._outcomes:
            if isinstance(outcome, StatusError):
                return outcome
            pieces.append(outcome or [])
        return [np.concatenate(arrays) for arrays in zip(*pieces, strict=True)]


def _is_batched(servable: Servable, call: Call) -> bool:
    return servable.batching is not None and bool(call.values)  # a signature without inputs has no rows


def _run_jobs(options: BatchingOptions, jobs: Sequence[Job], rows: Sequence[int]) -> list[Outputs | StatusError]:
    total, call = sum(rows), jobs[0].call
    padding = options.padded(total) - total if total else 0
    try:
        values = merge([job.call.values for job in jobs], padding, options.pad_variable_length_inputs)
        return list(split(jobs[0].servable.call(call.feeds, call.fetches, values), rows, padding))
    except Exception as error:  # a thread must survive whatever a model does
        return [as_status(error)] * len(jobs)
