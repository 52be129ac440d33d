"""Stream CSV files through Arrow, block by block."""

from __future__ import annotations

import codecs
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from components.examples.columns import ARROW_TYPES, BadValues, Block, check_names, check_same_names, to_common, widest
from components.examples.csv_text import Header, explain, lines_of, open_binary, read_header
from components.examples.request import Dtype, ReadRequest

BLOCK_BYTES = 2**20  # bounds memory: Arrow reads up to 32 blocks ahead
_log = logging.getLogger(__name__)


class CsvSource:
    """CSV files with a header each, UTF-8, the same columns in any order."""

    def __init__(self, files: Sequence[Path], request: ReadRequest) -> None:
        self._request = request
        self._headers = {file: read_header(file, request.delimiter) for file in files}
        for file, header in self._headers.items():
            check_names(header.names, file, request)
            if header.unnamed:
                _log.warning("%s: dropped %d column(s) without a name", file, len(header.unnamed))
        check_same_names({file: frozenset(self._kept(header)) for file, header in self._headers.items()})

    def blocks(self) -> Iterator[Block]:
        """Read all rows. Types that the request leaves open are inferred over all rows first."""
        dtypes = self._dtypes()
        for file, header in self._headers.items():
            first_row = 0
            for batch in self._read(file, header, dtypes):
                try:
                    common = to_common(batch, dtypes, self._request)
                except BadValues as error:
                    raise explain(file, header, dtypes, self._request, error) from None
                yield Block(common, file, first_row)
                first_row += batch.num_rows

    def places(self, file: Path, rows: Sequence[int]) -> list[str]:
        """Return `file:line` of rows."""
        return lines_of(file, self._request.delimiter, rows)

    def independent_count(self) -> int | None:
        """Count lines, unless quotes (which may hold line breaks) or lone carriage returns make that unsafe."""
        count = 0
        for file in self._headers:
            with open_binary(file) as raw:
                for line in raw:
                    content = line.rstrip(b"\r\n")
                    if b'"' in content or b"\r" in content:
                        return None
                    count += content not in (b"", codecs.BOM_UTF8)
        return count - len(self._headers)

    def _kept(self, header: Header) -> list[str]:
        return [n for n in header.names if n not in header.unnamed and n not in self._request.ignore]

    def _dtypes(self) -> dict[str, Dtype]:
        """Return each column's type: the narrowest that every value in every file has, where none is prescribed."""
        names = self._kept(next(iter(self._headers.values())))
        open_columns = {name for name in names if self._request.known_dtype(name) is None}
        found: dict[str, Dtype | None] = dict.fromkeys(open_columns)
        for file, header in self._headers.items() if open_columns else ():
            as_text: dict[str, Dtype] = dict.fromkeys(open_columns, "string")
            for batch in self._read(file, header, as_text):
                for name in open_columns:
                    found[name] = _widened(batch.column(name), found[name], self._request.null_values)
        return {name: self._request.known_dtype(name) or widest([found[name]]) for name in names}

    def _read(self, file: Path, header: Header, dtypes: dict[str, Dtype]) -> Iterator[pa.RecordBatch]:
        types = {name: ARROW_TYPES[dtype] for name, dtype in dtypes.items()}
        if "" not in self._request.ignore:  # else columns without a name may hold what they like
            types |= dict.fromkeys(header.unnamed, pa.null())
        block_bytes = max(BLOCK_BYTES, 32 * len("".join(header.names)))  # a row must fit
        try:
            yield from pa.csv.open_csv(
                str(file),
                # the header is skipped by the parser, which knows about quoted line breaks in it
                pa.csv.ReadOptions(
                    block_size=block_bytes,
                    column_names=header.names,
                    skip_rows=header.blank_lines,
                    skip_rows_after_names=1,
                ),
                pa.csv.ParseOptions(delimiter=self._request.delimiter, newlines_in_values=True),
                pa.csv.ConvertOptions(
                    column_types=types,
                    include_columns=list(types),
                    strings_can_be_null=False,
                    null_values=list(self._request.null_values),
                ),
            )
        except pa.ArrowException as error:
            if not _has_rows(file, self._request.delimiter):
                return  # Arrow takes a header without a line end for an error
            raise explain(file, header, dtypes, self._request, error) from None


def _has_rows(file: Path, delimiter: str) -> bool:
    return bool(lines_of(file, delimiter, [0]))


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
