"""A window against its version's reference: which columns have drifted, by one decision over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from common.records.drift import CLASS, ERROR, Kind, Measurement
from common.records.files import INPUT, STRANGENESS
from monitoring.drift import measures
from monitoring.drift.window import LABEL, SCORE, Categorical, Numeric, Window
from serving.repository.drift_reference import Categories, DriftReference, Numbers, Scores

FALSE_RATE = 0.002  # of findings, by Benjamini and Hochberg over all that is tested in a window
LEAST_ROWS = 100
MOST_DISTANCE = 0.15  # Wasserstein, in standard deviations
MOST_VARIATION = 0.1  # total, of categories
MOST_SHARE = 0.05  # by which the share of missing, unknown or outlying values may differ
LIMITS = {"W1/σ": MOST_DISTANCE, "total variation": MOST_VARIATION, "share": MOST_SHARE}


def check(reference: DriftReference, window: Window) -> tuple[Measurement, ...]:
    """Return what was measured, by column; what is significant among all and large enough is a finding."""
    measured = list(_measured(reference, window))
    is_significant = measures.significant([each.p_value for each in measured], FALSE_RATE)
    return tuple(
        replace(each, is_finding=bool(surely and each.size > each.limit))
        for each, surely in zip(measured, is_significant, strict=True)
    )


def _measured(reference: DriftReference, window: Window) -> Iterator[Measurement]:
    for name, numbers in reference.numbers.items():
        yield from _of_number(INPUT + name, numbers, window.numbers[INPUT + name], window.rows)
    for name, categories in reference.categories.items():
        yield from _of_category(INPUT + name, categories, window.categories[INPUT + name], window.rows)
    if reference.scores and reference.scores.score.rows:
        yield from _distribution(reference.scores.score, window.numbers[SCORE], SCORE)
    if reference.scores and reference.scores.strangeness:
        yield from _distribution(reference.scores.strangeness, window.numbers[STRANGENESS], STRANGENESS)
    if reference.scores and reference.scores.confusion:
        yield from _decisions(reference.scores, window.categories[LABEL])
        yield from _errors(reference.scores, window.labelled)
    if reference.scores and reference.scores.errors and len(window.errors):
        yield _off(reference.scores.errors, Numeric(window.errors))


def _decisions(scores: Scores, window: Categorical) -> Iterator[Measurement]:
    """Measure the decided classes, and tell which shares of true classes would come to them."""
    for measured in _shares(scores.labels, window, LABEL):
        estimated = measures.true_shares(scores.confusion, window.counts)
        details = {f"estimated_share_of_{name}": share for name, share in estimated.items()}
        yield replace(measured, numbers={**measured.numbers, **details})


def _errors(scores: Scores, labelled: Mapping[str, Mapping[str, int]]) -> Iterator[Measurement]:
    """Measure each true class' share of wrong decisions, which a class that becomes more frequent leaves as it is."""
    for name, tested in scores.confusion.items():
        seen = labelled.get(name, {})
        rows, test_rows = sum(seen.values()), sum(tested.values())
        if rows and test_rows:
            wrong, test_wrong = rows - seen.get(name, 0), test_rows - tested.get(name, 0)
            p_value = measures.compare_shares(wrong, rows, test_wrong, test_rows, only_more=True)
            lower, upper = measures.share_bounds(wrong, rows)
            details = {"rows": rows, "share": wrong / rows, "lower": lower, "upper": upper}
            details |= {"test_share": test_wrong / test_rows}
            size = wrong / rows - test_wrong / test_rows
            yield Measurement(CLASS + name, "errors", p_value, size, "share", MOST_SHARE, numbers=details)


def _off(tested: Numbers, seen: Numeric) -> Measurement:
    """Measure how far predicted numbers are off where the true ones came; nearer than on test is no finding."""
    difference = measures.compare_numbers(tested, seen.values)
    mean, test_mean = float(seen.values.mean()), measures.mean(tested)
    size = (mean - test_mean) / tested.sigma if tested.sigma else 0.0
    details = {"rows": float(len(seen.values)), "mean": mean, "test_mean": test_mean, "ks": difference.ks}
    return Measurement(ERROR, "errors", difference.p_value, size, "W1/σ", MOST_DISTANCE, numbers=details)


def _of_number(column: str, reference: Numbers, window: Numeric, rows: int) -> Iterator[Measurement]:
    yield from _distribution(reference, window, column)
    yield from _missing(column, reference, window.missing, rows)
    if reference.present and (present := rows - window.missing):
        low, high = np.asarray([reference.edges[0], reference.edges[-1]], window.values.dtype)
        within = int(np.searchsorted(window.values, high, "right") - np.searchsorted(window.values, low, "left"))
        # the two ends are themselves rows beyond all others
        yield from _marked(column, "outside", present - within, present, 2, reference.present)


def _of_category(column: str, reference: Categories, window: Categorical, rows: int) -> Iterator[Measurement]:
    yield from _shares(reference, window, column)
    yield from _missing(column, reference, window.missing, rows)
    if reference.present and not reference.other and (present := rows - window.missing):
        unknown = sum(count for value, count in window.counts.items() if value not in reference.counts)
        # a value seen once was unknown to all the other rows
        yield from _marked(column, "unknown", unknown, present, reference.once, reference.present)


def _distribution(reference: Numbers, window: Numeric, column: str) -> Iterator[Measurement]:
    if not (reference.present and len(window.values)):
        return
    difference = measures.compare_numbers(reference, window.values)
    details = {
        "ks": difference.ks,
        "jensen_shannon": measures.jensen_shannon(*measures.binned(reference, window.values)),
    }
    for share, name in measures.QUANTILES.items():
        details[f"training_{name}"] = measures.quantile(reference, share)
        details[name] = float(window.values[int(share * len(window.values))])
    if reference.sigma > 0:
        size, measure, limit = difference.wasserstein / reference.sigma, "W1/σ", MOST_DISTANCE
    else:  # a constant: how many rows are something else
        size, measure, limit = difference.ks, "share", MOST_SHARE
    yield Measurement(column, "distribution", difference.p_value, size, measure, limit, numbers=details)


def _shares(reference: Categories, window: Categorical, column: str) -> Iterator[Measurement]:
    if not (reference.present and window.counts):
        return
    difference = measures.compare_categories(reference, window.counts)
    divergence = measures.jensen_shannon(*measures.shares_of(reference, window.counts))
    details = {"l_infinity": difference.largest, "jensen_shannon": divergence}
    yield Measurement(
        column,
        "distribution",
        difference.p_value,
        difference.total_variation,
        "total variation",
        MOST_VARIATION,
        numbers=details,
    )


def _missing(column: str, reference: Numbers | Categories, missing: int, rows: int) -> Iterator[Measurement]:
    if missing or reference.missing:
        p_value = measures.compare_shares(missing, rows, reference.missing, reference.rows)
        share, trained = missing / rows, reference.missing / reference.rows
        details = {"training_share": trained, "share": share}
        yield Measurement(column, "missing", p_value, abs(share - trained), "share", MOST_SHARE, numbers=details)


def _marked(column: str, kind: Kind, count: int, rows: int, trained: int, trained_rows: int) -> Iterator[Measurement]:
    """Measure values that the training rows do not have; without any there is nothing to decide."""
    if count:
        p_value = measures.compare_shares(count, rows, trained, trained_rows, only_more=True)
        size = count / rows - trained / trained_rows
        details = {"share": count / rows}
        yield Measurement(column, kind, p_value, size, "share", MOST_SHARE, numbers=details)
