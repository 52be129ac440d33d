"""The rows of an Examples artifact as flat Arrow columns, some at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BATCH_ROWS = 8192


@dataclass(frozen=True)
class Block:
    """Some consecutive rows of a split: one value or null a row and column. `first_row` counts from 0."""

    split: str
    first_row: int
    batch: pa.RecordBatch

    def column(self, name: str) -> Any:
        """Return a column; one that no row of the block has is all null."""
        index = self.batch.schema.get_field_index(name)
        return self.batch.column(index) if index >= 0 else pa.nulls(self.batch.num_rows)


def read_blocks(files: Mapping[str, Sequence[str]]) -> Iterator[Block]:
    """Read all rows of each split's files in a fixed order. Columns have the types they were written with."""
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder  # the checks do without TensorFlow

    from components.splits import records

    decoder = ExamplesToRecordBatchDecoder()
    for split, paths in files.items():
        first_row = 0
        for serialized in records(paths).batch(BATCH_ROWS).prefetch(1).as_numpy_iterator():
            lists = decoder.DecodeBatch(serialized.tolist())
            columns = [flat(column) for column in lists.columns]
            yield Block(split, first_row, pa.RecordBatch.from_arrays(columns, lists.schema.names))
            first_row += len(serialized)


def flat(lists: Any) -> Any:
    """Return one value a row: int64, float32 or text; an empty list is null, several values become one text."""
    if pa.types.is_null(lists.type):
        return lists
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    values = _as_text(lists.flatten()) if pa.types.is_large_binary(lists.type.value_type) else lists.flatten()
    if lengths.max(initial=0) > 1:
        return pa.array([str(row) if row else None for row in lists.to_pylist()], pa.string())
    if len(values) == len(lists):
        return values
    return values.take(pa.array(np.cumsum(lengths) - 1, mask=lengths == 0))


def _as_text(values: Any) -> Any:
    try:
        return values.cast(pa.large_string()).cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([value.decode(errors="backslashreplace") for value in values.to_pylist()], pa.string())
