from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from common.errors import DataError
from serving.repository.contents import Golden, Statistics, parse_statistics
from serving.repository.layout import GOLDEN


def test_what_is_written_is_read(tmp_path: Path) -> None:
    inputs = {"serving_default": {"x": [0.5, math.nan], "text": ["a", ""]}, "serving_examples": {"examples": []}}
    golden = Golden(inputs, {"probabilities": [[0.25, 0.75], [1.0, 0.0]], "label": ["M", "B"]})
    golden.write(tmp_path)
    read = Golden.read(tmp_path)
    assert math.isnan(read.inputs["serving_default"]["x"][1])
    assert read.outputs == golden.outputs


def test_columns_are_as_a_client_sends_them(tmp_path: Path) -> None:
    golden = Golden({"serving_examples": {"examples": [{"b64": "AP8="}]}}, {"probabilities": [[1.0]], "label": ["a"]})
    assert golden.columns("serving_examples") == {"examples": [b"\x00\xff"]}


@pytest.mark.parametrize(
    "text",
    [None, "", "[]", '{"inputs": {}, "labels": []}', '{"inputs": [], "probabilities": [], "labels": []}'],
    ids=["absent", "empty", "a list", "no probabilities", "inputs of another type"],
)
def test_a_version_without_golden_rows_is_told(tmp_path: Path, text: str | None) -> None:
    (tmp_path / GOLDEN).parent.mkdir()
    if text is not None:
        (tmp_path / GOLDEN).write_text(text)
    with pytest.raises(DataError, match="no golden rows"):
        Golden.read(tmp_path)


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


def test_golden_rows_of_earlier_releases_are_read(tmp_path: Path) -> None:
    (tmp_path / GOLDEN).parent.mkdir(parents=True)
    (tmp_path / GOLDEN).write_text(json.dumps({"inputs": {}, "probabilities": [[0.5, 0.5]], "labels": ["M"]}))
    golden = Golden.read(tmp_path)
    assert golden.outputs == {"probabilities": [[0.5, 0.5]], "label": ["M"]}


@pytest.mark.parametrize(
    ("answers", "difference", "wrong"),
    [
        ({"value": [100.0, 50.0], "label": ["a", "b"]}, 0.0, 0),
        ({"value": [101.0, 50.0], "label": ["a", b"b"]}, 0.01, 0),
        ({"value": [100.0, float("nan")], "label": ["a", "c"]}, math.inf, 1),
        ({"value": [100.0], "label": ["a"]}, math.inf, 1),
        ({"label": ["a", "b"]}, math.inf, 0),
        ({"value": [100.0, 50.0]}, 0.0, 2),
    ],
)
def test_answers_are_held_against_the_golden_ones(answers: dict[str, Any], difference: float, wrong: int) -> None:
    [case] = Golden({"s": {}}, {"value": [100.0, 50.0], "label": ["a", "b"]}).cases
    assert case.largest_difference(answers) == pytest.approx(difference)
    assert case.wrong_texts(answers) == wrong


def test_answers_of_plain_models_without_rows_to_ask_for_are_no_golden_rows(tmp_path: Path) -> None:
    Golden({"serving_packed": {"features": [[1.0]]}}, {"label": ["a"]}, {"label": [["a"]]}).write(tmp_path)
    with pytest.raises(DataError, match="no golden rows"):
        Golden.read(tmp_path)


@pytest.mark.parametrize(
    ("answers", "difference", "wrong"),
    [
        ({"probabilities": [[[0.5, 0.5], [1.0, 0.0]]], "label": [[b"a", "b"]]}, 0.0, 0),
        ({"probabilities": [[[0.5, 0.5], [0.9, 0.1]]], "label": [["a", "a"]]}, 0.1, 1),
        ({"probabilities": [[0.5, 0.5]], "label": [["a"]]}, math.inf, 1),
    ],
)
def test_answers_of_plain_models_are_held_against_theirs(
    answers: dict[str, Any], difference: float, wrong: int
) -> None:
    said = {"probabilities": [[[0.5, 0.5], [1.0, 0.0]]], "label": [["a", "b"]]}
    own, plain = Golden({"serving_default": {"x": [1.5]}}, {"label": ["a"]}, said).cases
    assert (plain.signature, plain.inputs) == ("serving_plain", own.inputs)
    assert plain.largest_difference(answers) == pytest.approx(difference)
    assert plain.wrong_texts(answers) == wrong
