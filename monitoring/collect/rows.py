"""Predicted rows whose true label is known, and which of them may become examples."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.records.files import INPUT, SYNTHETIC
from common.records.labels import Feedback, Key
from common.records.reader import Filters, Reader
from common.tables.columns import ARROW_TYPES
from common.tables.splitting import Splitter
from config.schema import Feature
from config.settings import Settings

META = ("request_id", "row", "time", "version", "reference")
TEST = 2  # the number of the test split
Content = tuple[Any, ...]  # a row's features as the model reads them


@dataclass(frozen=True)
class LabelledRow:
    """A prediction, its features by name (None is missing), and what it turned out to be."""

    key: Key
    time: datetime
    version: int
    values: Mapping[str, Any]
    feedback: Feedback
    reference: str = ""

    @property
    def is_synthetic(self) -> bool:
        return self.reference.startswith(SYNTHETIC)

    @property
    def label(self) -> str:
        return self.feedback.label


@dataclass(frozen=True)
class Rules:
    """What a row must be to be taken. `known`: the label of each content that the newest span has.

    `has_whole_labels`: true numbers are whole, and a file would hold no other.
    """

    features: Sequence[Feature]
    settings: Settings
    known: Mapping[Content, str]
    collected: Collection[Key]
    most_per_user: int
    with_synthetic: bool = False
    has_whole_labels: bool = False

    @property
    def deals_each_row(self) -> bool:
        """Whether equal rows are rows of their own, so that there is nothing to compare by content."""
        return self.settings.split.by == "row"


@dataclass(frozen=True)
class Chosen:
    """`taken` rows, and those `set_aside` each with the reason."""

    taken: tuple[LabelledRow, ...]
    set_aside: tuple[tuple[LabelledRow, str], ...]

    @property
    def reasons(self) -> Counter[str]:
        return Counter(reason for _, reason in self.set_aside)


def labelled_rows(
    base: Path, feedback: Mapping[Key, Feedback], features: Sequence[Feature], start: datetime, end: datetime
) -> Iterator[LabelledRow]:
    """Yield the predictions of a log that have a true label. A feature that the log lacks is missing."""
    reader = Reader(base, Filters(start=start, end=end))
    names = [feature.name for feature in features if INPUT + feature.name in reader.schema.names]
    requests = pa.array(sorted({request for request, _ in feedback}), pa.string())
    for table in reader.columns([*META, *(INPUT + name for name in names)]):
        for row in table.filter(pc.is_in(table["request_id"], requests)).to_pylist():
            key = row["request_id"], row["row"]
            if key in feedback:
                values = {name: row[INPUT + name] for name in names}
                yield LabelledRow(key, row["time"], row["version"], values, feedback[key], row["reference"] or "")


def content(values: Mapping[str, Any], features: Iterable[Feature]) -> Content:
    """Return a row's features as the model reads them, so that equal rows are equal."""
    cells: list[Any] = []
    for feature in features:
        value = values.get(feature.name)
        if value is None or value == "" or value != value:
            cells.append(None)
        else:
            cells.append({"float": np.float32, "int": int, "string": str}[feature.dtype](value))
    return tuple(cells)


def choose(rows: Iterable[LabelledRow], rules: Rules) -> Chosen:
    """Share rows out in those that become examples and those that do not; the earliest of equal ones is taken."""
    reasons: dict[Key, str] = {}
    kept: list[LabelledRow] = []
    ordered = sorted(rows, key=lambda row: (row.time, row.key))
    for row in ordered:
        if reason := _unfit(row, rules):
            reasons[row.key] = reason
        else:
            kept.append(row)
    if not rules.deals_each_row:
        reasons |= _by_content(kept, rules)
    reasons |= _beyond_test([row for row in kept if row.is_synthetic and row.key not in reasons], rules)
    rows_of_user: Counter[str] = Counter()
    for row in kept:
        if row.key not in reasons:
            rows_of_user[row.feedback.who] += 1
            if rows_of_user[row.feedback.who] > rules.most_per_user:
                reasons[row.key] = "too many of one user"
    again = set(rules.collected)
    return Chosen(
        tuple(row for row in ordered if row.key not in reasons),
        tuple((row, reasons[row.key]) for row in ordered if row.key in reasons and row.key not in again),
    )


def _unfit(row: LabelledRow, rules: Rules) -> str:
    """Say why a row cannot be an example whatever the others are, nothing if it can."""
    if row.key in rules.collected:
        return "collected before"
    if row.is_synthetic and not rules.with_synthetic:
        return "synthetic"
    if rules.settings.data.is_regression:
        if not _is_number(row.label):
            return "a label that is no number"
        if rules.has_whole_labels and not float(row.label).is_integer():
            return "a label that is no whole number"
    elif row.label not in rules.settings.data.classes:
        return "a label that is no class"
    for feature in rules.features:
        value = row.values.get(feature.name)
        if value is None:
            if feature.required:
                return f"{feature.name} is missing"
        elif feature.kind == "categorical":
            if feature.values and str(value) not in feature.values:
                return f"{feature.name} has a value that the schema does not have"
        elif not _within(float(value), feature):
            return f"{feature.name} lies outside the schema"
    return ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _within(value: float, feature: Feature) -> bool:
    low = -np.inf if feature.minimum is None else feature.minimum
    high = np.inf if feature.maximum is None else feature.maximum
    return bool(np.isfinite(value) and low <= value <= high)


def _by_content(rows: Sequence[LabelledRow], rules: Rules) -> dict[Key, str]:
    """Return which rows say nothing new, or contradict another, with the reason."""
    by_content: dict[Content, list[LabelledRow]] = defaultdict(list)
    for row in rows:
        by_content[content(row.values, rules.features)].append(row)
    reasons: dict[Key, str] = {}
    for cells, equal in by_content.items():
        known = rules.known.get(cells)
        if len({row.label for row in equal}) > 1:
            reasons |= {row.key: "equal rows with other labels" for row in equal}
        elif known is not None:
            reason = "an example already" if known == equal[0].label else "an example has another label"
            reasons |= {row.key: reason for row in equal}
        else:
            reasons |= {row.key: "equal to another" for row in equal[1:]}
    return reasons


def _beyond_test(rows: Sequence[LabelledRow], rules: Rules) -> dict[Key, str]:
    """Return which made-up rows would be dealt to test, where only real ones may be."""
    settings = rules.settings
    if not rows:
        return {}
    if settings.split.by != "content":
        return {row.key: "synthetic, and might be dealt to test" for row in rows}
    splitter = Splitter([*settings.split.weights.values()], settings.data.label, None, settings.split_seed)
    columns = {
        feature.name: _column([row.values.get(feature.name) for row in rows], feature) for feature in rules.features
    }
    splits = splitter.assign(pa.RecordBatch.from_arrays([*columns.values()], [*columns]))
    return {row.key: "synthetic, and dealt to test" for row, at in zip(rows, splits, strict=True) if at == TEST}


def _column(values: Sequence[Any], feature: Feature) -> pa.Array:
    """Return values as ExampleGen has them when it deals rows: a float is a float32 there."""
    column = pa.array(values, ARROW_TYPES[feature.dtype])
    return column.cast(pa.float32(), safe=False) if feature.dtype == "float" else column
