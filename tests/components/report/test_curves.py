from __future__ import annotations

import math

import numpy as np
import pytest

from components.report.curves import MAX_POINTS, class_curves, point_on_test
from components.tasks.rows import Rows

TRUE = np.array([0, 0, 1, 1])
PROBABILITY = np.array([0.1, 0.6, 0.4, 0.9], np.float32)


def test_areas_are_those_of_a_case_counted_by_hand() -> None:
    curves = class_curves("M", TRUE == 1, PROBABILITY)
    assert curves.auc == 0.75  # 3 of 4 pairs in order
    assert curves.average_precision == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert curves.roc[0] == (0.0, 0.0)
    assert curves.roc[-1] == (1.0, 1.0)


def test_calibration_bins_hold_many_rows_each_and_say_how_sure_they_are() -> None:
    rng = np.random.default_rng(0)
    probability = rng.beta(0.3, 0.3, 110)
    bins = class_curves("M", rng.random(110) < probability, probability).calibration
    assert [b.rows for b in bins] == [22] * 5
    assert [b.predicted for b in bins] == sorted(b.predicted for b in bins)
    assert all(b.lower <= b.observed <= b.upper for b in bins)
    assert bins[2].upper - bins[2].lower > 0.2, "22 rows say little"


def test_calibration_and_histogram_count_every_row() -> None:
    curves = class_curves("M", TRUE == 1, np.array([0.05, 0.15, 1.0, 0.12], np.float32))
    assert [(b.rows, b.observed) for b in curves.calibration] == [(4, 0.5)], "so few rows draw no line"
    assert sum(curves.histogram_own) == 2
    assert curves.histogram_own[-1] == 1
    assert sum(curves.histogram_others) == 2


@pytest.mark.parametrize("label", [0, 1], ids=["no positives", "only positives"])
def test_one_class_alone_has_no_curve(label: int) -> None:
    curves = class_curves("M", np.full(4, bool(label)), PROBABILITY)
    assert math.isnan(curves.auc)
    assert curves.roc == curves.precision_recall == ()
    assert sum(curves.histogram_own) == 4 * label


def test_no_rows_at_all_are_no_error() -> None:
    empty = Rows(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2), np.float32))
    assert empty.confusion == ((0, 0), (0, 0))
    assert class_curves("M", empty.true == 1, empty.probabilities[:, 1]).calibration == ()
    assert all(math.isnan(value) for value in point_on_test(empty, 1))


def test_operating_point_lies_on_the_roc_curve() -> None:
    decided = (PROBABILITY >= 0.4).astype(int)
    rate, recall, precision = point_on_test(Rows(TRUE, decided, np.stack([1 - PROBABILITY, PROBABILITY], 1)), 1)
    assert (rate, recall, precision) == (0.5, 1.0, pytest.approx(2 / 3))
    assert (rate, recall) in class_curves("M", TRUE == 1, PROBABILITY).roc


def test_long_curves_are_thinned_to_what_can_be_seen() -> None:
    rng = np.random.default_rng(0)
    curves = class_curves("M", rng.random(20_000) < 0.5, rng.random(20_000))
    assert len(curves.roc) <= MAX_POINTS
    assert curves.roc[-1] == (1.0, 1.0)


def test_confusion_is_true_by_decided() -> None:
    assert Rows(np.array([0, 0, 1]), np.array([0, 1, 1]), np.zeros((3, 2))).confusion == ((1, 1), (0, 1))
