"""Where a binary model decides: the probability from which on it calls a row positive, chosen on the eval split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from config.gate_settings import OperatingPointSettings

# Of ten draws of eval rows, nine let the threshold keep what is asked: a share taken at face value keeps it in half of
# them. The miss of a threshold that stands at an order statistic has the very distribution of this exact bound.
CONFIDENCE = 0.9
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OperatingPoint:
    """A decision threshold and what it showed on the eval rows it was chosen on.

    `vouched`: of an objective that asks for a share, how much of it those rows can vouch for; it may be less than asked
    where they are few.
    """

    threshold: float
    objective: str
    at_least: float | None
    vouched: float | None
    recall: float
    precision: float
    accuracy: float
    rows: int

    @property
    def words(self) -> str:
        """What was asked of the threshold, in words."""
        asked = f" {self.at_least:g}" if self.at_least is not None else ""
        return self.objective.replace("_", " ") + asked


def choose_threshold(
    is_positive: NDArray[np.bool_], scores: NDArray[np.floating[Any]], wanted: OperatingPointSettings
) -> OperatingPoint:
    """Return the best threshold for the objective; of equals, the one nearest to 0.5.

    Where a share is asked for, those thresholds will do that these rows vouch for, or, if none does, those that come
    nearest to it. Candidates lie half-way between neighbouring scores, so that rounding cannot flip a row that was
    seen. With no positive row there is nothing to choose by: 0.5.
    """
    distinct = np.unique(scores.astype(np.float64))
    candidates = np.concatenate([[0.5], (distinct[:-1] + distinct[1:]) / 2, distinct[:1] / 2])
    own, other = (np.sort(scores[chosen].astype(np.float64)) for chosen in (is_positive, ~is_positive))
    hits = len(own) - np.searchsorted(own, candidates)
    alarms = len(other) - np.searchsorted(other, candidates)
    recall, precision = _share(hits, len(own)), _share(hits, hits + alarms)
    accuracy = _share(hits + len(other) - alarms, len(scores))
    gains = {
        "f1": _share(2 * hits, hits + alarms + len(own)),
        "balanced_accuracy": (recall + _share(len(other) - alarms, len(other))) / 2,
        "accuracy": accuracy,
        "recall_at_least": precision,
        "precision_at_least": recall,
        "cost": -(wanted.miss_cost * (len(own) - hits) + alarms),
    }
    vouched, enough = None, np.ones(len(candidates), bool)
    if wanted.at_least is not None:
        vouched = _vouched(hits, len(own) if wanted.objective == "recall_at_least" else hits + alarms)
        enough = vouched >= min(wanted.at_least, vouched.max())
    if not len(own):
        enough = np.arange(len(candidates)) == 0
    order = (np.abs(candidates - 0.5), -recall, -gains[wanted.objective], ~enough)  # sorts by its last key first
    best = np.lexsort(order)[0]
    return OperatingPoint(
        threshold=float(np.float32(candidates[best])),
        objective=wanted.objective,
        at_least=wanted.at_least,
        vouched=None if vouched is None else float(vouched[best]),
        recall=float(recall[best]),
        precision=float(precision[best]),
        accuracy=float(accuracy[best]),
        rows=len(scores),
    )


def decide(
    probabilities: NDArray[np.floating[Any]], threshold: float | None, positive: int | None
) -> NDArray[np.int64]:
    """Return the class that each row is called, from `[rows, classes]`: by the threshold, or the likeliest."""
    if threshold is None or positive is None:
        return probabilities.argmax(axis=1)
    called = probabilities[:, positive].astype(np.float32) >= np.float32(threshold)
    return np.where(called, positive, 1 - positive)


def _share(part: Any, whole: Any) -> Floats:
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def _vouched(right: Any, of: Any) -> Floats:
    """Return the exact lower bound (Clopper and Pearson) of each share."""
    right, of = np.broadcast_arrays(np.asarray(right, float), np.asarray(of, float))
    bound = stats.beta.ppf(1 - CONFIDENCE, np.maximum(right, 1), of - right + 1)
    return np.where(right > 0, bound, 0.0)
