"""A window of the prediction log: one version's rows between two moments, a column at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from common.records.files import INPUT, STRANGENESS
from common.records.labels import Key
from common.records.reader import Filters, Reader
from config.data_settings import IMAGE_BYTES
from serving.repository.drift_reference import DriftReference

SCORE, LABEL = "probability", "label"  # what the model said, in the log
OUTPUTS = (SCORE, LABEL, STRANGENESS)
KEY = ("request_id", "row")
MOST_ROWS = 1_000_000  # of a window that are measured: the newest


@dataclass(frozen=True)
class Span:
    """From `start` to before `end`, UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Numeric:
    """`values` are sorted and finite: float32 where the model reads floats, float64 where it reads whole numbers."""

    values: NDArray[Any]
    missing: int = 0  # the others are infinite


@dataclass(frozen=True)
class Categorical:
    counts: Counter[str]
    missing: int = 0


@dataclass(frozen=True)
class Window:
    """Rows by column of the log. A column of the reference that is in no row is all missing, and `gone`.

    `new`: columns with values that the reference lacks.
    """

    rows: int
    numbers: dict[str, Numeric] = field(default_factory=dict)
    categories: dict[str, Categorical] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    labelled: dict[str, dict[str, int]] = field(default_factory=dict)  # true class: decided class: rows
    errors: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))  # of numbers, sorted, absolute


@dataclass(frozen=True)
class Only:
    """Which rows count: those answered under a label, those of a slice such as `sex = 1`; empty: all."""

    route: str = ""
    part: str = ""

    def filters(self, span: Span, version: int | None = None) -> Filters:
        feature, _, value = self.part.partition(" = ")
        part = (feature, value) if self.part else None
        return Filters(start=span.start, end=span.end, version=version, route=self.route, part=part)


ALL_ROWS = Only()


def rows_by_version(base: Path, span: Span, only: Only = ALL_ROWS) -> dict[int, int]:
    """Return how many rows each version answered, the oldest version first. `base`: the model's log."""
    reader = Reader(base, only.filters(span))
    return dict(reader.query("SELECT version, count(*) FROM passing GROUP BY ALL ORDER BY version"))


def read_window(
    base: Path,
    span: Span,
    version: int,
    reference: DriftReference,
    only: Only = ALL_ROWS,
    truth: Mapping[Key, str] | None = None,
) -> Window:
    """Read what a version answered, of more than `MOST_ROWS` the newest. Memory is that of the numbers, as float32.

    `truth`: the true labels known, by request and row.
    """
    reader = Reader(base, only.filters(span, version))
    gathered = Gathered(reference, truth)
    wanted = (*OUTPUTS, *(KEY if truth else ()))
    measured = [name for name in reader.schema.names if _is_input(name) or name in wanted]
    for table in reader.columns(measured):
        gathered.add(table.slice(0, MOST_ROWS - gathered.rows))
        if gathered.rows >= MOST_ROWS:
            break
    return gathered.window()


class Gathered:
    """Adds up tables of the log, in any order, to a window."""

    def __init__(self, reference: DriftReference, truth: Mapping[Key, str] | None = None) -> None:
        self._truth = truth or {}
        self._labelled_requests = pa.array(sorted({request for request, _ in self._truth}), pa.string())
        self._labelled: dict[str, Counter[str]] = defaultdict(Counter)
        self.rows = 0
        scores = reference.scores
        self._numbers: dict[str, list[NDArray[Any]]] = {INPUT + name: [] for name in reference.numbers}
        self._categories: dict[str, Counter[str]] = {INPUT + name: Counter() for name in reference.categories}
        self._errors: list[float] = []
        self._is_number = bool(scores and not scores.confusion)
        if scores:
            self._numbers[SCORE] = []
        if scores and scores.strangeness:
            self._numbers[STRANGENESS] = []
        if scores and scores.confusion:
            self._categories[LABEL] = Counter()
        self._present: Counter[str] = Counter()  # rows with a value, by column

    def add(self, table: pa.Table) -> None:
        self.rows += table.num_rows
        for name in table.column_names:
            cells = table[name]
            if _is_input(name) or name in self._numbers or name in self._categories:
                self._present[name] += len(cells) - cells.null_count
            if name in self._numbers and _is_number(cells.type):
                self._numbers[name].append(_as_read(cells))
            elif name in self._categories:
                self._categories[name].update(_counted(cells))

        if self._truth:
            self._add_labelled(table)

    def _add_labelled(self, table: pa.Table) -> None:
        some = table.select([*KEY, LABEL]).filter(pc.is_in(table["request_id"], self._labelled_requests))
        for request, row, decided in zip(*(some[name].to_pylist() for name in (*KEY, LABEL)), strict=True):
            if not (true := self._truth.get((request, row))):
                continue
            if self._is_number:
                self._errors.append(abs(float(decided) - float(true)))
            else:
                self._labelled[true][decided] += 1

    def window(self) -> Window:
        known = [*self._numbers, *self._categories]
        numbers = {name: _numeric(parts, self.rows) for name, parts in self._numbers.items()}
        categories = {
            name: Categorical(counts, self.rows - counts.total()) for name, counts in self._categories.items()
        }
        return Window(
            self.rows,
            numbers,
            categories,
            gone=tuple(name.removeprefix(INPUT) for name in known if not self._present[name]),
            new=tuple(
                name.removeprefix(INPUT) for name in sorted(self._present.keys() - set(known)) if self._present[name]
            ),
            labelled={true: dict(counts) for true, counts in self._labelled.items()},
            errors=np.sort(np.asarray(self._errors, np.float32)),
        )


def _is_input(column: str) -> bool:
    return column.startswith(INPUT) and column != INPUT + IMAGE_BYTES  # of which the log has a hash


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _as_read(cells: pa.ChunkedArray) -> NDArray[Any]:
    """Return the values that are there as the model reads them: a float is a float32 to it."""
    present = pc.drop_null(cells)
    with np.errstate(over="ignore"):
        values = present.to_numpy().astype(np.float32 if pa.types.is_floating(present.type) else np.float64)
    return values[~np.isnan(values)]


def _counted(cells: pa.ChunkedArray) -> dict[str, int]:
    counts: Iterable[Any] = pc.value_counts(pc.drop_null(cells)).to_pylist()
    return {str(count["values"]): count["counts"] for count in counts if count["values"] != ""}


def _numeric(parts: list[NDArray[Any]], rows: int) -> Numeric:
    values = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    finite = values[np.isfinite(values)]
    finite.sort()
    return Numeric(finite, rows - len(values))
