"""One form for every format: int64, float32 or UTF-8 text, a missing value is null."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.errors import DataError
from common.tables.csv_file import LISTED, Fault
from common.tables.dialect import BLANKS_BETWEEN_COLUMNS, check_distinct
from common.tables.dtypes import ARROW_TYPES, DTYPES, Dtype, as_texts, decoded
from common.text import nearest
from components.examples.request import ReadRequest

FLOAT32_LIMIT = 3.4028235677973366e38  # from here on, a number rounds to an infinite float32


class BadValues(Exception):
    """Some values of a column are not of its type. `rows` are their indices in the block."""

    def __init__(self, column: str, dtype: Dtype, rows: Sequence[int], value: object) -> None:
        super().__init__(column)
        self.column, self.dtype, self.rows, self.value = column, dtype, rows, value


@dataclass(frozen=True)
class Block:
    """Some consecutive rows of a file in the common form. `first_row` counts the file's rows from 0."""

    batch: pa.RecordBatch
    file: Path
    first_row: int


class Source(Protocol):
    """Files of one format."""

    def blocks(self) -> Iterator[Block]:
        """Read all rows in a fixed order. Raises DataError naming file, line and cure."""

    def places(self, file: Path, rows: Sequence[int]) -> list[str]:
        """Return where rows (indices into the file's rows) stand, in words. May be slow."""

    def independent_count(self) -> int | None:
        """Return the number of rows without parsing them, or None where that is not cheap."""


def widest(dtypes: Iterable[Dtype | None]) -> Dtype:
    """Return the narrowest type that holds all of several; numbers if there is nothing but nulls."""
    known = [dtype for dtype in dtypes if dtype]
    return max(known, key=DTYPES.index) if known else "float"


def to_common(batch: pa.RecordBatch, dtypes: dict[str, Dtype], request: ReadRequest) -> pa.RecordBatch:
    """Return the columns named by `dtypes` in the common form. Raises BadValues."""
    columns = [_common(name, batch.column(name), dtype, request) for name, dtype in dtypes.items()]
    return pa.RecordBatch.from_arrays(columns, list(dtypes))


def _common(name: str, column: Any, dtype: Dtype, request: ReadRequest) -> Any:
    column = decoded(column)
    try:
        if dtype == "string":
            return _text(column, request.missing_texts(name))
        column = pc.cast(column, ARROW_TYPES[dtype])
    except pa.ArrowInvalid:
        raise _bad_values(name, column, dtype) from None
    return _float32(name, column) if dtype == "float" else column


def _text(column: Any, missing: Sequence[str]) -> Any:
    column = as_texts(column)
    is_missing = pc.is_in(column, value_set=pa.array(missing, pa.string()))
    return pc.if_else(is_missing, pa.scalar(None, pa.string()), column)


def _float32(name: str, column: Any) -> Any:
    """Narrow to what a tf.Example holds, by way of float64 for all formats, so that rounding never differs."""
    values = column.to_numpy(zero_copy_only=False)  # nulls become NaN, and NaN means missing
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if infinite := np.flatnonzero(np.isinf(narrow)).tolist():
        raise BadValues(name, "float", infinite, values[infinite[0]])
    return pa.array(narrow, from_pandas=True)


def _bad_values(name: str, column: Any, dtype: Dtype) -> BadValues:
    """Find which values cannot be converted, one by one."""
    bad = []
    for row in range(len(column)):
        try:
            pc.cast(column.slice(row, 1), ARROW_TYPES[dtype])
        except pa.ArrowInvalid:
            bad.append(row)
            if len(bad) == LISTED:
                break
    return BadValues(name, dtype, bad, column[bad[0]].as_py() if bad else None)


def value_fault(column: str, dtype: str, value: object) -> Fault:
    """Say that a value is not of its column's type."""
    return Fault(
        f"column {column!r} holds a value that is not of its type",
        repr(value),
        {"int": "a whole number", "float": "a finite number"}.get(dtype, "UTF-8 text"),
        "correct it, list it in data.null_values if it means missing, or change the column's type in the schema",
    )


def check_names(names: Sequence[str], file: Path, request: ReadRequest) -> None:
    """Refuse a set of columns that lacks the label or group, repeats a name, or has nothing to learn from."""
    check_distinct(names, str(file))
    for column, key in ((request.label, "data.label"), (request.group_by, "split.group_by")):
        if column is not None and column not in names:
            near = nearest(column, names)
            hint = f"did you mean {near!r}? Set {key}" if near else f"set {key} to one of the columns"
            hint = BLANKS_BETWEEN_COLUMNS if len(names) == 1 and column in names[0].split() else hint
            raise DataError(
                f"{file}: there is no column {column!r}", got=", ".join(names), wanted=f"{key}: {column}", fix=hint
            )
    if not set(names) - request.texts - set(request.ignore):
        raise DataError(
            f"{file}: there is no column to learn from",
            got=", ".join(names),
            wanted="at least one beside the label",
            fix="check data.ignore and data.delimiter",
        )


def check_same_names(names_by_file: dict[Path, frozenset[str]]) -> None:
    """Refuse files of one data set whose columns differ (their order may)."""
    (first, expected), *others = names_by_file.items()
    for file, names in others:
        if names != expected:
            raise DataError(
                f"{file} has other columns than {first.name}",
                got=f"missing {sorted(expected - names)}, extra {sorted(names - expected)}",
                wanted="the same columns in all files",
                fix="correct the header, or narrow data.source",
            )
