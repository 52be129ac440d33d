from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score, f1_score

from components.tasks.operating_point import choose_threshold, decide
from config.gate_settings import OperatingPointSettings


def wanted(objective: str = "recall_at_least", **options: Any) -> OperatingPointSettings:
    return OperatingPointSettings.model_validate({"objective": objective, **options})


def draw(rows: int, seed: int, share: float = 0.4, distance: float = 1.5) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    positive = rng.random(rows) < share
    return positive, norm.cdf(rng.normal(distance * (positive - 0.5))).astype(np.float32)


def test_a_clean_gap_keeps_one_half() -> None:
    point = choose_threshold(np.array([False, False, True, True]), np.array([0.1, 0.2, 0.8, 0.9], np.float32), wanted())
    assert (point.threshold, point.recall, point.precision) == (0.5, 1.0, 1.0)


def test_the_threshold_falls_until_the_recall_is_vouched_for() -> None:
    positive = np.array([True] * 10 + [False] * 10)
    scores = np.concatenate([np.linspace(0.2, 0.9, 10), np.linspace(0.05, 0.45, 10)]).astype(np.float32)
    strict, mild = (choose_threshold(positive, scores, wanted(at_least=share)) for share in (1.0, 0.5))
    assert strict.threshold < mild.threshold
    assert strict.recall == 1.0
    assert mild.recall > 0.5, "five of ten vouch for less than a half"
    assert mild.vouched is not None
    assert mild.vouched >= 0.5
    assert mild.precision > strict.precision


def test_few_rows_vouch_for_less_than_asked_and_say_so() -> None:
    positive, scores = draw(30, 0)
    point = choose_threshold(positive, scores, wanted(at_least=0.99))
    assert point.recall == 1.0
    assert point.vouched is not None
    assert point.vouched < 0.99
    assert point.words == "recall at least 0.99"


@pytest.mark.parametrize(("rows", "share", "distance"), [(100, 0.4, 2.5), (400, 0.4, 1.5), (2000, 0.1, 1.5)])
def test_nine_of_ten_draws_keep_the_recall_that_is_vouched_for(rows: int, share: float, distance: float) -> None:
    """At face value six of ten missed it."""
    asked, kept = wanted(at_least=0.9), []
    for seed in range(400):
        point = choose_threshold(*draw(rows, seed, share, distance), asked)
        true_recall = 1 - norm.cdf(norm.ppf(point.threshold) - distance / 2)
        kept.append(true_recall >= min(0.9, point.vouched or 0))
    assert np.mean(kept) >= 0.87  # 0.9, less two standard errors of 400 draws


@pytest.mark.parametrize(("objective", "score"), [("f1", f1_score), ("balanced_accuracy", balanced_accuracy_score)])
def test_an_objective_is_made_as_large_as_it_can_be(objective: str, score: Any) -> None:
    positive, scores = draw(300, 1, share=0.15)
    point = choose_threshold(positive, scores, wanted(objective))
    best = max(score(positive, scores >= threshold) for threshold in np.linspace(0.01, 0.99, 199))
    assert score(positive, scores >= point.threshold) >= best


def test_a_costly_miss_lowers_the_threshold() -> None:
    positive, scores = draw(2000, 2)
    even, costly = (choose_threshold(positive, scores, wanted("cost", miss_cost=cost)) for cost in (1.0, 20.0))
    assert costly.threshold < even.threshold
    assert costly.recall > even.recall


def test_precision_is_kept_with_the_most_recall() -> None:
    positive, scores = draw(1000, 3)
    point = choose_threshold(positive, scores, wanted("precision_at_least", at_least=0.9))
    assert point.precision > 0.9
    assert 0.2 < point.recall < 1


@pytest.mark.parametrize("objective", ["f1", "balanced_accuracy", "accuracy", "recall_at_least", "precision_at_least"])
@pytest.mark.parametrize("positive", [[False, False], [True, True]], ids=["none", "all"])
def test_one_class_only_is_survived(positive: list[bool], objective: str) -> None:
    point = choose_threshold(np.array(positive), np.array([0.3, 0.7], np.float32), wanted(objective))
    assert 0.0 <= point.threshold <= 1.0


def test_a_seen_row_never_sits_on_the_threshold() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(200).astype(np.float32)
    point = choose_threshold(rng.random(200) < scores, scores, wanted(at_least=0.9))
    assert not np.any(scores == np.float32(point.threshold))
    assert point.recall >= 0.9


def test_without_a_threshold_the_likeliest_class_is_called() -> None:
    assert decide(np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]), None, None).tolist() == [1, 0]
    assert decide(np.array([[0.7, 0.3], [0.8, 0.2]]), 0.3, 1).tolist() == [1, 0]
    assert decide(np.array([[0.3, 0.7], [0.2, 0.8]]), 0.3, 0).tolist() == [0, 1]
