"""Choose the probability above which a case is called positive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class OperatingPoint:
    """A decision threshold and what it showed on the eval split it was chosen on."""

    threshold: float
    recall: float
    precision: float
    target_recall: float
    rows: int

    @property
    def reached(self) -> bool:
        return self.recall >= self.target_recall


def choose(is_positive: NDArray[np.bool_], probability: NDArray[np.float32], target_recall: float) -> OperatingPoint:
    """Return the most precise threshold among those that reach a recall; of equals, the one nearest to 0.5.

    Candidates lie half-way between neighbouring scores, so that rounding cannot flip a row that was seen.
    With no positive row there is nothing to choose by: 0.5.
    """
    scores = np.unique(probability.astype(np.float64))
    candidates = np.concatenate([[0.5], (scores[:-1] + scores[1:]) / 2, scores[:1] / 2])
    called = np.sort(probability[is_positive].astype(np.float64))
    others = np.sort(probability[~is_positive].astype(np.float64))
    hits = len(called) - np.searchsorted(called, candidates)
    alarms = len(others) - np.searchsorted(others, candidates)
    recall = hits / max(len(called), 1)
    precision = np.divide(hits, hits + alarms, out=np.zeros(len(candidates)), where=hits + alarms > 0)
    enough = recall >= target_recall
    if not len(called):
        enough[:] = False
        enough[0] = True
    # np.lexsort sorts by its last key first
    order = np.lexsort((np.abs(candidates - 0.5), -recall, -precision, ~enough))
    best = order[0]
    return OperatingPoint(
        threshold=float(np.float32(candidates[best])),
        recall=float(recall[best]),
        precision=float(precision[best]),
        target_recall=target_recall,
        rows=len(probability),
    )
