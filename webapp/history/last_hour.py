"""The last hour of a model's predictions, in numbers, from the prediction log: all workers, and across restarts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from common.records.reader import Filters, Reader

MINUTES = 60
KEPT_S = 5.0
MOST_ROWS = 20_000  # a busy hour is told by its last rows
COLUMNS = ["time", "row", "version", "label", "latency_ms", "probability"]
QUANTILES = (0.5, 0.95, 0.99)
SCORE_BINS = 20


@dataclass(frozen=True)
class Recent:
    """What is known of the last hour. `minutes` is shorter than an hour where there were too many rows for it."""

    rows: int
    minutes: int
    per_minute: tuple[int, ...]  # rows predicted, the last minute last
    latency_ms: tuple[float, ...]  # QUANTILES over requests; empty without any
    answers: tuple[tuple[int, str, int], ...]  # version, label, rows; the newest version first
    scores: tuple[tuple[float, float, float], ...]  # low, high, rows


class LastHour:
    """The numbers of each model's last hour, found out once in `KEPT_S` however many look at them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[datetime, Recent]] = {}

    def of(self, base: Path, now: datetime) -> Recent:
        """Return the numbers of the hour before `now`, or a little earlier, of a model's log."""
        with self._lock:  # who comes meanwhile waits for the same numbers
            known = self._known.get(base)
            if known is None or not timedelta(0) <= now - known[0] < timedelta(seconds=KEPT_S):
                known = self._known[base] = (now, recent(base, now))
            return known[1]


def recent(base: Path, now: datetime) -> Recent:
    """Return the numbers of the hour before `now`, of a model's log."""
    reader = Reader(base, Filters(start=now - timedelta(minutes=MINUTES), end=now))
    tables, rows = [reader.schema.empty_table().select(COLUMNS)], 0
    for table in reader.tables():
        tables.append(table.select(COLUMNS))
        rows += table.num_rows
        if rows >= MOST_ROWS:
            break
    newest = pa.concat_tables(tables).slice(0, MOST_ROWS)
    ages = _ages_min(newest, now)
    minutes = MINUTES if rows < MOST_ROWS else max(1, int(ages.max()))
    counts = np.bincount(ages[ages < minutes].astype(int), minlength=minutes)[::-1]
    latencies = np.asarray(newest["latency_ms"])[np.asarray(newest["row"]) == 0]
    return Recent(
        newest.num_rows,
        minutes,
        tuple(counts.tolist()),
        tuple(np.quantile(latencies, QUANTILES).tolist()) if len(latencies) else (),
        _answers(newest),
        _scores(np.asarray(newest["probability"], np.float64)),
    )


def _ages_min(rows: pa.Table, now: datetime) -> NDArray[np.float64]:
    times_us = np.asarray(rows["time"].cast(pa.int64()), np.float64)
    return np.clip((now.timestamp() * 1e6 - times_us) / 60e6, 0, None)


def _answers(rows: pa.Table) -> tuple[tuple[int, str, int], ...]:
    counted: Sequence[dict[str, Any]] = rows.group_by(["version", "label"]).aggregate([("row", "count")]).to_pylist()
    answers = [(each["version"], each["label"], each["row_count"]) for each in counted]
    return tuple(sorted(answers, key=lambda each: (-each[0], each[1])))


def _scores(probabilities: NDArray[np.float64]) -> tuple[tuple[float, float, float], ...]:
    counts, edges = np.histogram(probabilities, SCORE_BINS, (0.0, 1.0))
    return tuple(zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True))
