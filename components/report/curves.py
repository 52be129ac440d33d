"""How well one class is told from the others, over all thresholds: the points and bins that a report draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluation.bounds import clopper_pearson
from components.tasks.rows import Rows

MOST_BINS, LEAST_IN_BIN = 10, 20
BIN_CONFIDENCE = 0.95  # of each bound of a bin
HISTOGRAM_BINS = 20
MAX_POINTS = 300  # more cannot be seen
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class CalibrationBin:
    """Neighbouring rows by probability: its mean, which share of them really was of the class, and its bounds."""

    predicted: float
    observed: float
    rows: int
    lower: float
    upper: float


@dataclass(frozen=True)
class ClassCurves:
    """One class against the rest. Curves are empty and areas NaN where only one side has rows."""

    name: str
    auc: float
    average_precision: float
    roc: Points  # false-positive rate, true-positive rate
    precision_recall: Points  # recall, precision
    calibration: tuple[CalibrationBin, ...]
    histogram_own: tuple[int, ...]  # rows of the class by probability, in equal bins from 0 to 1
    histogram_others: tuple[int, ...]


def class_curves(name: str, is_own: NDArray[np.bool_], probability: NDArray[Any]) -> ClassCurves:
    """Return a class's curves from `[rows]` membership and probability."""
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    area = precision_area = float("nan")
    roc: Points = ()
    precision_recall: Points = ()
    if is_own.any() and not is_own.all():
        false_positive, true_positive, _ = roc_curve(is_own, probability)
        precision, recall, _ = precision_recall_curve(is_own, probability)
        roc = _points(false_positive, true_positive)
        precision_recall = _points(recall[::-1], precision[::-1])
        area = float(roc_auc_score(is_own, probability))
        precision_area = float(average_precision_score(is_own, probability))
    return ClassCurves(
        name=name,
        auc=area,
        average_precision=precision_area,
        roc=roc,
        precision_recall=precision_recall,
        calibration=_calibration(is_own, probability),
        histogram_own=_histogram(probability[is_own]),
        histogram_others=_histogram(probability[~is_own]),
    )


def point_on_test(scored: Rows, positive: int) -> tuple[float, float, float]:
    """Return false-positive rate, recall and precision of the decisions; NaN where there is nothing to divide by."""
    is_positive, called = scored.true == positive, scored.decided == positive
    hits = int((is_positive & called).sum())
    alarms = int((~is_positive & called).sum())
    return (
        _ratio(alarms, int((~is_positive).sum())),
        _ratio(hits, int(is_positive.sum())),
        _ratio(hits, hits + alarms),
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _points(x: NDArray[Any], y: NDArray[Any]) -> Points:
    chosen = np.arange(len(x))
    if len(x) > MAX_POINTS:
        chosen = np.unique(np.linspace(0, len(x) - 1, MAX_POINTS).round().astype(int))
    return tuple((round(float(x[i]), 5), round(float(y[i]), 5)) for i in chosen)


def _calibration(is_own: NDArray[np.bool_], probability: NDArray[Any]) -> tuple[CalibrationBin, ...]:
    """Return bins of equal count, so that none is of a few rows, unless there are no more."""
    bins = min(max(len(probability) // LEAST_IN_BIN, 1), MOST_BINS)
    parts = np.array_split(np.argsort(probability, kind="stable"), bins)
    return tuple(
        CalibrationBin(
            float(probability[part].mean()),
            float(is_own[part].mean()),
            len(part),
            *clopper_pearson(float(is_own[part].sum()), len(part), BIN_CONFIDENCE),
        )
        for part in parts
        if len(part)
    )


def _histogram(probability: NDArray[Any]) -> tuple[int, ...]:
    counts, _ = np.histogram(probability, bins=HISTOGRAM_BINS, range=(0.0, 1.0))
    return tuple(int(n) for n in counts)
