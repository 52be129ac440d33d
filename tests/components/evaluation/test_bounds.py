from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from components.evaluation.bounds import Metric, Tally, choose_threshold, evaluate

METRICS = ("auc", "precision", "recall", "binary_accuracy")


def tally_of(true: np.ndarray, probability: np.ndarray, threshold: float = 0.5) -> Tally:
    tally = Tally.empty(2, positive_index=1)
    tally.add(true, (probability >= threshold).astype(int), np.stack([1 - probability, probability], axis=1))
    return tally


def rows(count: int, seed: int = 0, shift: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 2, count)
    return true, 1 / (1 + np.exp(-rng.normal(shift * (2 * true - 1), 1.5)))


def bounds(tally: Tally, metrics: tuple[str, ...] = METRICS, **options: object) -> dict[str, Metric]:
    settings = {"positive_index": 1, "confidence": 0.95, "samples": 500, "seed": 1, **options}
    return evaluate(tally, metrics, **settings)  # type: ignore[arg-type]


def test_auc_is_the_area_that_scikit_learn_computes() -> None:
    true, probability = rows(3000)
    found = bounds(tally_of(true, probability))["auc"]
    assert found.value == pytest.approx(roc_auc_score(true, probability), abs=1e-3)
    assert found.lower < found.value < found.upper


def test_shares_are_those_of_the_confusion_matrix() -> None:
    tally = Tally(np.array([[50, 10], [5, 35]]), np.zeros((1, 2, 4000), np.int64), (1,))
    found = bounds(tally, ("precision", "recall", "binary_accuracy"))
    assert found["precision"].value == pytest.approx(35 / 45)
    assert found["recall"].value == pytest.approx(35 / 40)
    assert found["binary_accuracy"].value == pytest.approx(0.85)


@pytest.mark.parametrize("shift", [1.0, 2.5], ids=["auc-0.83", "auc-0.99"])
def test_the_lower_bound_keeps_its_promise(shift: float) -> None:
    """Of many samples of 114 rows, about 95 of 100 lower bounds must lie below the truth."""
    metrics = ("binary_accuracy", "auc")
    truth = bounds(tally_of(*rows(400_000, 9, shift)), metrics, samples=2)
    kept = dict.fromkeys(metrics, 0)
    for seed in range(200):
        found = bounds(tally_of(*rows(114, seed, shift)), metrics, samples=200)
        for metric in kept:
            kept[metric] += found[metric].lower <= truth[metric].value
    assert all(count / 200 >= 0.90 for count in kept.values()), kept


def test_no_error_seen_is_not_no_error_possible() -> None:
    tally = Tally(np.array([[60, 0], [0, 40]]), np.zeros((1, 2, 4000), np.int64), (1,))
    found = bounds(tally, ("binary_accuracy",))["binary_accuracy"]
    assert found.value == 1.0
    assert 0.95 < found.lower < 0.98


def test_fewer_rows_give_a_lower_bound() -> None:
    few = bounds(tally_of(*rows(60)))["auc"]
    many = bounds(tally_of(*rows(6000)))["auc"]
    assert few.value - few.lower > 3 * (many.value - many.lower)


def test_merging_tallies_is_adding_the_rows() -> None:
    true, probability = rows(500)
    halves = tally_of(true[:200], probability[:200])
    halves.merge(tally_of(true[200:], probability[200:]))
    assert bounds(halves) == bounds(tally_of(true, probability))
    assert halves.rows == 500


def test_multi_class_averages_over_classes() -> None:
    rng = np.random.default_rng(3)
    true = rng.integers(0, 3, 900)
    scores = rng.normal(size=(900, 3)) + 2 * np.eye(3)[true]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    tally = Tally.empty(3, positive_index=None)
    tally.add(true, probabilities.argmax(axis=1), probabilities)
    found = bounds(tally, ("auc", "accuracy", "precision", "recall"), positive_index=None)
    assert found["auc"].value == pytest.approx(roc_auc_score(true, probabilities, multi_class="ovr"), abs=2e-3)
    assert found["accuracy"].value == pytest.approx((probabilities.argmax(axis=1) == true).mean())


@pytest.mark.parametrize("only", [0, 1], ids=["no-positives", "no-negatives"])
def test_an_undefined_metric_is_nan(only: int) -> None:
    true, probability = rows(50)
    found = bounds(tally_of(np.full_like(true, only), probability))
    assert np.isnan(found["auc"].value)
    assert np.isnan(found["auc"].lower)


def test_a_flawless_sample_does_not_bound_the_area_by_one() -> None:
    true = np.array([0] * 60 + [1] * 40)
    found = bounds(tally_of(true, np.where(true, 0.9, 0.1)), ("auc",))["auc"]
    assert found.value == 1.0
    assert 0.9 < found.lower < 1.0


def test_no_rows_give_no_numbers() -> None:
    found = bounds(Tally.empty(2, 1))
    assert np.isnan(found["auc"].lower)
    assert not found["binary_accuracy"].lower > 0


@pytest.mark.parametrize(("noise", "wanted"), [(0.0, 0.0), (0.4, 0.4)], ids=["calibrated", "overconfident"])
def test_calibration_error_is_the_gap_to_what_happened(noise: float, wanted: float) -> None:
    rng = np.random.default_rng(5)
    probability = np.full(20_000, 0.5)
    true = (rng.random(20_000) < 0.5 + noise).astype(int)
    found = bounds(tally_of(true, probability), ("calibration_error",), samples=50)["calibration_error"]
    assert found.value == pytest.approx(wanted, abs=0.02)


def test_a_clean_gap_keeps_one_half() -> None:
    point = choose_threshold(np.array([False, False, True, True]), np.array([0.1, 0.2, 0.8, 0.9], np.float32), 0.95)
    assert (point.threshold, point.recall, point.precision) == (0.5, 1.0, 1.0)


def test_the_threshold_falls_until_the_recall_is_reached() -> None:
    positive = np.array([True] * 10 + [False] * 10)
    scores = np.concatenate([np.linspace(0.2, 0.9, 10), np.linspace(0.05, 0.45, 10)]).astype(np.float32)
    strict, mild = choose_threshold(positive, scores, 1.0), choose_threshold(positive, scores, 0.5)
    assert strict.threshold < mild.threshold
    assert strict.recall == 1.0
    assert mild.recall >= 0.5
    assert mild.precision == 1.0


def test_of_equal_precision_the_higher_recall_wins() -> None:
    point = choose_threshold(np.array([True, True, False]), np.array([0.9, 0.6, 0.1], np.float32), 0.5)
    assert point.recall == 1.0


@pytest.mark.parametrize("positive", [[False, False], [True, True]], ids=["none", "all"])
def test_one_class_only_is_survived(positive: list[bool]) -> None:
    point = choose_threshold(np.array(positive), np.array([0.3, 0.7], np.float32), 0.95)
    assert 0.0 <= point.threshold <= 1.0


def test_a_seen_row_never_sits_on_the_threshold() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(200).astype(np.float32)
    point = choose_threshold(rng.random(200) < scores, scores, 0.9)
    assert not np.any(scores == np.float32(point.threshold))
    assert point.recall >= 0.9
