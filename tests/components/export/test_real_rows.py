from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from components.tasks.classification import Classification
from config.schema import Feature
from tests.support.pipeline.examples import write_split

pytestmark = pytest.mark.slow  # importing TensorFlow takes seconds

FEATURES = (
    Feature("age", "numeric", "int", False),
    Feature("radius", "numeric", "float", False),
    Feature("stain", "categorical", "string", False),
    Feature("site", "categorical", "int", False),
)
ROWS: list[dict[str, Any]] = [
    {"age": 41, "radius": 0.1, "stain": "blue", "site": 7, "other": 1.5, "y": "B"},
    {"radius": float("inf"), "stain": "grün", "y": "M"},
    {"age": -3, "site": 8, "y": "M"},
]


def read(examples: Path, rows: dict[str, int], features: Sequence[Feature] = FEATURES, most: int = 1000) -> Any:
    from components.export.real_rows import showcase
    from components.splits import SplitTables

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    tables = SplitTables(examples, features, "y", Classification(("B", "M"), 1))
    return json.loads(showcase(tables, rows, dict.fromkeys(rows, most)), parse_constant=refuse)


def test_values_are_as_in_the_data_and_gaps_are_null(tmp_path: Path) -> None:
    write_split(tmp_path / "Split-train", ROWS)
    write_split(tmp_path / "Split-test", ROWS[:1])
    found = read(tmp_path, {"train": 3, "test": 1})
    assert found["train"] == {
        "rows": 3,
        "columns": {
            "age": [41, None, -3],
            "radius": [0.1, None, None],
            "stain": ["blue", "grün", None],
            "site": [7, None, 8],
        },
        "labels": ["B", "M", "M"],
    }
    assert found["test"]["columns"]["age"] == [41]
    assert [type(value) for value in found["train"]["columns"]["site"][::2]] == [int, int]


@pytest.mark.parametrize(
    ("most", "values", "kept"),
    [(500, 1_000_000, 7), (3, 1_000_000, 3), (500, 8, 2)],
    ids=["few rows", "many rows", "many features"],
)
def test_a_split_is_thinned_evenly_to_what_a_page_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, values: int, kept: int
) -> None:
    monkeypatch.setattr("components.export.real_rows.MOST_VALUES", values)
    write_split(tmp_path / "Split-train", [{"age": number, "y": "B"} for number in range(7)])
    found = read(tmp_path, {"train": 7}, most=most)["train"]
    every = -(-7 // kept)
    assert found["columns"]["age"] == list(range(0, 7, every))
    assert (found["rows"], len(found["labels"])) == (7, kept)


def test_a_split_without_rows_is_empty(tmp_path: Path) -> None:
    found = read(tmp_path, {"train": 0, "test": 0})
    assert found["test"] == {"rows": 0, "columns": {name.name: [] for name in FEATURES}, "labels": []}


def test_no_row_travels_where_none_may(tmp_path: Path) -> None:
    write_split(tmp_path / "Split-train", ROWS)
    found = read(tmp_path, {"train": 3}, most=0)["train"]
    assert found == {"rows": 3, "columns": {feature.name: [] for feature in FEATURES}, "labels": []}
