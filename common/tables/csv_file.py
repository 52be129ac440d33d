"""A CSV file: Arrow reads it, and after a failure its lines are looked at one by one for what is wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from common.errors import DataError
from common.tables.dialect import HEAD_BYTES, Dialect, find_dialect
from common.tables.encoding import UnreadableTable, open_file, stream_of, utf8_stream
from common.tables.workbook import ZIP, csv_pieces

if TYPE_CHECKING:
    from pyarrow import csv as arrow_csv

LISTED = 5  # so many faulty rows are named


@dataclass(frozen=True)
class Fault:
    """What is wrong with one row, or with several in the same way."""

    what: str
    got: str
    wanted: str
    fix: str

    def at(self, places: Sequence[str]) -> DataError:
        """Return the error that names the places, `file:line` each."""
        also = f" (and: {', '.join(places[1:])})" if len(places) > 1 else ""
        return DataError(f"{places[0]}{also}: {self.what}", got=self.got, wanted=self.wanted, fix=self.fix)


class CsvFile:
    """One file, CSV or a workbook, and its dialect. Raises UnreadableTable if it has no header that can be read."""

    def __init__(self, path: Path, delimiter: str | None = None) -> None:
        self.path = path
        with self.open() as stream:
            self.dialect = find_dialect(stream.read(HEAD_BYTES), str(path), delimiter)
        header = self.dialect.names
        if fault := undecodable(header, header):
            raise fault.at([f"{path}:{self.dialect.line}"])

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Give the file's CSV in UTF-8, a workbook's first sheet as such. Raises DataError."""
        with open_file(self.path) as raw:
            yield self.decoded(raw)

    def decoded(self, raw: BinaryIO) -> BinaryIO:
        """Return what `open` gives, from the file as somebody opened it."""
        is_workbook = raw.read(len(ZIP)) == ZIP
        raw.seek(0)
        return stream_of(csv_pieces(self.path)) if is_workbook else utf8_stream(raw, str(self.path))

    def arrow_options(self) -> tuple[arrow_csv.ReadOptions, arrow_csv.ParseOptions]:
        """Return how Arrow is to read what `open` returns; the columns are the dialect's."""
        from pyarrow import csv as arrow_csv

        # the header is skipped by the parser, which knows about quoted line breaks in it
        names, before = self.dialect.columns, self.dialect.line - 1
        reading = arrow_csv.ReadOptions(column_names=names, skip_rows=before, skip_rows_after_names=1)
        return reading, arrow_csv.ParseOptions(delimiter=self.dialect.delimiter, newlines_in_values=True)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the line where each row begins, and its values."""
        with self.open() as stream:
            yield from read_rows(stream, self.dialect, str(self.path))

    def lines_of(self, rows: Collection[int]) -> list[str]:
        """Return `file:line` for rows counted from 0 after the header."""
        last = max(rows)
        places = []
        for row, (line, _) in enumerate(self.rows()):
            if row in rows:
                places.append(f"{self.path}:{line}")
            if row == last:
                break
        return places

    def explain(
        self,
        error: Exception,
        columns: Collection[str],
        more: Callable[[dict[str, str]], Fault | None] = lambda row: None,
    ) -> DataError:
        """Return what is wrong with a file that Arrow refused, with the lines of the first faults of one kind.

        Only values of `columns` are looked at; `more` says what else may be wrong with a row.
        """
        faults: dict[str, tuple[Fault, list[str]]] = {}
        try:
            for line, values in self.rows():
                row = dict(zip(self.dialect.columns, values, strict=False))
                fault = ragged(values, self.dialect) or undecodable(columns, [row[c] for c in columns]) or more(row)
                if fault:
                    _, places = faults.setdefault(fault.what, (fault, []))
                    places.append(f"{self.path}:{line}")
                    if len(places) == LISTED:
                        break
        except DataError as unreadable:
            if not faults:
                return unreadable
        if faults:
            fault, places = next(iter(faults.values()))
            return fault.at(places)
        fix = "look for quotes that are never closed"
        return DataError(f"{self.path} cannot be read as CSV", got=error, wanted="rows as the header has them", fix=fix)


def read_rows(
    stream: BinaryIO, dialect: Dialect, file: str, *, strict: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Yield the line (from 1) where each row after the header begins, and its values; blank lines are left out.

    Bytes that are not UTF-8 come as lone surrogates. Raises UnreadableTable for a quote that is never closed, and if
    it is `strict` for letters behind a closed one.
    """
    text = io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="")
    for _ in range(dialect.line - 1):
        text.readline()
    reader = csv.reader(text, delimiter=dialect.delimiter, strict=strict)
    line = dialect.line
    try:
        next(reader)
        line += reader.line_num
        for values in reader:
            if values:
                yield line, values
            line = dialect.line + reader.line_num
    except csv.Error as error:
        raise UnreadableTable(
            file,
            line,
            "the record that begins here cannot be read",
            got=error,
            wanted="CSV",
            fix="close the quote that is left open, remove the stray character, or shorten a text of more than 128 kB",
        ) from None


def ragged(values: Sequence[Any], dialect: Dialect) -> Fault | None:
    """Return what is wrong with a row that has not as many values as the header."""
    if len(values) == len(dialect.names):
        return None
    return Fault(
        "the row has another number of columns than the header",
        f"{len(values)} values",
        f"{len(dialect.names)}",
        "complete or correct the line; text that holds the delimiter must be quoted",
    )


def undecodable(columns: Collection[str], values: Sequence[str]) -> Fault | None:
    """Return what is wrong with the first text that holds bytes outside UTF-8, as lone surrogates."""
    if "".join(values).isascii():
        return None
    for column, value in zip(columns, values, strict=True):
        byte = next((ord(letter) - 0xDC00 for letter in value if "\udc80" <= letter <= "\udcff"), None)
        if byte is not None:
            shown = column.encode("ascii", "backslashreplace").decode()
            return Fault(
                f"column {shown!r} is not UTF-8 text",
                f"byte 0x{byte:02x} in {value.encode('utf-8', 'surrogateescape')!r}",
                "UTF-8 text",
                "from Windows? iconv -f WINDOWS-1252 -t UTF-8, or save it as CSV UTF-8",
            )
    return None
