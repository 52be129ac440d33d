from __future__ import annotations

import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from common.errors import DataError
from serving.repository.statistics import Statistics, parse_statistics


def test_rows_and_columns_come_by_name() -> None:
    written = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = written.datasets.add(num_examples=3)
    dataset.features.add(name="size").num_stats.mean = 2.0
    dataset.features.add().path.step.append("petal.length (cm)")
    statistics = parse_statistics(written.SerializeToString())
    assert statistics.rows == 3
    assert list(statistics.columns) == ["size", "petal.length (cm)"]
    assert statistics.columns["size"].num_stats.mean == 2.0


def test_a_split_without_rows_has_no_statistics() -> None:
    assert parse_statistics(b"") == Statistics()


def test_another_file_is_refused() -> None:
    with pytest.raises(DataError, match=r"FeatureStats\.pb"):
        parse_statistics(b"name,value\n")
