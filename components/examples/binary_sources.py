"""Stream Parquet files, and TFRecord files of tf.Example, which name their columns' types themselves."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from common.errors import DataError
from common.tables.dtypes import Dtype, dtype_of
from common.tables.encoding import GZIP, starts_with
from components.examples.blocks import BadValues, Block, check_names, check_same_names, to_common, value_fault, widest
from components.examples.request import ReadRequest

BATCH_ROWS = 8192


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
    """Parquet files with the same columns in any order."""

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
        for name in self._request.texts - set(columns):
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
