"""Take an uploaded CSV apart block by block: whole records, numbered as a spreadsheet does, the header being row 1."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import csv as arrow_csv

from webapp.predict.rules import shown
from webapp.predict.validation import InvalidInput
from webapp.types import Problem

BLOCK_BYTES = 1 << 20
MAX_RECORD_BYTES = 4 << 20
MAX_COLUMNS = 10_000
DELIMITERS = ",;\t|"
BOM = b"\xef\xbb\xbf"
UTF8 = "must be UTF-8 text: save the file as CSV UTF-8"


class InvalidFile(InvalidInput):
    """An uploaded file cannot be read as a whole."""

    def __init__(self, rule: str, got: str, *, field: str = "", row: int | None = None) -> None:
        super().__init__([Problem(field, rule, got, "", row)], "the file cannot be read")


class TooLarge(InvalidFile):
    """A file goes beyond what may be uploaded."""

    http_status = 413


@dataclass(frozen=True)
class Block:
    """Some rows of the file as texts. Rows that have not as many values as the header are told in `ragged`."""

    table: Any  # pyarrow.Table of strings
    numbers: Sequence[int]  # of the table's rows, in the file
    ragged: tuple[Problem, ...]
    end_bytes: int  # how far into the file it reaches


class CsvBlocks:
    """A CSV that is read once, from a stream of at most `max_bytes`. Iterate over it for its blocks.

    Raises TooLarge; InvalidFile if it is no UTF-8, has no header, or the same column twice.
    """

    def __init__(self, stream: BinaryIO, max_bytes: int) -> None:
        self._stream, self._max_bytes, self._read_bytes = stream, max_bytes, 0
        rest = self._more().removeprefix(BOM)
        while rest.lstrip(b"\r\n").find(b"\n") < 0 and (more := self._more()):
            rest += more
            _check_length(rest, 1)
        self._rest = rest.lstrip(b"\r\n")
        self._row = 1 + rest[: len(rest) - len(self._rest)].count(b"\n")  # of the first record in the rest
        self.delimiter, self.header = _header(self._rest)

    def __iter__(self) -> Iterator[Block]:
        is_first = True
        while self._rest:
            more = self._more()
            end = _end_of_records(self._rest, self.delimiter.encode()) if more else len(self._rest)
            content, self._rest = self._rest[:end], self._rest[end:]
            _check_length(self._rest, self._row)
            if content:
                yield self._parsed(content, self._read_bytes - len(self._rest) - len(more), is_first)
                is_first = False
            self._rest += more

    def _more(self) -> bytes:
        piece = self._stream.read(BLOCK_BYTES)
        self._read_bytes += len(piece)
        if self._read_bytes > self._max_bytes:
            raise TooLarge(f"must not be larger than {self._max_bytes} bytes", "more")
        return piece

    def _parsed(self, content: bytes, end_bytes: int, is_first: bool) -> Block:
        odd: list[Any] = []

        def skip(row: Any) -> str:
            odd.append(row)
            return "skip"

        try:
            table = arrow_csv.read_csv(
                io.BytesIO(content),
                arrow_csv.ReadOptions(use_threads=False, column_names=self.header, block_size=len(content) + 1),
                arrow_csv.ParseOptions(
                    delimiter=self.delimiter,
                    newlines_in_values=True,
                    ignore_empty_lines=False,
                    invalid_row_handler=skip,
                ),
                arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(self.header, pa.string()), strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            raise _refused(content, self._row, error) from None
        taken = {row.number for row in odd}
        numbers = [self._row + n for n in range(table.num_rows + len(odd)) if n + 1 not in taken]
        ragged = tuple(
            Problem(
                "",
                f"must have {row.expected_columns} values, as the header has",
                _ragged(row),
                "",
                self._row + row.number - 1,
            )
            for row in odd
        )
        self._row += len(numbers) + len(odd)
        first = 1 if is_first else 0  # row of the table; the header is left out
        return Block(table.slice(first), numbers[first:], ragged, end_bytes)


def _ragged(row: Any) -> str:
    return f"{row.actual_columns}: {shown(row.text)}"


def _check_length(record: bytes, row: int) -> None:
    if len(record) > MAX_RECORD_BYTES:
        raise InvalidFile(f"must be shorter than {MAX_RECORD_BYTES} bytes", "more; is a quote not closed?", row=row)


def _refused(content: bytes, first: int, error: Exception) -> InvalidFile:
    try:
        content.decode()
    except UnicodeDecodeError as found:
        row = first + content.count(b"\n", 0, found.start)
        return InvalidFile(UTF8, f"the byte 0x{content[found.start]:02x}", row=row)
    return InvalidFile("must be CSV", shown(str(error)))


def _end_of_records(content: bytes, delimiter: bytes) -> int:
    """Return where the last whole record ends; 0: there is none yet."""
    if b'"' in content:
        quoted = rb"(?:(?<=[\r\n" + re.escape(delimiter) + rb'])|\A)"[^"]*(?:""[^"]*)*'
        content = re.sub(quoted + b'"(?=[^"])', lambda found: b"x" * len(found[0]), content)
        opened = re.search(quoted, content)
        content = content[: opened.start()] if opened else content
    return content.rfind(b"\n") + 1


def _header(content: bytes) -> tuple[str, list[str]]:
    """Return delimiter and column names."""
    text = content.decode("utf-8", "replace")
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    try:
        names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    except csv.Error as error:
        raise InvalidFile("must have a header with the names of the columns", shown(str(error)), row=1) from None
    if not any(map(str.strip, names)):
        raise InvalidFile("must have a header with the names of the columns", "none")
    if "\ufffd" in "".join(names):
        raise InvalidFile(UTF8, "other bytes", row=1)
    if len(names) > MAX_COLUMNS:
        raise InvalidFile(f"must have at most {MAX_COLUMNS} columns", str(len(names)), row=1)
    names = [name.strip() or f"column {number}" for number, name in enumerate(names, start=1)]
    for name, count in Counter(names).items():
        if count > 1:
            raise InvalidFile("must stand in the header once", f"{count} times", field=shown(name), row=1)
    return delimiter, names
