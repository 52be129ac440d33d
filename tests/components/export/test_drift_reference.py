"""The drift reference from Examples: numbers, texts, codes and gaps as the prediction log will have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.names import SCORES
from components.tasks.classification import Classification
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


def reference(examples: Path, evaluation: Path, rows: int = len(ROWS)) -> DriftReference:
    from components.export.drift_reference import drift_reference
    from components.splits import SplitTables

    return drift_reference(SplitTables(examples, FEATURES, "y", Classification(("B", "M"), 1)), rows, evaluation)


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
