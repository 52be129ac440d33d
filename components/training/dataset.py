"""Read examples for training: parsed, transformed, from memory when they fit and streamed when not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.features.transform import TransformGraph
from components.splits import records
from components.tasks import Task

READ_BATCH = 1024
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Split:
    """One split: what is to be known of its targets, and its transformed values if they fit in memory."""

    described: Any  # by the task: its rows, and how the targets lie
    features: Arrays | None
    targets: NDArray[Any] | None  # class indices, or numbers
    stream: Any  # tf.data.Dataset of ({name: [batch, …]}, [batch])

    @property
    def rows(self) -> int:
        return int(self.described.rows)


class SplitReader:
    """Parse tf.Examples and put them through the fitted transform graph."""

    def __init__(self, transform_output: Any, label: str, task: Task, batch: int = READ_BATCH) -> None:
        self._transform = TransformGraph(transform_output)
        self._spec = transform_output.raw_feature_spec()
        self._label, self._task, self._batch = label, task, batch

    def read(self, files: Sequence[str], limit_mb: int) -> Split:
        """Read a split's gzipped TFRecords; beyond the limit only look at the targets and leave the stream.

        Raises DataError if a row has no known label.
        """
        stream = self._stream(files)
        kept: list[Arrays] = []
        targets: list[NDArray[Any]] = []
        size_bytes = 0
        for features, batch_targets in stream.as_numpy_iterator():
            targets.append(batch_targets)
            size_bytes += sum(values.nbytes for values in features.values())
            if size_bytes <= limit_mb * 2**20:
                kept.append(features)
            else:
                kept.clear()
        everything = np.concatenate(targets) if targets else np.zeros(0, np.int64)
        described = self._task.describe(everything)
        if not kept:
            return Split(described, None, None, stream)
        together = {key: np.concatenate([features[key] for features in kept]) for key in kept[0]}
        return Split(described, together, everything, stream)

    def transform(self, serialized: Sequence[bytes]) -> Arrays:
        """Return the transformed values of a few serialized tf.Examples."""
        features, _ = self._parse(tf.constant(list(serialized)))
        return {key: value.numpy() for key, value in features.items()}

    def _stream(self, files: Sequence[str]) -> Any:
        return records(files).batch(self._batch).map(self._parse, num_parallel_calls=2, deterministic=True).prefetch(2)

    @tf.autograph.experimental.do_not_convert
    def _parse(self, serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        raw = tf.io.parse_example(serialized, self._spec)
        label = raw.pop(self._label)
        if isinstance(label, tf.SparseTensor):
            missing = self._task.label_column.default_value
            shape = [label.dense_shape[0], 1]
            label = tf.sparse.to_dense(tf.SparseTensor(label.indices, label.values, shape), missing)
        return self._transform(raw), self._task.parse(tf.reshape(label, [-1]))
