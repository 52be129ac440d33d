"""Read the prediction log newest first: only the files, and only the groups of rows in them, that may be wanted.

What is held in memory is a group of rows of each file whose times overlap, however long the log is.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common.records.files import (
    INPUT,
    TIME,
    LogFile,
    common_schema,
    conformed,
    days,
    end_of,
    facts,
    files_of_day,
    replaced,
    start_of,
)

NEWEST_FIRST = [("time", "descending"), ("request_id", "ascending"), ("row", "ascending")]
SEARCHED = ("request_id", "who", "reference", "label")  # and all texts among the inputs
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)
Mask = Callable[[pa.Table], Any]  # [rows] booleans


@dataclass(frozen=True)
class Filters:
    """Which predictions are wanted; what is not given does not matter. Times are UTC; `end` is not included."""

    who: str = ""
    label: str = ""
    version: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    request_id: str = ""
    row: int | None = None
    text: str = ""  # somewhere in SEARCHED or in an input that is a text; case does not matter


ALL = Filters()


@dataclass(frozen=True)
class _Group:
    """A group of rows of a file that is open."""

    file: pq.ParquetFile
    number: int


@dataclass
class Reader:
    """Reads one model's log under `base`. All its tables have the columns of `schema`."""

    base: Path
    filters: Filters = ALL
    deadline_s: float | None = None  # of time.monotonic(): stop then
    stopped_at: datetime | None = None  # where that was; everything newer was read
    schema: pa.Schema = field(init=False)
    classes: dict[int, tuple[str, ...]] = field(init=False, default_factory=dict)  # of the probabilities, by version

    def __post_init__(self) -> None:
        """Look which files there are, and into one of each version."""
        self._files = [file for file in self._listed() if self._may_pass(file)]
        schemas = []
        for version, file in {file.version: file for file in self._files}.items():
            if opened := file.open():
                schemas.append(opened.schema_arrow)
                self.classes[version] = tuple(facts(opened).get("classes", ()))
        self.schema = common_schema(schemas)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows that pass, newest first, in tables of some size."""
        order = itertools.count()
        ahead: list[tuple[int, int, LogFile | _Group]] = [(-_us(f.newest), next(order), f) for f in self._files]
        gone: set[Path] = set()
        held = self.schema.empty_table()
        while ahead:  # sorted by the newest time that what is left can have
            newest_us, _, nearest = heapq.heappop(ahead)
            held, ready = _split(held, -newest_us)
            if ready.num_rows:
                yield ready
            if self.deadline_s is not None and time.monotonic() >= self.deadline_s:
                self.stopped_at = EPOCH - newest_us * MICROSECOND
                return
            if isinstance(nearest, _Group):
                held = pa.concat_tables([held, self._passing(nearest)]).sort_by(NEWEST_FIRST)
            elif nearest.path not in gone and (file := nearest.open()):
                gone |= {nearest.folder / name for name in replaced(file)}
                for newest, group in self._groups(file):
                    heapq.heappush(ahead, (-newest, next(order), group))
        if held.num_rows:
            yield held

    def _listed(self) -> Iterator[LogFile]:
        wanted = self.filters
        for day, folder in days(self.base).items():
            if not ((wanted.start and end_of(day) <= wanted.start) or (wanted.end and start_of(day) >= wanted.end)):
                yield from files_of_day(day, folder)

    def _may_pass(self, file: LogFile) -> bool:
        wanted = self.filters
        return wanted.version in (None, file.version) and not (wanted.start and file.newest < wanted.start)

    def _groups(self, file: pq.ParquetFile) -> Iterator[tuple[int, _Group]]:
        """Yield the groups whose times may pass, each with its newest."""
        wanted = self.filters
        for number in range(file.num_row_groups):
            times = file.metadata.row_group(number).column(0).statistics  # `time` is the first column
            is_older = wanted.start and times.max_raw < _us(wanted.start)
            if not is_older and not (wanted.end and times.min_raw >= _us(wanted.end)):
                yield times.max_raw, _Group(file, number)

    def _passing(self, group: _Group) -> pa.Table:
        """Return the rows of a group that pass. If none does, only the columns that tell are read."""
        columns, masks = _checks(self.filters, group.file.schema_arrow)
        if masks:
            telling = group.file.read_row_group(group.number, columns=columns)
            passes = reduce(pc.and_, [mask(telling) for mask in masks])
            if not pc.any(passes).as_py():
                return self.schema.empty_table()
        table = group.file.read_row_group(group.number)
        return conformed(table.filter(passes) if masks else table, self.schema)


def _checks(wanted: Filters, schema: pa.Schema) -> tuple[list[str], list[Mask]]:
    """Return the columns that tell whether a row passes, and how."""
    columns: list[str] = []
    masks: list[Mask] = []
    for name in ("who", "label", "version", "request_id", "row"):
        if (value := getattr(wanted, name)) not in ("", None):
            columns.append(name)
            masks.append(lambda table, name=name, value=value: pc.equal(table[name], value))  # type: ignore[misc]
    for compare, moment in ((pc.greater_equal, wanted.start), (pc.less, wanted.end)):
        if moment:
            columns.append("time")
            masks.append(lambda table, c=compare, m=moment: c(table["time"], pa.scalar(m, TIME)))  # type: ignore[misc]
    if wanted.text:
        inputs = [f.name for f in schema if f.name.startswith(INPUT) and pa.types.is_string(f.type)]
        columns += (texts := [*(name for name in SEARCHED if name in schema.names), *inputs])
        masks.append(lambda table: reduce(pc.or_, [_holds(table[name], wanted.text) for name in texts]))
    return columns, masks


def _holds(column: pa.ChunkedArray, text: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.match_substring(column, text, ignore_case=True), False)


def _split(table: pa.Table, bound_us: int) -> tuple[pa.Table, pa.Table]:
    """Divide what is sorted newest first: what may have to wait, and what is newer than all that is still to come."""
    ready = pc.sum(pc.greater_equal(table["time"], pa.scalar(bound_us, pa.int64()).cast(TIME))).as_py() or 0
    return table.slice(ready), table.slice(0, ready)


def _us(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND
