"""What travels in a version beside the model: golden rows with their answers, statistics of the training data."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from pydantic import ConfigDict, TypeAdapter
from tensorflow_metadata.proto.v0 import statistics_pb2

from common.errors import DataError
from common.files import write_text
from serving.repository.layout import GOLDEN

Inputs = dict[str, dict[str, list[Any]]]  # signature: input: values
FILE_NAME = "FeatureStats.pb"  # StatisticsGen's, in the folder of each split


@dataclass(frozen=True)
class Golden:
    """Rows as each signature takes them, in TF Serving's columnar REST form, and the outputs wanted."""

    __pydantic_config__ = ConfigDict(strict=True)

    inputs: Inputs
    probabilities: list[list[float]]
    labels: list[str]

    def write(self, folder: Path) -> None:
        """Write a version's golden rows. Missing numbers stand as NaN, which TF Serving's JSON allows."""
        write_text(folder / GOLDEN, json.dumps(vars(self)) + "\n")

    @staticmethod
    def read(folder: Path) -> Golden:
        path = folder / GOLDEN
        try:
            return _adapter().validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(f"no golden rows in {path}", got=error, fix="push the model again") from None

    def columns(self, signature: str) -> dict[str, list[Any]]:
        return {name: plain(values) for name, values in self.inputs[signature].items()}


def plain(values: list[Any]) -> list[Any]:
    """Return JSON values with `{"b64": …}` turned into bytes."""
    return [base64.b64decode(value["b64"]) if isinstance(value, dict) else value for value in values]


@lru_cache
def _adapter() -> TypeAdapter[Golden]:
    return TypeAdapter(Golden)


@dataclass(frozen=True)
class Statistics:
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
