from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from common.errors import DataError
from components.tasks.regression import MOST_BINS, Intervals, NumberHead, Regression, Spread
from config.model_settings import ModelSettings

TASK = Regression()


def drawn(rows: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predictions, and what is true: the larger, the further off."""
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(1, 10, rows)
    return predicted, predicted + predicted * rng.normal(0, 0.3, rows)


def held(intervals: Intervals, predicted: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    head = NumberHead(0.0, 1.0, intervals)
    answers = head.in_process(predicted[:, None])
    return float(((answers["lower"] <= true) & (true <= answers["upper"])).mean())


@pytest.mark.parametrize("rows", [20, 80, 500, 2000])
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_intervals_hold_what_is_promised_on_the_average(rows: int, coverage: float) -> None:
    shares = []
    for seed in range(60):
        predicted, true = drawn(rows, seed)
        intervals = Intervals.fitted(predicted, np.abs(predicted - true), coverage)
        shares.append(held(intervals, *drawn(4000, 1000 + seed)))
    # n rows of a bin cover ceil((n + 1) * coverage) / (n + 1) on the average, which is at least what is promised
    error = float(np.std(shares) / np.sqrt(len(shares)))
    assert np.mean(shares) >= coverage - 3 * error
    assert np.mean(shares) <= coverage + 1 / 20 + 3 * error


def test_where_predictions_are_large_intervals_are_wider() -> None:
    predicted, true = drawn(2000, 0)
    intervals = Intervals.fitted(predicted, np.abs(predicted - true), 0.9)
    assert len(intervals.widths) == MOST_BINS
    assert intervals.widths[-1] > 3 * intervals.widths[0]
    assert sum(intervals.rows) == 2000


def test_a_model_that_says_one_thing_has_one_bin() -> None:
    intervals = Intervals.fitted(np.full(1000, 7.0), np.arange(1000.0), 0.9)
    assert sum(rows > 0 for rows in intervals.rows) == 1
    assert max(intervals.widths) == 900.0


def test_fewer_rows_than_the_share_needs_give_the_widest_residual() -> None:
    assert Intervals.fitted(np.arange(5.0), np.arange(5.0), 0.9).widths == (4.0,)


def test_the_graph_answers_as_numpy_does() -> None:
    import tensorflow as tf

    predicted, true = drawn(1500, 3)
    spread = TASK.describe(true)
    standardised = ((predicted - spread.mean) / spread.deviation)[:, None].astype(np.float32)
    intervals = Intervals.fitted(predicted, np.abs(predicted - true), 0.9)
    head = NumberHead(spread.mean, spread.deviation, intervals)
    outside, inside = head.in_process(standardised), head.answers(tf.constant(standardised))
    for name, values in outside.items():
        np.testing.assert_allclose(inside[name].numpy(), values, rtol=1e-6)
    assert TASK.head_of(head.facts) == head


def test_labels_are_standardised_by_train() -> None:
    train = Spread(3, 10.0, 2.0)
    np.testing.assert_allclose(TASK.for_network(np.array([8.0, 10.0, 14.0]), train), [-1.0, 0.0, 2.0])


def test_labels_that_are_all_alike_cannot_be_learned() -> None:
    with pytest.raises(DataError, match="the same label"):
        TASK.for_network(np.full(9, 4.0), TASK.describe(np.full(9, 4.0)))
    with pytest.raises(DataError, match="no label"):
        TASK.describe(np.array([1.0, np.nan]))


def test_huber_counts_outliers_less() -> None:
    far, none = np.array([[10.0]], np.float32), np.array([[0.0]], np.float32)
    squared, huber = (TASK.loss(ModelSettings(loss=loss))(none, far) for loss in ("squared", "huber"))
    assert float(huber) < float(squared) / 5
    near = np.array([[0.1]], np.float32)
    squared, huber = (TASK.loss(ModelSettings(loss=loss))(none, near) for loss in ("squared", "huber"))
    assert float(huber) == pytest.approx(float(squared) / 2)


def test_numbers_are_written_as_people_do() -> None:
    assert TASK.texts(np.array([151.0, 0.1, 1.5e-7])) == ["151", "0.1", "1.5e-07"]
