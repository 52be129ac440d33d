from __future__ import annotations

import numpy as np
import pytest

from components.training.operating_point import choose


def test_a_clean_gap_keeps_one_half() -> None:
    point = choose(np.array([False, False, True, True]), np.array([0.1, 0.2, 0.8, 0.9], np.float32), 0.95)
    assert (point.threshold, point.recall, point.precision, point.reached) == (0.5, 1.0, 1.0, True)


def test_the_threshold_falls_until_the_recall_is_reached() -> None:
    positive = np.array([True] * 10 + [False] * 10)
    scores = np.concatenate([np.linspace(0.2, 0.9, 10), np.linspace(0.05, 0.45, 10)]).astype(np.float32)
    strict, mild = choose(positive, scores, 1.0), choose(positive, scores, 0.5)
    assert strict.threshold < mild.threshold
    assert strict.recall == 1.0
    assert mild.recall >= 0.5
    assert mild.precision == 1.0


def test_of_equal_precision_the_higher_recall_wins() -> None:
    point = choose(np.array([True, True, False]), np.array([0.9, 0.6, 0.1], np.float32), 0.5)
    assert point.recall == 1.0


@pytest.mark.parametrize("positive", [[False, False], [True, True]], ids=["none", "all"])
def test_one_class_only_is_survived(positive: list[bool]) -> None:
    point = choose(np.array(positive), np.array([0.3, 0.7], np.float32), 0.95)
    assert 0.0 <= point.threshold <= 1.0


def test_a_seen_row_never_sits_on_the_threshold() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(200).astype(np.float32)
    point = choose(rng.random(200) < scores, scores, 0.9)
    assert not np.any(scores == np.float32(point.threshold))
    assert point.recall >= 0.9
