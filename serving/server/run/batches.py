"""A batch of jobs, how it is run, and a job that is more than one batch holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serving.server.core.status import StatusError, as_status
from serving.server.run.merging import merge, split
from serving.server.run.runner import Job

if TYPE_CHECKING:
    from serving.server.core.servable import Servable
    from serving.server.run.batching import BatchingOptions

Array = NDArray[Any]
Key = tuple["Servable", tuple[str, ...], tuple[str, ...]]  # version, feeds, fetches


class Batch:
    """Jobs that will share a run."""

    __slots__ = ("is_due", "jobs", "key", "options", "queued_s", "rows", "timer", "total")

    def __init__(self, key: Key, options: BatchingOptions) -> None:
        self.key, self.options = key, options
        self.jobs: list[Job] = []
        self.rows: list[int] = []
        self.queued_s: list[float] = []
        self.total = 0
        self.is_due = options.batch_timeout_s <= 0
        self.timer: asyncio.TimerHandle | None = None

    def add(self, job: Job, rows: int) -> None:
        """Take a job of so many rows."""
        self.jobs.append(job)
        self.rows.append(rows)
        self.queued_s.append(time.perf_counter())
        self.total += rows


@dataclass(frozen=True)
class Ran:
    """What came of a batch: an outcome for each job, and what there is to measure."""

    outcomes: list[list[Array] | StatusError]
    started_s: float
    runs: int = 0
    padding: int = 0
    size: int = 0  # rows with the padding; 0: nothing was run


class Whole:
    """A job run in parts: it ends when all of them have."""

    def __init__(self, job: Job, parts: int) -> None:
        self._job, self._left = job, parts
        self._waiters: list[asyncio.Future[list[Array]]] = []

    def part(self, values: list[Array]) -> Job:
        """Return the job of the next rows."""
        waiter: asyncio.Future[list[Array]] = self._job.waiter.get_loop().create_future()
        waiter.add_done_callback(self._end_part)
        self._waiters.append(waiter)
        return Job(self._job.servable, self._job.call._replace(values=values), waiter, lambda: None)

    def _end_part(self, waiter: asyncio.Future[list[Array]]) -> None:
        self._left -= 1
        if self._left:
            return
        errors = [error for waiter in self._waiters if isinstance(error := waiter.exception(), StatusError)]
        if errors:
            self._job.end(None, errors[0])
        else:
            pieces = zip(*(waiter.result() for waiter in self._waiters), strict=True)
            self._job.end([np.concatenate(piece) for piece in pieces], None)


def run_batch(batch: Batch) -> Ran:
    """Run a batch, in a thread; if that fails, each job alone."""
    started_s = time.perf_counter()
    wanted = [index for index, job in enumerate(batch.jobs) if not job.is_abandoned]
    outcomes: list[list[Array] | StatusError] = [[] for _ in batch.jobs]
    if not wanted:
        return Ran(outcomes, started_s)
    jobs, rows = [batch.jobs[index] for index in wanted], [batch.rows[index] for index in wanted]
    found = _run_jobs(batch.options, jobs, rows)
    runs = 1
    if len(wanted) > 1 and isinstance(found[0], StatusError):
        found = [_run_jobs(batch.options, [job], [size])[0] for job, size in zip(jobs, rows, strict=True)]
        runs += len(wanted)
    for index, outcome in zip(wanted, found, strict=True):
        outcomes[index] = outcome
    size = batch.options.padded(sum(rows))
    return Ran(outcomes, started_s, runs, size - sum(rows), size)


def _run_jobs(
    options: BatchingOptions, jobs: Sequence[Job], rows: Sequence[int]
) -> Sequence[list[Array] | StatusError]:
    total, call = sum(rows), jobs[0].call
    padding = options.padded(total) - total if total else 0
    try:
        values = merge([job.call.values for job in jobs], padding, options.pad_variable_length_inputs)
        return split(jobs[0].servable.call(call.feeds, call.fetches, values), rows, padding)
    except Exception as error:  # a thread of the pool must survive whatever a model does
        return [as_status(error)] * len(jobs)
