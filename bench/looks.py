"""How often a series of tries passes the evaluation gate by luck, and how often a good model does not.

`python -m bench.looks` draws series of candidates that are judged by their accuracy on the same test rows. They share
their luck: on a row that all share (`SHARED` of a candidate's rows) they are right or wrong together, elsewhere each by
itself. The rule is the gate's own (`components/evaluation/looks.py`).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from components.evaluation.bounds import clopper_pearson
from components.evaluation.looks import Looks

CONFIDENCE, ASKED, SHARED, SERIES = 0.95, 0.90, 0.7, 4000
EQUAL, GOOD = 0.90, 0.95  # true accuracies: just what is asked, and what is worth passing
LENGTHS = (1, 2, 5, 10, 20, 50)
Counts = NDArray[np.int64]


def draw(rows: int, accuracy: float, length: int, rng: np.random.Generator) -> Counts:
    """Return `[series, candidates]`: how many rows each got right."""
    right = np.empty((SERIES, length), np.int64)
    for series in range(SERIES):
        common = rng.random(rows) < accuracy
        own = rng.random((length, rows)) < accuracy
        right[series] = np.where(rng.random((length, rows)) < SHARED, common, own).sum(axis=1)
    return right


@cache
def least(rows: int, refused: int) -> int:
    """Return how many rows must be right for the bound to reach what is asked after so many refusals."""
    confidence = Looks(refused, refused).confidence(CONFIDENCE)
    return next((n for n in range(rows + 1) if clopper_pearson(n, rows, confidence)[0] >= ASKED), rows + 1)


def passes(right: Counts, rows: int, *, spends: bool) -> NDArray[np.bool_]:
    """Return `[series, candidates]`: who passes, where a refusal costs those after it or, as before, nothing."""
    passed = np.zeros(right.shape, bool)
    refused = np.zeros(len(right), np.int64)
    for turn in range(right.shape[1]):
        needed = np.array([least(rows, int(n) if spends else 0) for n in refused])
        passed[:, turn] = right[:, turn] >= needed
        refused = np.where(passed[:, turn], 0, refused + 1)
    return passed


def main() -> None:
    rng = np.random.default_rng(0)
    print(f"one of so many candidates of true accuracy {EQUAL} passes {ASKED}, before → now")
    for rows in (100, 300, 1000):
        right = draw(rows, EQUAL, max(LENGTHS), rng)
        before, now = (passes(right, rows, spends=spends) for spends in (False, True))
        rates = (f"{n}: {before[:, :n].any(axis=1).mean():.1%} → {now[:, :n].any(axis=1).mean():.1%}" for n in LENGTHS)
        print(f"{rows:>5} rows  " + "  ".join(rates))
    print(f"a retraining loop of true accuracy {GOOD}: share passed in run 1, 2, 10, and at the latest by run 3")
    for rows in (300, 1000):
        now = passes(draw(rows, GOOD, 10, rng), rows, spends=True)
        runs = "  ".join(f"{run}: {now[:, run - 1].mean():.1%}" for run in (1, 2, 10))
        print(f"{rows:>5} rows  {runs}  by 3: {now[:, :3].any(axis=1).mean():.1%}")


if __name__ == "__main__":
    main()
