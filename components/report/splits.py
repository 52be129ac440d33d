"""Read the splits again: as tables for the plain models, and scored by the exported model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.evaluation.baselines import Table
from components.report.curves import Scored
from config.schema import Feature
from serving.repository.layout import EXAMPLES_SIGNATURE
from serving.server.core.servable import Servable

BATCH = 4096
NO_INTEGER = -(2**63)  # stands for a missing integer; TF's parser has no other way


class SplitTables:
    """Parse an Examples artifact's splits into tables of raw values."""

    def __init__(self, examples: Path, features: Sequence[Feature], label: str, classes: Sequence[str]) -> None:
        self._examples, self._label = examples, label
        self._numbers = [f for f in features if f.kind == "numeric"]
        self._texts = [f for f in features if f.kind == "categorical"]
        self._spec = {f.name: _column(f) for f in features} | {label: tf.io.FixedLenFeature([], tf.string, "")}
        self._index = {name.encode(): i for i, name in enumerate(classes)}

    def read(self, split: str, rows: int, most: int) -> Table:
        """Return a split's rows, evenly thinned to at most `most` of its `rows`."""
        every = max(1, -(-rows // most))
        parts = [self._table(batch) for batch in self._batches(split, every)]
        if not parts:
            return Table(
                np.zeros((0, len(self._numbers))), np.zeros((0, len(self._texts)), object), np.zeros(0, np.int64)
            )
        return Table(*(np.concatenate(columns) for columns in zip(*map(_unpack, parts), strict=True)))

    def score(self, split: str, model: Path) -> Scored:
        """Return what the exported model, loaded as the model server loads it, says of a split's rows."""
        servable = Servable.load(model)
        spec = {self._label: self._spec[self._label]}
        true, decided, probabilities = [], [], []
        for batch in self._batches(split, 1):
            outputs = servable.run(EXAMPLES_SIGNATURE, {"examples": batch})
            true.append(self._classes(tf.io.parse_example(batch, spec)[self._label].numpy()))
            decided.append(self._classes(outputs["label"]))
            probabilities.append(outputs["probabilities"])
        servable.close()
        if not true:
            return Scored(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, len(self._index)), np.float32))
        return Scored(np.concatenate(true), np.concatenate(decided), np.concatenate(probabilities))

    def _batches(self, split: str, every: int) -> Iterator[NDArray[Any]]:
        files = sorted(str(path) for path in (self._examples / f"Split-{split}").glob("*"))
        if files:
            records = tf.data.TFRecordDataset(files, compression_type="GZIP")
            yield from records.shard(every, 0).batch(BATCH).as_numpy_iterator()

    def _table(self, batch: NDArray[Any]) -> Table:
        parsed = {name: values.numpy() for name, values in tf.io.parse_example(batch, self._spec).items()}
        numbers = np.zeros((len(batch), len(self._numbers)))
        for i, feature in enumerate(self._numbers):
            values = parsed[feature.name]
            numbers[:, i] = np.where(values == NO_INTEGER, np.nan, values) if feature.dtype == "int" else values
        texts = np.zeros((len(batch), len(self._texts)), object)
        for i, feature in enumerate(self._texts):
            texts[:, i] = [
                v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in parsed[feature.name]
            ]
        return Table(numbers, texts, self._classes(parsed[self._label]))

    def _classes(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        return np.array([self._index[name] for name in labels], np.int64)


def saved_widths(model: Path) -> tuple[int, ...]:
    """Return the width of each dense layer as the saved kernels have it."""
    kernels = {}
    for name, shape in tf.train.list_variables(str(model / "variables" / "variables")):
        parts = name.split("/")
        if parts[0] == "network_variables" and len(shape) == 2:
            kernels[int(parts[1])] = int(shape[1])
    return tuple(kernels[i] for i in sorted(kernels))


def _column(feature: Feature) -> tf.io.FixedLenFeature:
    if feature.dtype == "string":
        return tf.io.FixedLenFeature([], tf.string, "")
    if feature.dtype == "int":
        return tf.io.FixedLenFeature([], tf.int64, NO_INTEGER)
    return tf.io.FixedLenFeature([], tf.float32, float("nan"))


def _unpack(table: Table) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    return table.numbers, table.texts, table.classes
