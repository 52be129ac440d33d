"""What travels in a version beside the model: golden rows with their answers, statistics of the training data."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from pydantic import ConfigDict, TypeAdapter
from tensorflow_metadata.proto.v0 import statistics_pb2

from common.errors import DataError
from common.files import write_text
from serving.repository.layout import DEFAULT_SIGNATURE, GOLDEN, PLAIN_SIGNATURE

Inputs = dict[str, dict[str, list[Any]]]  # signature: input: values
Outputs = dict[str, list[Any]]  # output: the answer to each row
FILE_NAME = "FeatureStats.pb"  # StatisticsGen's, in the folder of each split


@dataclass(frozen=True)
class Case:
    """A signature, what it is asked for some rows, and the outputs wanted."""

    signature: str
    inputs: dict[str, list[Any]]
    outputs: Outputs

    def largest_difference(self, answers: Mapping[str, Any]) -> float:
        """Return how far numbers are from the wanted ones at most; of an output beyond 1 as a share of its largest.

        Infinite where an output is not there, is of another shape, or is no number.
        """
        return max(
            (_difference(answers.get(name), wanted) for name, wanted in self._outputs(is_text=False)), default=0.0
        )

    def wrong_texts(self, answers: Mapping[str, Any]) -> int:
        """Return how many texts are others than the wanted ones."""
        wrong = 0
        for name, wanted in self._outputs(is_text=True):
            got = [_text(value) for value in _leaves(answers.get(name, ()))]
            wrong += sum(a != b for a, b in zip_longest(got, _leaves(wanted)))
        return wrong

    def _outputs(self, *, is_text: bool) -> Iterator[tuple[str, list[Any]]]:
        for name, values in self.outputs.items():
            if all(isinstance(value, str) for value in _leaves(values)) == is_text:
                yield name, values


@dataclass(frozen=True)
class Golden:
    """Rows as each signature takes them, in TF Serving's columnar REST form, and the outputs wanted.

    `plain`: those of PLAIN_SIGNATURE, if there is one, which takes what DEFAULT_SIGNATURE does.
    """

    __pydantic_config__ = ConfigDict(strict=True)

    inputs: Inputs
    outputs: Outputs
    plain: Outputs = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write a version's golden rows. Missing numbers stand as NaN, which TF Serving's JSON allows."""
        write_text(folder / GOLDEN, json.dumps(vars(self)) + "\n")

    @staticmethod
    def read(folder: Path) -> Golden:
        path = folder / GOLDEN
        try:
            values = json.loads(path.read_bytes())
            if "probabilities" in values:  # as earlier releases wrote them
                values["outputs"] = {"probabilities": values.pop("probabilities"), "label": values.pop("labels")}
            golden = _adapter().validate_json(json.dumps(values))
            if golden.plain:
                golden.columns(DEFAULT_SIGNATURE)
            return golden
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"no golden rows in {path}", got=error, fix="push the model again") from None

    @property
    def cases(self) -> Iterator[Case]:
        """What to ask of each signature."""
        for signature in self.inputs:
            yield Case(signature, self.columns(signature), self.outputs)
        if self.plain:
            yield Case(PLAIN_SIGNATURE, self.columns(DEFAULT_SIGNATURE), self.plain)

    def columns(self, signature: str) -> dict[str, list[Any]]:
        return {name: plain(values) for name, values in self.inputs[signature].items()}


def _difference(got: Any, wanted: list[Any]) -> float:
    try:
        numbers, expected = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    except (TypeError, ValueError):
        return math.inf
    if numbers.shape != expected.shape or not np.isfinite(numbers).all():
        return math.inf
    return float(np.abs(numbers - expected).max(initial=0.0) / np.abs(expected).max(initial=1.0))


def _leaves(values: Any) -> list[Any]:
    return np.asarray(values, object).ravel().tolist()


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


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
