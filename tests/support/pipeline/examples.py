"""Splits of Examples, written row by row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

LISTS = {int: "int64_list", float: "float_list", str: "bytes_list"}


def write_split(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    import tensorflow as tf

    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001.gz"), "GZIP") as writer:
        for row in rows:
            example = tf.train.Example()
            for name, value in row.items():
                kind = LISTS[type(value)]
                bare = value.encode() if isinstance(value, str) else value
                getattr(example.features.feature[name], kind).value.append(bare)
            writer.write(example.SerializeToString())
