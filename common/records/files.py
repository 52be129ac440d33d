"""The files of the prediction log: where they are, what is in them, and that none is ever seen half written.

    var/predictions/<model>/date=YYYY-MM-DD/<HHMMSS.ffffff>-v<version>-<pid>-<n>.parquet

Times are UTC. A file is named by its newest row and holds one version, so all of it has one schema and a reader can
leave it closed. Each feature is a column `input.<feature>` of its type in the version's schema, null where it is
missing; nothing else begins with `input.`, so no feature can be taken for one of `META`, nor for the `date` of the
folder. Of a picture, its hash and simple statistics of its pixels stand there; `strangeness` is a column of its own,
where the model tells it. For TensorFlow Data Validation, `inputs(table)` has the features under their own names; with
pandas, `frame.filter(regex="^input[.]").rename(columns=lambda name: name[6:])` does.

Names with a dot in front are left alone by Arrow, pandas, Beam and Spark.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from common.files import replaced, sync
from common.text import MISSING_CODE

INPUT = "input."
SYNTHETIC = "synthetic:"  # how the reference of a row begins that was made up
DATE = "date="
TIME = pa.timestamp("us", "UTC")
META = pa.schema(
    [
        pa.field("time", TIME),
        pa.field("request_id", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("model", pa.string()),
        pa.field("version", pa.int64()),
        pa.field("route", pa.string()),
        pa.field("who", pa.string()),
        pa.field("source", pa.string()),
        pa.field("reference", pa.string()),  # the asker's own name for the case; old files lack it
        pa.field("latency_ms", pa.float64()),
        pa.field("label", pa.string()),
        pa.field("probability", pa.float64()),  # of the positive class, else of the likeliest; or a number
        pa.field("probabilities", pa.list_(pa.float32())),  # in the order of the classes, or bounds, in the metadata
    ]
)
STRANGENESS = "strangeness"  # a column beside those of META, of pictures whose model tells it
FACTS = b"vouch"  # key of the file's own metadata: JSON with `classes`, `positive`, `is_number`, `replaces`
_NAME = re.compile(r"(\d{6}\.\d{6})-v(\d+)-(\d+)-(\d+)\.parquet")
_STAMP = "%H%M%S.%f"
_numbers = itertools.count()  # tell the files of one process apart


@dataclass(frozen=True, order=True)
class LogFile:
    """One file. No row of it is newer than `newest`. Sorts by time."""

    newest: datetime
    name: str
    folder: Path
    version: int

    @property
    def path(self) -> Path:
        return self.folder / self.name


def hidden(path: Path) -> Path:
    """Return the name under which readers leave a file alone."""
    return path.with_name(f".{path.name}")


def day_folder(base: Path, day: date) -> Path:
    return base / f"{DATE}{day.isoformat()}"


def days(base: Path) -> dict[date, Path]:
    """Return the folders under `base` by day, newest first."""
    folders = {}
    with suppress(FileNotFoundError, NotADirectoryError):
        for child in base.iterdir():
            with suppress(ValueError):
                if child.name.startswith(DATE):
                    folders[date.fromisoformat(child.name.removeprefix(DATE))] = child
    return dict(sorted(folders.items(), reverse=True))


def files_of_day(day: date, folder: Path) -> list[LogFile]:
    """Return a day's files, newest first. Some may be parts of another, which names them in its `replaces`."""
    files = []
    for name in _names(folder):
        if match := _NAME.fullmatch(name):
            newest = datetime.combine(day, datetime.strptime(match[1], _STAMP).time(), timezone.utc)
            files.append(LogFile(newest, name, folder, int(match[2])))
    return sorted(files, reverse=True)


def _names(folder: Path) -> set[str]:
    """Return the names in a folder as they stand at one moment: a list may miss what is renamed meanwhile."""
    names: set[str] = set()
    with suppress(FileNotFoundError, NotADirectoryError):
        while names != (seen := set(os.listdir(folder))):
            names = seen
    return names


def with_facts(schema: pa.Schema, facts: Mapping[str, Any]) -> pa.Schema:
    return schema.with_metadata({FACTS: json.dumps(facts)})


def write(folder: Path, table: pa.Table) -> Path:
    """Write a day's rows of one version: whole, on the disk and named by the newest of them, or not at all.

    Raises OSError.
    """
    path = folder / new_name(pc.max(table["time"]).as_py(), table["version"][0].as_py())
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        texts = [field.name for field in table.schema if pa.types.is_string(field.type)]  # numbers are all different
        pq.write_table(table, temporary, compression="zstd", use_dictionary=texts, write_statistics=META.names[:1])
    return path


def new_name(newest: datetime, version: int) -> str:
    """Return a name that no other file has, for rows of a version."""
    return f"{newest.strftime(_STAMP)}-v{version}-{os.getpid()}-{next(_numbers)}.parquet"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a place to write to, as `replaced`; the folder is on the disk, too, once it has taken the name of `path`."""
    with replaced(path) as part:
        yield part
    sync(path.parent)


def get_arrow_ready() -> None:
    """Have Arrow import now what it does with its first array: pandas, where there is one, for half a second."""
    pa.array([0])


def column(values: Sequence[Any] | NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Return a feature's values as `kind`; what travels for a missing one (None, NaN, "", the missing code) is null."""
    if pa.types.is_floating(kind):
        return pa.array(np.asarray(values, np.float64), kind, from_pandas=True)
    cells = pa.array(values, from_pandas=True).cast(kind)
    missing = pa.scalar(MISSING_CODE if pa.types.is_integer(kind) else "", kind)
    return pc.if_else(pc.equal(cells, missing), pa.scalar(None, kind), cells)


def inputs(table: pa.Table) -> pa.Table:
    """Return the features alone, under their own names."""
    names = [name for name in table.column_names if name.startswith(INPUT)]
    return table.select(names).rename_columns([name.removeprefix(INPUT) for name in names])


def start_of(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), timezone.utc)


def end_of(day: date) -> datetime:
    """Return the first moment after a day; of the last day that there can be, its last."""
    if day == date.max:
        return datetime.max.replace(tzinfo=timezone.utc)
    return start_of(day) + timedelta(days=1)
