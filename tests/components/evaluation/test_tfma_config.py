from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow
DATA = {"source": "x.csv", "label": "y", "classes": ["no", "yes"]}
OPTIONS: dict[str, Any] = {"metrics": ("auc", "accuracy"), "confidence": 0.95, "samples": 100, "seed": 1}


@pytest.fixture(scope="module")
def rows() -> list[Any]:
    """What TFMA hands over for each row of a binary model compared with a baseline."""
    from tensorflow_model_analysis.metrics.metric_types import StandardMetricInputs

    rng = np.random.default_rng(0)
    found = []
    for _ in range(2500):
        true = rng.random() < 0.3
        scores = {"candidate": true * 0.3 + 0.6 * rng.random(), "baseline": rng.random()}
        predictions = {
            name: {"probabilities": np.array([1 - yes, yes]), "label": np.array([b"yes" if yes > 0.5 else b"no"])}
            for name, yes in scores.items()
        }
        labels = {name: np.array([b"yes" if true else b"no"]) for name in scores}
        features = {"patient": np.array([f"p{rng.integers(200)}".encode()])}
        found.append(StandardMetricInputs({"labels": labels, "predictions": predictions, "features": features}))
    return found


def combiners(names: Sequence[str], group_by: str | None = None) -> list[Any]:
    from components.evaluation.tfma_config import BoundedMetrics

    metric = BoundedMetrics(data=DATA, group_by=group_by, **OPTIONS)
    return [computation.combiner for computation in metric.computations(model_names=names)]


def combine(combiner: Any, parts: Sequence[Sequence[Any]]) -> dict[str, float]:
    accumulators = []
    for part in parts:
        accumulator = combiner.create_accumulator()
        for row in part:
            accumulator = combiner.add_input(accumulator, row)
        accumulators.append(accumulator)
    found = combiner.extract_output(combiner.merge_accumulators(accumulators))
    return {key.name: value for key, value in found.items()}


def test_how_the_rows_are_parted_does_not_matter(rows: list[Any]) -> None:
    [combiner, _] = combiners(["candidate", "baseline"])
    whole = combine(combiner, [rows])
    assert combine(combiner, [rows[:1], rows[1:1200], [], rows[1200:]]) == whole
    assert set(whole) == {f"{m}{end}" for m in OPTIONS["metrics"] for end in ("", "_lower", "_upper")}
    assert whole["auc_lower"] < whole["auc"] < whole["auc_upper"]


def test_each_model_is_judged_by_its_own_predictions(rows: list[Any]) -> None:
    candidate, baseline = (combine(combiner, [rows]) for combiner in combiners(["candidate", "baseline"]))
    assert candidate["auc"] > 0.8
    assert baseline["auc"] == pytest.approx(0.5, abs=0.03)


def test_auc_is_that_of_scikit_learn(rows: list[Any]) -> None:
    from sklearn.metrics import roc_auc_score

    true = [row.get_labels("candidate")[0] == b"yes" for row in rows]
    scores = [row.get_predictions("candidate")["probabilities"][1] for row in rows]
    [combiner, _] = combiners(["candidate", "baseline"])
    assert combine(combiner, [rows])["auc"] == pytest.approx(roc_auc_score(true, scores))


def test_whole_groups_are_redrawn_and_counted(rows: list[Any]) -> None:
    [combiner] = combiners(["candidate"], "patient")
    grouped = combine(combiner, [rows[:1200], rows[1200:]])
    assert grouped["group_count"] == 200
    assert grouped == combine(combiner, [rows])


def test_an_unknown_label_is_not_passed_over(rows: list[Any]) -> None:
    from tensorflow_model_analysis.metrics.metric_types import StandardMetricInputs

    stray = StandardMetricInputs({**rows[0], "labels": {"candidate": np.array([b"perhaps"])}})
    with pytest.raises(KeyError):
        combine(combiners(["candidate"])[0], [[stray]])
