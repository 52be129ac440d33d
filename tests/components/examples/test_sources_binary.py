"""Parquet and TFRecord give the rows that CSV gives, and stop where they cannot."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from common.errors import DataError
from components.examples.blocks import ReadRequest, Source, count_labels
from components.examples.sources import open_source

MakeRequest = Callable[..., ReadRequest]
Rows = Callable[[Source], dict[str, list[Any]]]


@pytest.fixture
def parquet(tmp_path: Path, make_request: MakeRequest) -> Callable[..., Source]:
    """Write columns to a Parquet file and open it."""

    def make(columns: dict[str, Any], /, **changes: Any) -> Source:
        file = tmp_path / "data.parquet"
        pa.parquet.write_table(pa.table(columns), file)
        return open_source([file], str(file), make_request(format="parquet", **changes))

    return make


def test_parquet_reads_as_csv(parquet: Callable[..., Source], csv_source: Callable[..., Source], rows: Rows) -> None:
    columns = {"x": [0.1, None], "n": [3, -4], "t": ["u", "NA"], "y": ["a", "b"]}
    source = parquet(columns)
    assert rows(source) == rows(csv_source("x,n,t,y\n0.1,3,u,a\n,-4,NA,b\n"))
    assert source.independent_count() == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(np.array([1, 2], np.uint8), [1, 2], id="uint8"),
        pytest.param(np.array([1.0, np.nan]), [1.0, None], id="nan"),
        pytest.param(pa.array(["u", None]).dictionary_encode(), ["u", None], id="category"),
        pytest.param([True, None], ["true", None], id="bool"),
        pytest.param([datetime.date(2020, 1, 2), None], ["2020-01-02", None], id="date"),
        pytest.param(pa.array([Decimal("1.5"), Decimal("2.25")]), [1.5, 2.25], id="decimal"),
        pytest.param(pa.nulls(2), [None, None], id="nulls"),
    ],
)
def test_parquet_types(parquet: Callable[..., Source], rows: Rows, values: Any, expected: list[Any]) -> None:
    read = rows(parquet({"v": values, "y": ["a", "b"]}))["v"]
    assert read == expected
    assert [type(value) for value in read] == [type(value) for value in expected]


@pytest.mark.parametrize(
    "labels",
    [[0, 1], [0.0, 1.0], ["0", "1"], pa.array([0, 1]).dictionary_encode()],
    ids=["int", "float", "text", "codes"],
)
def test_labels_become_class_texts(parquet: Callable[..., Source], rows: Rows, labels: Any) -> None:
    assert rows(parquet({"x": [1, 2], "y": labels}, classes=("0", "1")))["y"] == ["0", "1"]


@pytest.mark.parametrize(
    ("columns", "changes", "told"),
    [
        pytest.param({"v": [[1], [2]]}, {}, "column 'v' holds lists", id="lists"),
        pytest.param({"v": [1.5, 2.0]}, {"columns": {"v": "int"}}, r"row 1.*column 'v'.*\n.*1\.5", id="float-for-int"),
        pytest.param({"v": ["1", "x"]}, {"columns": {"v": "float"}}, r"row 2.*column 'v'.*\n.*'x'", id="text"),
        pytest.param({"v": [1.0, np.inf]}, {}, r"row 2.*column 'v'", id="infinite"),
        pytest.param({"v": [1, 2], "y": ["a", None]}, {}, "row 2: label 'y' is missing", id="no-label"),
        pytest.param({"v": [1, 2], "y": ["a", "z"]}, {}, "row 2: label 'y' holds an unknown", id="unknown-class"),
    ],
)
def test_parquet_faults(
    parquet: Callable[..., Source],
    make_request: MakeRequest,
    columns: dict[str, Any],
    changes: dict[str, Any],
    told: str,
) -> None:
    source = parquet({"y": ["a", "b"]} | columns, **changes)
    with pytest.raises(DataError, match=told):
        count_labels(next(iter(source.blocks())), source, make_request(**changes))


@pytest.mark.parametrize("data_format", ["parquet", pytest.param("tfrecord", marks=pytest.mark.slow)])
def test_another_format_than_said(tmp_path: Path, make_request: MakeRequest, data_format: str) -> None:
    file = tmp_path / "data"
    file.write_text("x,y\n" + "1,a\n" * 100)
    with pytest.raises(DataError, match="data is not"):
        list(open_source([file], "data", make_request(format=data_format)).blocks())


@pytest.fixture
def tfrecord(tmp_path: Path, make_request: MakeRequest) -> Callable[..., Source]:
    """Write rows (dicts of lists) to a TFRecord file of tf.Example and open it."""
    import tensorflow as tf

    def feature(values: list[Any]) -> Any:
        if isinstance(values[0], str):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode() for value in values]))
        if isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    def make(examples: list[dict[str, list[Any]]], compression: str = "", **changes: Any) -> Source:
        file = tmp_path / "data.tfrecord"
        with tf.io.TFRecordWriter(str(file), compression) as writer:
            for example in examples:
                features = tf.train.Features(feature={name: feature(values) for name, values in example.items()})
                writer.write(tf.train.Example(features=features).SerializeToString())
        return open_source([file], str(file), make_request(format="tfrecord", **changes))

    return make


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["", "GZIP"], ids=["plain", "gzip"])
def test_tfrecord_reads_as_csv(
    tfrecord: Callable[..., Source], csv_source: Callable[..., Source], rows: Rows, compression: str
) -> None:
    examples: list[dict[str, list[Any]]] = [
        {"x": [0.1], "n": [3], "t": ["u"], "y": ["a"]},
        {"n": [-4], "t": ["NA"], "y": ["b"]},
    ]
    expected = rows(csv_source("x,n,t,y\n0.1,3,u,a\n,-4,NA,b\n"))
    assert rows(tfrecord(examples, compression)) == expected


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["", "GZIP"], ids=["plain", "gzip"])
def test_no_cut_tfrecord_passes_for_whole(
    tmp_path: Path, tfrecord: Callable[..., Source], make_request: MakeRequest, compression: str
) -> None:
    whole = tfrecord([{"x": [i], "y": ["a"]} for i in range(3)], compression)
    assert (sum(block.batch.num_rows for block in whole.blocks()), whole.independent_count()) == (3, 3)
    content, file = (tmp_path / "data.tfrecord").read_bytes(), tmp_path / "cut"
    ends = {len(content) * part // 3 for part in range(3)} if not compression else set()  # between two records
    for cut in set(range(1, len(content), 7)) - ends:
        file.write_bytes(content[:cut])
        with pytest.raises(DataError, match="not a whole TFRecord file"):
            consume(open_source([file], "cut", make_request(format="tfrecord")))


def consume(source: Source) -> None:
    for _ in source.blocks():
        pass
    source.independent_count()


@pytest.mark.slow
def test_tfrecord_faults(tfrecord: Callable[..., Source], make_request: MakeRequest) -> None:
    with pytest.raises(DataError, match="row 2: feature 'x' holds several"):
        list(tfrecord([{"x": [1], "y": ["a"]}, {"x": [1, 2], "y": ["b"]}]).blocks())
    with pytest.raises(DataError, match="no column 'y'"):
        list(tfrecord([{"x": [1]}]).blocks())
    source = tfrecord([{"x": [1], "y": ["a"]}, {"x": [2]}])
    with pytest.raises(DataError, match="row 2: label 'y' is missing"):
        count_labels(next(iter(source.blocks())), source, make_request())
