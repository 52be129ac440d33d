"""Read a CSV for the first time and say what is in each column. Everything is read as text, then looked at."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from common.errors import DataError

DELIMITERS = (",", ";", "\t", "|")
HEAD_BYTES = 1 << 20
FEW_VALUES = 100
SAMPLE = 2000
DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ]\d{1,2}:\d{2}.*)?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})( .*)?")
DECORATED = re.compile(r"(?=.*[^\d\s])[-+(]?\s*[$€£]?\s*\d[\d\s.,']*\s*[%$€£]?\s*\)?")
MOST_ODD = 3

Looks = Literal["plain", "date", "prose", "decorated number", "sequence"]


@dataclass(frozen=True)
class Column:
    """What one column holds, missing values left out of all but `rows` and `missing`."""

    name: str
    type: Literal["int", "float", "text"]
    rows: int
    missing: int
    distinct: int
    looks: Looks
    values: tuple[str, ...] = ()  # all of them, sorted, if there are few
    minimum: float | None = None
    maximum: float | None = None
    odd: tuple[str, ...] = ()  # texts among numbers that seem to mean: missing

    @property
    def present(self) -> float:
        """Share of rows with a value."""
        return 1 - self.missing / self.rows

    @property
    def uniqueness(self) -> float:
        """Share of distinct values among the values."""
        return self.distinct / max(self.rows - self.missing, 1)


@dataclass(frozen=True)
class RawTable:
    """A CSV as text: its columns that have a name, and whether there are others."""

    table: pa.Table
    delimiter: str
    has_unnamed: bool

    def counts(self, name: str) -> dict[str, int]:
        """Return how often each text of a column stands there, exactly as written."""
        return {pair["values"]: pair["counts"] for pair in pc.value_counts(self.table[name]).to_pylist()}


def read_raw(path: Path) -> RawTable:
    """Read a CSV with a header line, finding out its delimiter.

    Raises DataError with file, line and cure.
    """
    head = _head(path)
    delimiter = _sniff(head)
    header, *rows = list(csv.reader(io.StringIO(head), delimiter=delimiter))[:1000]
    if not header[-1] and rows and all(len(row) == len(header) - 1 for row in rows):
        header = header[:-1]  # Kaggle's way: the header ends in a delimiter, the rows do not
    named = [name for name in header if name]
    header = [name or f"(unnamed column {number})" for number, name in enumerate(header, start=1)]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}:1: two columns have the same name", got=", ".join(map(repr, twice)), fix="rename one")
    if not rows:
        raise DataError(f"{path} has a header but no rows")
    try:
        table = pacsv.read_csv(
            path,
            read_options=pacsv.ReadOptions(column_names=header, skip_rows_after_names=1),
            parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values='"' in head),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), include_columns=named
            ),
        )
    except pa.ArrowInvalid as error:
        raise _located(path, delimiter, len(header), str(error)) from None
    return RawTable(table, delimiter, has_unnamed=len(named) < len(header))


def look(name: str, texts: pa.ChunkedArray, null_values: Sequence[str]) -> Column:
    """Say what a column of text holds."""
    filled = texts.filter(pc.invert(pc.is_in(texts, value_set=pa.array(list(null_values), pa.string()))))
    type_, numbers, odd = _as_numbers(filled)
    missing = len(texts) - len(filled) if numbers is None else len(texts) - len(numbers)
    values = filled if numbers is None else numbers
    distinct = values.unique()
    few = len(distinct) <= FEW_VALUES
    span: dict[str, Any] = pc.min_max(numbers).as_py() if numbers is not None and len(numbers) else {}
    return Column(
        name=name,
        type=type_,
        rows=len(texts),
        missing=missing,
        distinct=len(distinct),
        looks=_looks_like(filled, numbers, len(distinct)),
        values=tuple(str(value) for value in sorted(distinct.to_pylist())) if few else (),
        minimum=span.get("min"),
        maximum=span.get("max"),
        odd=odd,
    )


def _head(path: Path) -> str:
    """Return the first megabyte as text, cut at a line's end."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if file.read(1):
                head = head[: head.rfind(b"\n") + 1]
    except OSError as error:
        raise DataError(f"cannot read {path}", got=error.strerror, wanted="a CSV file") from None
    if not head.strip():
        raise DataError(f"{path} is empty", wanted="a header line and rows")
    try:
        return head.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _not_utf8(path) from None


def _sniff(head: str) -> str:
    """Return the delimiter that parts the header into most columns while the rows agree with it."""
    best = (0, ",")
    for delimiter in DELIMITERS:
        widths = [len(row) for row in csv.reader(io.StringIO(head), delimiter=delimiter) if row][:20]
        agreeing = sum(abs(width - widths[0]) <= 1 for width in widths)
        if agreeing >= 0.9 * len(widths) and widths[0] > max(best[0], 1):
            best = (widths[0], delimiter)
    return best[1]


def _located(path: Path, delimiter: str, width: int, message: str) -> DataError:
    """Find the line that Arrow stumbled over."""
    if "UTF8" in message:
        return _not_utf8(path)
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        reader = csv.reader(file, delimiter=delimiter)
        for row in reader:
            if row and len(row) != width:
                return DataError(
                    f"{path}:{reader.line_num}: the row has another number of columns than the header",
                    got=f"{len(row)} columns",
                    wanted=f"{width}",
                    fix="correct the line; text that holds the delimiter must be quoted",
                )
    return DataError(f"{path} cannot be read as CSV", got=message)


def _not_utf8(path: Path) -> DataError:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return DataError(
                    f"{path}:{number}: not UTF-8 text",
                    got=f"byte 0x{line[error.start]:02x}",
                    fix=f"from Windows? iconv -f WINDOWS-1252 -t UTF-8 {path.name} > new.csv",
                )
    return DataError(f"{path} is not UTF-8 text")


Numbers = tuple[Literal["int", "float", "text"], pa.ChunkedArray | None, tuple[str, ...]]


def _as_numbers(filled: pa.ChunkedArray) -> Numbers:
    """Return the type, the numbers if it is one, and the few texts among them that are none."""
    if not len(filled) or pc.any(pc.match_substring_regex(filled, r"^\s*[-+]?0\d")).as_py():
        return "text", None, ()  # 02139 is a code: as a number it would lose its zero
    kind, numbers = _cast(filled)
    if numbers is not None:
        return kind, numbers, ()
    is_plain = pc.match_substring_regex(filled, r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$")
    odd: list[str] = filled.filter(pc.invert(is_plain)).unique().to_pylist()
    is_foreign = any(re.search(r"\d", text) for text in odd)
    if is_foreign or len(odd) > MOST_ODD or 2 * pc.sum(is_plain).as_py() < len(filled):
        return "text", None, ()
    trimmed = pc.replace_substring_regex(pc.utf8_trim_whitespace(filled.filter(is_plain)), r"^\+", "")
    kind, numbers = _cast(trimmed)
    return kind, numbers, tuple(sorted(odd))


def _cast(texts: pa.ChunkedArray) -> tuple[Literal["int", "float", "text"], pa.ChunkedArray | None]:
    try:
        return "int", texts.cast(pa.int64())
    except pa.ArrowInvalid:
        pass
    try:
        numbers = texts.cast(pa.float64())
    except pa.ArrowInvalid:
        return "text", None
    return ("float", numbers) if pc.all(pc.is_finite(numbers)).as_py() else ("text", None)


def _looks_like(filled: pa.ChunkedArray, numbers: pa.ChunkedArray | None, distinct: int) -> Looks:
    if numbers is not None:
        if not pa.types.is_integer(numbers.type) or distinct != len(numbers):
            return "plain"
        span = pc.min_max(numbers).as_py()
        return "sequence" if span["max"] - span["min"] + 1 == distinct > 10 else "plain"
    sample = [text.strip() for text in filled.slice(0, SAMPLE).to_pylist()]
    if not sample:
        return "plain"
    if sum(DATE.fullmatch(text) is not None for text in sample) >= 0.9 * len(sample):
        return "date"
    if sum(DECORATED.fullmatch(text) is not None for text in sample) >= 0.9 * len(sample) and distinct > 10:
        return "decorated number"
    words = sum(len(text.split()) for text in sample) / len(sample)
    return "prose" if words >= 4 and distinct > 0.2 * len(filled) else "plain"
