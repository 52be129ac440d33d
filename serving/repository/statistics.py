"""Feature statistics as TFDV writes them (FeatureStats.pb), read without TensorFlow; train's travel with a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import statistics_pb2

from common.errors import DataError

FILE_NAME = "FeatureStats.pb"  # StatisticsGen's, in the folder of each split


@dataclass(frozen=True)
class Statistics:
    """Statistics of one split: its rows, and what is known of each column."""

    rows: int = 0
    columns: Mapping[str, statistics_pb2.FeatureNameStatistics] = field(default_factory=dict)


def parse_statistics(serialized: bytes) -> Statistics:
    """Return the statistics in a DatasetFeatureStatisticsList, which TFDV gives one entry or, without rows, none.

    Raises DataError for anything else.
    """
    try:
        datasets = statistics_pb2.DatasetFeatureStatisticsList.FromString(serialized).datasets
    except DecodeError as error:
        raise DataError("these are no feature statistics", got=error, wanted=f"a {FILE_NAME} of TFDV") from None
    if not datasets:
        return Statistics()
    columns = {column.path.step[0] if column.path.step else column.name: column for column in datasets[0].features}
    return Statistics(int(datasets[0].num_examples), columns)
