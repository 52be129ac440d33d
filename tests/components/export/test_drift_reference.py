"""The drift reference from Examples: numbers, texts, codes and gaps as the prediction log will have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import DataError
from components.names import SCORES
from components.tasks.classification import Classification
from config.gate_settings import Slice
from config.schema import Feature
from serving.repository.drift_reference import DriftReference, Scores
from tests.support.pipeline.examples import write_split

pytestmark = pytest.mark.slow  # importing TensorFlow takes seconds

FEATURES = (
    Feature("age", "numeric", "int", False),
    Feature("radius", "numeric", "float", False),
    Feature("stain", "categorical", "string", False),
    Feature("site", "categorical", "int", False),
)
ROWS: list[dict[str, Any]] = [
    {"age": 41, "radius": 0.1, "stain": "blue", "site": 7, "y": "B"},
    {"radius": 0.5, "stain": "blue", "y": "M"},
    {"age": -3, "stain": "grün", "site": 8, "y": "M"},
]


def reference(examples: Path, evaluation: Path, rows: int = len(ROWS), slices: Sequence[Slice] = ()) -> DriftReference:
    from components.export.drift_reference import drift_reference
    from components.splits import SplitTables

    tables = SplitTables(examples, FEATURES, "y", Classification(("B", "M"), 1))
    return drift_reference(tables, rows, evaluation, slices)


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    write_split(tmp_path / "Split-train", ROWS)
    return tmp_path


def test_it_holds_each_feature_as_the_log_has_it(examples: Path, tmp_path: Path) -> None:
    found = reference(examples, tmp_path)
    assert (found.rows, found.scores) == (3, None), "an evaluation of before there were scores"
    age, radius = found.numbers["age"], found.numbers["radius"]
    assert (age.edges, age.missing, radius.edges, radius.missing) == ([-3, 41], 1, [0.1, 0.5], 1)
    stain, site = found.categories["stain"], found.categories["site"]
    assert (stain.counts, stain.missing) == ({"blue": 2, "grün": 1}, 0)
    assert (site.counts, site.missing) == ({"7": 1, "8": 1}, 1)


def test_each_slice_has_one_of_its_own(examples: Path, tmp_path: Path) -> None:
    wanted = (Slice(feature="stain", values=("blue",)), Slice(feature="site"), Slice(feature="age"))
    found = reference(examples, tmp_path, slices=wanted)
    assert {name: part.rows for name, part in found.slices.items()} == {"stain = blue": 2, "site = 7": 1, "site = 8": 1}
    assert found.of_slice("stain = blue").numbers["radius"].edges == [0.1, 0.5]
    assert found.of_slice("site = 8").categories["stain"].counts == {"grün": 1}
    with pytest.raises(DataError, match="holds no such slice"):
        found.of_slice("stain = grün")


def test_it_holds_the_scores_that_the_evaluation_left(examples: Path, tmp_path: Path) -> None:
    scores = Scores.of(np.array([0, 1]), np.array([0, 1]), np.float32([0.1, 0.9]), ("B", "M"))
    (tmp_path / SCORES).write_text(scores.text())
    assert reference(examples, tmp_path).scores == scores


def test_of_many_rows_a_thinned_sample_is_summarized(
    examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.export.drift_reference.MOST_ROWS", 2)
    found = reference(examples, tmp_path)
    assert (found.rows, found.numbers["age"].rows) == (3, 2)
