"""Take an uploaded CSV apart block by block: whole records, numbered as a spreadsheet does, the header being row 1."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from common.errors import DataError
from common.tables.csv_file import undecodable
from common.tables.dialect import find_dialect
from common.tables.encoding import utf8_stream
from webapp.predict.validation import shown
from webapp.types import MAX_PROBLEMS, InvalidInput, Problem

BLOCK_BYTES = 1 << 20
MAX_RECORD_BYTES = 4 << 20
NEW_LINE, RETURN = b"\n\r"
UTF8 = "must be UTF-8 text: save the file as CSV UTF-8"


class InvalidFile(InvalidInput):
    """An uploaded file cannot be read as a whole."""

    def __init__(self, rule: str, got: str, *, row: int | None = None) -> None:
        super().__init__([Problem("", rule, got, "", row)], "the file cannot be read")


class TooLarge(InvalidFile):
    """A file goes beyond what may be uploaded."""

    http_status = 413


@dataclass(frozen=True)
class Limits:
    """Most bytes (of the text, unzipped) and rows of a file; rows that hold nothing count."""

    max_bytes: int
    max_rows: int


@dataclass(frozen=True)
class Block:
    """Some rows of the file as texts, without those that hold nothing.

    `ragged` counts the rows that have not as many values as the header; `problems` tells the first of them.
    """

    table: Any  # pyarrow.Table of strings
    numbers: NDArray[np.int64]  # of the table's rows, in the file
    ragged: int
    problems: tuple[Problem, ...]
    end_bytes: int  # how far into the file it reaches


class CsvBlocks:
    """A CSV that is read once, from a stream. Iterate over it for its blocks.

    Raises TooLarge; InvalidFile if it is not CSV, has no header, or the same column twice.
    """

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        self._limits, self._read_bytes, self._rows = limits, 0, 0
        try:
            self._stream = utf8_stream(stream, "the file")
            self._rest = self._more()
            while b"\n" not in self._rest.strip() and len(self._rest) < MAX_RECORD_BYTES and (more := self._more()):
                self._rest += more
            self.dialect = find_dialect(self._rest, "the file")
        except DataError as error:
            raise _invalid(error) from None
        if undecodable(self.dialect.names, self.dialect.names):
            raise InvalidFile(UTF8, "other bytes", row=self.dialect.line)
        self._rest = self._rest.split(b"\n", self.dialect.line - 1)[-1]
        self._row = self.dialect.line  # of the first record in the rest

    def __iter__(self) -> Iterator[Block]:
        while self._rest:
            more = self._more()
            if not more and not self._rest.endswith(b"\n"):
                self._rest += b"\n"
            masked = _masked(self._rest, self.dialect.delimiter.encode())
            end = masked.rfind(b"\n") + 1
            if len(self._rest) - end > MAX_RECORD_BYTES:
                rule = f"must be shorter than {MAX_RECORD_BYTES} bytes"
                raise InvalidFile(rule, "more; is a quote not closed?", row=self._row + masked.count(b"\n"))
            if not more and end < len(self._rest):
                raise InvalidFile("must close its quotes", "an open one", row=self._row + masked.count(b"\n"))
            content, self._rest = self._rest[:end], self._rest[end:] + more
            if end:
                yield self._block(content, masked[:end], self._read_bytes - len(self._rest))

    def _more(self) -> bytes:
        try:
            piece = self._stream.read(BLOCK_BYTES)
        except DataError as error:
            raise _invalid(error) from None
        self._read_bytes += len(piece)
        if self._read_bytes > self._limits.max_bytes:
            raise TooLarge(f"must not be larger than {self._limits.max_bytes} bytes", "more")
        return piece

    def _block(self, content: bytes, masked: bytes, end_bytes: int) -> Block:
        letters = np.frombuffer(masked, np.uint8)
        is_return = (letters == RETURN) & (np.append(letters[1:], 0) != NEW_LINE)
        ends = np.flatnonzero((letters == NEW_LINE) | is_return) + 1
        first_row, self._row = self._row, self._row + len(ends)
        if self._row - self.dialect.line - 1 > self._limits.max_rows:
            raise TooLarge(f"must not have more than {self._limits.max_rows} rows, empty ones included", "more")
        starts = np.append(0, ends[:-1])
        is_row = ends - starts > 1 + ((letters[starts] == RETURN) & (letters[ends - 1] == NEW_LINE))
        is_row[0] &= first_row > self.dialect.line  # the header is not a row
        numbers = first_row + np.flatnonzero(is_row)
        content = np.frombuffer(content, np.uint8)[np.repeat(is_row, ends - starts)].tobytes()
        table, ragged, problems = self._table(content, numbers, np.cumsum((ends - starts)[is_row]))
        is_filled = _is_filled(table)
        return Block(
            table.filter(pa.array(is_filled)), np.delete(numbers, ragged)[is_filled], len(ragged), problems, end_bytes
        )

    def _table(
        self, content: bytes, numbers: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> tuple[Any, list[int], tuple[Problem, ...]]:
        """Return rows as a table, the indices of those that have another length, and the first problems with them."""
        names = self.dialect.columns
        ragged: list[int] = []
        problems: list[Problem] = []
        rule = f"must have {len(names)} values, as the header has"
        types = dict.fromkeys(names, pa.string())
        if not content:
            return pa.schema(types).empty_table(), [], ()

        def skip(row: Any) -> str:
            ragged.append(row.number - 1)
            if len(problems) < MAX_PROBLEMS:
                got = f"{row.actual_columns}: {shown(row.text)}"
                problems.append(Problem("", rule, got, "", int(numbers[row.number - 1])))
            return "skip"

        try:
            table = arrow_csv.read_csv(
                io.BytesIO(content),
                arrow_csv.ReadOptions(use_threads=False, column_names=names, block_size=len(content) + 1),
                arrow_csv.ParseOptions(
                    delimiter=self.dialect.delimiter, newlines_in_values=True, invalid_row_handler=skip
                ),
                arrow_csv.ConvertOptions(column_types=types, strings_can_be_null=False),
            )
        except pa.ArrowInvalid as error:
            raise _refused(content, numbers, ends, error) from None
        if table.num_rows + len(ragged) != len(numbers):
            raise InvalidFile("must be CSV", "quotes or line ends that can be read in two ways", row=int(numbers[0]))
        return table, ragged, tuple(problems)


def _is_filled(table: Any) -> NDArray[np.bool_]:
    is_filled = np.zeros(table.num_rows, np.bool_)
    for column in table.columns:
        if is_filled.all():
            break
        is_filled |= np.array(pc.not_equal(pc.utf8_trim_whitespace(column), ""), np.bool_)
    return is_filled


def _invalid(error: DataError) -> InvalidFile:
    rule = f"must be {error.wanted}: {error.fix}" if error.wanted else error.what
    return InvalidFile(rule, f"{error.what.partition(': ')[2]}: {error.got}", row=getattr(error, "line", 0) or None)


def _refused(content: bytes, numbers: NDArray[np.int64], ends: NDArray[np.int64], error: Exception) -> InvalidFile:
    try:
        content.decode()
    except UnicodeDecodeError as fault:
        row = int(numbers[np.searchsorted(ends, fault.start, "right")])
        return InvalidFile(UTF8, f"the byte 0x{content[fault.start]:02x}", row=row)
    return InvalidFile("must be CSV", shown(str(error)))


def _masked(content: bytes, delimiter: bytes) -> bytes:
    """Return records with all that is quoted blotted out; what an open quote begins is cut off."""
    if b'"' not in content:
        return content
    quoted = rb"(?:(?<=[\r\n" + re.escape(delimiter) + rb'])|\A)"[^"]*(?:""[^"]*)*'
    masked = re.sub(quoted + b'"(?=[^"])', lambda match: b"x" * len(match[0]), content)
    opened = re.search(quoted, masked)
    return masked[: opened.start()] if opened else masked
