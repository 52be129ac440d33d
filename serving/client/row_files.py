"""Rows from a CSV or JSON file, in chunks, as the columns that a signature takes. Errors name row and column."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from common.errors import DataError
from common.text import MISSING_CODE
from serving.client.types import Signature

CHUNK_ROWS = 1024
_TRUE, _FALSE = ("true", "1"), ("false", "0")


@dataclass(frozen=True)
class Chunk:
    """Some rows as columns. `first` is the number of the first; `read_bytes` how far into the file they reach."""

    first: int
    columns: dict[str, list[Any]]
    read_bytes: int

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def read_chunks(path: Path, signature: Signature, chunk_rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """Yield a file's rows, at least one, numbered from 1, with the signature's inputs only.

    Raises DataError with file, row and column: a column is missing, or a value does not fit its input's type.
    """
    readers = {name: reader_of(info.dtype) for name, info in signature.inputs.items()}
    try:
        with path.open("rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
            rows = _json_rows(path, file) if path.suffix.lower() == ".json" else _csv_rows(path, file, readers)
            first = 1
            while taken := list(islice(rows, chunk_rows)):
                yield Chunk(first, _columns(path, first, taken, readers), raw.tell())
                first += len(taken)
    except OSError as error:
        raise DataError(f"cannot read {path}", got=error.strerror, wanted="rows as .csv or .json") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text", got=error, fix="save it as UTF-8") from None
    if first == 1:
        raise DataError(f"{path} holds no rows")


def _csv_rows(path: Path, file: TextIO, needed: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    reader = csv.reader(file, strict=True)
    try:
        header = next(reader, [])
        _require(path, needed, header)
        for row in reader:
            if row and len(row) != len(header):
                raise DataError(
                    f"{path}:{reader.line_num}: the row has another number of columns than the header",
                    got=f"{len(row)} columns",
                    wanted=f"{len(header)}",
                    fix="correct the line; text that holds a comma must be quoted",
                )
            if row:
                yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: this is no CSV", got=error) from None


def _json_rows(path: Path, file: TextIO) -> Iterator[Mapping[str, Any]]:
    """Yield a list of objects, bare or as `instances`."""
    try:
        found = json.load(file)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON", got=error) from None
    rows = found.get("instances") if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise DataError(f"{path} holds no list of rows", wanted='[{"column": value, …}, …], bare or as "instances"')
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: row {number} is no object", got=json.dumps(row)[:80])
        yield row


def _columns(
    path: Path, first: int, rows: list[Mapping[str, Any]], readers: Mapping[str, Callable[[Any], Any]]
) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in readers}
    for number, row in enumerate(rows, start=first):
        if not row.keys() >= readers.keys():
            _require(path, readers, row, where=f": row {number}")
        for name, read in readers.items():
            try:
                columns[name].append(read(row[name]))
            except (TypeError, ValueError) as error:
                raise DataError(f"{path}: row {number}, column {name}: {error}", got=repr(row[name])[:80]) from None
    return columns


def _require(path: Path, needed: Mapping[str, Any], there: Any, where: str = "") -> None:
    missing = [name for name in needed if name not in there]
    if missing:
        raise DataError(
            f"{path}{where}: columns are missing",
            got=", ".join(missing),
            wanted=f"the model's {len(needed)} inputs; others are left out",
        )


def reader_of(dtype: str) -> Callable[[Any], Any]:
    """Return how a value of an input's type is read; empty text and null mean: missing. It raises ValueError."""
    if dtype == "DT_STRING":
        return _text
    if dtype == "DT_BOOL":
        return _boolean
    return _decimal if dtype in ("DT_FLOAT", "DT_DOUBLE", "DT_HALF") else _whole


def _text(value: Any) -> str:
    if isinstance(value, list | dict):
        raise ValueError("this is no text")
    return "" if value is None else str(value)


def _decimal(value: Any) -> float:
    if value is None or value == "":
        return float("nan")
    if _may_be_number(value):
        with suppress(ValueError):
            return float(value)
    raise ValueError("this is no number")


def _whole(value: Any) -> int:
    """Return a whole number; `7.0` is one: it is what is left of 7 where a column had gaps."""
    if value is None or value == "":
        return MISSING_CODE
    if _may_be_number(value):
        with suppress(ValueError):
            return (
                int(value) if isinstance(value, int) or str(value).strip().lstrip("+-").isdecimal() else _exact(value)
            )
    raise ValueError("this is no whole number")


def _may_be_number(value: Any) -> bool:
    """Return whether Python may be asked: to it, True is 1 and 1_5 is 15."""
    return isinstance(value, int | float | str) and not isinstance(value, bool) and "_" not in str(value)


def _exact(value: float | str) -> int:
    if not float(value).is_integer():
        raise ValueError
    return int(float(value))


def _boolean(value: Any) -> bool:
    text = str(value).lower()
    if text not in (*_TRUE, *_FALSE):
        raise ValueError("this is neither true nor false")
    return text in _TRUE
