"""One form for every format: int64, float32 or UTF-8 text, a missing value is null."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.errors import DataError
from components.examples.request import DTYPES, Dtype, ReadRequest

ARROW_TYPES = {"int": pa.int64(), "float": pa.float64(), "string": pa.string()}
LISTED = 5  # so many faulty rows are named
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
        """Return the number of rows as told without parsing them, or None where that is not cheap."""


def dtype_of(name: str, arrow: Any) -> Dtype | None:
    """Return the narrowest of our types that holds a column of an Arrow type; None for nulls only.

    Raises DataError for nested types.
    """
    if pa.types.is_dictionary(arrow):
        return dtype_of(name, arrow.value_type)
    if pa.types.is_null(arrow):
        return None
    if pa.types.is_nested(arrow):
        raise DataError(
            f"column {name!r} holds lists or records",
            got=str(arrow),
            wanted="one value a row",
            fix="flatten it before, or name it in data.ignore",
        )
    if pa.types.is_integer(arrow):
        return "int"
    return "float" if pa.types.is_floating(arrow) or pa.types.is_decimal(arrow) else "string"


def widest(dtypes: Iterable[Dtype | None]) -> Dtype:
    """Return the narrowest type that holds all of several; numbers if there is nothing but nulls."""
    known = [dtype for dtype in dtypes if dtype]
    return max(known, key=DTYPES.index) if known else "float"


def to_common(batch: pa.RecordBatch, dtypes: dict[str, Dtype], request: ReadRequest) -> pa.RecordBatch:
    """Return the columns named by `dtypes` in the common form. Raises BadValues."""
    columns = [_common(name, batch.column(name), dtype, request) for name, dtype in dtypes.items()]
    return pa.RecordBatch.from_arrays(columns, list(dtypes))


def _common(name: str, column: Any, dtype: Dtype, request: ReadRequest) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        if dtype == "string":
            return _text(column, request.missing_texts(name))
        column = pc.cast(column, ARROW_TYPES[dtype])
    except pa.ArrowInvalid:
        raise _bad_values(name, column, dtype) from None
    return _float32(name, column) if dtype == "float" else column


def _text(column: Any, missing: Sequence[str]) -> Any:
    if pa.types.is_floating(column.type):
        # pandas turns whole numbers into floats where one is missing; how Arrow writes 1.0 depends on its version
        whole = pc.all(pc.equal(pc.floor(column), column)).as_py()
        texts = [None if v is None or v != v else str(int(v)) if whole else repr(v) for v in column.to_pylist()]
        column = pa.array(texts, pa.string())
    column = pc.cast(column, pa.string())
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


def value_fault(where: Sequence[str], column: str, dtype: str, value: object) -> DataError:
    """Say that values are not of their column's type."""
    return DataError(
        f"{and_more(where)}: column {column!r} holds a value that is not of its type",
        got=repr(value),
        wanted={"int": "a whole number", "float": "a finite number"}.get(dtype, "UTF-8 text"),
        fix="correct it, list it in data.null_values if it means missing, or change the column's type in the schema",
    )


def and_more(where: Sequence[str]) -> str:
    """Name the first place, and the others if there are any."""
    return where[0] if len(where) == 1 else f"{where[0]} (and: {', '.join(where[1:])})"


def check_names(names: Sequence[str], file: Path, request: ReadRequest) -> None:
    """Refuse a set of columns that lacks the label or group, repeats a name, or has nothing to learn from."""
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise DataError(
            f"{file}: column {name!r} stands {times} times in the header",
            got=", ".join(names),
            wanted="distinct names",
            fix="rename or remove one",
        )
    for column, key in ((request.label, "data.label"), (request.group_by, "split.group_by")):
        if column is not None and column not in names:
            near = difflib.get_close_matches(column, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? Set {key}" if near else f"set {key} to one of the columns"
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


def check_same_names(found: dict[Path, frozenset[str]]) -> None:
    """Refuse files of one data set whose columns differ (their order may)."""
    (first, expected), *others = found.items()
    for file, names in others:
        if names != expected:
            raise DataError(
                f"{file} has other columns than {first.name}",
                got=f"missing {sorted(expected - names)}, extra {sorted(names - expected)}",
                wanted="the same columns in all files",
                fix="correct the header, or narrow data.source",
            )
