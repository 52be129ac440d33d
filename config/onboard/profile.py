"""Read a table for the first time and say what is in each column. A CSV is read as text, then looked at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet
from numpy.typing import NDArray

from common.errors import DataError
from common.tables.cleaning import CODE_LIKE, Cleaning
from common.tables.columns import ARROW_TYPES, as_texts, decoded, dtype_of
from common.tables.csv_file import CsvFile
from common.tables.dialect import check_columns
from common.tables.encoding import PARQUET, starts_with
from common.text import NULL_TEXTS, shortened

FEW_VALUES = 100
SAMPLE = 2000
MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ]\d{1,2}:\d{2}.*)?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})( .*)?"
    rf"|\d{{1,2}}[- ]{MONTH}[- ,]+(\d{{4}}|\d{{2}})( .*)?|{MONTH} \d{{1,2}},? \d{{4}}( .*)?",
    re.IGNORECASE,
)
DECORATED = re.compile(r"(?=.*[^\d\s])[-+(]?\s*[$€£]?\s*\d[\d\s.,']*\s*[%$€£]?\s*\)?")
NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"
MOST_ODD = 3
ID_SHARE = 0.99  # of distinct values: what the data gate would stop at
SURE_Z = 4.0  # standard deviations
ODD_SHARE = 0.01  # of samples drawn evenly that may be taken for others
LEAST_ID_ROWS = 50  # with fewer, all values may well differ by chance
MISSING_WORDS = frozenset(
    {"", "n/a", "na", "nan", "null", "none", "nil", "missing", "unknown", "unk", "not available", "not applicable"}
    | {"not known", "no data", "undefined", "n.a", "n. a", "#n/a", "k.a", "nd", "n/d"}
)

Looks = Literal["plain", "date", "prose", "decorated number", "sequence", "nested"]
Role = Literal["numeric", "category", "text", "date", "id", "drop", "feature"]


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
    strange: tuple[tuple[str, int], ...] = ()  # texts among numbers that do not, and how often: the commonest first
    words: float = 0.0  # in a text, on average
    is_whole: bool = False  # whether numbers have no fractions
    names_rows: str = ""  # how whole numbers do it, if they seem to
    is_even: bool = False  # whether such numbers are spread evenly over their range

    @property
    def present(self) -> float:
        return 1 - self.missing / self.rows

    @property
    def uniqueness(self) -> float:
        """Share of distinct values among the values."""
        return self.distinct / max(self.rows - self.missing, 1)


@dataclass(frozen=True)
class RawTable:
    """A table as its file has it: the columns that have a name, a CSV's as texts, names without blanks around them."""

    path: Path
    table: pa.Table
    format: Literal["csv", "parquet"]
    delimiter: str
    has_unnamed: bool
    file: CsvFile | None = None
    url: str | None = None  # where it was fetched from
    sha256: str | None = None

    def texts(self, name: str) -> Any:
        """Return a column as texts, a Parquet null as the empty one."""
        dtype_of(name, self.table[name].type)
        return pc.fill_null(as_texts(decoded(self.table[name])), "")

    def counts(self, name: str) -> dict[str, int]:
        """Return how often each text of a column stands there, exactly as written."""
        return {pair["values"]: pair["counts"] for pair in pc.value_counts(self.texts(name)).to_pylist()}

    def date_texts(self, name: str) -> set[str]:
        return {text.strip() for text in self.counts(name)} - {*NULL_TEXTS}

    def copies(self, names: Sequence[str]) -> list[int]:
        """Return how often each different row of some columns is there."""
        counted = self.table.group_by(names).aggregate([(names[0], "count", pc.CountOptions(mode="all"))])
        return counted[f"{names[0]}_count"].to_pylist()

    def place(self, name: str, text: str) -> str:
        """Return where a text stands first in a column."""
        row = pc.index(self.texts(name), text).as_py()
        line = self.file.lines_of([row])[0].rpartition(":")[2] if self.file else ""
        return f"line {line}" if line else f"row {row + 1}"


def read_table(path: Path) -> RawTable:
    """Read a Parquet file, a workbook, or a CSV in whatever dialect. Raises DataError with file, line and cure."""
    if starts_with(path, PARQUET):
        try:
            parquet = pyarrow.parquet.ParquetFile(path)
            check_columns(parquet.schema_arrow.names, str(path))
            table = parquet.read()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} cannot be read as Parquet", got=error, fix="write it again") from None
        named = [name for name in table.column_names if name]
        return RawTable(path, table.select(named), "parquet", ",", len(named) < table.num_columns)
    file = CsvFile(path)
    file.dialect = file.dialect.trimmed()
    named = [name for name in file.dialect.names if name]
    converting = pacsv.ConvertOptions(column_types=dict.fromkeys(named, pa.string()), include_columns=named)
    if next(file.rows(), None) is None:
        raise DataError(f"{path} has a header but no rows", got=shortened(named), wanted="rows", fix="export it again")
    try:
        with file.open() as stream:
            table = pacsv.read_csv(stream, *file.arrow_options(), converting)
    except pa.ArrowException as error:
        raise file.explain(error, named) from None
    return RawTable(path, table, "csv", file.dialect.delimiter, len(named) < len(file.dialect.names), file)


def look(name: str, column: pa.ChunkedArray, cleaning: Cleaning, role: Role | None = None) -> Column:
    """Say what a column holds, or what it holds if it is taken for what `role` says."""
    rows, column = len(column), pc.drop_null(decoded(column))
    if pa.types.is_nested(column.type):
        return Column(name, "text", rows, rows - len(column), len(column), "nested")
    texts = pc.drop_null(cleaning.texts(name, as_texts(column)))
    values, kind, odd, strange = _typed(name, column, cleaning, role) or _as_numbers(texts, cleaning, role)
    distinct = values.unique()
    few = len(distinct) <= FEW_VALUES
    span: dict[str, Any] = pc.min_max(values).as_py() if kind != "text" and len(values) else {}
    sample = texts.slice(0, SAMPLE).to_pylist()
    words = sum(len(text.split()) for text in sample) / max(len(sample), 1)
    return Column(
        name=name,
        type=kind,
        rows=rows,
        missing=rows - len(values),
        distinct=len(distinct),
        looks=_looks_like(sample, values, kind, len(distinct), words),
        values=tuple(str(value) for value in sorted(distinct.to_pylist())) if few else (),
        minimum=span.get("min"),
        maximum=span.get("max"),
        odd=odd,
        strange=strange,
        words=words,
        is_whole=kind != "text" and _is_whole(values),
        **_as_id(values, len(distinct) if kind == "int" else 0),
    )


def _as_id(values: Any, distinct: int) -> dict[str, Any]:
    if len(values) < LEAST_ID_ROWS or distinct < ID_SHARE * len(values):
        return {}
    numbers = np.asarray(values)
    return {"names_rows": names_rows(numbers) or "", "is_even": is_even(numbers)}


def names_rows(values: NDArray[np.int64]) -> str | None:
    """Return how whole numbers, almost all of them distinct, name the rows; None if they may be quantities."""
    steps = np.sign(np.diff(values.astype(np.float64)))
    if abs(steps.sum()) == len(steps):
        return "in the order of the rows"
    spread = float(values.max()) - float(values.min()) + 1.0
    by_chance = len(values) - spread * -np.expm1(len(values) * np.log1p(-1.0 / spread)) if spread > 1 else 0.0
    repeats = len(values) - len(np.unique(values))
    return "that by chance would repeat" if by_chance - repeats >= SURE_Z * max(np.sqrt(by_chance), 1.0) else None


def is_even(values: NDArray[np.int64]) -> bool:
    """Return whether numbers lie as if drawn evenly from their range (Kolmogorov and Smirnov's test, 1 %)."""
    from scipy import stats  # takes a while to import, and few tables need it

    low, high = float(values.min()), float(values.max())
    uniform = stats.uniform(low, max(high - low, 1.0))
    return bool(stats.kstest(values, uniform.cdf).pvalue > ODD_SHARE)


Typed = tuple[Any, Literal["int", "float", "text"], tuple[str, ...], tuple[tuple[str, int], ...]]


def _typed(name: str, column: pa.ChunkedArray, cleaning: Cleaning, role: Role | None) -> Typed | None:
    """Return the numbers of a column whose file says that it holds some; None if it does not."""
    dtype = dtype_of(name, column.type)
    if role == "text" or (dtype != "int" and dtype != "float"):
        return None
    numbers = pc.drop_null(cleaning.without_null_numbers(column.cast(ARROW_TYPES[dtype])))
    if dtype == "float":
        numbers = numbers.filter(pc.invert(pc.is_nan(numbers)))
    if role == "category" and _is_whole(numbers):
        return numbers.cast(pa.int64()), "int", (), ()
    return numbers, dtype, (), ()


def _as_numbers(texts: pa.ChunkedArray, cleaning: Cleaning, role: Role | None) -> Typed:
    """Return texts as numbers if they are some, with the texts that are none; else as texts."""
    if role == "text":
        return texts, "text", (), ()
    numbers = cleaning.numbers(texts)
    kind = cleaning.narrowest(texts)
    if kind == "float" and role in ("category", "date") and _is_whole(cleaning.typed(texts, kind)):
        kind = "int"
    if kind in ("int", "float") and _is_finite(cleaning.typed(texts, kind)):
        return cleaning.typed(texts, kind), kind, (), ()
    is_number = pc.fill_null(pc.match_substring_regex(numbers, NUMBER), False)
    share = pc.sum(is_number).as_py() / len(texts) if len(texts) else 0.0
    has_codes = pc.any(pc.match_substring_regex(numbers, CODE_LIKE)).as_py()
    if (has_codes or 2 * share < 1) and role != "numeric":
        return texts, "text", (), ()
    counts = {
        pair["values"]: pair["counts"] for pair in pc.value_counts(texts.filter(pc.invert(is_number))).to_pylist()
    }
    odd = tuple(sorted(counts))
    plain = texts.filter(is_number)
    kind = cleaning.narrowest(plain) if len(plain) else None
    if kind in ("int", "float") and (role == "numeric" or _mean_missing(odd)):
        return cleaning.typed(plain, kind), kind, odd, ()
    return texts, "text", (), tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _is_whole(numbers: Any) -> bool:
    return pa.types.is_integer(numbers.type) or bool(pc.all(pc.equal(pc.floor(numbers), numbers)).as_py())


def _is_finite(numbers: Any) -> bool:
    return pa.types.is_integer(numbers.type) or bool(pc.all(pc.is_finite(numbers)).as_py())


def _mean_missing(texts: Sequence[str]) -> bool:
    """Return whether texts among numbers seem to mean that there is none: usual words, or up to three of any."""
    others = [text for text in texts if text.casefold().strip(" .-_*") not in MISSING_WORDS]
    return not others or (len(texts) <= MOST_ODD and not any(re.search(r"\d", text) for text in others))


def _looks_like(
    sample: Sequence[str], values: Any, kind: Literal["int", "float", "text"], distinct: int, words: float
) -> Looks:
    if kind != "text":
        if kind == "float" or distinct != len(values):
            return "plain"
        span = pc.min_max(values).as_py()
        return "sequence" if span["max"] - span["min"] + 1 == distinct > 10 else "plain"
    if not sample:
        return "plain"
    if sum(DATE.fullmatch(text.strip()) is not None for text in sample) >= 0.9 * len(sample):
        return "date"
    if sum(DECORATED.fullmatch(text.strip()) is not None for text in sample) >= 0.9 * len(sample) and distinct > 10:
        return "decorated number"
    return "prose" if words >= 4 and distinct > 0.2 * len(values) else "plain"
