"""Read examples for training: parsed, transformed, from memory when they fit and streamed when not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from common.errors import DataError
from components.features.transform import TransformGraph
from components.splits import records

READ_BATCH = 1024
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Split:
    """One split: its rows counted by class, and its transformed values if they fit in memory."""

    class_counts: tuple[int, ...]
    features: Arrays | None
    labels: NDArray[np.int64] | None
    stream: Any  # tf.data.Dataset of ({name: [batch, …]}, [batch] int64)

    @property
    def rows(self) -> int:
        return sum(self.class_counts)


class SplitReader:
    """Parse tf.Examples and put them through the fitted transform graph."""

    def __init__(self, transform_output: Any, label: str, classes: Sequence[str], batch: int = READ_BATCH) -> None:
        self._transform = TransformGraph(transform_output)
        self._spec = transform_output.raw_feature_spec()
        self._label = label
        initializer = tf.lookup.KeyValueTensorInitializer(
            tf.constant(list(classes)), tf.range(len(classes), dtype=tf.int64)
        )
        self._class_index = tf.lookup.StaticHashTable(initializer, default_value=-1)
        self._classes, self._batch = tuple(classes), batch

    def read(self, files: Sequence[str], limit_mb: int) -> Split:
        """Read a split's gzipped TFRecords; beyond the limit only count and leave the stream.

        Raises DataError if a row has no known label.
        """
        stream = self._stream(files)
        kept: list[tuple[Arrays, NDArray[np.int64]]] = []
        counts = np.zeros(len(self._classes), np.int64)
        size_bytes = 0
        for features, labels in stream.as_numpy_iterator():
            if labels.min(initial=0) < 0:
                raise DataError("a row has no known label", wanted=f"one of {list(self._classes)} in {self._label!r}")
            counts += np.bincount(labels, minlength=len(counts))
            size_bytes += sum(values.nbytes for values in features.values())
            if size_bytes <= limit_mb * 2**20:
                kept.append((features, labels))
            else:
                kept.clear()
        class_counts = tuple(int(count) for count in counts)
        if not kept:
            return Split(class_counts, None, None, stream)
        together = {key: np.concatenate([features[key] for features, _ in kept]) for key in kept[0][0]}
        return Split(class_counts, together, np.concatenate([labels for _, labels in kept]), stream)

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
            label = tf.sparse.to_dense(tf.SparseTensor(label.indices, label.values, [label.dense_shape[0], 1]), "")
        return self._transform(raw), self._class_index.lookup(tf.reshape(label, [-1]))
