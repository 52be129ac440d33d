"""Metrics with room for chance: values and one-sided bounds on test rows.

A share of rows (accuracy, recall, precision, specificity, F1) has exact bounds (Clopper and Pearson 1934), an average
of shares over classes those of Jeffreys' posterior; areas have the bootstrap's standard error on the log-odds scale,
losses and errors the studentized bootstrap (Efron and Tibshirani 1993), R² the bootstrap of its unexplained share.
Where rows come in groups (`split.group_by`) whole groups are redrawn, and a share's rows count as the fewer that they
are worth (Korn and Graubard 1998). How often each bound holds is measured by `python -m bench.bounds`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from components.tasks.rows import Answered, AnyRows, Flags, Floats, Indices, NumberRows, Rows
from config.gate_settings import LOSSES
from serving.repository.manifest import METRIC_TITLES

CHUNK_CELLS = 2_000_000  # weights held at once
MOST_REDRAWN = 10_000  # rows or groups: of more, the error of so many is scaled to all
POSTERIOR_DRAWS = 4000
LEAST_PROBABILITY = 1e-7  # a float32 says nothing below
UNSEEN = 1.5  # times the largest loss seen
WIDER = 4.0  # over the rows or groups that count: few of them vary by more than redraws of them show
OPTIMISM = 1.5  # times the one that redraws show: they show some two thirds of it
FEW_MISTAKES = 5  # rows, or groups: below, a loss is bounded as if there may be more
Bounds = tuple[float, float, float]  # value, lower, upper
UNDEFINED: Bounds = (float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Metric:
    """A metric on the rows seen with one-sided confidence bounds, NaN where it is undefined.

    `asked` is the least that the lower bound may be, of a loss the most that the upper one may be, if anything.
    """

    name: str
    value: float
    lower: float
    upper: float
    asked: float | None = None

    @property
    def title(self) -> str:
        return METRIC_TITLES.get(self.name, self.name)

    @property
    def is_met(self) -> bool | None:
        """Whether the bound reaches what is asked, None if nothing is."""
        if self.asked is None:
            return None
        return self.upper <= self.asked if self.name in LOSSES else self.lower >= self.asked

    @property
    def goodness(self) -> float:
        """The value, turned so that more is better."""
        return -self.value if self.name in LOSSES else self.value


def evaluate(
    rows: Answered, metrics: Sequence[str], *, confidence: float, samples: int, seed: int
) -> dict[str, Metric]:
    """Return each metric with its bounds. The metrics' names are those of `evaluation.metrics`."""
    return {
        metric: Metric(metric, *_bounds(rows, metric, confidence, samples, np.random.default_rng(seed)))
        for metric in metrics
    }


def _bounds(rows: Answered, metric: str, confidence: float, samples: int, rng: np.random.Generator) -> Bounds:
    if not len(rows):
        return UNDEFINED
    if isinstance(rows, NumberRows):
        return _bounded_error(rows, metric, confidence, samples, rng)
    assert isinstance(rows, Rows)
    if metric in AREAS:
        return _bounded_area(rows, AREAS[metric], confidence, samples, rng)
    if metric in LOSSES:
        value, lower, upper = _bounded_mean(_losses(rows, metric), rows.unit, confidence, samples, rng)
        return value, lower, max(upper, value + _unseen_mistakes(rows, metric, confidence))
    return _bounded_share(rows, metric, confidence, rng)


@dataclass(frozen=True)
class Difference:
    """How much better one model is than another on the same rows, with one-sided bounds and its standard error."""

    value: float
    lower: float
    upper: float
    error: float


def difference(
    rows: AnyRows, others: AnyRows, metric: str, *, confidence: float, samples: int, seed: int
) -> Difference:
    """Compare what two models said of the same rows, in the same order; more is better, of a loss, too.

    Both are valued on the same redraws of the rows (or groups), so that what is hard for both cancels out.
    """
    rng = np.random.default_rng(seed)
    units, chosen = len(np.unique(rows.unit)), rows.some(MOST_REDRAWN, rng)
    one, other = rows.of(chosen), others.of(chosen)
    redrawn = np.concatenate([_values(one, metric, w) - _values(other, metric, w) for w in _redraws(one, samples, rng)])
    everything = np.ones((1, len(rows)))
    value = float((_values(rows, metric, everything) - _values(others, metric, everything))[0])
    shrink = np.sqrt(min(MOST_REDRAWN, units) / max(units, 1))
    error = float(np.nanstd(redrawn) * shrink) if not np.isnan(redrawn).all() else float("nan")
    step = float(stats.t.ppf(confidence, max(units - 1, 1))) * error
    sign = -1 if metric in LOSSES else 1
    return Difference(sign * value, sign * value - step, sign * value + step, error)


def _values(rows: Answered, metric: str, weights: Floats) -> Floats:
    """Return a metric of `[samples]` redraws, of which `weights [samples, rows]` say how often each row is in."""
    if isinstance(rows, NumberRows):
        return _errors(rows, metric, weights)
    assert isinstance(rows, Rows)
    if metric in AREAS:
        return _averaged(rows, AREAS[metric], weights)
    if metric in LOSSES:
        return _divide(weights @ _losses(rows, metric), weights.sum(axis=1))
    counted, right = (flags.astype(float).T for flags in _share_parts(rows, metric))
    of = weights @ counted
    share = np.divide(weights @ right, of, out=np.zeros_like(of), where=of > 0)
    return np.asarray((2 * share / (1 + share) if metric == "f1" else share).mean(axis=1))


# --- areas under curves


def _roc_area(is_own: Flags, scores: Floats, weights: Floats) -> Floats:
    """Return `[samples]` areas, ties counted half. `weights [samples, rows]`: how often each row was drawn."""
    order, starts = _tied(scores)
    own = np.add.reduceat(weights[:, order] * is_own[order], starts, axis=1)
    other = np.add.reduceat(weights[:, order] * ~is_own[order], starts, axis=1)
    wins = (own * (np.cumsum(other, axis=1) - other / 2)).sum(axis=1)
    return _divide(wins, own.sum(axis=1) * other.sum(axis=1))


def _average_precision(is_own: Flags, scores: Floats, weights: Floats) -> Floats:
    """Return `[samples]` areas under precision by recall, summed as scikit-learn does."""
    order, starts = _tied(-scores)
    own = np.add.reduceat(weights[:, order] * is_own[order], starts, axis=1)
    called = np.cumsum(np.add.reduceat(weights[:, order], starts, axis=1), axis=1)
    found = np.cumsum(own, axis=1)
    precision = np.divide(found, called, out=np.zeros_like(called), where=called > 0)
    return _divide((own * precision).sum(axis=1), found[:, -1])


AREAS: dict[str, Callable[[Flags, Floats, Floats], Floats]] = {
    "auc": _roc_area,
    "average_precision": _average_precision,
}


def _bounded_area(
    rows: Rows,
    area: Callable[[Flags, Floats, Floats], Floats],
    confidence: float,
    samples: int,
    rng: np.random.Generator,
) -> Bounds:
    """Bound an area by its standard error in log-odds: near 1 plain percentiles keep 80 of 95 promised per cent.

    Below, a quarter of a row is counted as wrong, so that a flawless sample has finite log-odds, and what a sample's
    average precision is too good by is taken off: each threshold is one that suits the very rows it is summed over.
    """
    sizes = [int((rows.true == index).sum()) for index in rows.ranked]
    if not all(0 < size < len(rows) for size in sizes):
        return UNDEFINED
    few = min(min(size, len(rows) - size) for size in sizes)
    value = float(_averaged(rows, area, np.ones((1, len(rows))))[0])
    some = rows.of(rows.some(MOST_REDRAWN, rng))
    redrawn = np.concatenate([_averaged(some, area, weights) for weights in _redraws(some, samples, rng)])
    redrawn = redrawn[~np.isnan(redrawn)]
    units = len(np.unique(rows.unit))
    shrink = np.sqrt(min(MOST_REDRAWN, units) / units)
    # the precision of few own rows varies more than normal theory has it; so does what few groups say
    freedom = units - 1 if rows.groups is not None else few - 1 if area is _average_precision else len(rows)
    wider = 1 + WIDER / min(few, units) if area is _average_precision else 1.0
    step = stats.t.ppf(confidence, max(freedom, 1)) * shrink * wider
    flawed = 1 - 0.25 / few
    at, around = _log_odds(flawed * value), _log_odds(flawed * redrawn)
    optimism = OPTIMISM * max(float(np.mean(around - at)), 0.0) if area is _average_precision else 0.0
    low = at - optimism - step * np.std(around)
    high = _log_odds(value) + step * np.std(_log_odds(redrawn))
    return value, min(_share_of_odds(low), value), max(_share_of_odds(high), value)


def _averaged(rows: Rows, area: Callable[[Flags, Floats, Floats], Floats], weights: Floats) -> Floats:
    areas = [area(rows.true == index, rows.probabilities[:, index].astype(float), weights) for index in rows.ranked]
    return np.mean(areas, axis=0)


def _redraws(rows: Answered, samples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield `[some samples, rows]`: how often each row is in a redraw of all groups."""
    units = len(np.unique(rows.unit))
    size = max(1, CHUNK_CELLS // len(rows))
    for start in range(0, samples, size):
        drawn = rng.multinomial(units, np.full(units, 1 / units), size=min(size, samples - start)).astype(float)
        yield drawn[:, rows.unit]


def _tied(scores: Floats) -> tuple[Indices, Indices]:
    """Return the order of rising scores, and where in it each run of equal ones starts."""
    order = np.argsort(scores, kind="stable")
    return order, np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)


# --- losses


def _losses(rows: Rows, metric: str) -> Floats:
    """Return each row's: the log loss, or Brier's (1950) of the positive class or summed over classes."""
    given = rows.probabilities.astype(float)
    if metric == "log_loss":
        return -np.log(np.clip(given[np.arange(len(rows)), rows.true], LEAST_PROBABILITY, 1))
    if rows.positive is not None:
        return np.asarray((given[:, rows.positive] - (rows.true == rows.positive)) ** 2)
    return np.asarray(((given - np.eye(given.shape[1])[rows.true]) ** 2).sum(axis=1))


def _bounded_mean(losses: Floats, unit: Indices, confidence: float, samples: int, rng: np.random.Generator) -> Bounds:
    """Bound a mean by the studentized bootstrap of groups, because few rows carry most of a loss."""
    total, rows = np.bincount(unit, losses), np.bincount(unit).astype(float)
    units = len(total)
    if units < 2:
        return float(losses.mean()), float("nan"), float("nan")
    sums = np.stack([total, rows, total * total, total * rows, rows * rows], axis=1)
    mean, error = _mean_and_error(sums.sum(axis=0, keepdims=True), units)
    size = max(1, CHUNK_CELLS // units)
    studentized = []
    for start in range(0, samples, size):
        drawn = rng.multinomial(units, np.full(units, 1 / units), size=min(size, samples - start)).astype(float)
        redrawn, errors = _mean_and_error(drawn @ sums, units)
        studentized.append(_divide(redrawn - mean, errors))
    known = np.concatenate(studentized)
    known = known[~np.isnan(known)]
    low, high = np.quantile(known, [1 - confidence, confidence]) if len(known) else (0.0, 0.0)
    wide = error[0] * (1 + WIDER / units)
    return float(mean[0]), max(0.0, float(mean[0] - high * wide)), float(mean[0] - low * wide)


def _unseen_mistakes(rows: Rows, metric: str, confidence: float) -> float:
    """Return what mistakes may cost that so few rows have not shown, 0 where they show enough of them.

    Redrawing rows knows no mistake that none of them makes: a model that is sure of everything would be bounded by its
    own value. As many more of them (or groups) are counted as the exact bound of their share allows.
    """
    given = rows.probabilities.astype(float)
    is_wrong = given.argmax(axis=1) != rows.true
    units, wrong = len(np.unique(rows.unit)), len(np.unique(rows.unit[is_wrong]))
    if wrong >= FEW_MISTAKES:
        return 0.0
    others = given.copy()
    others[np.arange(len(rows)), rows.true] = -1
    mistaken = _losses(replace(rows, true=others.argmax(axis=1)), metric)[~is_wrong]
    gain = mistaken - _losses(rows, metric)[~is_wrong]
    more = clopper_pearson(wrong, units, confidence)[1] - wrong / units
    return float(more * gain.mean()) if len(gain) else 0.0


def _mean_and_error(sums: Floats, units: int) -> tuple[Floats, Floats]:
    """Return means and their standard errors of `[samples, 5]` sums over groups, as a ratio of totals."""
    total, rows, squared, mixed, squared_rows = sums.T
    mean = total / rows
    spread = np.maximum(squared - 2 * mean * mixed + mean * mean * squared_rows, 0)
    return mean, np.sqrt(units / (units - 1) * spread) / rows


# --- errors of numbers


def _errors(rows: NumberRows, metric: str, weights: Floats) -> Floats:
    if metric == "mae":
        return _divide(weights @ np.abs(rows.errors), weights.sum(axis=1))
    squared = _divide(weights @ rows.errors**2, weights.sum(axis=1))
    return np.sqrt(squared) if metric == "rmse" else 1 - _unexplained(rows, weights)


def _unexplained(rows: NumberRows, weights: Floats) -> Floats:
    """Return the squared error as a share of that of the rows' own mean; NaN where they are all alike."""
    rows_drawn = weights.sum(axis=1)
    true = rows.true - rows.true.mean()  # so that large numbers lose no digits
    spread = _divide(weights @ true**2, rows_drawn) - _divide(weights @ true, rows_drawn) ** 2
    return _divide(_divide(weights @ rows.errors**2, rows_drawn), np.maximum(spread, 0.0))


def _bounded_error(rows: NumberRows, metric: str, confidence: float, samples: int, rng: np.random.Generator) -> Bounds:
    """Bound the root of a mean square by the mean square's bounds, and R² by the unexplained share's logarithm.

    To the bad side as if one more row, or group, had an error larger than all seen: a few large errors carry most of a
    mean square, and redrawing rows knows none that is not there.
    """
    losses = np.abs(rows.errors) if metric == "mae" else rows.errors**2
    more = _with_one_unseen(losses, rows.unit)
    if metric != "r2":
        root = np.sqrt if metric == "rmse" else np.asarray
        value, lower, _ = (float(root(v)) for v in _bounded_mean(losses, rows.unit, confidence, samples, rng))
        return value, lower, float(root(_bounded_mean(*more, confidence, samples, rng)[2]))
    unexplained = float(_unexplained(rows, np.ones((1, len(rows))))[0])
    if not np.isfinite(unexplained):
        return UNDEFINED
    if unexplained == 0:
        return 1.0, 1.0, 1.0
    some = rows.of(rows.some(MOST_REDRAWN, rng))
    redrawn = np.concatenate([_unexplained(some, weights) for weights in _redraws(some, samples, rng)])
    units = len(np.unique(rows.unit))
    shrink = np.sqrt(min(MOST_REDRAWN, units) / units)
    step = stats.t.ppf(confidence, max(units - 1, 1)) * shrink * np.std(np.log(redrawn[redrawn > 0]))
    worse = unexplained * float(more[0].mean() / losses.mean())
    return 1 - unexplained, float(1 - worse * np.exp(step)), float(1 - unexplained * np.exp(-step))


def _with_one_unseen(losses: Floats, unit: Indices) -> tuple[Floats, Indices]:
    worst = unit == np.bincount(unit, losses).argmax()
    added = UNSEEN * losses[worst]
    return np.concatenate([losses, added]), np.concatenate([unit, np.full(len(added), unit.max() + 1)])


# --- shares


def _share_parts(rows: Rows, metric: str) -> tuple[Flags, Flags]:
    """Return `[parts, rows]`: which rows count in each part, and which of them are right."""
    right = rows.true == rows.decided
    if metric in ("accuracy", "binary_accuracy"):
        return np.ones((1, len(rows)), bool), right[None]
    own = np.stack([rows.true == index for index in rows.ranked])
    called = np.stack([rows.decided == index for index in rows.ranked])
    if metric == "specificity":
        return ~own, ~own & ~called
    counted = {"recall": own, "precision": called, "f1": own | called}[metric]
    return counted, own & called


def _bounded_share(rows: Rows, metric: str, confidence: float, rng: np.random.Generator) -> Bounds:
    """Bound a share, or the average of shares over classes. The precision of a class that is never called is 0."""
    if not len(rows.ranked):
        return UNDEFINED
    counted, right = _share_parts(rows, metric)
    of = counted.sum(axis=1).astype(float)
    if rows.positive is not None and metric != "precision" and not of.all():
        return UNDEFINED
    share = np.divide(right.sum(axis=1), of, out=np.zeros_like(of), where=of > 0)
    if rows.groups is not None:
        of = np.array([_worth(c, r, rows.groups, confidence) for c, r in zip(counted, right, strict=True)])
    if len(of) == 1:
        low, high = (np.array([bound]) for bound in clopper_pearson(float(share[0] * of[0]), float(of[0]), confidence))
    else:
        drawn = rng.beta(share * of + 0.5, (1 - share) * of + 0.5, size=(POSTERIOR_DRAWS, len(of)))
        low, high = np.where(of > 0, drawn, 0.0), np.where(of > 0, drawn, 1.0)
    if metric == "f1":  # of right rows among those of the class or called so
        share, low, high = (2 * part / (1 + part) for part in (share, low, high))
    value = float(share.mean())
    if len(of) > 1:
        low, high = np.quantile(low.mean(axis=1), 1 - confidence), np.quantile(high.mean(axis=1), confidence)
    return value, min(float(np.mean(low)), value), max(float(np.mean(high)), value)


def clopper_pearson(right: float, of: float, confidence: float) -> tuple[float, float]:
    """Return exact one-sided bounds of a share, from a number of rows that need not be whole."""
    lower = float(stats.beta.ppf(1 - confidence, right, of - right + 1)) if right > 0 else 0.0
    upper = float(stats.beta.ppf(confidence, right + 1, of - right)) if right < of else 1.0
    return lower, upper


def _worth(counted: Flags, right: Flags, groups: Indices, confidence: float) -> float:
    """Return how many independent rows a share's rows are worth, by the variance between their groups."""
    of, good = np.bincount(groups[counted]), np.bincount(groups[right], minlength=1)
    good = np.pad(good, (0, max(0, len(of) - len(good))))[: len(of)]
    good, of = good[of > 0], of[of > 0]
    rows, units = float(of.sum()), len(of)
    if units < 2:
        return float(units)
    share = good.sum() / rows
    between = units / (units - 1) * float(((good - share * of) ** 2).sum()) / rows**2
    effect = between / (share * (1 - share) / rows) if 0 < share < 1 else rows / units
    freedom = stats.t.ppf(confidence, max(rows - 1, 1)) / stats.t.ppf(confidence, units - 1)
    return float(np.clip(rows / max(effect, 1.0) * freedom**2, 1.0, rows))


def _divide(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)


def _log_odds(share: Floats | float) -> Floats:
    clipped = np.clip(share, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _share_of_odds(log_odds: Floats | float) -> float:
    return float(1 / (1 + np.exp(-np.asarray(log_odds))))
