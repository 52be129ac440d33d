from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.tasks.classification import Classification
from config.schema import Feature

pytestmark = pytest.mark.slow  # importing TensorFlow takes seconds

FEATURES = (
    Feature("age", "numeric", "int", False),
    Feature("radius", "numeric", "float", False),
    Feature("stain", "categorical", "string", False),
    Feature("site", "categorical", "int", False),
)
ROWS: list[dict[str, Any]] = [
    {"age": 41, "radius": 1.5, "stain": "blue", "site": 7, "y": "B"},
    {"radius": 2.5, "stain": "grün", "y": "M"},
    {"age": -3, "site": 8, "y": "M"},
]


@pytest.fixture
def tables(tmp_path: Path) -> Any:
    import tensorflow as tf

    from components.splits import SplitTables

    def feature(value: Any) -> Any:
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        if isinstance(value, float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))

    folder = tmp_path / "Split-train"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001.gz"), "GZIP") as writer:
        for row in ROWS:
            features = tf.train.Features(feature={key: feature(value) for key, value in row.items()})
            writer.write(tf.train.Example(features=features).SerializeToString())
    return SplitTables(tmp_path, FEATURES, "y", Classification(("B", "M"), 1))


def test_values_come_back_and_missing_ones_are_told_apart(tables: Any) -> None:
    read = tables.read("train", rows=3, most=10)
    np.testing.assert_array_equal(read.numbers, [[41, 1.5], [np.nan, 2.5], [-3, np.nan]])
    assert read.texts[:, 0].tolist() == ["blue", "grün", ""]
    assert read.texts[0, 1] == "7"
    assert read.targets.tolist() == [0, 1, 1]


def test_large_split_is_thinned_evenly(tables: Any) -> None:
    assert tables.read("train", rows=3, most=2).targets.tolist() == [0, 1]  # every second row


def test_split_without_files_has_no_rows(tables: Any) -> None:
    read = tables.read("test", rows=0, most=10)
    assert (read.numbers.shape, read.texts.shape, read.targets.shape) == ((0, 2), (0, 2), (0,))


def test_a_few_rows_are_spread_over_the_split(pipeline_run: Any) -> None:
    from components.splits import some_rows

    files = pipeline_run.split("test")
    everything = some_rows(files, 10_000)
    few = some_rows(files, 5)
    assert [few[0], few[-1]] == [everything[0], everything[-1]]
    assert len({*few}) == 5
    assert some_rows(files, len(everything)) == everything


@pytest.mark.slow
def test_the_parts_of_dates_stand_behind_the_numbers(tmp_path: Path) -> None:
    """Plain models read a date as a text of its own otherwise, and are no match where dates matter."""
    from components.splits import SplitTables
    from tests.support.pipeline.tiny import tiny_settings, tiny_table, write_examples, write_schema

    rows = tiny_table(3) | {"colour": ["2026-11-30", "", "1969-12-31"]}
    write_examples(tmp_path / "examples", rows, 3)
    write_schema(tmp_path / "schema")
    settings = tiny_settings().model_copy(update={"dates": {"colour": "ymd"}})
    numbers = SplitTables.of(tmp_path / "examples", tmp_path / "schema", settings).read("test", 3, 3).numbers
    np.testing.assert_array_equal(numbers[[0, 2], -4:], [[2026, 11, 0, 20787], [1969, 12, 2, -1]])
    assert np.isnan(numbers[1, -4:]).all()
