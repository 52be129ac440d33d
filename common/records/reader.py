"""Read the prediction log newest first, a day at a time, by DuckDB.

A day's newest files are first asked how many of their rows pass, by second; then these are read in tables of
`TABLE_ROWS` or a few more, each from the files that hold them; then more of the files. So memory is bounded, and a
page costs what it takes to count the rows before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa

from common.records.engine import FILES, answer_from, connect, facts_of, live
from common.records.files import INPUT, META, STRANGENESS, LogFile, days, end_of, files_of_day, start_of

TABLE_ROWS = 20_000
PORTION_BYTES = 16 << 20  # of files whose columns are read at once
FIRST_FILES = 64  # of a day, for its newest rows
SEARCHED = ("request_id", "who", "reference", "label")  # and all texts among the inputs
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    META.field("time").type: "TIMESTAMPTZ",
    META.field("probabilities").type: "FLOAT[]",
}
_PARTS = """
    SELECT min(second), max(second), sum(rows)::BIGINT, list_distinct(flatten(list(files)))
    FROM (
        SELECT *, (sum(rows) OVER (ORDER BY second DESC) - 1) // $table_rows AS part
        FROM (
            SELECT epoch_us(time) // 1000000 AS second, count(*) AS rows, list(DISTINCT filename) AS files
            FROM passing WHERE time >= $from AND time < $to GROUP BY ALL
        )
    ) GROUP BY part ORDER BY part
"""  # of about as many rows each, newest first


@dataclass(frozen=True)
class Filters:
    """Which predictions are wanted; what is not given does not matter. Times are UTC; `end` is not included."""

    who: str = ""
    label: str = ""
    reference: str = ""
    version: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    request_id: str = ""
    row: int | None = None
    route: str = ""
    text: str = ""  # somewhere in SEARCHED or in an input that is a text; case does not matter
    part: tuple[str, str] | None = None  # a feature and its value, as text


ALL = Filters()


@dataclass
class Reader:
    """Reads one model's log under `base`. All its tables have the columns of `schema`."""

    base: Path
    filters: Filters = ALL
    deadline_s: float | None = None  # of time.monotonic(): stop then
    stopped_at: datetime | None = None  # where that was; everything newer was read
    schema: pa.Schema = field(init=False)
    classes: dict[int, tuple[str, ...]] = field(init=False, default_factory=dict)  # of the probabilities, by version
    of_numbers: set[int] = field(init=False, default_factory=set)  # versions that predict these, within bounds

    def __post_init__(self) -> None:
        """Look which files there are, and into the newest that can be read of each version."""
        self._connection = connect()
        self._days = [files for files in self._listed() if files]
        samples: list[str] = []
        for file in (file for files in self._days for file in files):
            if file.version not in self.classes:
                for path, facts in facts_of(self._connection, [file]).items():
                    samples.append(path)
                    self.classes[file.version] = tuple(facts.get("classes", ()))
                    if facts.get("is_number"):
                        self.of_numbers.add(file.version)
        columns = ", ".join(f'NULL::{_SQL_TYPES[column.type]} AS "{column.name}"' for column in META)
        source = f"UNION ALL BY NAME FROM {FILES}" if samples else ""
        sql = f"CREATE TEMP TABLE nothing AS FROM (SELECT {columns}) {source} LIMIT 0"
        self._connection.execute(sql, {"files": samples} if samples else {})
        described = self._connection.sql("FROM nothing").to_arrow_table().schema
        others = (each for each in described if each.name.startswith(INPUT) or each.name == STRANGENESS)
        self.schema = pa.schema([*META, *others])

    def tables(self, skip: int = 0) -> Iterator[pa.Table]:
        """Yield the rows that pass, newest first, without the first `skip`, in tables of some size."""
        for files in self._days:
            if self._is_late(files[0].newest):
                return
            for some, start, end in _windows(files):
                for oldest, newest, rows, paths in self._parts(some, start, end):
                    if self._is_late(after := EPOCH + timedelta(seconds=newest + 1)):
                        return
                    if rows > skip:
                        yield self._part(paths, EPOCH + timedelta(seconds=oldest), after).slice(skip)
                    skip = max(0, skip - rows)

    def columns(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Yield some columns of all rows that pass, in no order but that newer files come first: the quickest way."""
        listed = ", ".join(map(quoted, names))

        def ask(paths: Sequence[str]) -> pa.Table:
            return self._relation(paths, f"SELECT {listed} FROM passing", {}).to_arrow_table()

        for files in self._days:
            for paths in _portions(live(self._connection, files)):
                yield answer_from(paths, ask)

    def query(self, select: str, values: Mapping[str, Any] | None = None) -> list[Any]:
        """Return the rows of an SQL query on `passing`: the predictions that pass, of all days."""
        return self._ask([path for files in self._days for path in live(self._connection, files)], select, values)

    def _parts(self, files: Sequence[LogFile], start: datetime, end: datetime) -> list[Any]:
        values = {"table_rows": TABLE_ROWS, "from": start, "to": end}
        return self._ask(live(self._connection, files), _PARTS, values)

    def _part(self, paths: Sequence[str], start: datetime, end: datetime) -> pa.Table:
        names = ", ".join(map(quoted, self.schema.names))
        sql = f"SELECT {names} FROM passing WHERE time >= $from AND time < $to ORDER BY time DESC, request_id, row"

        def ask(paths: Sequence[str]) -> pa.Table:
            return self._relation(paths, sql, {"from": start, "to": end}).to_arrow_table()

        return answer_from(paths, ask).cast(self.schema)

    def _ask(self, paths: Sequence[str], select: str, values: Mapping[str, Any] | None = None) -> list[Any]:
        return answer_from(paths, lambda paths: self._relation(paths, select, values or {}).fetchall())

    def _relation(self, paths: Sequence[str], select: str, values: Mapping[str, Any]) -> Any:
        source = f"FROM nothing UNION ALL BY NAME FROM {FILES}" if paths else "SELECT *, '' AS filename FROM nothing"
        conditions, wanted = self._conditions()
        sql = f"WITH passing AS (FROM ({source}) WHERE {' AND '.join(conditions)}) {select}"
        return self._connection.sql(sql, params={**wanted, **values, **({"files": paths} if paths else {})})

    def _conditions(self) -> tuple[list[str], dict[str, Any]]:
        """Return what a row has to be, as SQL with its values."""
        wanted = self.filters
        values = {
            name: value
            for name in ("who", "label", "reference", "version", "request_id", "row", "start", "end", "route", "text")
            if (value := getattr(wanted, name)) not in ("", None)
        }
        tests = {"start": "time >= $start", "end": "time < $end", "text": self._contains_text()}
        if wanted.part:
            name, values["part"] = INPUT + wanted.part[0], wanted.part[1]
            tests["part"] = f"CAST({quoted(name)} AS VARCHAR) = $part" if name in self.schema.names else "$part IS NULL"
        return ["true", *(tests.get(name, f'"{name}" = ${name}') for name in values)], values

    def _contains_text(self) -> str:
        inputs = [f.name for f in self.schema if f.name.startswith(INPUT) and pa.types.is_string(f.type)]
        found = " OR ".join(f"contains(lower({quoted(name)}), lower($text))" for name in (*SEARCHED, *inputs))
        return f"({found})"

    def _listed(self) -> Iterator[list[LogFile]]:
        """Yield the files of each day that may hold what passes, newest first."""
        wanted = self.filters
        for day, folder in days(self.base).items():
            if not ((wanted.start and end_of(day) <= wanted.start) or (wanted.end and start_of(day) >= wanted.end)):
                yield [file for file in files_of_day(day, folder) if self._may_pass(file)]

    def _may_pass(self, file: LogFile) -> bool:
        wanted = self.filters
        return wanted.version in (None, file.version) and not (wanted.start and file.newest < wanted.start)

    def _is_late(self, moment: datetime) -> bool:
        """Return whether the time is over; then note that rows older than this were not looked at."""
        if self.deadline_s is None or time.monotonic() < self.deadline_s:
            return False
        self.stopped_at = moment
        return True


def _windows(files: Sequence[LogFile]) -> Iterator[tuple[Sequence[LogFile], datetime, datetime]]:
    """Yield ever more of a day's newest files, with whole seconds between which all rows are in these.

    What the other files hold is not newer than the first of them says by its name.
    """
    count, end = FIRST_FILES, end_of(files[0].newest.date())
    while count < len(files):
        start = files[count].newest.replace(microsecond=0) + timedelta(seconds=1)
        if start < end:
            yield files[:count], start, end
        count, end = 2 * count, min(start, end)
    yield files, start_of(files[0].newest.date()), end


def _portions(paths: Sequence[str]) -> Iterator[list[str]]:
    """Yield so many files that what is in them fits into memory."""
    portion: list[str] = []
    portion_bytes = 0
    for path in paths:
        with suppress(FileNotFoundError):  # merged into another since; then it lies beside, hidden
            portion_bytes += Path(path).stat().st_size
        portion.append(path)
        if portion_bytes >= PORTION_BYTES:
            yield portion
            portion, portion_bytes = [], 0
    if portion:
        yield portion


def quoted(name: str) -> str:
    """Return a column's name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'
