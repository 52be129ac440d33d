"""Keep the prediction log's folders small: few files, none older than was asked for, no remains of a crash.

The files of an hour that is over become one, those of a day that is over too. The merged file takes the name of the
newest of its parts, by a rename, and says which others it replaces; then these are hidden, and removed once no reader
can still be at them. A crash in between leaves parts that readers know to leave out and the next round hides.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import EnvironmentProblem
from common.files import locked
from common.records.files import FEEDBACK, LogFile, days, facts, files_of_day, hidden, replaced, replacing, with_facts

LOCK = ".lock"
GRACE_S = 600.0  # how long a reader may be at a file that was listed
GROUP_ROWS = 20_000  # what a reader has to hold at a time
MERGED_BYTES = 256 << 20  # merged files of this size are left as they are


@dataclass(frozen=True)
class Upkeep:
    """When it is, and how long rows are kept."""

    now: datetime
    retention_days: int
    grace_s: float = GRACE_S


def look_after(predictions: Path, upkeep: Upkeep) -> None:
    """Put all models' folders in order, unless another process is at it. Raises OSError."""
    models = [child for child in predictions.iterdir() if child.is_dir()] if predictions.is_dir() else []
    for base in models:
        with suppress(EnvironmentProblem), locked(base / LOCK, "another process looks after the log"):
            for folder in (base, base / FEEDBACK):
                _look_after(folder, upkeep)


def _look_after(base: Path, upkeep: Upkeep) -> None:
    today = upkeep.now.date()
    for day, folder in days(base).items():
        if day < today - timedelta(days=upkeep.retention_days):
            shutil.rmtree(folder, ignore_errors=True)
            continue
        _sweep(folder, upkeep.grace_s)
        for group in _groups(day, folder, upkeep.now):
            merge(group)


def _sweep(folder: Path, grace_s: float) -> None:
    """Remove what was hidden long ago: replaced files, and what a process that died had begun."""
    for path in folder.glob(".*.parquet*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= grace_s:
                path.unlink()


def _groups(day: date, folder: Path, now: datetime) -> Iterator[list[LogFile]]:
    """Yield the files to become one, oldest first: a version's hours that are over today, its whole day if that is."""

    def hour(file: LogFile) -> int:
        return file.newest.hour if day == now.date() else 0

    known = sorted(files_of_day(day, folder), key=lambda file: (file.version, file))
    for (_, at), files in groupby(known, key=lambda file: (file.version, hour(file))):
        if day < now.date() or (day == now.date() and at < now.hour):
            yield from _portions(list(files))


def _portions(files: list[LogFile]) -> Iterator[list[LogFile]]:
    portion: list[LogFile] = []
    size_bytes = 0
    for file in files:
        size_bytes += file.path.stat().st_size
        portion.append(file)
        if size_bytes >= MERGED_BYTES:
            yield portion
            portion, size_bytes = [], 0
    yield portion


def merge(files: list[LogFile]) -> None:
    """Make one file of several of the same version, oldest first, a part at a time in memory."""
    parts = _without_replaced(files)
    if len(parts) < 2:
        return
    newest = parts[-1]
    with pq.ParquetFile(newest.path) as last:
        schema = with_facts(last.schema_arrow, facts(last) | {"replaces": [part.name for part in parts[:-1]]})
    with replacing(newest.path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for table in _gathered(parts):
            writer.write_table(table.cast(schema), row_group_size=GROUP_ROWS)
    for part in parts[:-1]:
        _hide(part.path)


def _without_replaced(files: list[LogFile]) -> list[LogFile]:
    """Hide what a crash left in sight of those that were merged, and return the rest."""
    gone: set[str] = set()
    if len(files) > 1:
        for file in files:
            with pq.ParquetFile(file.path) as opened:
                gone |= replaced(opened)
    for file in files:
        if file.name in gone:
            _hide(file.path)
    return [file for file in files if file.name not in gone]


def _gathered(parts: list[LogFile]) -> Iterator[pa.Table]:
    """Yield the rows in tables of a good size, each sorted by time."""
    waiting: list[pa.Table] = []
    rows = 0
    for part in parts:
        with pq.ParquetFile(part.path) as file:
            for group in range(file.num_row_groups):
                waiting.append(file.read_row_group(group).replace_schema_metadata())
                rows += waiting[-1].num_rows
                if rows >= GROUP_ROWS:
                    yield pa.concat_tables(waiting).sort_by("time")
                    waiting, rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting).sort_by("time")


def _hide(path: Path) -> None:
    away = hidden(path)
    os.utime(path)  # from now on it is kept for GRACE_S
    path.rename(away)
