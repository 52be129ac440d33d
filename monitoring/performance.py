"""How right a model is by the true labels that came: each version, two of them on the same cases, and where it errs.

Accuracy moves when classes become more or less frequent, even if the model is as good as ever. So it stands beside
what was to be expected: the rates of test, with classes as frequent as they are now (`expected`); and beside what the
rates of now would come to with classes as frequent as on test (`corrected`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy import stats

from common.errors import DataError
from common.records.labels import Feedback, Key
from common.text import counted
from monitoring.drift.check import FALSE_RATE, MOST_SHARE
from monitoring.drift.measures import CONFIDENCE, compare_shares, share_bounds, significant
from monitoring.drift.timeline import Places
from monitoring.drift.window import Span
from monitoring.labelled import Labelled, answers_by_case, read_labelled, reference_of, slices_of, true_by_case
from monitoring.number_performance import NumberPerformance, measure_numbers
from serving.repository.drift_reference import DriftReference


@dataclass(frozen=True)
class Accuracy:
    """Right rows of all, and between what their share lies with 95 % confidence."""

    rows: int
    share: float
    lower: float
    upper: float

    @staticmethod
    def of(right: int, rows: int) -> Accuracy:
        return Accuracy(rows, right / rows, *share_bounds(right, rows))


@dataclass(frozen=True)
class VersionPerformance:
    """`by_class` is each true class' share of right decisions. What needs the version's test rows is None without."""

    version: int
    accuracy: Accuracy
    by_class: dict[str, Accuracy]
    on_test: float | None = None
    expected: float | None = None
    corrected: Accuracy | None = None


@dataclass(frozen=True)
class Pair:
    """Two versions, `first` the older. `is_paired`: on the same cases, both answered; else each on its own.

    `difference` is the second's accuracy less the first's; a pair has a p-value (McNemar's, exact).
    """

    first: int
    second: int
    is_paired: bool
    rows: int
    difference: float
    lower: float
    upper: float
    p_value: float | None = None


@dataclass(frozen=True)
class Slice:
    """Rows in which a feature is in a quarter of the training values, or one of its values, against all others."""

    version: int
    column: str
    value: str
    accuracy: Accuracy
    others: float
    p_value: float
    is_finding: bool = False


@dataclass(frozen=True)
class Performance:
    model: str
    versions: tuple[VersionPerformance, ...]
    pairs: tuple[Pair, ...]
    slices: tuple[Slice, ...]


def measure(places: Places, period: Span, feedback: Mapping[Key, Feedback]) -> Performance | NumberPerformance:
    """Measure all versions on the rows of a period whose true label is known. Raises DataError if there are none."""
    rows = read_labelled(places.predictions, period, feedback)
    if not rows:
        raise DataError(
            f"no prediction of {places.model} has its true label in this time",
            got=f"{counted(len(feedback), 'true label')}, none of a logged row" if feedback else "no true label",
            fix="tell true labels: POST /api/v1/feedback, or on the page of a prediction",
        )
    by_version: dict[int, list[Labelled]] = defaultdict(list)
    for row in rows:
        by_version[row.version].append(row)
    references = {version: reference_of(places.serving / str(version)) for version in by_version}
    answers = answers_by_case(places.predictions, period, rows)
    if any(each and each.scores and not each.scores.confusion for each in references.values()):
        return measure_numbers(places.model, by_version, references, answers)
    versions = [_of_version(version, by_version[version], references[version]) for version in sorted(by_version)]
    pairs = [_pair(first, second, answers, rows) for first, second in combinations(versions, 2)]
    slices = [each for version in sorted(by_version) for each in _slices(by_version[version], references[version])]
    return Performance(places.model, tuple(versions), tuple(pairs), tuple(_decided(slices)))


def _of_version(version: int, rows: Sequence[Labelled], reference: DriftReference | None) -> VersionPerformance:
    total, right = Counter(row.true for row in rows), Counter(row.true for row in rows if row.is_right)
    measured = VersionPerformance(
        version,
        Accuracy.of(right.total(), total.total()),
        {name: Accuracy.of(right[name], count) for name, count in sorted(total.items())},
    )
    confusion = reference.scores.confusion if reference and reference.scores else {}
    tested = {name: sum(row.values()) for name, row in confusion.items()}
    test_rows = sum(tested.values())
    if not test_rows or any(not tested.get(name) for name in total):
        return measured
    rates = {name: confusion[name].get(name, 0) / count for name, count in tested.items() if count}
    return replace(
        measured,
        on_test=sum(rates[name] * count for name, count in tested.items() if count) / test_rows,
        expected=sum(rates[name] * count for name, count in total.items()) / total.total(),
        corrected=_corrected(total, right, {name: count / test_rows for name, count in tested.items() if count}),
    )


def _corrected(total: Counter[str], right: Counter[str], shares: Mapping[str, float]) -> Accuracy | None:
    """Weigh the classes by their shares on test; the bounds hold for all classes together (Bonferroni)."""
    if any(not total[name] for name in shares):
        return None
    confidence = 1 - (1 - CONFIDENCE) / len(shares)
    bounds = {name: share_bounds(right[name], total[name], confidence) for name in shares}
    return Accuracy(
        total.total(),
        sum(share * right[name] / total[name] for name, share in shares.items()),
        sum(share * bounds[name][0] for name, share in shares.items()),
        sum(share * bounds[name][1] for name, share in shares.items()),
    )


def _pair(
    first: VersionPerformance,
    second: VersionPerformance,
    answers: Mapping[int, Mapping[int, str]],
    rows: Iterable[Labelled],
) -> Pair:
    older, newer = answers.get(first.version, {}), answers.get(second.version, {})
    true = {case: label for case, label in true_by_case(rows).items() if case in older and case in newer}
    if not true:
        low, high = first.accuracy, second.accuracy
        return Pair(
            first.version,
            second.version,
            False,
            low.rows + high.rows,
            high.share - low.share,
            high.lower - low.upper,
            high.upper - low.lower,
        )
    better = sum(newer[case] == label != older[case] for case, label in true.items())
    worse = sum(older[case] == label != newer[case] for case, label in true.items())
    lower, upper = _between(better, worse, len(true))
    p_value = float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0
    return Pair(first.version, second.version, True, len(true), (better - worse) / len(true), lower, upper, p_value)


def _between(better: int, worse: int, rows: int) -> tuple[float, float]:
    """Return between what the difference lies: the share of cases that differ, times the bounds of who is right."""
    if not better + worse:
        return -share_bounds(0, rows)[1], share_bounds(0, rows)[1]
    low, high = share_bounds(better, better + worse)
    differing = (better + worse) / rows
    return differing * (2 * low - 1), differing * (2 * high - 1)


def _slices(rows: Sequence[Labelled], reference: DriftReference | None) -> Iterator[Slice]:
    is_wrong = np.array([not row.is_right for row in rows])
    for column, name, is_in in slices_of(rows, reference):
        errors, count = int(is_wrong[is_in].sum()), int(is_in.sum())
        other_errors, others = int(is_wrong.sum()) - errors, len(rows) - count
        p_value = compare_shares(errors, count, other_errors, others, only_more=True)
        yield Slice(
            rows[0].version, column, name, Accuracy.of(count - errors, count), 1 - other_errors / others, p_value
        )


def _decided(slices: Sequence[Slice]) -> list[Slice]:
    """Return them with the findings, the surest first: what is significant among all, and large enough."""
    surely = significant([each.p_value for each in slices], FALSE_RATE)
    decided = [
        replace(each, is_finding=bool(sure and each.others - each.accuracy.share > MOST_SHARE))
        for each, sure in zip(slices, surely, strict=True)
    ]
    return sorted(decided, key=lambda each: (not each.is_finding, each.p_value))
