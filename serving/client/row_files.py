"""`python -m serving predict`: files of rows read a chunk at a time, and a CSV of predictions out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from common.errors import DataError
from common.tables.cleaning import Cleaning
from common.tables.columns import safe_text
from common.tables.csv_file import CsvFile, Fault, ragged, read_rows, undecodable
from common.tables.dialect import Dialect
from common.tables.encoding import PARQUET, open_file, starts_with
from common.text import MISSING_CODE
from serving.client.errors import InvalidRequest, ModelNotFound
from serving.client.rules import Rules
from serving.client.types import DEFAULT_SIGNATURE, NEWEST, Metadata, ModelClient, Outputs, Signature, VersionSpec
from serving.repository.layout import STABLE

CHUNK_ROWS = 1024
_TRUE, _FALSE = ("true", "1"), ("false", "0")
Readers = Mapping[str, Callable[[Any], Any]]


class BadRow(ValueError):
    """A row cannot be predicted. `column` is empty where the row as a whole is wrong."""

    def __init__(self, number: int, column: str, what: str, got: object) -> None:
        self.number, self.column, self.what, self.got = number, column, what, got
        place = f"row {number}, column {column}" if column else f"row {number}"
        super().__init__(f"{place}: {what}, got: {repr(got)[:80]}")


@dataclass(frozen=True)
class Chunk:
    """Some rows as columns, with their numbers in the file, and those that cannot be predicted.

    `read_bytes`: how far into the file they reach.
    """

    numbers: list[int]
    columns: dict[str, list[Any]]
    bad: list[BadRow]
    read_bytes: int


def read_chunks(
    path: Path, signature: Signature, rules: Rules | None = None, chunk_rows: int = CHUNK_ROWS
) -> Iterator[Chunk]:
    """Yield a file's rows, at least one, numbered from 1, with the signature's inputs only.

    Without a version's rules, the usual marks mean missing where a number belongs. Raises DataError if the file cannot
    be read, or lacks a column that must be given.
    """
    reading = Reading.of(signature, rules)
    with open_file(path) as raw:
        unnumbered, reading = _opened(path, raw, reading)
        rows, number = enumerate(unnumbered, start=1), 0
        while taken := list(islice(rows, chunk_rows)):
            chunk = Chunk([], {name: [] for name in reading.readers}, [], raw.tell())
            for number, row in taken:
                try:
                    values = reading.values(number, row)
                except BadRow as bad:
                    chunk.bad.append(bad)
                else:
                    chunk.numbers.append(number)
                    for name, value in values.items():
                        chunk.columns[name].append(value)
            yield chunk
    if not number:
        raise DataError(f"{path} holds no rows", wanted="a row at least", fix="export it again")


@dataclass(frozen=True)
class Reading:
    """How each input's values are read, and held to the version's rules if those are known."""

    readers: Readers
    cleaning: Cleaning
    rules: Rules | None

    @staticmethod
    def of(signature: Signature, rules: Rules | None) -> Reading:
        readers = {name: reader_of(info.dtype) for name, info in signature.inputs.items()}
        return Reading(readers, rules.cleaning if rules else Cleaning(trim=False), rules)

    @property
    def needed(self) -> list[str]:
        """The columns without which nothing can be predicted."""
        return [name for name in self.readers if not (self.rules and self.rules.is_optional(name))]

    def values(self, number: int, row: Mapping[str, Any] | Fault) -> dict[str, Any]:
        """Return a row as the model takes it. Raises BadRow."""
        if isinstance(row, Fault):
            raise BadRow(number, "", row.what, row.got)
        values = {}
        for name, read in self.readers.items():
            if name not in row and name in self.needed:
                raise BadRow(number, name, "a value must be given", None)
            given = row.get(name)
            try:
                value = read(self._cleaned(name, given))
                value = read(None) if value in self.cleaning.null_numbers and value is not True else value
            except (TypeError, ValueError) as error:
                raise BadRow(number, name, str(error), given) from None
            if self.rules and (what := self.rules.broken(name, value)):
                raise BadRow(number, name, what, given)
            values[name] = value
        return values

    def _cleaned(self, name: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if self.readers[name] is not _text:
            return self.cleaning.number(value)
        return self.rules.text(name, value) if self.rules else value


Rows = Iterator[Mapping[str, Any] | Fault]


def _opened(path: Path, raw: BinaryIO, reading: Reading) -> tuple[Rows, Reading]:
    """Return a file's rows, and how its texts are to be read."""
    if path.suffix.lower() == ".json":
        return _json_rows(path, raw), reading
    if starts_with(path, PARQUET):
        return _parquet_rows(path, raw, reading), reading
    file = CsvFile(path)
    dialect = file.dialect.matched(reading.readers)
    _require(path, reading, dialect.names)
    if dialect.has_decimal_commas:
        reading = replace(reading, cleaning=reading.cleaning.with_decimal_commas)
    return _csv_rows(path, file.decoded(raw), dialect, reading), reading


def _csv_rows(path: Path, stream: BinaryIO, dialect: Dialect, reading: Reading) -> Rows:
    for _line, values in read_rows(stream, dialect, str(path), strict=True):
        row = dict(zip(dialect.columns, values, strict=False))
        read = [name for name in reading.readers if name in row]
        yield ragged(values, dialect) or undecodable(read, [row[name] for name in read]) or row


def _parquet_rows(path: Path, raw: BinaryIO, reading: Reading) -> Rows:
    import pyarrow as pa
    from pyarrow import parquet

    from common.tables.columns import as_texts, decoded

    try:
        file = parquet.ParquetFile(raw)
        present = file.schema_arrow.names
        _require(path, reading, present)
        readers = {name: read for name, read in reading.readers.items() if name in present}
        for batch in file.iter_batches(CHUNK_ROWS, columns=[*readers]):
            columns = {name: decoded(batch[name]) for name in readers}
            values = [
                (as_texts(columns[n]) if read is _text else columns[n]).to_pylist() for n, read in readers.items()
            ]
            yield from (dict(zip(readers, row, strict=True)) for row in zip(*values, strict=True))
    except pa.ArrowException as error:
        raise DataError(f"{path} cannot be read as Parquet", got=error, fix="write it again") from None


def _json_rows(path: Path, raw: BinaryIO) -> Rows:
    """Yield a list of objects, bare or as `instances`."""
    try:
        content = json.loads(raw.read())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON", got=error) from None
    rows = content.get("instances") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise DataError(f"{path} holds no list of rows", wanted='[{"column": value, …}, …], bare or as "instances"')
    for row in rows:
        yield row if isinstance(row, dict) else Fault("this is not an object", json.dumps(row), "an object", "")


def _require(path: Path, reading: Reading, present: Collection[str]) -> None:
    if missing := [name for name in reading.needed if name not in present]:
        raise DataError(
            f"{path}: columns are missing",
            got=", ".join(missing),
            wanted=f"the model's {len(reading.readers)} inputs; others are left out",
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
        raise ValueError("this is not text")
    return "" if value is None else str(value)


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or value != value


def _decimal(value: Any) -> float:
    if _is_missing(value):
        return float("nan")
    if _may_be_number(value):
        with suppress(ValueError):
            return float(value)
    raise ValueError("this is not a number")


def _whole(value: Any) -> int:
    """Return a whole number; `7.0` is one: it is what is left of 7 where a column had gaps."""
    if _is_missing(value):
        return MISSING_CODE
    if _may_be_number(value):
        with suppress(ValueError):
            return (
                int(value) if isinstance(value, int) or str(value).strip().lstrip("+-").isdecimal() else _exact(value)
            )
    raise ValueError("this is not a whole number")


def _may_be_number(value: Any) -> bool:
    """Return whether Python may be asked: to it, True is 1, 1_5 is 15, and so are the digits of every script."""
    is_plain = isinstance(value, int | float | str) and not isinstance(value, bool)
    return is_plain and "_" not in (text := str(value)) and text.strip().isascii()


def _exact(value: float | str) -> int:
    if not float(value).is_integer():
        raise ValueError
    return int(float(value))


def _boolean(value: Any) -> bool:
    text = str(value).lower()
    if text not in (*_TRUE, *_FALSE):
        raise ValueError("this is neither true nor false")
    return text in _TRUE


def resolve(client: ModelClient, model: str, version_spec: VersionSpec) -> tuple[VersionSpec, Metadata]:
    """Return the one version that is to answer all rows: the one asked for, else the stable, else the newest."""
    if version_spec == NEWEST:
        try:
            return resolve(client, model, VersionSpec(label=STABLE))
        except ModelNotFound:
            pass  # a server that was not started by us knows no labels
    metadata = client.metadata(model, version_spec)
    return VersionSpec(version=metadata.version), metadata


def predict_file(
    client: ModelClient,
    model: str,
    version_spec: VersionSpec,
    path: Path,
    out: TextIO,
    report: Callable[[Chunk], None],
    *,
    root: Path,
    as_json: bool = False,
) -> tuple[int, int]:
    """Write row number, outputs and version for each row of a file that can be predicted, as CSV or a line of JSON.

    Return how many were and how many were not. How rows are read is told by the version's folder under `root`, if it is
    there. Raises what the client and `read_chunks` raise; rows written by then are right.
    """
    pinned, metadata = resolve(client, model, version_spec)
    if DEFAULT_SIGNATURE not in metadata.signatures:
        raise InvalidRequest(
            f"{model} {metadata.version} has no signature {DEFAULT_SIGNATURE}", wanted=", ".join(metadata.signatures)
        )
    signature = metadata.signatures[DEFAULT_SIGNATURE]
    writer = csv.writer(out, lineterminator="\n")
    rows = bad = 0
    for chunk in read_chunks(path, signature, Rules.of_version(root / model / str(metadata.version))):
        bad += len(chunk.bad)
        report(chunk)
        if not chunk.numbers:
            continue
        table = as_table(client.predict(model, chunk.columns, pinned), signature)
        names = ["row", *table, "version"]
        if not rows and not as_json:
            writer.writerow(map(safe_text, names))
        for number, values in zip(chunk.numbers, zip(*table.values(), strict=True), strict=True):
            row = [number, *values, metadata.version]
            if as_json:
                out.write(json.dumps(dict(zip(names, row, strict=True))) + "\n")
            else:
                writer.writerow(safe_text(value) if isinstance(value, str) else value for value in row)
        rows += len(chunk.numbers)
    return rows, bad


def as_table(outputs: Outputs, signature: Signature) -> dict[str, list[Any]]:
    """Return what is one value a row, float32 in as few digits as tell it apart.

    For our models these are the label and its probability (of the positive class if there are two). A model without
    such outputs has them as JSON.
    """
    single = {name: values for name, values in sorted(outputs.items()) if not isinstance(values[0], list)}
    if "label" in single and "probability" not in single and "probabilities" in outputs:
        single["probability"] = [max(row) for row in outputs["probabilities"]]
    if not single:
        return {name: [json.dumps(value) for value in values] for name, values in sorted(outputs.items())}
    types = {name: info.dtype for name, info in signature.outputs.items()}
    return {
        name: [float(str(np.float32(value))) for value in values]
        if types.get(name, "DT_FLOAT") == "DT_FLOAT"
        else values
        for name, values in single.items()
    }
