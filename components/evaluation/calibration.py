"""How far probabilities lie from what was seen on test.

The expected calibration error is taken over bins of equal mass; binned errors of few rows are biased upwards (Roelofs
et al. 2022), so the value is corrected and only its upper bound speaks for a model. Intercept and slope are Cox's
(1958): 0 and 1 for probabilities that are true.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from components.tasks.rows import Rows

CALIBRATED_AT_MOST = 0.05  # expected calibration error, upper bound, of what may be called calibrated
LEAST_ROWS_A_BIN, BINS = 20, 15
REDRAWS = 400
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class CalibrationOnTest:
    """How far probabilities lie from what was seen: of the positive class, or of the likeliest of many.

    `error` is bias-corrected, `error_at_most` its upper confidence bound. Intercept and slope are NaN where they
    cannot be fitted; each comes as (value, lower, upper), two-sided.
    """

    error: float
    error_at_most: float
    rows: int
    bins: int
    mean_predicted: float
    mean_observed: float
    intercept: tuple[float, float, float]
    slope: tuple[float, float, float]

    @property
    def is_calibrated(self) -> bool:
        return self.error_at_most <= CALIBRATED_AT_MOST


def calibration_on_test(rows: Rows, *, confidence: float, seed: int) -> CalibrationOnTest | None:
    """Measure a model's calibration on test rows; None where there are fewer than two bins of them."""
    if rows.positive is not None:
        predicted, seen = rows.probabilities[:, rows.positive].astype(float), rows.true == rows.positive
    else:
        likeliest = rows.probabilities.argmax(axis=1)
        predicted, seen = rows.probabilities.max(axis=1).astype(float), rows.true == likeliest
    bins = min(BINS, len(predicted) // LEAST_ROWS_A_BIN)
    if bins < 2:
        return None
    order = np.argsort(predicted, kind="stable")
    member = np.empty(len(order), np.int64)
    member[order] = np.arange(len(order)) * bins // len(order)
    of = np.bincount(member, minlength=bins).astype(float)
    mean, share = (np.bincount(member, values, minlength=bins) / of for values in (predicted, seen))
    error = float((of * np.abs(share - mean)).sum() / of.sum())
    rng = np.random.default_rng(seed)
    redrawn = rng.binomial(of.astype(int), share, size=(REDRAWS, bins)) / of
    bias = float((of * np.abs(redrawn - mean)).sum(axis=1).mean() / of.sum()) - error
    # the plain error is too large on the average, which makes a bound around it a safe one; two rows more to each bin,
    # one of either kind, because a bin in which nothing was seen is not one in which nothing happens
    smoothed = (share * of + 1) / (of + 2)
    spread = np.sqrt((of * smoothed * (1 - smoothed)).sum()) / of.sum()
    step = float(
        stats.norm.ppf(confidence)
        * spread
        * _widening(rows.unit, (seen - share[member]) * np.sign(share - mean)[member])
    )
    intercept, slope = _intercept_and_slope(predicted, seen, confidence)
    return CalibrationOnTest(
        error=max(0.0, error - max(bias, 0.0)),
        error_at_most=min(1.0, error + step),
        rows=len(predicted),
        bins=bins,
        mean_predicted=float(predicted.mean()),
        mean_observed=float(seen.mean()),
        intercept=intercept,
        slope=slope,
    )


def _widening(unit: NDArray[np.int64], residual: Floats) -> float:
    """Return by how much rows that come in groups widen an error: 1 where each is its own."""
    of_units, of_rows = float((np.bincount(unit, residual) ** 2).sum()), float((residual**2).sum())
    return float(np.sqrt(max(of_units / of_rows, 1.0))) if of_rows > 0 else 1.0


def _intercept_and_slope(
    predicted: Floats, seen: NDArray[np.bool_], confidence: float
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Fit `log-odds(seen) = intercept + slope * log-odds(predicted)` by Newton's method, with Wald's intervals."""
    unknown = (float("nan"),) * 3
    clipped = np.clip(predicted, 1e-7, 1 - 1e-7)
    x = np.stack([np.ones(len(clipped)), np.log(clipped / (1 - clipped))], axis=1)
    beta = np.array([0.0, 1.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        information = x.T @ (x * (p * (1 - p))[:, None])
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e12:
            return unknown, unknown
        change = np.linalg.solve(information, x.T @ (seen - p))
        beta = beta + change
        if np.abs(change).max() < 1e-8:
            break
    else:
        return unknown, unknown
    step = float(stats.norm.ppf((1 + confidence) / 2)) * np.sqrt(np.diag(np.linalg.inv(information)))
    values = [(float(b), float(b - s), float(b + s)) for b, s in zip(beta, step, strict=True)]
    return values[0], values[1]
