"""Keep every prediction, off the request's path: requests put them in a bounded queue, a thread writes the files.

Nothing here makes a request wait or fail. What cannot be kept, because the queue is full or the disk is, is dropped
and counted; as soon as there is room again, predictions are kept again. A process that is killed loses what it had
in memory, some `FLUSH_EVERY_S` of predictions, and leaves no file half written. The files:
common/records/files.py.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from itertools import chain
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0 import schema_pb2

from common.logs import Sparse
from common.records import images
from common.records.files import INPUT, META, STRANGENESS, column, day_folder, with_facts, write
from common.records.upkeep import Upkeep, look_after
from config.data_settings import IMAGE_BYTES, IMAGE_STATISTICS
from config.schema import read_schema
from serving.repository.layout import SCHEMA
from webapp.settings import WebSettings
from webapp.types import LoggedBatch

FLUSH_EVERY_S = 2.0
FLUSH_ROWS = 5_000
UPKEEP_EVERY_S = 600.0
CLOSE_S = 5.0
_KINDS = {schema_pb2.INT: pa.int64(), schema_pb2.FLOAT: pa.float64()}
log = logging.getLogger(__name__)


class Drops(Protocol):
    """Who is told of rows that are lost."""

    def dropped(self, rows: int) -> None:
        """Count them."""


@dataclass
class _Queue:
    """What waits to be written."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    batches: list[LoggedBatch] = field(default_factory=list)
    rows: int = 0  # waiting, or being written
    waiting_rows: int = 0
    taken: int = 0  # batches ever put in
    settled: int = 0  # batches ever written or dropped
    is_urgent: bool = False
    is_closed: bool = False
    writer: threading.Thread | None = None


class PredictionLog:
    """Takes batches from any thread; one writer thread a process, started with the first batch."""

    def __init__(self, settings: WebSettings, metrics: Drops) -> None:
        self._settings, self._metrics = settings, metrics
        self._kinds: dict[tuple[str, int], dict[str, pa.DataType]] = {}
        self._losses = Sparse()
        self._queue = _Queue()

    def append(self, batch: LoggedBatch) -> bool:
        """Take a batch to be written soon, and return at once. False: it had to be dropped, and was counted."""
        if not self._settings.log_predictions:
            return True
        queue, rows = self._queue, len(batch.labels)
        with queue.changed:
            is_taken = not queue.is_closed and queue.rows + rows <= self._settings.log_queue_rows and self._is_writing()
            if is_taken:
                queue.batches.append(batch)
                queue.rows += rows
                queue.waiting_rows += rows
                queue.taken += 1
                if len(queue.batches) == 1 or queue.waiting_rows >= FLUSH_ROWS:
                    queue.changed.notify_all()
        if not is_taken:
            self._drop(rows, "the log is closed" if queue.is_closed else "more predictions wait than may")
        return is_taken

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was appended so far is written or dropped. False: it took too long."""
        queue = self._queue
        with queue.changed:
            wanted = queue.taken
            queue.is_urgent = bool(queue.batches)
            queue.changed.notify_all()
            return queue.changed.wait_for(lambda: queue.settled >= wanted, timeout_s)

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Write what is left, if that can be done in time, and take nothing more."""
        queue = self._queue
        with queue.changed:
            is_first, queue.is_closed = not queue.is_closed, True
            queue.changed.notify_all()
        if queue.writer:
            queue.writer.join(timeout_s)
        if is_first and queue.rows:
            self._drop(queue.rows, f"they could not be written in {timeout_s:g} s")

    def _is_writing(self) -> bool:
        """Start the writer, if it is not there yet; return whether it is."""
        if self._queue.writer is None:
            writer = threading.Thread(target=self._write_on, name="prediction log", daemon=True)
            try:
                writer.start()
            except RuntimeError:  # the machine has no thread left
                return False
            self._queue.writer = writer
        return True

    def _write_on(self) -> None:
        queue, upkeep_at = self._queue, time.monotonic()
        while batches := self._next(queue):
            self._write(batches)
            with queue.changed:
                queue.rows -= sum(len(batch.labels) for batch in batches)
                queue.settled += len(batches)
                queue.changed.notify_all()
            if time.monotonic() >= upkeep_at and not queue.is_closed:
                upkeep = Upkeep(datetime.now(timezone.utc), self._settings.log_retention_days)
                self._guarded(partial(look_after, self._settings.predictions, upkeep), rows=0)
                kept_until = upkeep.now.date(), upkeep.retention_days
                self._guarded(partial(images.remove_before, self._settings.collected, *kept_until), rows=0)
                upkeep_at = time.monotonic() + UPKEEP_EVERY_S

    @staticmethod
    def _next(queue: _Queue) -> list[LoggedBatch]:
        """Wait for batches, and a little for more to come; nothing once the log is closed and empty."""
        with queue.changed:
            queue.changed.wait_for(lambda: queue.batches or queue.is_closed)
            queue.changed.wait_for(
                lambda: queue.is_closed or queue.is_urgent or queue.waiting_rows >= FLUSH_ROWS, FLUSH_EVERY_S
            )
            taken, queue.batches = queue.batches, []
            queue.waiting_rows, queue.is_urgent = 0, False
            return taken

    def _write(self, batches: list[LoggedBatch]) -> None:
        for group in _grouped(batches):
            try:
                self._write_group(group)
            except OSError as error:
                self._drop(sum(len(batch.labels) for batch in group), str(error))
            except Exception:  # one of them is no good: the others must not be lost with it
                for batch in group:
                    self._guarded(partial(self._write_group, [batch]), len(batch.labels))

    def _write_group(self, group: list[LoggedBatch]) -> None:
        first = group[0]
        kinds = self._types(first.model, first.version)
        write(day_folder(self._settings.predictions / first.model, first.time.date()), as_table(group, kinds))

    def _types(self, model: str, version: int) -> dict[str, pa.DataType]:
        """Return each feature's type as the version's schema has it, so that all its files are alike."""
        if (model, version) not in self._kinds:
            schema = read_schema(self._settings.serving / model / str(version) / SCHEMA)
            kinds = {f.name: _KINDS.get(f.type, pa.string()) for f in schema.feature}
            beside = IMAGE_STATISTICS if IMAGE_BYTES in kinds else ()
            self._kinds[model, version] = kinds | dict.fromkeys(beside, pa.float64())
        return self._kinds[model, version]

    def _guarded(self, act: Callable[[], Any], rows: int) -> None:
        """Do it; if it fails, the rows are lost, and nothing else."""
        try:
            act()
        except Exception as error:  # an edge: whatever goes wrong here must end neither the thread nor the app
            self._drop(rows, str(error) or type(error).__name__)

    def _drop(self, rows: int, why: str) -> None:
        self._metrics.dropped(rows)
        if lost := self._losses.due("rows", rows):
            log.warning("the prediction log lost %d rows: %s", lost, why)


def as_table(batches: Sequence[LoggedBatch], kinds: dict[str, pa.DataType]) -> pa.Table:
    """Return batches of one kind as the rows of a file.

    They are joined before Arrow sees them, and without a step of Python's for each value: predictions wait meanwhile.
    """
    first, counts = batches[0], np.array([len(batch.labels) for batch in batches])
    probabilities = np.concatenate([batch.probabilities for batch in batches], dtype=np.float32)
    likely = first.classes.index(first.positive) if first.positive else None
    scores = probabilities.max(axis=1) if likely is None else probabilities[:, likely]
    if first.values is not None:
        scores = np.concatenate([batch.values for batch in batches if batch.values is not None])
    meta: dict[str, list[Any]] = {
        "time": [b.time for b in batches],
        "request_id": [b.asked.request_id for b in batches],
        "model": [b.model for b in batches],
        "version": [b.version for b in batches],
        "route": [b.route for b in batches],
        "who": [b.asked.who for b in batches],
        "source": [b.asked.source for b in batches],
        "latency_ms": [b.latency_s * 1000 for b in batches],
    }
    of_batch = pa.array(np.repeat(np.arange(len(batches)), counts))
    by_name: dict[str, Any] = {
        key: pa.array(values, META.field(key).type).take(of_batch) for key, values in meta.items()
    }
    starts = np.array([batch.first_row for batch in batches]) - (np.cumsum(counts) - counts)
    by_name["row"] = np.arange(counts.sum()) + np.repeat(starts, counts)
    references = chain.from_iterable(b.references or [b.asked.reference] * len(b.labels) for b in batches)
    by_name["reference"] = pa.array((reference or None for reference in references), pa.string())
    by_name["label"] = pa.array(_joined([batch.labels for batch in batches]), pa.string())
    by_name["probability"] = scores.astype(np.float64)
    offsets = np.arange(0, probabilities.size + 1, probabilities.shape[1], np.int32)
    by_name["probabilities"] = pa.ListArray.from_arrays(offsets, probabilities.ravel())
    names = list(first.columns)
    of_outputs = [pa.field(STRANGENESS, pa.float64())] if first.strangeness else []
    by_name[STRANGENESS] = [*chain.from_iterable(batch.strangeness for batch in batches)]
    outputs = [*META, *of_outputs]
    schema = pa.schema([*outputs, *(pa.field(INPUT + name, kinds[name]) for name in names)])
    columns = [by_name[field.name] for field in outputs]
    inputs = zip(*(batch.columns.values() for batch in batches), strict=True)  # in the same order in all: see _grouped
    columns += [column(_joined(parts), kinds[name]) for name, parts in zip(names, inputs, strict=True)]
    return pa.table(
        columns,
        schema=with_facts(
            schema, {"classes": first.classes, "positive": first.positive, "is_number": first.values is not None}
        ),
    )


def _joined(parts: Sequence[Sequence[Any] | NDArray[Any]]) -> Sequence[Any] | NDArray[Any]:
    if {*map(type, parts)} == {np.ndarray}:
        return np.concatenate(parts)
    return list(chain.from_iterable(parts))


def _grouped(batches: Iterable[LoggedBatch]) -> Iterator[list[LoggedBatch]]:
    """Yield what goes into one file: a day's rows of one version, all of one kind."""
    groups: dict[tuple[Any, ...], list[LoggedBatch]] = {}
    for batch in batches:
        if len(batch.labels):
            kind = batch.classes, batch.positive, tuple(batch.columns)
            groups.setdefault((batch.model, batch.version, batch.time.date(), kind), []).append(batch)
    yield from groups.values()
