"""Metrics with room for chance, and the threshold they are taken at: values and bounds from counts of bounded size.

Scores are counted by class in buckets of equal width in log-odds, decisions in a confusion matrix. Resampling those
counts is the non-parametric bootstrap of the rows (Efron 1979), at a cost that does not grow with the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

BUCKETS = 4000
LOG_ODDS_LIMIT = 20.0  # a float32 probability says nothing beyond
CHUNK_CELLS = 2_000_000  # resampled counts held at once
METRIC_NAMES = {
    "auc": "AUC",
    "precision": "Precision",
    "recall": "Recall",
    "accuracy": "Accuracy",
    "binary_accuracy": "Accuracy",
    "calibration_error": "Calibration error",
}
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Metric:
    """A metric on rows seen, with one-sided confidence bounds; `asked` is the least the lower may be, if any."""

    name: str
    value: float
    lower: float
    upper: float
    asked: float | None = None

    @property
    def title(self) -> str:
        return METRIC_NAMES.get(self.name, self.name)

    @property
    def is_met(self) -> bool | None:
        """Whether the lower bound reaches what is asked, None if nothing is."""
        return None if self.asked is None else self.lower >= self.asked


@dataclass
class Tally:
    """What the metrics need of the rows: add rows, merge, evaluate.

    `confusion [classes, classes]`: true by decided class. `scores [ranked, 2, BUCKETS]`: for each ranked class the
    rows of the other classes and its own by score; with two classes only the positive one is ranked.
    """

    confusion: Counts
    scores: Counts
    ranked: tuple[int, ...]

    @staticmethod
    def empty(classes: int, positive_index: int | None) -> Tally:
        ranked = tuple(range(classes)) if positive_index is None else (positive_index,)
        return Tally(np.zeros((classes, classes), np.int64), np.zeros((len(ranked), 2, BUCKETS), np.int64), ranked)

    def add(self, true: NDArray[np.int64], decided: NDArray[np.int64], probabilities: Floats) -> None:
        """Count rows: `[batch]` true and decided class indices, `[batch, classes]` probabilities."""
        np.add.at(self.confusion, (true, decided), 1)
        for place, index in enumerate(self.ranked):
            np.add.at(self.scores[place], ((true == index).astype(int), bucket(probabilities[:, index])), 1)

    def merge(self, other: Tally) -> None:
        self.confusion += other.confusion
        self.scores += other.scores

    @property
    def rows(self) -> int:
        return int(self.confusion.sum())


def bucket(probability: Floats) -> NDArray[np.int64]:
    place = (_log_odds(probability.astype(np.float64)) + LOG_ODDS_LIMIT) / (2 * LOG_ODDS_LIMIT) * BUCKETS
    return np.clip(place.astype(np.int64), 0, BUCKETS - 1)


def _bucket_probability() -> Floats:
    middle = (np.arange(BUCKETS) + 0.5) / BUCKETS * 2 * LOG_ODDS_LIMIT - LOG_ODDS_LIMIT
    return 1 / (1 + np.exp(-middle))


def evaluate(
    tally: Tally, metrics: Sequence[str], *, positive_index: int | None, confidence: float, samples: int, seed: int
) -> dict[str, Metric]:
    """Return each metric with its bootstrap bounds, NaN where it is undefined.

    AUC is bounded by the bootstrap's standard error on the log-odds scale: near 1 the plain percentiles promise 95 %
    and keep about 80 % (114 rows, AUC 0.99). Shares (accuracy, precision, recall) are bounded by the wider of
    percentiles and Wilson's score interval (1927): where no row was wrong the bootstrap knows no error. The
    calibration error has plain percentiles.
    """
    rng = np.random.default_rng(seed)
    bounded = {}
    occupied = np.flatnonzero(tally.scores.sum(axis=(0, 1)))
    scores, probability = tally.scores[:, :, occupied], _bucket_probability()[occupied]
    confusion = tally.confusion[None]
    resampled_confusion = _resample(tally.confusion, samples, rng)
    for metric in metrics:
        if metric == "auc":
            point = float(auc(scores[None])[0])
            redrawn = np.concatenate([auc(chunk) for chunk in _score_chunks(scores, samples, rng)])
            bounds = _log_odds_bounds(point, redrawn, int(scores.sum(axis=2).min()), confidence)
        elif metric == "calibration_error":
            point = float(calibration_error(scores[None], probability)[0])
            chunks = _score_chunks(scores, samples, rng)
            redrawn = np.concatenate([calibration_error(chunk, probability) for chunk in chunks])
            bounds = _percentiles(redrawn, confidence)
        else:
            point = float(_share(metric, confusion, positive_index)[0])
            bounds = _percentiles(_share(metric, resampled_confusion, positive_index), confidence)
            rows = _denominator(metric, tally.confusion, positive_index)
            wilson = _wilson(point, rows, confidence)
            bounds = (min(bounds[0], wilson[0]), max(bounds[1], wilson[1]))
        bounded[metric] = Metric(metric, point, min(bounds[0], point), max(bounds[1], point))
    return bounded


def auc(scores: Counts) -> Floats:
    """Return the area under the ROC curve, ties counted half, averaged over ranked classes.

    `scores [samples, ranked, 2, buckets]`, buckets in rising order of score; `[samples]` comes back.
    """
    negative, positive = scores[:, :, 0].astype(float), scores[:, :, 1].astype(float)
    below = np.cumsum(negative, axis=-1) - negative
    wins = (positive * (below + negative / 2)).sum(axis=-1)
    pairs = negative.sum(axis=-1) * positive.sum(axis=-1)
    return np.divide(wins, pairs, out=np.full(wins.shape, np.nan), where=pairs > 0).mean(axis=-1)


def calibration_error(scores: Counts, probability: Floats, bins: int = 10) -> Floats:
    """Return the expected calibration error over equal-width bins (Naeini 2015), averaged over ranked classes.

    `probability [buckets]` is what each bucket stands for.
    """
    member = np.minimum((probability * bins).astype(int), bins - 1)[:, None] == np.arange(bins)
    total = scores.sum(axis=2).astype(float)
    gap = (scores[:, :, 1] - total * probability) @ member.astype(float)
    rows = np.maximum(total.sum(axis=-1), 1)
    return (np.abs(gap).sum(axis=-1) / rows).mean(axis=-1)


def _share(metric: str, confusion: Counts, positive_index: int | None) -> Floats:
    """Return accuracy, precision or recall of `[samples, classes, classes]`; macro averages without a positive."""
    diagonal = np.diagonal(confusion, axis1=1, axis2=2).astype(float)
    if metric in ("accuracy", "binary_accuracy"):
        return diagonal.sum(axis=1) / np.maximum(confusion.sum(axis=(1, 2)), 1)
    whole = confusion.sum(axis=1 if metric == "precision" else 2).astype(float)
    share = np.divide(diagonal, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    if positive_index is not None:
        return share[:, positive_index]
    empty = np.isnan(share).all(axis=1)
    return np.where(empty, np.nan, np.nanmean(np.where(empty[:, None], 0.0, share), axis=1))


def _denominator(metric: str, confusion: Counts, positive_index: int | None) -> int:
    if metric in ("accuracy", "binary_accuracy") or positive_index is None:
        return int(confusion.sum())
    return int(confusion.sum(axis=0 if metric == "precision" else 1)[positive_index])


def _wilson(share: float, rows: int, confidence: float) -> tuple[float, float]:
    if rows == 0 or np.isnan(share):
        return float("nan"), float("nan")
    z = NormalDist().inv_cdf(confidence)
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * np.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return float(middle - half), float(middle + half)


def _resample(counts: Counts, samples: int, rng: np.random.Generator) -> Counts:
    """Return `[samples, …]` multinomial redraws of all rows."""
    rows = int(counts.sum())
    if rows == 0:
        return np.zeros((samples, *counts.shape), np.int64)
    return rng.multinomial(rows, counts.ravel() / rows, size=samples).reshape(samples, *counts.shape)


def _score_chunks(scores: Counts, samples: int, rng: np.random.Generator) -> list[Counts]:
    """Return redraws of the score counts, each ranked class by itself."""
    size = max(1, CHUNK_CELLS // max(scores.size, 1))
    chunks = []
    for start in range(0, samples, size):
        count = min(size, samples - start)
        chunks.append(np.stack([_resample(score, count, rng) for score in scores], axis=1))
    return chunks


def _log_odds_bounds(point: float, redrawn: Floats, rows: int, confidence: float) -> tuple[float, float]:
    """Return point ± z standard errors in log-odds; `rows` is the size of the smaller side.

    Below, a quarter of a row is counted as wrong, so that a flawless sample has finite log-odds.
    """
    known = redrawn[~np.isnan(redrawn)]
    if np.isnan(point) or not len(known):
        return float("nan"), float("nan")
    z = NormalDist().inv_cdf(confidence)
    flawed = 1 - 0.25 / max(rows, 1)
    low = _log_odds(flawed * np.array([point]))[0] - z * _log_odds(flawed * known).std()
    high = _log_odds(np.array([point]))[0] + z * _log_odds(known).std()
    return float(1 / (1 + np.exp(-low))), float(1 / (1 + np.exp(-high)))


def _log_odds(share: Floats) -> Floats:
    clipped = np.clip(share, 1e-9, 1 - 1e-9)
    return np.log(clipped / (1 - clipped))


def _percentiles(values: Floats, confidence: float) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [1 - confidence, confidence])
    return float(low), float(high)


@dataclass(frozen=True)
class OperatingPoint:
    """A decision threshold and what it showed on the eval split it was chosen on."""

    threshold: float
    recall: float
    precision: float
    target_recall: float
    rows: int


def choose_threshold(
    is_positive: NDArray[np.bool_], scores: NDArray[np.float32], target_recall: float
) -> OperatingPoint:
    """Return the most precise threshold among those that reach a recall; of equals, the one nearest to 0.5.

    Candidates lie half-way between neighbouring scores, so that rounding cannot flip a row that was seen.
    With no positive row there is nothing to choose by: 0.5.
    """
    distinct = np.unique(scores.astype(np.float64))
    candidates = np.concatenate([[0.5], (distinct[:-1] + distinct[1:]) / 2, distinct[:1] / 2])
    called = np.sort(scores[is_positive].astype(np.float64))
    others = np.sort(scores[~is_positive].astype(np.float64))
    hits = len(called) - np.searchsorted(called, candidates)
    alarms = len(others) - np.searchsorted(others, candidates)
    recall = hits / max(len(called), 1)
    precision = np.divide(hits, hits + alarms, out=np.zeros(len(candidates)), where=hits + alarms > 0)
    enough = recall >= target_recall
    if not len(called):
        enough[:] = False
        enough[0] = True
    best = np.lexsort((np.abs(candidates - 0.5), -recall, -precision, ~enough))[0]  # sorts by its last key first
    return OperatingPoint(
        threshold=float(np.float32(candidates[best])),
        recall=float(recall[best]),
        precision=float(precision[best]),
        target_recall=target_recall,
        rows=len(scores),
    )
