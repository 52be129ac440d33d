"""Read the Examples artifact's rows back, in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import tensorflow as tf
from tfx.types import artifact_utils
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from components.data_gate.blocks import Block, flat

BATCH_ROWS = 8192


def split_files(examples: Any) -> dict[str, list[str]]:
    """Return the TFRecord files of each split of an Examples artifact."""
    names = artifact_utils.decode_split_names(examples.split_names)
    folders = {name: artifact_utils.get_split_uri([examples], name) for name in names}
    return {name: sorted(tf.io.gfile.glob(f"{folder}/*")) for name, folder in folders.items()}


def read_blocks(files: Mapping[str, Sequence[str]]) -> Iterator[Block]:
    """Read all rows in a fixed order. No schema is imposed: columns have the types they were written with."""
    decoder = ExamplesToRecordBatchDecoder()
    for split, paths in files.items():
        first_row = 0
        records = tf.data.TFRecordDataset(list(paths), compression_type="GZIP").batch(BATCH_ROWS).prefetch(1)
        for serialized in records.as_numpy_iterator():
            lists = decoder.DecodeBatch(serialized.tolist())
            columns = [flat(column) for column in lists.columns]
            yield Block(split, first_row, pa.RecordBatch.from_arrays(columns, lists.schema.names))
            first_row += len(serialized)
