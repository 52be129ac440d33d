from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.evaluation.calibration import calibration_on_test
from components.tasks.calibration import fit_calibration
from components.tasks.classification import Classification
from components.tasks.rows import Rows
from config.settings import Settings


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def rows_of(logits: Any, true: Any, groups: Any = None) -> Rows:
    yes = sigmoid(logits)
    return Rows(true, (yes >= 0.5).astype(int), np.stack([1 - yes, yes], axis=1), 1, groups)


def draw(count: int, seed: int, factor: float = 1.0) -> tuple[Any, Any]:
    """Return labels and logits that are too large by a factor."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-0.5, 1.5, count)
    return (rng.random(count) < sigmoid(logits)).astype(int), factor * logits


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_too_much_and_too_little_certainty(factor: float) -> None:
    true, logits = draw(4000, 0, factor)
    assert fit_calibration(logits[:, None], true).temperature == pytest.approx(factor, rel=0.1)


def test_many_classes_have_one_temperature() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = np.array([rng.choice(3, p=row) for row in weights])
    found = fit_calibration(2.5 * logits, true)
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    assert found.probabilities(2.5 * logits) == pytest.approx(weights, abs=0.02)


def test_rows_that_any_temperature_separates_do_not_make_it_certain() -> None:
    assert fit_calibration(np.array([[-1.0], [-2.0], [1.0], [2.0]] * 10), np.array([0, 0, 1, 1] * 10)).temperature > 0.2
    assert fit_calibration(np.zeros((0, 1)), np.zeros(0, int)).temperature == 1


def test_balanced_class_weights_are_taken_back() -> None:
    true, logits = draw(4000, 1)
    found = fit_calibration(logits[:, None] + 2.0, true, shift=2.0)
    assert found.probabilities(logits[:, None] + 2.0).mean() == pytest.approx(true.mean(), abs=0.01)


def test_balanced_weights_of_many_classes_are_taken_back_in_the_graph_too() -> None:
    data = {"source": "rows.csv", "label": "y", "classes": ["a", "b", "c"]}
    settings = Settings.model_validate(
        {"name": "three", "data": data, "model": {"class_weights": "balanced"}, "evaluation": {"metrics": ["auc"]}}
    )
    task = Classification(settings.data.classes)
    rng = np.random.default_rng(3)
    true = rng.choice(3, 6000, p=[0.8, 0.15, 0.05])
    train = task.describe(true)
    balanced = rng.normal(0, 1, (6000, 3)) + 2.0 * np.eye(3)[true]  # as if all were alike often
    logits = (2.0 * balanced).astype(np.float32)
    head = task.fit_head(logits, true, train, settings)
    assert head.calibration.temperature == pytest.approx(1, rel=0.1)
    said = head.in_process(logits)["probabilities"]
    assert said.mean(axis=0) == pytest.approx([0.8, 0.15, 0.05], abs=0.015)
    again = task.head_of(json.loads(json.dumps(head.facts)))
    assert again == head
    np.testing.assert_allclose(again.answers(tf.constant(logits))["probabilities"].numpy(), said, atol=1e-5)


def test_a_calibrated_model_is_called_so_with_enough_rows_and_not_with_few() -> None:
    many, few = (calibration_on_test(rows_of(*reversed(draw(n, 2))), confidence=0.95, seed=0) for n in (10_000, 100))
    assert many is not None
    assert few is not None
    assert many.is_calibrated
    assert many.error < many.error_at_most
    assert many.slope[1] < 1 < many.slope[2]
    assert many.intercept[1] < 0 < many.intercept[2]
    assert not few.is_calibrated


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_a_model_that_is_off_is_never_called_calibrated(factor: float) -> None:
    for seed in range(20):
        found = calibration_on_test(rows_of(*reversed(draw(2000, seed, factor))), confidence=0.95, seed=0)
        assert found is not None
        assert not found.is_calibrated


@pytest.mark.parametrize("factor", [1.0, 1.4, 2.0])
def test_the_bound_of_the_error_holds(factor: float) -> None:
    """The error itself, of the same bins, from very many rows."""
    big = calibration_on_test(rows_of(*reversed(draw(400_000, 9, factor))), confidence=0.95, seed=0)
    assert big is not None
    held = []
    for seed in range(200):
        found = calibration_on_test(rows_of(*reversed(draw(400, seed, factor))), confidence=0.95, seed=0)
        assert found is not None
        held.append(found.error_at_most >= big.error)
    assert np.mean(held) >= 0.93


def test_groups_widen_the_bound() -> None:
    rng = np.random.default_rng(0)
    of_group = rng.normal(0, 1.5, 50)
    groups = np.repeat(np.arange(50), 20)
    true = (rng.random(1000) < sigmoid(of_group[groups])).astype(int)
    alone, together = (
        calibration_on_test(rows_of(np.zeros(1000), true, known), confidence=0.95, seed=0) for known in (None, groups)
    )
    assert alone is not None
    assert together is not None
    assert together.error_at_most > alone.error_at_most


def test_few_or_certain_rows_are_survived() -> None:
    assert calibration_on_test(rows_of(np.zeros(30), np.zeros(30, int)), confidence=0.95, seed=0) is None
    found = calibration_on_test(rows_of(np.full(100, 20.0), np.ones(100, int)), confidence=0.95, seed=0)
    assert found is not None
    assert np.isnan(found.slope[0])
