"""Read a table for the first time and say what is in each column. A CSV is read as text, then looked at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet

from common.errors import DataError
from common.tables.columns import ARROW_TYPES, as_texts, decoded, dtype_of
from common.tables.csv_file import CsvFile
from common.tables.dialect import check_distinct
from common.tables.encoding import PARQUET, starts_with

FEW_VALUES = 100
SAMPLE = 2000
DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ]\d{1,2}:\d{2}.*)?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})( .*)?")
DECORATED = re.compile(r"(?=.*[^\d\s])[-+(]?\s*[$€£]?\s*\d[\d\s.,']*\s*[%$€£]?\s*\)?")
MOST_ODD = 3

Looks = Literal["plain", "date", "prose", "decorated number", "sequence", "nested"]


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
        return 1 - self.missing / self.rows

    @property
    def uniqueness(self) -> float:
        """Share of distinct values among the values."""
        return self.distinct / max(self.rows - self.missing, 1)


@dataclass(frozen=True)
class RawTable:
    """A table as its file has it: the columns that have a name, a CSV's as texts."""

    path: Path
    table: pa.Table
    format: Literal["csv", "parquet"]
    delimiter: str
    has_unnamed: bool

    def counts(self, name: str) -> dict[str, int]:
        """Return how often each text of a column stands there, exactly as written; a Parquet null is the empty text."""
        dtype_of(name, self.table[name].type)
        texts = pc.fill_null(as_texts(decoded(self.table[name])), "")
        return {pair["values"]: pair["counts"] for pair in pc.value_counts(texts).to_pylist()}

    def copies(self, names: Sequence[str]) -> list[int]:
        """Return how often each different row of some columns is there."""
        counted = self.table.group_by(names).aggregate([(names[0], "count", pc.CountOptions(mode="all"))])
        return counted[f"{names[0]}_count"].to_pylist()


def read_table(path: Path) -> RawTable:
    """Read a Parquet file, or a CSV in whatever dialect. Raises DataError with file, line and cure."""
    if starts_with(path, PARQUET):
        try:
            table = pyarrow.parquet.ParquetFile(path).read()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} cannot be read as Parquet", got=error, fix="write it again") from None
        check_distinct(table.column_names, str(path))
        named = [name for name in table.column_names if name]
        return RawTable(path, table.select(named), "parquet", ",", len(named) < table.num_columns)
    file = CsvFile(path)
    named = [name for name in file.dialect.names if name]
    converting = pacsv.ConvertOptions(column_types=dict.fromkeys(named, pa.string()), include_columns=named)
    if next(file.rows(), None) is None:
        raise DataError(f"{path} has a header but no rows", got=", ".join(named), wanted="rows", fix="export it again")
    try:
        with file.open() as stream:
            table = pacsv.read_csv(stream, *file.arrow_options(), converting)
    except pa.ArrowException as error:
        raise file.explain(error, named) from None
    return RawTable(path, table, "csv", file.dialect.delimiter, len(named) < len(file.dialect.names))


def look(name: str, column: pa.ChunkedArray, null_values: Sequence[str]) -> Column:
    """Say what a column holds."""
    rows, column = len(column), pc.drop_null(decoded(column))
    if pa.types.is_nested(column.type):
        return Column(name, "text", rows, rows - len(column), len(column), "nested")
    filled, kind, numbers, odd = column, *_typed_numbers(name, column)
    if numbers is None:
        texts = as_texts(column)
        filled = texts.filter(pc.invert(pc.is_in(texts, value_set=pa.array(list(null_values), pa.string()))))
        kind, numbers, odd = _as_numbers(filled)
    values = filled if numbers is None else numbers
    distinct = values.unique()
    few = len(distinct) <= FEW_VALUES
    span: dict[str, Any] = pc.min_max(numbers).as_py() if numbers is not None and len(numbers) else {}
    return Column(
        name=name,
        type=kind,
        rows=rows,
        missing=rows - len(values),
        distinct=len(distinct),
        looks=_looks_like(filled, numbers, len(distinct)),
        values=tuple(str(value) for value in sorted(distinct.to_pylist())) if few else (),
        minimum=span.get("min"),
        maximum=span.get("max"),
        odd=odd,
    )


Numbers = tuple[Literal["int", "float", "text"], pa.ChunkedArray | None, tuple[str, ...]]


def _typed_numbers(name: str, column: pa.ChunkedArray) -> Numbers:
    """Return the numbers of a column whose file says that it holds some."""
    dtype = dtype_of(name, column.type)
    if dtype == "int":
        return "int", column.cast(ARROW_TYPES[dtype]), ()
    if dtype != "float":
        return "text", None, ()
    numbers = column.cast(ARROW_TYPES[dtype])
    return "float", numbers.filter(pc.invert(pc.is_nan(numbers))), ()


def _as_numbers(filled: pa.ChunkedArray) -> Numbers:
    """Return the type, the numbers if texts are numbers, and the few texts that are not."""
    if not len(filled) or pc.any(pc.match_substring_regex(filled, r"^\s*[-+]?0\d")).as_py():
        return "text", None, ()  # 02139 is a code: as a number it would lose its zero
    kind, numbers = _cast(filled)
    if numbers is not None:
        return kind, numbers, ()
    is_plain = pc.match_substring_regex(filled, r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$")
    odd: list[str] = filled.filter(pc.invert(is_plain)).unique().to_pylist()
    if any(re.search(r"\d", text) for text in odd) or len(odd) > MOST_ODD or 2 * pc.sum(is_plain).as_py() < len(filled):
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
