"""How far off predicted numbers are by the true ones that came: each version, two on the same cases, and by slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from monitoring.drift.check import FALSE_RATE, MOST_DISTANCE
from monitoring.drift.measures import CONFIDENCE, mean, significant
from monitoring.labelled import Labelled, slices_of, true_by_case
from serving.repository.drift_reference import DriftReference

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MeanError:
    """Mean absolute error, and between what it lies with 95 % confidence (Student's t); of one row it has no bounds."""

    rows: int
    mean: float
    lower: float | None
    upper: float | None

    @staticmethod
    def of(errors: Floats) -> MeanError:
        middle = float(errors.mean())
        if len(errors) < 2:
            return MeanError(len(errors), middle, None, None)
        step = _step(errors)
        return MeanError(len(errors), middle, max(0.0, middle - step), middle + step)


@dataclass(frozen=True)
class NumberVersion:
    """`on_test`: the mean absolute error on the version's test rows, if it carries it."""

    version: int
    error: MeanError
    on_test: float | None = None


@dataclass(frozen=True)
class NumberPair:
    """Two versions, `first` the older, on `rows` cases that both answered.

    `difference` is the second's mean absolute error less the first's; the p-value is of Wilcoxon's signed ranks.
    """

    first: int
    second: int
    rows: int
    difference: float
    lower: float
    upper: float
    p_value: float


@dataclass(frozen=True)
class NumberSlice:
    """As `Slice`, by absolute errors. `others`: the mean of all other rows; the p-value is Mann and Whitney's."""

    version: int
    column: str
    value: str
    error: MeanError
    others: float
    p_value: float
    is_finding: bool = False


@dataclass(frozen=True)
class NumberPerformance:
    model: str
    versions: tuple[NumberVersion, ...]
    pairs: tuple[NumberPair, ...]
    slices: tuple[NumberSlice, ...]


def measure_numbers(
    model: str,
    by_version: Mapping[int, Sequence[Labelled]],
    references: Mapping[int, DriftReference | None],
    answers: Mapping[int, Mapping[int, str]],
) -> NumberPerformance:
    """Measure all versions. `answers`: what each predicted, by case."""
    versions = sorted(by_version)
    measured = []
    for version in versions:
        reference = references[version]
        tested = reference.scores.errors if reference and reference.scores else None
        error = MeanError.of(_errors(by_version[version]))
        measured.append(NumberVersion(version, error, mean(tested) if tested and tested.present else None))
    true = {case: float(label) for case, label in true_by_case(chain.from_iterable(by_version.values())).items()}
    pairs = [_pair(*both, answers, true) for both in combinations(versions, 2)]
    slices = [each for version in versions for each in _slices(by_version[version], references[version])]
    return NumberPerformance(model, tuple(measured), tuple(filter(None, pairs)), tuple(slices))


def _pair(
    first: int, second: int, answers: Mapping[int, Mapping[int, str]], true: Mapping[int, float]
) -> NumberPair | None:
    older, newer = answers.get(first, {}), answers.get(second, {})
    cases = [case for case in true if case in older and case in newer]
    if len(cases) < 2:
        return None
    offs = [[abs(float(said[case]) - true[case]) for case in cases] for said in (older, newer)]
    gained = np.array(offs[1]) - np.array(offs[0])
    middle, step = float(gained.mean()), _step(gained)
    p_value = float(stats.wilcoxon(gained).pvalue) if gained.any() else 1.0
    return NumberPair(first, second, len(cases), middle, middle - step, middle + step, p_value)


def _slices(rows: Sequence[Labelled], reference: DriftReference | None) -> Iterator[NumberSlice]:
    """Yield them, findings first: surely worse among all of the version's, and by enough of the errors' deviation."""
    errors, measured = _errors(rows), []
    for column, name, is_in in slices_of(rows, reference):
        p_value = float(stats.mannwhitneyu(errors[is_in], errors[~is_in], alternative="greater").pvalue)
        others = float(errors[~is_in].mean())
        measured.append(NumberSlice(rows[0].version, column, name, MeanError.of(errors[is_in]), others, p_value))
    surely = significant([each.p_value for each in measured], FALSE_RATE)
    least = MOST_DISTANCE * float(errors.std())
    decided = [
        replace(each, is_finding=bool(sure and each.error.mean - each.others > least))
        for each, sure in zip(measured, surely, strict=True)
    ]
    yield from sorted(decided, key=lambda each: (not each.is_finding, each.p_value))


def _errors(rows: Sequence[Labelled]) -> Floats:
    return np.array([row.off for row in rows])


def _step(values: Floats) -> float:
    error = float(values.std(ddof=1)) / np.sqrt(len(values))
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * error)
