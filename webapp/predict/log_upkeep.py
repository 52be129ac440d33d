"""Keep the prediction log's folders small: few files, none older than was asked for, no remains of a crash.

The files of an hour that is over become one, those of a day that is over too. The merged file appears by a rename and
says which others it replaces; then these are hidden, and removed once no reader can still be at them. A crash in
between leaves parts that readers know to leave out and the next round hides.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path

from common.errors import EnvironmentProblem
from common.files import locked
from common.records.engine import FILES, answer_from, connect, facts_of, literal, merged_names
from common.records.files import FACTS, LogFile, days, files_of_day, hidden, new_name, replacing

LOCK = ".lock"
GRACE_S = 600.0  # how long a reader may be at a file that was listed
GROUP_ROWS = 20_480  # as DuckDB counts: a multiple of 2,048
MERGED_BYTES = 32 << 20  # files become no larger than this, so that they are sorted in memory


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
            _look_after(base, upkeep)


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
    for (_, at), group in groupby(known, key=lambda file: (file.version, hour(file))):
        if day < now.date() or (day == now.date() and at < now.hour):
            yield from _portions(list(group))


def _portions(files: list[LogFile]) -> Iterator[list[LogFile]]:
    portion: list[LogFile] = []
    portion_bytes = 0
    for file in files:
        file_bytes = file.path.stat().st_size
        if portion and portion_bytes + file_bytes > MERGED_BYTES:
            yield portion
            portion, portion_bytes = [], 0
        portion.append(file)
        portion_bytes += file_bytes
    yield portion


def merge(files: list[LogFile]) -> None:
    """Make one file of several of the same version, oldest first, and hide them. Raises OSError, duckdb.Error."""
    if len(files) < 2:
        return
    connection, newest = connect(), files[-1]
    facts = facts_of(connection, files)
    merged_before = merged_names(facts)  # a crash left them in sight
    for path in filter(lambda path: path.name in merged_before, map(Path, facts)):
        _hide(path)
    parts = [path for path in facts if Path(path).name not in merged_before]
    if len(parts) < 2:
        return

    def write(parts: Sequence[str]) -> Sequence[str]:
        told = json.dumps({**facts[parts[-1]], "replaces": [Path(part).name for part in parts]})
        with replacing(newest.folder / new_name(newest.newest, newest.version)) as temporary:
            target = f"{literal(str(temporary))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP_ROWS}"
            rows = f"SELECT * EXCLUDE (filename) FROM {FILES} ORDER BY time"
            sql = f"COPY ({rows}) TO {target}, KV_METADATA {{{FACTS.decode()}: {literal(told)}}})"
            connection.execute(sql, {"files": parts})
        return parts

    for part in answer_from(parts, write):
        _hide(Path(part))


def _hide(path: Path) -> None:
    away = hidden(path)
    os.utime(path)  # from now on it is kept for GRACE_S
    path.rename(away)
