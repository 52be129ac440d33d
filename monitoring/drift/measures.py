"""How far a window is from the reference, one column at a time: p-values, sizes, and divergences as TFDV has them.

A p-value says whether there is a difference, a size whether it matters: with a million rows everything is significant,
with a hundred everything looks large. References and windows are both samples, so every test is one of two samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from serving.repository.drift_reference import Categories, Numbers

LEAST_EXPECTED = 5.0  # rows in a cell, for the chi-squared approximation
CONFIDENCE = 0.95
WEAKEST = 0.1  # singular value of a confusion matrix that can be turned round
QUANTILES = {0.05: "quantile_5", 0.5: "median", 0.95: "quantile_95"}
BINS = 20  # of equal width over the training range, and one beyond each end
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class NumberDifference:
    """`ks` is the Kolmogorov-Smirnov statistic, `wasserstein` the W1 distance in the column's own unit."""

    ks: float
    p_value: float
    wasserstein: float


@dataclass(frozen=True)
class CategoryDifference:
    """`p_value` is of the chi-squared test, `total_variation` half the sum of the differences of shares."""

    p_value: float
    total_variation: float
    largest: float  # difference of a share: L-infinity


def compare_numbers(reference: Numbers, values: NDArray[Any]) -> NumberDifference:
    """Compare with a window's values, at least one, sorted, finite, of the type that they have in the log.

    The two distribution functions are compared on both sides of each edge, so that ties and constants count in full.
    Ties make the p-value larger than it is, never smaller.
    """
    edges, rows = np.asarray(reference.edges, values.dtype), len(values)
    below = np.searchsorted(values, edges, "left") / rows - np.array(reference.below) / reference.present
    up_to = np.searchsorted(values, edges, "right") / rows - np.array(reference.up_to) / reference.present
    gaps = np.abs(below), np.abs(up_to)
    ks = float(max(gaps[0].max(), gaps[1].max()))
    effective = reference.present * rows / (reference.present + rows)
    widths = np.diff(edges.astype(np.float64))
    within = float((widths * (gaps[1][:-1] + gaps[0][1:])).sum() / 2)
    first, last = np.searchsorted(values, edges[0], "left"), np.searchsorted(values, edges[-1], "right")
    under = float(edges[0]) * first - values[:first].sum(dtype=np.float64)
    over = values[last:].sum(dtype=np.float64) - float(edges[-1]) * (rows - last)
    return NumberDifference(ks, float(special.kolmogorov(ks * math.sqrt(effective))), within + (under + over) / rows)


def compare_categories(reference: Categories, counts: Mapping[str, int]) -> CategoryDifference:
    """Compare with the rows of each value in a window, at least one.

    A value that only one of them has is one of its own: put together they would be many for the window alone, whatever
    the reference, for no sample of some hundred rows has every rare value.
    """
    trained, window = _side_by_side(reference, counts)
    gaps = np.abs(window / window.sum() - trained / trained.sum())
    return CategoryDifference(_chi_squared(trained, window), float(gaps.sum() / 2), float(gaps.max()))


def _chi_squared(trained: Shares, window: Shares) -> float:
    """Return the p-value of two samples' counts; cells in which few are expected are one cell together."""
    share = min(trained.sum(), window.sum()) / (trained.sum() + window.sum())
    is_rare = (trained + window) * share < LEAST_EXPECTED
    table = np.stack([np.append(row[~is_rare], row[is_rare].sum()) for row in (trained, window)])
    if 0 < table[:, -1].sum() * share < LEAST_EXPECTED and table.shape[1] > 1:
        table[:, -2] += table[:, -1]  # too few even together
        table[:, -1] = 0
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return 1.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float(stats.chi2.sf(((table - expected) ** 2 / expected).sum(), table.shape[1] - 1))


def compare_shares(count: int, rows: int, trained: int, trained_rows: int, *, only_more: bool = False) -> float:
    """Return the p-value of `count` of a window's rows where `trained` of the reference's were.

    Of all rows that have the mark, those of the window are binomial if both samples are alike. It is exact for rare
    marks and cautious for others, and a reference that never had it is no proof that it is impossible.
    """
    if not only_more and count + trained > (rows + trained_rows) / 2:
        count, trained = rows - count, trained_rows - trained
    marked, share = count + trained, rows / (rows + trained_rows)
    more = float(stats.binom.sf(count - 1, marked, share))
    return min(1.0, more) if only_more else min(1.0, 2 * more, 2 * float(stats.binom.cdf(count, marked, share)))


def share_bounds(count: int, rows: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return between what a share lies with this confidence (Clopper and Pearson 1934)."""
    bounds = stats.binomtest(count, rows).proportion_ci(confidence)
    return float(bounds.low), float(bounds.high)


def true_shares(confusion: Mapping[str, Mapping[str, int]], decided: Mapping[str, int]) -> dict[str, float]:
    """Return what the true classes' shares must be if each class is decided on as it was in the test rows.

    It is right where only the frequency of classes has moved (Lipton, Wang and Smola 2018), and nothing is returned
    where the decisions say too little of the classes.
    """
    names = [name for name, row in confusion.items() if sum(row.values())]
    rates = np.array([[confusion[true].get(name, 0) for true in names] for name in confusion], np.float64)
    rates /= rates.sum(axis=0)
    seen = np.array([decided.get(name, 0) for name in confusion], np.float64)
    if not names or not seen.sum() or np.linalg.matrix_rank(rates, WEAKEST) < len(names):
        return {}
    shares = np.clip(np.linalg.lstsq(rates, seen / seen.sum(), rcond=None)[0], 0.0, None)
    return dict(zip(names, (shares / shares.sum()).tolist(), strict=True))


def significant(p_values: Sequence[float], rate: float) -> NDArray[np.bool_]:
    """Return which of them hold if at most this share of those may be false (Benjamini and Hochberg 1995)."""
    ordered = np.sort(np.asarray(p_values, np.float64))
    passing = np.flatnonzero(ordered <= rate * np.arange(1, len(ordered) + 1) / max(1, len(ordered)))
    limit = ordered[passing[-1]] if len(passing) else -1.0
    return np.asarray(p_values, np.float64) <= limit


def bin_edges(reference: Numbers) -> Shares:
    """Return where bins of equal width over the training range begin and end; of a constant, a bin around it."""
    low, high = reference.edges[0], reference.edges[-1]
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)


def binned(reference: Numbers, values: NDArray[Any]) -> tuple[Shares, Shares]:
    """Return the shares of training rows and of a window's sorted values under, in and over the bins."""
    edges = bin_edges(reference)
    known = np.asarray(reference.edges)
    up_to = np.concatenate([[0], reference.up_to])[np.searchsorted(known, edges, "right")] / reference.present
    up_to[0] = 0.0  # the least value belongs to the first bin
    seen = np.searchsorted(values, edges, "right") / len(values)
    seen[0] = np.searchsorted(values, np.asarray(edges[0], values.dtype), "left") / len(values)
    seen[-1] = np.searchsorted(values, np.asarray(edges[-1], values.dtype), "right") / len(values)
    return (np.diff(np.concatenate([[0.0], up_to, [1.0]])), np.diff(np.concatenate([[0.0], seen, [1.0]])))


def jensen_shannon(first: Shares, second: Shares) -> float:
    """Return the divergence of two distributions over the same cells, from 0 to 1 (base 2)."""
    middle = (first + second) / 2

    def entropy_to_middle(shares: Shares) -> float:
        is_there = shares > 0
        return float((shares[is_there] * np.log2(shares[is_there] / middle[is_there])).sum())

    return max(0.0, (entropy_to_middle(first) + entropy_to_middle(second)) / 2)


def shares_of(reference: Categories, counts: Mapping[str, int]) -> tuple[Shares, Shares]:
    """Return the shares of each value in training and in a window, the reference's own values first."""
    trained, window = _side_by_side(reference, counts)
    return trained / trained.sum(), window / window.sum()


def _side_by_side(reference: Categories, counts: Mapping[str, int]) -> tuple[Shares, Shares]:
    known, new = [*reference.counts], [value for value in counts if value not in reference.counts]
    trained = [*reference.counts.values()]
    window = [counts.get(value, 0) for value in known]
    if reference.other:  # which may be any of the new ones
        return np.array([*trained, reference.other], float), np.array([*window, sum(counts[v] for v in new)], float)
    return np.array([*trained, *([0] * len(new))], float), np.array([*window, *(counts[v] for v in new)], float)


def quantile(reference: Numbers, share: float) -> float:
    """Return the training value below which a share of them lies, to the width of an edge."""
    return reference.edges[int(np.searchsorted(reference.up_to, reference.present * share))]


def mean(reference: Numbers) -> float:
    """Return the mean of the training values, by two hundred of their quantiles."""
    return float(np.mean([quantile(reference, share) for share in (np.arange(200) + 0.5) / 200]))
