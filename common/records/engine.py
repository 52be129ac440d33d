"""DuckDB over the log's files: how it is set up, and which files it may be given.

One file that cannot be read fails a whole query, so such files are left out beforehand, or as soon as one fails.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from common.records.files import FACTS, LogFile, hidden

if TYPE_CHECKING:
    import duckdb

MEMORY = "256MB"
MAGIC = b"PAR1"
FILES = "read_parquet($files, union_by_name=true, hive_partitioning=false, filename=true)"
Answer = TypeVar("Answer")
log = logging.getLogger(__name__)


def connect() -> duckdb.DuckDBPyConnection:
    """Return a connection for one caller; those of a process share one thread's settings and `MEMORY`."""
    return _database().cursor()


@cache
def _database() -> duckdb.DuckDBPyConnection:
    import duckdb  # half a second: not before somebody looks into the log

    return duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": MEMORY,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "temp_directory": str(Path(tempfile.gettempdir()) / f"vouch-duckdb-{os.getpid()}"),
        },
    )


def facts_of(connection: duckdb.DuckDBPyConnection, files: Iterable[LogFile]) -> dict[str, Mapping[str, Any]]:
    """Return the paths of the files that can be read, in their order, with what each says of itself."""

    def ask(paths: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        sql = "SELECT file_name, value FROM parquet_kv_metadata($files) WHERE key = $key"
        rows = connection.execute(sql, {"files": paths, "key": FACTS}).fetchall() if paths else []
        return {path: {} for path in paths} | {path: json.loads(value) for path, value in rows}

    return answer_from([str(path) for file in files if (path := _whole(file.path))], ask)


def merged_names(facts: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Return the names of the files whose rows stand in another of these, where they count."""
    return frozenset(name for said in facts.values() for name in said.get("replaces", ()))


def live(connection: duckdb.DuckDBPyConnection, files: Iterable[LogFile]) -> list[str]:
    """Return the paths of those of a day's files that can be read and are not merged into another."""
    facts = facts_of(connection, files)
    merged = merged_names(facts)
    return [path for path in facts if Path(path).name.removeprefix(".") not in merged]


def answer_from(paths: Sequence[str], ask: Callable[[Sequence[str]], Answer]) -> Answer:
    """Ask the files; if that fails, those of them that can be read from end to end. Raises duckdb.Error."""
    import duckdb

    try:
        return ask(paths)
    except duckdb.Error:
        sound = [str(path) for path in map(_sound, map(Path, paths)) if path]
        if sound == list(paths):
            raise
        return ask(sound)


def literal(text: str) -> str:
    """Return a text as SQL, for where DuckDB takes no parameter."""
    return "'" + text.replace("'", "''") + "'"


def _whole(path: Path) -> Path | None:
    """Return where a file is now, if it ends as Parquet does."""
    for place in (path, hidden(path)):  # hidden: merged into another since it was listed
        with suppress(FileNotFoundError):
            try:
                with place.open("rb") as file:
                    file.seek(-len(MAGIC), os.SEEK_END)
                    if file.read() == MAGIC:
                        return place
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    raise
            _complain(place)
            return None
    return None


def _sound(path: Path) -> Path | None:
    """Return where a file is now, if all of it can be read."""
    place = _whole(path)
    try:
        if place:
            with pq.ParquetFile(place) as file:
                for _ in file.iter_batches():
                    pass
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError):
        _complain(path)
        return None
    return place


@lru_cache(maxsize=1000)
def _complain(path: Path) -> None:
    """Say once that a file is left out."""
    log.warning("the prediction log leaves out %s: it cannot be read as Parquet", path)
