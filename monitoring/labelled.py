"""Logged rows whose true label is known, what each version said of them, and the slices that they are in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError
from common.records.files import INPUT
from common.records.labels import Feedback, Key
from common.records.reader import Filters, Reader, quoted
from monitoring.drift.measures import quantile
from monitoring.drift.window import Span
from serving.repository.drift_reference import DriftReference

Flags = NDArray[np.bool_]
LEAST_ROWS = 30  # of a slice
MOST_VALUES = 10  # of a category that are slices of their own
QUARTERS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Labelled:
    """A logged row whose true label is known. `case`: a digest of its features and its reference."""

    version: int
    decided: str
    true: str
    case: int
    features: Mapping[str, Any]

    @property
    def is_right(self) -> bool:
        return self.decided == self.true

    @property
    def off(self) -> float:
        """How far a predicted number is from the true one."""
        return abs(float(self.decided) - float(self.true))


def read_labelled(base: Path, period: Span, feedback: Mapping[Key, Feedback]) -> list[Labelled]:
    """Return the logged rows whose true label is known."""
    reader = Reader(base, Filters(start=period.start, end=period.end))
    inputs = [name for name in reader.schema.names if name.startswith(INPUT)]
    columns = ", ".join(map(quoted, inputs))
    select = (
        f"SELECT request_id, row, version, label, {_case(inputs)}, {columns} FROM passing "
        "WHERE request_id IN (SELECT unnest($requests))"
    )
    requests = sorted({request for request, _ in feedback})
    if not (requests and inputs):
        return []
    rows = []
    for request, row, version, decided, case, *values in reader.query(select, {"requests": requests}):
        if told := feedback.get((request, row)):
            rows.append(Labelled(version, decided, told.label, case, dict(zip(inputs, values, strict=True))))
    return rows


def true_by_case(rows: Iterable[Labelled]) -> dict[int, str]:
    """Return the true label of each case; one of which two were told is left out."""
    told: dict[int, set[str]] = defaultdict(set)
    for row in rows:
        told[row.case].add(row.true)
    return {case: labels.pop() for case, labels in told.items() if len(labels) == 1}


def answers_by_case(base: Path, period: Span, rows: Sequence[Labelled]) -> dict[int, dict[int, str]]:
    """Return what each version decided, by case, of the cases whose true label is known: labelled there or not."""
    reader = Reader(base, Filters(start=period.start, end=period.end))
    inputs = [name for name in reader.schema.names if name.startswith(INPUT)]
    select = (
        f"SELECT version, {_case(inputs)} AS digest, min(label) FROM passing "
        "GROUP BY ALL HAVING count(DISTINCT label) = 1 AND digest IN (SELECT unnest($cases))"
    )
    decided: dict[int, dict[int, str]] = defaultdict(dict)
    for version, case, label in reader.query(select, {"cases": sorted({row.case for row in rows})}):
        decided[version][case] = label
    return decided


def _case(inputs: Sequence[str]) -> str:
    return f"hash(reference, {', '.join(map(quoted, inputs))})"


def slices_of(rows: Sequence[Labelled], reference: DriftReference | None) -> Iterator[tuple[str, str, Flags]]:
    """Yield each slice by its feature and value, with which rows are in it, if enough are in it and enough are not."""
    for column, names in _values_of(rows, reference) if reference else ():
        for name in sorted(set(names)):
            is_in = np.array([each == name for each in names])
            if min(is_in.sum(), (~is_in).sum()) >= LEAST_ROWS:
                yield column, name, is_in


def _values_of(rows: Sequence[Labelled], reference: DriftReference) -> Iterator[tuple[str, list[str]]]:
    """Yield each feature, with the value, or range of values, that each row has."""
    for column, numbers in reference.numbers.items():
        if numbers.present:
            edges = [quantile(numbers, share) for share in QUARTERS]
            yield column, [_quarter(row.features.get(INPUT + column), edges) for row in rows]
    for column, categories in reference.categories.items():
        frequent = set(list(categories.counts)[:MOST_VALUES])
        values = [row.features.get(INPUT + column) for row in rows]
        yield column, [_missing_or(value, str(value) if str(value) in frequent else "others") for value in values]


def _quarter(value: Any, edges: Sequence[float]) -> str:
    if value is None or not np.isfinite(value):
        return "missing"
    place = int(np.searchsorted(edges, value))
    if place == 0:
        return f"up to {edges[0]:g}"
    return f"above {edges[-1]:g}" if place == len(edges) else f"{edges[place - 1]:g} to {edges[place]:g}"


def _missing_or(value: Any, name: str) -> str:
    return "missing" if value in (None, "") else name


def reference_of(folder: Path) -> DriftReference | None:
    with suppress(DataError):
        return DriftReference.read(folder)
    return None
