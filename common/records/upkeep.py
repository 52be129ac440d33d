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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from common.errors import EnvironmentProblem
from common.files import locked
from common.records.engine import FILES, answer_from, connect, facts_of, literal, merged_names
from common.records.files import DATE, FACTS, LogFile, days, files_of_day, hidden, new_name, replacing
from common.records.reader import Filters, Reader

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
        said = {**facts[parts[-1]], "replaces": [Path(part).name for part in parts]}
        _copy(connection, parts, newest.folder / new_name(newest.newest, newest.version), said)
        return parts

    for part in answer_from(parts, write):
        _hide(Path(part))


def forget(base: Path, reference: str) -> None:
    """Write a model's files anew without the rows of one reference, each whole or not at all.

    What those files had replaced is removed with them. Raises EnvironmentProblem while another process is at it,
    OSError, duckdb.Error.
    """
    with locked(base / LOCK, "another process looks after the log"):
        connection, reader = connect(), Reader(base, Filters(reference=reference))
        holders = [Path(path) for (path,) in reader.query("SELECT DISTINCT filename FROM passing")]
        for folder in {path.parent for path in holders}:
            files = files_of_day(date.fromisoformat(folder.name.removeprefix(DATE)), folder)
            facts = facts_of(connection, files)
            for path in {folder / name for name in merged_names(facts)} | {*folder.glob(".*.parquet")}:
                path.unlink(missing_ok=True)
            for path in (path for path in holders if path.parent == folder):
                _copy(connection, [str(path)], path, facts[str(path)], without=reference)
                if not pq.read_metadata(path).num_rows:
                    path.unlink()


def _copy(
    connection: Any, sources: Sequence[str], target: Path, facts: Mapping[str, Any], *, without: str | None = None
) -> None:
    """Write the rows of files to one, whole or not at all."""
    with replacing(target) as temporary:
        into = f"{literal(str(temporary))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP_ROWS}"
        kept = "true" if without is None else f"reference IS DISTINCT FROM {literal(without)}"
        rows = f"SELECT * EXCLUDE (filename) FROM {FILES} WHERE {kept} ORDER BY time"
        sql = f"COPY ({rows}) TO {into}, KV_METADATA {{{FACTS.decode()}: {literal(json.dumps(facts))}}})"
        connection.execute(sql, {"files": sources})


def _hide(path: Path) -> None:
    away = hidden(path)
    os.utime(path)  # from now on it is kept for GRACE_S
    path.rename(away)
