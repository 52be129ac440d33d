"""Requests that share a session run: queued by what they feed and fetch, joined on dimension 0, cut apart after."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from serving.server.config import BatchingOptions
from serving.server.run.runner import Job, Outputs, Runner, settle, too_late
from serving.server.status import Code, StatusError, as_status, failed_precondition, invalid_argument

if TYPE_CHECKING:
    from serving.server.core.metrics import ServingMetrics
    from serving.server.core.servable import Call, Servable

Array = NDArray[Any]
Key: TypeAlias = "tuple[Servable, tuple[str, ...], tuple[str, ...]]"  # version, feeds, fetches


@dataclass(eq=False, slots=True)
class Batch:
    key: Key
    options: BatchingOptions
    due_s: float  # by time.perf_counter()
    jobs: list[Job] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)  # of each job
    queued_s: list[float] = field(default_factory=list)  # when each job came
    total: int = 0

    def add(self, job: Job, rows: int) -> None:
        self.jobs.append(job)
        self.rows.append(rows)
        self.queued_s.append(time.perf_counter())
        self.total += rows


class BatchingRunner(Runner):
    """Runs calls of a version with `batching` options in batches; the `direct` runner gets all others.

    As many batches run at once as `options` has threads, for all queues. What comes meanwhile gathers, so that batches
    grow with the load even without a timeout. A batch that fails is run again job by job: one client's bad example must
    not fail the others.
    """

    def __init__(self, options: BatchingOptions, direct: Runner, metrics: ServingMetrics) -> None:
        self._direct = direct
        self._metrics = metrics
        self._queuing_latency = metrics.queuing_latency.cell(options.thread_pool_name)
        self._most_running = options.num_batch_threads
        self._changed = threading.Condition()  # guards all below
        self._open: dict[Key, Batch] = {}
        self._ready: deque[Batch] = deque()
        self._running = 0
        self._is_closed = False
        for index in range(options.num_batch_threads):
            threading.Thread(target=self._loop, name=f"batch-{index}", daemon=True).start()

    def run(
        self, servable: Servable, call: Call, timeout_s: float | None = None, ended: Callable[[], None] = lambda: None
    ) -> Outputs:
        if not _is_batched(servable, call):
            return self._direct.run(servable, call, timeout_s, ended)
        waiter: Future[Outputs] = Future()
        job = Job(servable, call, partial(settle, waiter), ended)
        started_s = time.perf_counter()
        self._take(job, timeout_s)
        try:
            return waiter.result(None if timeout_s is None else max(started_s + timeout_s - time.perf_counter(), 0))
        except FutureTimeout:
            raise too_late() from None
        finally:
            job.is_abandoned = True

    def close(self) -> None:
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
        self._metrics.input_batch_size.cell().add(rows)
        if rows > options.max_batch_size:
            raise invalid_argument(f"Task size {rows} is larger than maximum input batch size {options.max_batch_size}")
        key = job.servable, job.call.feeds, job.call.fetches
        with self._changed:
            if rows <= options.run_size:
                self._enqueue(key, options, job, rows)
            else:
                self._enqueue_split(key, options, job, rows)
            self._pass_on()

    def _enqueue(self, key: Key, options: BatchingOptions, job: Job, rows: int) -> None:
        batch = self._open.get(key)
        if batch is None or batch.total + rows > options.run_size:
            enqueued = self._enqueued(key)
            if enqueued >= max(options.max_enqueued_batches, 1):
                raise _full(f"currently {enqueued} batches enqueued", options)
            if batch is not None:
                self._shut(batch)
            batch = self._open[key] = Batch(key, options, time.perf_counter() + options.batch_timeout_s)
        batch.add(job, rows)
        if batch.total == options.run_size:
            self._shut(batch)

    def _enqueue_split(self, key: Key, options: BatchingOptions, job: Job, rows: int) -> None:
        limit, taken, closed = options.run_size, 0, self._enqueued(key)
        if key in self._open:
            taken, closed = self._open[key].total, closed - 1
        capacity = (options.max_enqueued_batches - closed) * limit - taken
        if rows > capacity:
            raise _full(f"task size is {rows} but scheduling capacity is only {capacity}", options)
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

    def _take_due(self) -> Batch | None:
        """Return a batch that is full or due and count it as running; None if there is none, or enough are running."""
        if self._running >= self._most_running:
            return None
        batch = self._ready.popleft() if self._ready else None
        if batch is None:
            now_s = time.perf_counter()
            batch = next((batch for batch in self._open.values() if batch.due_s <= now_s or self._is_closed), None)
            if batch is None:
                return None
            del self._open[batch.key]
        self._running += 1
        self._pass_on()
        return batch

    def _pass_on(self) -> None:
        """Wake a thread for what is left, if one more batch may run."""
        if self._running < self._most_running and (self._ready or self._open):
            self._changed.notify()

    # --- in the batch threads

    def _loop(self) -> None:
        while (batch := self._next()) is not None:
            self._run(batch)
            del batch  # its arrays and its servable must not live until the next one

    def _next(self) -> Batch | None:
        """Wait for a batch that may run; None at the end."""
        with self._changed:
            while (batch := self._take_due()) is None:
                if self._is_closed and not self._ready and not self._open:
                    self._changed.notify_all()  # the other threads, which may wait for their turn
                    return None
                is_turn = self._running < self._most_running
                soonest_s = min((batch.due_s for batch in self._open.values()), default=None) if is_turn else None
                self._changed.wait(None if soonest_s is None else soonest_s - time.perf_counter())
            return batch

    def _run(self, batch: Batch) -> None:
        try:
            self._answer(batch)
        finally:
            with self._changed:
                self._running -= 1
                self._pass_on()

    def _answer(self, batch: Batch) -> None:
        started_s = time.perf_counter()
        jobs: list[Job] = []
        rows: list[int] = []
        for job, size in zip(batch.jobs, batch.rows, strict=True):
            if job.is_abandoned:
                job.end([])
            else:
                jobs.append(job)
                rows.append(size)
        if not jobs:
            return
        outcomes = _run_jobs(batch.options, jobs, rows)
        self._count(batch.options, sum(rows))
        if len(jobs) > 1 and isinstance(outcomes[0], StatusError):
            outcomes = []
            for job, size in zip(jobs, rows, strict=True):
                outcomes += _run_jobs(batch.options, [job], [size])
                self._metrics.wrapped_runs.cell().add()
        for queued_s in batch.queued_s:
            self._queuing_latency.add((started_s - queued_s) * 1e6)
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.end(outcome)

    def _count(self, options: BatchingOptions, rows: int) -> None:
        self._metrics.wrapped_runs.cell().add()
        size = options.padded(rows)
        if size:
            self._metrics.padding_size.cell(str(size)).add(size - rows)
            self._metrics.processed_batch_size.cell().add(size)


class _Parts:
    """A job run in parts: it ends when all of them have."""

    def __init__(self, job: Job, count: int) -> None:
        self._job = job
        self._outcomes: list[Outputs | StatusError | None] = [None] * count
        self._lock = threading.Lock()

    def part(self, index: int, start: int, stop: int) -> Job:
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


def _full(how: str, options: BatchingOptions) -> StatusError:
    return StatusError(
        Code.UNAVAILABLE,
        f"The batch scheduling queue to which this task was submitted is full; {how} "
        f"and max_enqueued_batches is {options.max_enqueued_batches}",
    )


def _run_jobs(options: BatchingOptions, jobs: Sequence[Job], rows: Sequence[int]) -> list[Outputs | StatusError]:
    total, call = sum(rows), jobs[0].call
    padding = options.padded(total) - total if total else 0
    try:
        values = merge([job.call.values for job in jobs], padding, options.pad_variable_length_inputs)
        return list(split(jobs[0].servable.call(call.feeds, call.fetches, values), rows, padding))
    except Exception as error:  # a thread must survive whatever a model does
        return [as_status(error)] * len(jobs)


# --- rows


def rows_of(values: Sequence[Array]) -> int:
    """Return the size of dimension 0, which all inputs of a request share. Raises INVALID_ARGUMENT if they do not."""
    try:
        sizes = set(map(len, values))
    except TypeError:  # a scalar has no length
        raise invalid_argument("Batching Run() input tensors must have at least one dimension") from None
    if len(sizes) > 1:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def merge(requests: Sequence[Sequence[Array]], padding: int, is_length_variable: bool = False) -> list[Array]:
    """Join requests input by input, in order, and repeat a row `padding` times.

    With `is_length_variable` shorter inputs are filled up with their first element. Raises StatusError,
    INVALID_ARGUMENT or FAILED_PRECONDITION, if their shapes cannot be joined.
    """
    if len(requests) == 1 and not padding:
        return list(requests[0])
    merged = []
    for parts in zip(*requests, strict=True):
        if is_length_variable:
            parts = tuple(_filled_up(parts))
        if padding:
            valid = next(part for part in reversed(parts) if len(part))
            parts = (*parts, np.repeat(valid[:1], padding, axis=0))
        try:
            merged.append(np.concatenate(parts))
        except ValueError as error:
            raise failed_precondition(
                "Tensors from different tasks have different shapes and padding is turned off. Set "
                "pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal "
                "dimensions starting with the first dim."
            ) from error
    return merged


def split(outputs: Sequence[Array], rows: Sequence[int], padding: int) -> list[list[Array]]:
    """Return each request's share of the outputs. Raises FAILED_PRECONDITION if an output does not have their rows."""
    ends = list(accumulate(rows))
    for output in outputs:
        if output.ndim == 0:
            raise failed_precondition("Batched output tensor has 0 dimensions")
        if len(output) != ends[-1] + padding:
            raise failed_precondition(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors"
            )
    if len(rows) == 1 and not padding:
        return [list(outputs)]
    return [[output[end - size : end] for output in outputs] for size, end in zip(rows, ends, strict=True)]


def _filled_up(parts: Sequence[Array]) -> list[Array]:
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) == 1:
        return list(parts)
    if len({len(shape) for shape in shapes}) > 1 or parts[0].ndim > 6:
        raise invalid_argument("Only tensors with rank from 1 to 6 can be padded.")
    widest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
    filled = []
    for part in parts:
        if part.shape[1:] != widest and not part.size:
            raise invalid_argument("Got empty tensor in batch of non-empty tensors.")
        whole = np.full((len(part), *widest), part.flat[0] if part.size else 0, part.dtype)
        whole[tuple(slice(size) for size in part.shape)] = part
        filled.append(whole)
    return filled
