"""Stream CSV files through Arrow, block by block."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from common.errors import DataError
from common.tables.csv_file import CsvFile, Fault
from common.tables.dtypes import ARROW_TYPES, Dtype
from common.tables.encoding import PARQUET, starts_with
from components.examples.blocks import (
    FLOAT32_LIMIT,
    BadValues,
    Block,
    check_names,
    check_same_names,
    to_common,
    value_fault,
    widest,
)
from components.examples.request import ReadRequest

BLOCK_BYTES = 2**20  # bounds memory: Arrow reads up to 32 blocks ahead
_PLAIN = {"int": re.compile(r"-?\d{1,18}"), "float": re.compile(r"-?\d{1,30}(\.\d+)?")}
_log = logging.getLogger(__name__)


class CsvSource:
    """CSV files with a header each, the same columns in any order."""

    def __init__(self, files: Sequence[Path], request: ReadRequest) -> None:
        self._request = request
        self._files = [_open(file, request.delimiter) for file in files]
        for file in self._files:
            check_names(file.dialect.columns, file.path, request)
            if file.dialect.unnamed:
                _log.warning("%s: dropped %d column(s) without a name", file.path, len(file.dialect.unnamed))
        check_same_names({file.path: frozenset(self._kept(file)) for file in self._files})

    def blocks(self) -> Iterator[Block]:
        """Read all rows. Types that the request leaves open are inferred over all rows first."""
        dtypes = self._dtypes()
        for file in self._files:
            first_row = 0
            for batch in self._read(file, dtypes):
                try:
                    common = to_common(batch, dtypes, self._request)
                except BadValues as error:
                    raise self._explain(file, dtypes, error) from None
                yield Block(common, file.path, first_row)
                first_row += batch.num_rows

    def places(self, file: Path, rows: Sequence[int]) -> list[str]:
        """Return `file:line` of rows."""
        return next(each for each in self._files if each.path == file).lines_of(rows)

    def independent_count(self) -> int | None:
        """Count lines, unless quotes (which may hold line breaks) or lone carriage returns make that unsafe."""
        count = 0
        for file in self._files:
            with file.open() as stream:
                for number, line in enumerate(stream, start=1):
                    content = line.rstrip(b"\r\n")
                    if b'"' in content or b"\r" in content:
                        return None
                    count += bool(content) and number > file.dialect.line
        return count

    def _kept(self, file: CsvFile) -> list[str]:
        return [name for name in file.dialect.names if name and name not in self._request.ignore]

    def _dtypes(self) -> dict[str, Dtype]:
        """Return each column's type: the narrowest that every value in every file has, where none is prescribed."""
        names = self._kept(self._files[0])
        open_columns = {name for name in names if self._request.known_dtype(name) is None}
        inferred: dict[str, Dtype | None] = dict.fromkeys(open_columns)
        for file in self._files if open_columns else ():
            as_text: dict[str, Dtype] = dict.fromkeys(open_columns, "string")
            for batch in self._read(file, as_text):
                for name in open_columns:
                    inferred[name] = _widened(batch.column(name), inferred[name], self._request.null_values)
        return {name: self._request.known_dtype(name) or widest([inferred[name]]) for name in names}

    def _read(self, file: CsvFile, dtypes: dict[str, Dtype]) -> Iterator[pa.RecordBatch]:
        types = {name: ARROW_TYPES[dtype] for name, dtype in dtypes.items()}
        if "" not in self._request.ignore:  # else columns without a name may hold what they like
            types |= dict.fromkeys(file.dialect.unnamed, pa.null())
        reading, parsing = file.arrow_options()
        reading.block_size = max(BLOCK_BYTES, 32 * len("".join(file.dialect.columns)))  # a row must fit
        converting = pa.csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            strings_can_be_null=False,
            null_values=list(self._request.null_values),
        )
        try:
            with file.open() as stream:
                yield from pa.csv.open_csv(stream, reading, parsing, converting)
        except pa.ArrowException as error:
            if next(file.rows(), None) is None:
                return  # Arrow takes a header without a line end for an error
            raise self._explain(file, dtypes, error) from None

    def _explain(self, file: CsvFile, dtypes: dict[str, Dtype], error: Exception) -> DataError:
        unnamed = frozenset() if "" in self._request.ignore else file.dialect.unnamed
        return file.explain(error, dtypes, partial(_value_fault, dtypes, unnamed, self._request.null_values))


def _open(file: Path, delimiter: str) -> CsvFile:
    if starts_with(file, PARQUET):
        raise DataError(f"{file} is a Parquet file", wanted="CSV", fix="set data.format: parquet")
    return CsvFile(file, delimiter)


def _value_fault(
    dtypes: dict[str, Dtype], unnamed: frozenset[str], missing: Sequence[str], row: dict[str, str]
) -> Fault | None:
    for column, value in row.items():
        if column in unnamed and value and value not in missing:
            return Fault(
                f"{column.strip('()')} holds a value",
                repr(value),
                "a name in the header, or nothing in the column",
                "name it (and list it in data.ignore), or export without an index column",
            )
        if column in dtypes and not _fits(value, dtypes[column], missing):
            return value_fault(column, dtypes[column], value)
    return None


def _fits(value: str, dtype: Dtype, missing: Sequence[str]) -> bool:
    if dtype == "string" or _PLAIN[dtype].fullmatch(value) or value in missing:
        return True
    try:
        number = pc.cast(pa.array([value.strip(" \t")]), ARROW_TYPES[dtype])[0].as_py()
    except pa.ArrowInvalid:
        return False
    return not abs(number) >= FLOAT32_LIMIT  # NaN is a missing value and fits


def _widened(column: Any, dtype: Dtype | None, missing: Sequence[str]) -> Dtype | None:
    """Return the narrowest type that holds what was seen before and the texts of one more block."""
    if dtype == "string":
        return dtype
    values = column.filter(pc.invert(pc.is_in(column, value_set=pa.array(missing, pa.string()))))
    if len(values) == 0:
        return dtype
    values = pc.ascii_trim(values, " \t")  # as Arrow's CSV reader does with numbers
    candidates: tuple[Dtype, ...] = ("float",) if dtype == "float" else ("int", "float")
    for candidate in candidates:
        try:
            pc.cast(values, ARROW_TYPES[candidate])
        except pa.ArrowInvalid:
            continue
        return candidate
    return "string"
