from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from components.data_gate.checks.anomalies import not_finite
from components.data_gate.checks.losses_overlaps import row_losses, row_overlaps
from components.data_gate.scan import Columns, flat, read_blocks, scan_rows
from config.data_settings import SplitSettings

ROWS = 20_000


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        (pa.array([[1], None, [], [2]], pa.large_list(pa.int64())), [1, None, None, 2]),
        (pa.array([[1, 2], None], pa.large_list(pa.int64())), ["[1, 2]", None]),
        (pa.array([[b"\xff"], [b"a"]], pa.large_list(pa.large_binary())), ["\\xff", "a"]),
        (pa.nulls(2), [None, None]),
    ],
    ids=["missing", "several-values", "not-utf-8", "nothing"],
)
def test_lists_become_values(lists, expected):
    assert flat(lists).to_pylist() == expected


def example(**values) -> bytes:
    import tensorflow as tf

    kinds = {int: "int64_list", float: "float_list", bytes: "bytes_list"}
    features = {}
    for name, value in values.items():
        feature = tf.train.Feature()
        getattr(feature, kinds[type(value)]).value.append(value)
        features[name] = feature
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.fixture
def write(tmp_path):
    import tensorflow as tf

    def _write(split: str, *examples: bytes) -> list[str]:
        file = str(tmp_path / f"{split}.gz")
        with tf.io.TFRecordWriter(file, tf.io.TFRecordOptions("GZIP")) as writer:
            for one in examples:
                writer.write(one)
        return [file]

    return _write


@pytest.mark.slow
def test_rows_come_back_as_one_value_a_column(write):
    files = {"train": write("train", example(a=1, b=2.5, c=b"x"), example(a=2, c="ä".encode()), example(b=0.5))}
    (block,) = read_blocks(files)
    assert (block.split, block.first_row) == ("train", 0)
    assert {name: block.column(name).to_pylist() for name in "abcd"} == {
        "a": [1, 2, None],
        "b": [2.5, None, 0.5],
        "c": ["x", "ä", None],
        "d": [None, None, None],
    }


@pytest.mark.slow
def test_a_copy_across_splits_is_found_on_disk(write):
    row = example(a=1.5, c=b"x", y=b"0")
    files = {"train": write("train", example(a=0.5, y=b"1"), row), "test": write("test", row)}
    scan = scan_rows(read_blocks(files), Columns(label="y"), ["a", "c"], {"train": 2, "test": 1}, seed=0)
    assert [s.kind for s in row_overlaps(scan.content, ["a", "c"], SplitSettings())] == ["SPLIT_OVERLAP"]


@pytest.mark.slow
def test_an_empty_split_has_no_blocks(write):
    assert [*read_blocks({"eval": write("eval"), "test": []})] == []


def test_a_large_split_is_sampled_the_same_way_each_time(make_scan):
    data = {"train": {"a": np.arange(ROWS) * 1.0, "y": ["0"] * ROWS}, "test": {"a": [1.0], "y": ["0"]}}
    first, second = (make_scan(data, sample_rows=1000) for _ in range(2))
    assert first.sample["a"].equals(second.sample["a"])
    assert 850 < first.sampled_rows < 1150
    assert first.rows == {"train": ROWS, "test": 1}
    # all of it, not its beginning
    assert 0.4 < np.mean(first.sample["a"].to_numpy() / ROWS) < 0.6


def test_a_small_split_is_looked_at_whole(make_scan):
    result = make_scan({"train": {"a": [1.0, None], "y": ["0", "1"]}})
    assert result.sampled_rows == 2
    assert result.sample["a"].to_pylist() == [1.0, None]


def test_a_column_that_changes_its_type_between_batches_is_taken_as_text(make_block):
    blocks = [make_block("train", {"a": values, "y": ["0"]}, row) for row, values in enumerate([[1], ["x"], [None]])]
    result = scan_rows(blocks, Columns(label="y"), ["a"], {"train": 3}, seed=0)
    assert result.sample["a"].to_pylist() == ["1", "x", None]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")], ids=str)
def test_nan_and_infinity_are_counted_and_found(make_block, make_scan, value):
    data = {"a": [1.0, value, None], "b": [1.0, 2.0, 3.0], "y": ["0", "1", "0"]}
    (found,) = not_finite(make_scan({"train": data}).not_finite)
    assert (found.kind, found.feature) == ("NOT_FINITE", "a")
    assert found.where(make_block("train", data)).tolist() == [False, True, False]


def test_missing_is_not_infinite(make_scan):
    assert not_finite(make_scan({"train": {"a": [1.0, None], "y": ["0", "1"]}}).not_finite) == []


GOOD = {"rows_in": 30, "rows_train": 20, "rows_test": 10}


@pytest.mark.parametrize(
    ("written", "statistics", "read", "lost"),
    [
        (GOOD, {"train": 20, "test": 10}, {"train": 20, "test": 10}, []),
        ({}, {"train": 20, "test": 10}, {"train": 20, "test": 10}, []),
        (GOOD, {"train": 19, "test": 10}, {"train": 20, "test": 10}, ["in train"]),
        (GOOD, {"train": 20}, {"train": 20, "test": 10}, ["in test"]),
        (GOOD, {"train": 20, "test": 9}, {"train": 20, "test": 9}, ["in test", "in all splits"]),
        ({**GOOD, "rows_in": 31}, {"train": 20, "test": 10}, {"train": 20, "test": 10}, ["in all splits"]),
    ],
    ids=["equal", "uncounted", "lost-by-statistics", "split-without-statistics", "lost-on-disk", "lost-by-examplegen"],
)
def test_rows_are_reconciled(written, statistics, read, lost):
    found = row_losses(written, statistics, read)
    assert {s.kind for s in found} == ({"ROW_LOSS"} if lost else set())
    assert len(found) == len(lost)
    assert all(place in s.text for place, s in zip(lost, found, strict=True))
