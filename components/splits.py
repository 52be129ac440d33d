"""What TFX's artifacts hold of each split: rows, as records or as tables of raw values, statistics and anomalies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0 import anomalies_pb2

from common.tables.dates import Order
from common.text import MISSING_CODE
from components.features.derived import derive
from components.features.transform import DATE_PARTS, date_parts
from components.names import TEST_FROM
from components.table import Table
from components.tasks import Task, task_of
from config.data_settings import IMAGE_HISTOGRAM, IMAGE_STATISTICS
from config.schema import Feature, group_column, model_features, read_schema
from config.settings import Settings
from serving.repository.contents import FILE_NAME as STATISTICS_FILE
from serving.repository.contents import Statistics, parse_statistics

COLOURS = 64  # of a colour histogram
SPLITS = ("train", "eval", "test")
BATCH, BATCH_PICTURES = 4096, 64
FIRST_ROWS = 10_000  # that a few rows are chosen from


def written_rows(examples: Any) -> dict[str, int]:
    """Return the rows of each split as ExampleGen counted them. `examples`: the artifact."""
    return {split: examples.get_int_custom_property(f"rows_{split}") for split in SPLITS}


def split_files(examples: str | Path, split: str) -> list[str]:
    """Return the files of one split. `examples`: the artifact's URI."""
    return sorted(tf.io.gfile.glob(f"{examples}/Split-{split}/*"))


def examples_of(files: Sequence[str]) -> Path:
    """Return the folder of an Examples artifact, given any split's files."""
    return Path(files[0]).parent.parent if files else Path()


def test_begins(files: Sequence[str]) -> float | None:
    """Return when the test split begins, given any split's files; None where rows were not dealt by time."""
    place = examples_of(files) / TEST_FROM
    return float(place.read_text(encoding="utf-8")) if place.is_file() else None


def read_statistics(uri: str | Path, split: str) -> Statistics:
    """Return what StatisticsGen saw of a split, nothing if it left nothing."""
    return parse_statistics(_split_bytes(f"{uri}/Split-{split}/{STATISTICS_FILE}"))


def read_anomalies(uri: str | Path, split: str) -> anomalies_pb2.Anomalies:
    """Return what ExampleValidator found in a split, nothing if it left nothing."""
    return anomalies_pb2.Anomalies.FromString(_split_bytes(f"{uri}/Split-{split}/SchemaDiff.pb"))


def _split_bytes(path: str) -> bytes:
    if not tf.io.gfile.exists(path):
        return b""
    with tf.io.gfile.GFile(path, "rb") as file:
        return bytes(file.read())


def records(files: Sequence[str]) -> Any:
    """Return a tf.data.Dataset of the serialized tf.Examples in some files, always in the same order."""
    return tf.data.TFRecordDataset(tf.constant(sorted(files), tf.string), compression_type="GZIP")


def some_rows(files: Sequence[str], rows: int) -> list[bytes]:
    """Return up to `rows` serialized tf.Examples, evenly spread over the first ten thousand."""
    first = list(records(files).take(FIRST_ROWS).as_numpy_iterator())
    if len(first) <= rows:
        return first
    return [first[i] for i in np.linspace(0, len(first) - 1, rows).round().astype(int)]


class SplitTables:
    """Parse an Examples artifact's splits into tables of raw values.

    The parts of dates and derived features stand behind the other numbers, so that plain models read them, too.
    """

    def __init__(
        self,
        examples: str | Path,
        features: Sequence[Feature],
        label: str,
        task: Task,
        group: Feature | None = None,
        dates: Mapping[str, Order] = MappingProxyType({}),
        derived: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.features, self.task = features, task
        self._examples, self._label, self._group = examples, label, group
        self._batch_rows = BATCH
        self._numbers = [f for f in features if f.kind == "numeric"]
        self._texts = [f for f in features if f.kind == "categorical"]
        self._dates, self._derived = dates, derived
        self._spec = {f.name: _column(f) for f in features} | {label: task.label_column}
        if group:
            self._spec[group.name] = _column(group)

    @staticmethod
    def of(examples: str | Path, schema: str | Path, settings: Settings) -> SplitTables:
        """Return the tables of what the model reads. `examples`, `schema`: the artifacts' URIs."""
        known = read_schema(Path(schema) / "schema.pbtxt")
        if settings.data.is_images:
            return ImageTables(examples, group_column(known, settings), settings)
        features, group, data = model_features(known, settings), group_column(known, settings), settings.data
        return SplitTables(examples, features, data.label, task_of(data), group, settings.dates, settings.derived)

    def read(self, split: str, rows: int, most: int) -> Table:
        """Return a split's rows, evenly thinned to at most `most` of its `rows`."""
        every = max(1, -(-rows // most))
        parts = [self.table_of(batch) for batch in self._serialized(split, every)]
        return Table.joined(parts, self._width, len(self._texts))

    @property
    def _width(self) -> int:
        return len(self._numbers) + DATE_PARTS * len(self._dates) + len(self._derived)

    def batches(self, split: str, every: int = 1) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Yield serialized rows and their targets, of each `every` rows the first."""
        spec = {self._label: self._spec[self._label]}
        for batch in self._serialized(split, every):
            yield batch, self.task.targets(tf.io.parse_example(batch, spec)[self._label].numpy())

    def groups(self, batch: NDArray[Any]) -> NDArray[Any] | None:
        """Return the value of each serialized row in the column whose rows stay together, if there is one."""
        if self._group is None:
            return None
        return tf.io.parse_example(batch, {self._group.name: _column(self._group)})[self._group.name].numpy()

    def _serialized(self, split: str, every: int) -> Iterator[NDArray[Any]]:
        rows = records(split_files(self._examples, split)).shard(every, 0)
        yield from rows.batch(self._batch_rows).as_numpy_iterator()

    def table_of(self, batch: Sequence[bytes] | NDArray[Any]) -> Table:
        """Return the table of some serialized rows."""
        parsed = {name: values.numpy() for name, values in tf.io.parse_example(batch, self._spec).items()}
        numbers = [_numbers(parsed[feature.name], feature) for feature in self._numbers]
        by_name = {feature.name: feature for feature in self.features}
        derived = derive(self._derived, lambda n: _numbers(parsed[n], by_name[n]), lambda n: parsed[n])
        dates = [
            part for name, order in sorted(self._dates.items()) for part in date_parts(_as_text(parsed[name]), order)
        ]
        columns = [*numbers, *(values.numpy() for values in (*dates, *derived.values()))]
        texts = np.zeros((len(batch), len(self._texts)), object)
        for i, feature in enumerate(self._texts):
            texts[:, i] = [
                v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in parsed[feature.name]
            ]
        groups = parsed[self._group.name] if self._group else None
        stacked = np.stack(columns, axis=1) if columns else np.zeros((len(batch), 0))
        return Table(stacked, texts, self.task.targets(parsed[self._label]), groups)


class ImageTables(SplitTables):
    """Pictures as tables of simple statistics, with the shares of 64 colours behind them: what plain models read."""

    def __init__(self, examples: str | Path, group: Feature | None, settings: Settings) -> None:
        statistics = [Feature(name, "numeric", "float", required=True) for name in IMAGE_STATISTICS]
        super().__init__(examples, statistics, settings.data.label, task_of(settings.data), group)
        self._batch_rows = BATCH_PICTURES

    @property
    def _width(self) -> int:
        return len(self._numbers) + COLOURS

    def table_of(self, batch: Sequence[bytes] | NDArray[Any]) -> Table:
        table = super().table_of(batch)
        colours = tf.io.parse_example(batch, {IMAGE_HISTOGRAM: tf.io.FixedLenFeature([COLOURS], tf.float32)})
        return replace(table, numbers=np.concatenate([table.numbers, colours[IMAGE_HISTOGRAM].numpy()], axis=1))


def _numbers(values: NDArray[Any], feature: Feature) -> NDArray[np.float64]:
    """Return `[rows] float64`, NaN where missing."""
    numbers = values.astype(np.float64)
    return np.where(values == MISSING_CODE, np.nan, numbers) if feature.dtype == "int" else numbers


def _as_text(values: NDArray[Any]) -> tf.Tensor:
    return tf.constant(values) if values.dtype == object else tf.as_string(values)


def _column(feature: Feature) -> tf.io.FixedLenFeature:
    if feature.dtype == "string":
        return tf.io.FixedLenFeature([], tf.string, "")
    if feature.dtype == "int":
        return tf.io.FixedLenFeature([], tf.int64, MISSING_CODE)
    return tf.io.FixedLenFeature([], tf.float32, float("nan"))
