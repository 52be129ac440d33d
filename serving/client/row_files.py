"""`python -m serving predict`: files of rows read a chunk at a time, and a CSV of predictions out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from common.errors import DataError
from common.tables.columns import safe_text
from common.tables.csv_file import CsvFile, ragged, read_rows, undecodable
from common.tables.encoding import PARQUET, open_file, starts_with, utf8_stream
from common.text import MISSING_CODE, NULL_TEXTS, with_point
from serving.client.errors import InvalidRequest, ModelNotFound
from serving.client.types import DEFAULT_SIGNATURE, NEWEST, Metadata, ModelClient, Outputs, Signature, VersionSpec
from serving.repository.layout import STABLE, TRAINING

CHUNK_ROWS = 1024
_TRUE, _FALSE = ("true", "1"), ("false", "0")
Readers = Mapping[str, Callable[[Any], Any]]


@dataclass(frozen=True)
class Chunk:
    """Some rows as columns. `first` is the number of the first; `read_bytes` how far into the file they reach."""

    first: int
    columns: dict[str, list[Any]]
    read_bytes: int

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def read_chunks(
    path: Path, signature: Signature, chunk_rows: int = CHUNK_ROWS, null_texts: Collection[str] | None = None
) -> Iterator[Chunk]:
    """Yield a file's rows, at least one, numbered from 1, with the signature's inputs only.

    `null_texts` mean: missing; without them the usual ones do where a number belongs. Raises DataError with file, row
    and column: a column is missing, or a value does not fit its input's type.
    """
    readers = {name: reader_of(info.dtype) for name, info in signature.inputs.items()}
    usual = {name: () if read is _text else NULL_TEXTS for name, read in readers.items()}
    nulls = usual if null_texts is None else dict.fromkeys(readers, null_texts)
    with open_file(path) as raw:
        rows = _rows(path, raw, readers)
        first = 1
        while chunk := list(islice(rows, chunk_rows)):
            yield Chunk(first, _columns(path, first, chunk, readers, nulls), raw.tell())
            first += len(chunk)
    if first == 1:
        raise DataError(f"{path} holds no rows", wanted="a row at least", fix="export it again")


def _rows(path: Path, raw: BinaryIO, readers: Readers) -> Iterator[Mapping[str, Any]]:
    if path.suffix.lower() == ".json":
        return _json_rows(path, raw)
    return _parquet_rows(path, raw, readers) if starts_with(path, PARQUET) else _csv_rows(path, raw, readers)


def _csv_rows(path: Path, raw: BinaryIO, readers: Readers) -> Iterator[Mapping[str, Any]]:
    dialect = CsvFile(path).dialect.matched(readers)
    _require(path, readers, dialect.names)
    numbers = [name for name, read in readers.items() if read is not _text] if dialect.has_decimal_commas else []
    for line, values in read_rows(utf8_stream(raw, str(path)), dialect, str(path), strict=True):
        row = dict(zip(dialect.columns, values, strict=False))
        if fault := ragged(values, dialect) or undecodable(readers, [row[name] for name in readers]):
            raise fault.at([f"{path}:{line}"])
        for name in numbers:
            row[name] = with_point(row[name])
        yield row


def _parquet_rows(path: Path, raw: BinaryIO, readers: Readers) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    from pyarrow import parquet

    from common.tables.columns import as_texts, decoded

    try:
        file = parquet.ParquetFile(raw)
        _require(path, readers, file.schema_arrow.names)
        for batch in file.iter_batches(CHUNK_ROWS, columns=[*readers]):
            columns = {name: decoded(batch[name]) for name in readers}
            values = [
                (as_texts(columns[n]) if read is _text else columns[n]).to_pylist() for n, read in readers.items()
            ]
            yield from (dict(zip(readers, row, strict=True)) for row in zip(*values, strict=True))
    except pa.ArrowException as error:
        raise DataError(f"{path} cannot be read as Parquet", got=error, fix="write it again") from None


def _json_rows(path: Path, raw: BinaryIO) -> Iterator[Mapping[str, Any]]:
    """Yield a list of objects, bare or as `instances`."""
    try:
        content = json.loads(raw.read())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON", got=error) from None
    rows = content.get("instances") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise DataError(f"{path} holds no list of rows", wanted='[{"column": value, …}, …], bare or as "instances"')
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: row {number} is not an object", got=json.dumps(row)[:80])
        yield row


def _columns(
    path: Path, first: int, rows: list[Mapping[str, Any]], readers: Readers, nulls: Mapping[str, Collection[str]]
) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in readers}
    for number, row in enumerate(rows, start=first):
        if not row.keys() >= readers.keys():
            _require(path, readers, row, where=f": row {number}")
        for name, read in readers.items():
            value = row[name]
            try:
                columns[name].append(read(None if isinstance(value, str) and value in nulls[name] else value))
            except (TypeError, ValueError) as error:
                raise DataError(f"{path}: row {number}, column {name}: {error}", got=repr(value)[:80]) from None
    return columns


def _require(path: Path, needed: Readers, present: Collection[str], where: str = "") -> None:
    if missing := [name for name in needed if name not in present]:
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
) -> int:
    """Write row number, outputs and version for every row of a file, as CSV or as a line of JSON each; return how many.

    What means missing is read from the version's folder under `root`, if it is there. Raises what the client and
    `read_chunks` raise; rows written by then are right.
    """
    pinned, metadata = resolve(client, model, version_spec)
    if DEFAULT_SIGNATURE not in metadata.signatures:
        raise InvalidRequest(
            f"{model} {metadata.version} has no signature {DEFAULT_SIGNATURE}", wanted=", ".join(metadata.signatures)
        )
    signature = metadata.signatures[DEFAULT_SIGNATURE]
    writer = csv.writer(out, lineterminator="\n")
    rows = 0
    for chunk in read_chunks(path, signature, null_texts=trained_null_texts(root / model / str(metadata.version))):
        table = as_table(client.predict(model, chunk.columns, pinned), signature)
        names = ["row", *table, "version"]
        if not rows and not as_json:
            writer.writerow(map(safe_text, names))
        for number, values in enumerate(zip(*table.values(), strict=True), start=chunk.first):
            row = [number, *values, metadata.version]
            if as_json:
                out.write(json.dumps(dict(zip(names, row, strict=True))) + "\n")
            else:
                writer.writerow(safe_text(value) if isinstance(value, str) else value for value in row)
        rows += len(chunk)
        report(chunk)
    return rows


def trained_null_texts(folder: Path) -> frozenset[str] | None:
    """Return the texts that meant missing in the training data of a version; None where that is not known."""
    try:
        training = json.loads((folder / TRAINING).read_text(encoding="utf-8"))
        return frozenset(training["settings"]["data"]["null_values"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


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
