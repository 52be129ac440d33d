"""Look at CSV as text: its header, and after a failure the lines at fault. Slow and exact; Arrow does the reading."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc

from common.errors import DataError
from components.examples.columns import ARROW_TYPES, FLOAT32_LIMIT, LISTED, and_more, value_fault
from components.examples.request import Dtype, ReadRequest

_PLAIN = {"int": re.compile(r"-?\d{1,18}"), "float": re.compile(r"-?\d{1,30}(\.\d+)?")}
_OTHER_DELIMITERS = {",": "','", ";": "';'", "\t": '"\\t"', "|": "'|'"}
_FOREIGN = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


@dataclass(frozen=True)
class Header:
    """Column names, as in the file; `unnamed` ones got a placeholder and must be empty."""

    names: tuple[str, ...]
    unnamed: frozenset[str]
    blank_lines: int  # before the header


def open_binary(file: Path) -> IO[bytes]:
    """Open a file, decompressed if its name ends in .gz."""
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")  # type: ignore[return-value]


def records(file: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line (from 1) where each record begins, and its values; blank lines are none.

    Bytes that are not UTF-8 come as lone surrogates. Raises DataError for a quote that is never closed.
    """
    with open_binary(file) as raw, io.TextIOWrapper(raw, "utf-8-sig", "surrogateescape", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter)
        line = 1
        try:
            for values in reader:
                if values:
                    yield line, values
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{file}:{line}: the record that begins here cannot be read",
                got=str(error),
                fix="close the quote that is left open, or remove the stray character",
            ) from None


def read_header(file: Path, delimiter: str) -> Header:
    """Read the column names. Raises DataError for an empty file, another encoding, or a wrong delimiter."""
    with open_binary(file) as raw:
        start = raw.read(4)
    for mark, name in _FOREIGN.items():
        if start.startswith(mark):
            raise DataError(
                f"{file}:1: the file is {name}, not UTF-8",
                got=f"byte order mark {mark.hex(' ')}",
                fix=f"iconv -f {name} -t UTF-8 {file.name} > utf8.csv",
            )
    walk = records(file, delimiter)
    line, names = next(walk, (0, []))
    if not names:
        raise DataError(
            f"{file}:1: the file is empty",
            wanted="a header line and rows",
            fix="export it again, or correct data.source",
        )
    if fault := _undecodable(names, names):
        raise _encoding_fault([f"{file}:{line}"], *fault)
    if len(names) == 1:
        _check_delimiter(file, line, names[0], delimiter)
    _, first_row = next(walk, (0, names))
    if not names[-1] and len(first_row) == len(names) - 1:
        names = names[:-1]  # Kaggle's way: the header ends in a delimiter, the rows do not
    shown = tuple(name or f"(unnamed column {number})" for number, name in enumerate(names, 1))
    return Header(shown, frozenset(s for s, name in zip(shown, names, strict=True) if not name), line - 1)


def lines_of(file: Path, delimiter: str, rows: Sequence[int]) -> list[str]:
    """Return `file:line` for rows counted from 0 after the header."""
    wanted = set(rows)
    walk = enumerate(records(file, delimiter), -1)
    last = max(wanted)
    found = []
    for row, (line, _) in walk:
        if row in wanted:
            found.append(f"{file}:{line}")
        if row == last:
            break
    return found


def explain(file: Path, header: Header, dtypes: dict[str, Dtype], request: ReadRequest, error: Exception) -> DataError:
    """Return what is wrong with a file that Arrow refused, with the lines of the first faults of one kind."""
    faults: dict[tuple[str, str], tuple[str, list[str]]] = {}  # kind and column: first value, places
    unreadable: DataError | None = None
    try:
        for line, values in rows_of(file, request.delimiter):
            if not (fault := _fault(values, header, dtypes, request)):
                continue
            _, places = faults.setdefault(fault[:2], (fault[2], []))
            places.append(f"{file}:{line}")
            if len(places) == LISTED:
                break
    except DataError as stopped:
        unreadable = stopped
    if faults:
        (kind, subject), (value, places) = next(iter(faults.items()))
        return _told(kind, subject, value, places, header)
    return unreadable or DataError(
        f"{file} cannot be read as CSV", got=str(error), fix="look for quotes that are never closed"
    )


def rows_of(file: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line and values of each row."""
    walk = records(file, delimiter)
    next(walk)
    return walk


def _fault(
    values: list[str], header: Header, dtypes: dict[str, Dtype], request: ReadRequest
) -> tuple[str, str, str] | None:
    """Return kind, column and value of a row's first fault."""
    if len(values) != len(header.names):
        return "ragged", "", str(len(values))
    kept = [(name, value) for name, value in zip(header.names, values, strict=True) if name in dtypes]
    if undecodable := _undecodable([name for name, _ in kept], [value for _, value in kept]):
        return "encoding", *undecodable
    for name, value in zip(header.names, values, strict=True):
        if name in header.unnamed:
            if "" not in request.ignore and value not in request.null_values and value:
                return "unnamed", name, value
        elif name in dtypes and not _fits(value, dtypes[name], request.null_values):
            return dtypes[name], name, value
    return None


def _fits(value: str, dtype: Dtype, missing: Sequence[str]) -> bool:
    if dtype == "string" or _PLAIN[dtype].fullmatch(value) or value in missing:
        return True
    try:
        number = pc.cast(pa.array([value.strip(" \t")]), ARROW_TYPES[dtype])[0].as_py()
    except pa.ArrowInvalid:
        return False
    return not abs(number) >= FLOAT32_LIMIT  # NaN is a missing value and fits


def _told(kind: str, subject: str, value: str, places: Sequence[str], header: Header) -> DataError:
    if kind == "ragged":
        return DataError(
            f"{and_more(places)}: the row has another number of columns than the header",
            got=f"{value} values",
            wanted=f"{len(header.names)}",
            fix="quote values that hold the delimiter; complete or remove the row",
        )
    if kind == "encoding":
        return _encoding_fault(places, subject, value)
    if kind == "unnamed":
        return DataError(
            f"{and_more(places)}: {subject.strip('()')} holds a value",
            got=repr(value),
            wanted="a name in the header, or nothing in the column",
            fix="name it (and list it in data.ignore), or export without an index column",
        )
    return value_fault(places, subject, kind, value)


def _undecodable(names: Sequence[str], values: Sequence[str]) -> tuple[str, str] | None:
    """Return the column and value of the first text that holds bytes outside UTF-8."""
    if "".join(values).isascii():
        return None
    named = zip(names, values, strict=True)
    return next(((n, v) for n, v in named if any("\udc80" <= c <= "\udcff" for c in v)), None)


def _encoding_fault(places: Sequence[str], column: str, value: str) -> DataError:
    raw = value.encode("utf-8", "surrogateescape")
    byte = next(ord(c) - 0xDC00 for c in value if "\udc80" <= c <= "\udcff")
    shown = column.encode("ascii", "backslashreplace").decode()
    return DataError(
        f"{and_more(places)}: column {shown!r} is not UTF-8",
        got=f"byte 0x{byte:02x} in {raw!r}",
        fix="iconv -f WINDOWS-1252 -t UTF-8 (or whatever wrote it) and try again",
    )


def _check_delimiter(file: Path, line: int, header: str, delimiter: str) -> None:
    counts = {other: header.count(other) for other in _OTHER_DELIMITERS if other != delimiter}
    best = max(counts, key=lambda other: counts[other])
    if counts[best]:
        raise DataError(
            f"{file}:{line}: the delimiter is another than {delimiter!r}",
            got=f"one column {header[:80]!r}",
            wanted=f"{counts[best] + 1} columns split by {best!r}",
            fix=f"set data.delimiter: {_OTHER_DELIMITERS[best]}",
        )
