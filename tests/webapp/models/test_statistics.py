from __future__ import annotations

from pathlib import Path

import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from common.errors import DataError
from webapp.models.statistics import Stats, plain, read_statistics


@pytest.fixture
def found() -> statistics_pb2.DatasetFeatureStatisticsList:
    found = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = found.datasets.add(num_examples=10)
    number = dataset.features.add(name="size", type=statistics_pb2.FeatureNameStatistics.FLOAT)
    number.num_stats.common_stats.num_non_missing, number.num_stats.common_stats.num_missing = 8, 2
    number.num_stats.min, number.num_stats.max, number.num_stats.median = 170.39999389648438, 2501, 0.10000000149011612
    text = dataset.features.add(name="town", type=statistics_pb2.FeatureNameStatistics.STRING)
    text.string_stats.common_stats.num_non_missing = 10
    text.string_stats.unique = 3
    text.string_stats.top_values.add(value="Solo", frequency=6)
    for rank, (label, count) in enumerate([("Solo", 6), ("Medan", 3), ("Ambon", 1)]):
        text.string_stats.rank_histogram.buckets.add(low_rank=rank, high_rank=rank, label=label, sample_count=count)
    dataset.features.add(name="nothing", type=statistics_pb2.FeatureNameStatistics.FLOAT).num_stats.SetInParent()
    return found


def read(found: statistics_pb2.DatasetFeatureStatisticsList, folder: Path) -> dict[str, Stats]:
    (folder / "stats.pb").write_bytes(found.SerializeToString())
    return dict(read_statistics(folder / "stats.pb"))


def test_numbers_are_told_as_people_wrote_them(
    found: statistics_pb2.DatasetFeatureStatisticsList, tmp_path: Path
) -> None:
    size = read(found, tmp_path)["size"]
    assert (size.minimum, size.maximum, size.median, size.missing) == (170.4, 2501.0, 0.1, 0.2)


def test_all_values_are_known_when_the_statistics_kept_them_all(
    found: statistics_pb2.DatasetFeatureStatisticsList, tmp_path: Path
) -> None:
    town = read(found, tmp_path)["town"]
    assert town.top == (("Solo", 6), ("Medan", 3), ("Ambon", 1))
    assert town.seen == {"Solo", "Medan", "Ambon"}


def test_values_are_not_all_known_when_there_were_more(
    found: statistics_pb2.DatasetFeatureStatisticsList, tmp_path: Path
) -> None:
    found.datasets[0].features[1].string_stats.unique = 4
    assert read(found, tmp_path)["town"].seen is None


def test_a_column_without_values_has_no_range(
    found: statistics_pb2.DatasetFeatureStatisticsList, tmp_path: Path
) -> None:
    assert read(found, tmp_path)["nothing"] == Stats()


def test_no_dataset_has_no_statistics(tmp_path: Path) -> None:
    assert read(statistics_pb2.DatasetFeatureStatisticsList(), tmp_path) == {}


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        read_statistics(tmp_path / "nowhere")


@pytest.mark.parametrize("number", [0.0, -1.5, 3.4e38, 1e-40, 2.0**60, 0.1])
def test_plain_keeps_what_it_cannot_shorten(number: float) -> None:
    assert plain(number) == number
