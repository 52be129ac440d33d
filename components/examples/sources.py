"""Find data files and stream them block by block: CSV, Parquet, and TFRecord of tf.Example."""

from __future__ import annotations

import glob
import gzip
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from common.errors import DataError
from common.tables.columns import FLOAT32_LIMIT, Dtype, dtype_of
from common.tables.csv_file import CsvFile, Fault
from common.tables.encoding import GZIP, PARQUET, starts_with
from components.examples.blocks import (
    BadValues,
    Block,
    ReadRequest,
    Source,
    check_names,
    check_same_names,
    to_common,
    value_fault,
    widest,
)
from components.examples.images import ImageSource

BLOCK_BYTES = 2**20  # bounds memory: Arrow reads up to 32 blocks ahead
_PLAIN = {"int": re.compile(r"-?\d{1,18}"), "float": re.compile(r"-?\d{1,30}(\.\d+)?")}
_log = logging.getLogger(__name__)
BATCH_ROWS = 8192
_WHOLE_FOLDER = {"csv": "*.csv", "parquet": "*.parquet", "tfrecord": "*", "images": "*"}
_WILD = "*?[{"


def base_and_pattern(source: Path, data_format: str) -> tuple[Path, str]:
    """Split an absolute path into TFX's input base (an existing folder or what comes before wildcards) and pattern."""
    if source.is_dir():
        return Path(glob.escape(str(source))), _WHOLE_FOLDER[data_format]
    if source.exists():  # then brackets and stars are letters of its name
        return Path(glob.escape(str(source.parent))), glob.escape(source.name)
    parts = source.parts
    wild = next((i for i, part in enumerate(parts) if any(c in part for c in _WILD)), len(parts) - 1)
    wild = min(wild, len(parts) - 1)
    return Path(*parts[:wild]), str(Path(*parts[wild:]))


def open_source(files: Sequence[Path], pattern: str, request: ReadRequest) -> Source:
    """Return the reader for files. Raises DataError if there are none or their columns are wrong."""
    if request.format == "images" and files:
        return ImageSource(files[0].parent, request)
    data_files = sorted(file for file in files if file.is_file() and not file.name.startswith((".", "_")))
    if not data_files:
        raise DataError(
            "there are no examples to read",
            got=f"no file matches {pattern}",
            fix="correct data.source (relative to the YAML file)",
        )
    kinds: dict[str, Callable[[Sequence[Path], ReadRequest], Source]]
    kinds = {"csv": CsvSource, "parquet": ParquetSource, "tfrecord": TfRecordSource}
    return kinds[request.format](data_files, request)


class CsvSource:
    """CSV files with a header each, the same columns in any order."""

    def __init__(self, files: Sequence[Path], request: ReadRequest) -> None:
        self._request = request
        self._files = [_open(file, request) for file in files]
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
            for batch in self._read(file, list(dtypes)):
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
            for batch in self._read(file, sorted(open_columns)):
                for name in open_columns:
                    inferred[name] = self._request.cleaning.narrowest(batch.column(name), inferred[name])
        return {name: self._request.known_dtype(name) or widest([inferred[name]]) for name in names}

    def _read(self, file: CsvFile, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield columns as the texts that stand there: what they mean is the settings' business, not Arrow's."""
        types = dict.fromkeys(names, pa.string())
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
            raise self._explain(file, dict.fromkeys(names, "string"), error) from None

    def _explain(self, file: CsvFile, dtypes: Mapping[str, Dtype], error: Exception) -> DataError:
        unnamed = frozenset() if "" in self._request.ignore else file.dialect.unnamed
        return file.explain(error, dtypes, partial(_value_fault, dtypes, unnamed, self._request))


def _open(file: Path, request: ReadRequest) -> CsvFile:
    if starts_with(file, PARQUET):
        raise DataError(f"{file} is a Parquet file", wanted="CSV", fix="set data.format: parquet")
    csv_file = CsvFile(file, request.delimiter)
    if request.trim:
        csv_file.dialect = csv_file.dialect.trimmed(request.names)
    return csv_file


def _value_fault(
    dtypes: Mapping[str, Dtype], unnamed: frozenset[str], request: ReadRequest, row: dict[str, str]
) -> Fault | None:
    for column, value in row.items():
        if column in unnamed and value and value not in request.null_values:
            return Fault(
                f"{column.strip('()')} holds a value",
                repr(value),
                "a name in the header, or nothing in the column",
                "name it (and list it in data.ignore), or export without an index column",
            )
        if column in dtypes and not _fits(value, dtypes[column], request):
            return value_fault(column, dtypes[column], value)
    return None


def _fits(value: str, dtype: Dtype, request: ReadRequest) -> bool:
    if dtype == "string" or _PLAIN[dtype].fullmatch(value):
        return True
    try:
        number = request.cleaning.typed(pa.array([value]), dtype)[0].as_py()
    except pa.ArrowInvalid:
        return False
    return number is None or not abs(number) >= FLOAT32_LIMIT  # NaN is a missing value and fits


class _NumberedRows:
    """Files whose rows have numbers, not lines."""

    def places(self, file: Path, rows: Sequence[int]) -> list[str]:
        """Return file and row number (from 1)."""
        return [f"{file} row {row + 1}" for row in rows]

    def _block(
        self, batch: pa.RecordBatch, dtypes: dict[str, Dtype], request: ReadRequest, file: Path, row: int
    ) -> Block:
        try:
            return Block(to_common(batch, dtypes, request), file, row)
        except BadValues as error:
            places = self.places(file, [row + r for r in error.rows] or [row])
            raise value_fault(error.column, error.dtype, error.value).at(places) from None


class ParquetSource(_NumberedRows):
    def __init__(self, files: Sequence[Path], request: ReadRequest) -> None:
        self._request = request
        self._files = {file: _open_parquet(file) for file in files}
        names: dict[Path, frozenset[str]] = {}
        for file, parquet in self._files.items():
            check_names(parquet.schema_arrow.names, file, request)
            names[file] = frozenset(parquet.schema_arrow.names) - set(request.ignore)
        check_same_names(names)
        self._names = [name for name in next(iter(self._files.values())).schema_arrow.names if name in names[files[0]]]

    def blocks(self) -> Iterator[Block]:
        """Read all rows."""
        schemas = [parquet.schema_arrow for parquet in self._files.values()]
        dtypes = {
            name: self._request.known_dtype(name) or widest(dtype_of(name, s.field(name).type) for s in schemas)
            for name in self._names
        }
        for file, parquet in self._files.items():
            row = 0
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=self._names):
                yield self._block(batch, dtypes, self._request, file, row)
                row += batch.num_rows

    def independent_count(self) -> int | None:
        """Return the number of rows that the files' footers state."""
        return sum(parquet.metadata.num_rows for parquet in self._files.values())


class TfRecordSource(_NumberedRows):
    """TFRecord files of tf.Example, gzipped or not; one value a feature at most."""

    def __init__(self, files: Sequence[Path], request: ReadRequest) -> None:
        self._files, self._request = files, request

    def blocks(self) -> Iterator[Block]:
        """Read all rows. A column that is missing in all rows of a block is not in the block."""
        from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

        decoder = ExamplesToRecordBatchDecoder()
        for file in self._files:
            row = 0
            for serialized in _serialized(file):
                try:
                    decoded = decoder.DecodeBatch(serialized)
                except (RuntimeError, ValueError) as error:
                    raise DataError(
                        f"{file} rows {row + 1} to {row + len(serialized)}: not all are tf.Examples",
                        got=str(error),
                        wanted="serialized tf.train.Example protos",
                    ) from None
                if row == 0:
                    check_names(decoded.schema.names, file, self._request)
                batch = self._scalars(decoded, file, row)
                dtypes = {
                    name: self._request.known_dtype(name) or widest([dtype_of(name, column.type)])
                    for name, column in zip(batch.schema.names, batch.columns, strict=True)
                }
                yield self._block(batch, dtypes, self._request, file, row)
                row += batch.num_rows

    def independent_count(self) -> int | None:
        """Count the records by their lengths. TensorFlow takes some cut files for whole ones."""
        return sum(_count_records(file) for file in self._files)

    def _scalars(self, batch: pa.RecordBatch, file: Path, row: int) -> pa.RecordBatch:
        columns: dict[str, Any] = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name in self._request.ignore:
                continue
            columns[name], too_long = _scalar_column(column)
            if too_long is not None:
                raise DataError(
                    f"{self.places(file, [row + too_long])[0]}: feature {name!r} holds several values",
                    wanted="one value a row",
                    fix="flatten it before, or name it in data.ignore",
                )
        needed = self._request.texts | ({self._request.time} if self._request.time else set())
        for name in needed - set(columns):
            columns[name] = pa.nulls(batch.num_rows, pa.string())
        return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _open_parquet(file: Path) -> Any:
    try:
        return pa.parquet.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is not Parquet", got=str(error), fix="check data.format") from None


def _serialized(file: Path) -> Iterator[list[bytes]]:
    import tensorflow as tf

    compression = "GZIP" if starts_with(file, GZIP) else ""
    records = tf.data.TFRecordDataset(str(file), compression_type=compression).batch(BATCH_ROWS)
    try:
        for batch in records.as_numpy_iterator():
            yield batch.tolist()
    except tf.errors.OpError as error:
        raise _not_whole(file, error.message) from None


def _count_records(file: Path) -> int:
    """Count records: eight bytes of length, four of checksum, the data, four of checksum."""
    count = 0
    with gzip.open(file) if starts_with(file, GZIP) else file.open("rb") as raw:
        try:
            while head := raw.read(12):
                rest = int.from_bytes(head[:8], "little") + 4
                if len(head) < 12 or len(raw.read(rest)) < rest:
                    raise _not_whole(file, f"it breaks off after {count} records")
                count += 1
        except (EOFError, gzip.BadGzipFile) as error:
            raise _not_whole(file, str(error)) from None
    return count


def _not_whole(file: Path, got: str) -> DataError:
    return DataError(f"{file} is not a whole TFRecord file", got=got, fix="write it again, or check data.format")


def _scalar_column(column: Any) -> tuple[Any, int | None]:
    """Turn lists of at most one value into values or nulls; else return the index of the first longer one."""
    if pa.types.is_null(column.type):
        return column, None
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    if lengths.max(initial=0) > 1:
        return None, int(np.argmax(lengths > 1))
    indices = pa.array(np.cumsum(lengths) - 1, pa.int64(), mask=lengths == 0)
    return pc.list_flatten(column).take(indices), None
