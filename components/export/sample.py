"""A sample of the training and the held-out rows that travels with the model, for people to look at and to try."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.splits import SplitTables
from components.table import NO_INTEGER, Table
from config.schema import Feature

MOST_VALUES = 1_000_000  # of a split, so that wide rows do not make a file that no page can read


def showcase(
    tables: SplitTables,
    features: Sequence[Feature],
    classes: Sequence[str],
    rows: Mapping[str, int],
    most: Mapping[str, int],
) -> str:
    """Return the JSON of evenly thinned samples of splits: raw values by feature, and labels.

    `rows` is the number of rows of each split, `most` of its sample. A missing value is null, as are infinities: JSON
    has none.
    """
    samples = {}
    for split, most_rows in most.items():
        limit = min(most_rows, max(1, MOST_VALUES // len(features)))
        columns: dict[str, list[Any]] = {feature.name: [] for feature in features}
        labels: list[str] = []
        if limit:
            table = tables.read(split, rows[split], limit)
            columns, labels = _columns(table, features), [classes[i] for i in table.classes]
        samples[split] = {"rows": rows[split], "columns": columns, "labels": labels}
    return json.dumps(samples, ensure_ascii=False, allow_nan=False) + "\n"


def _columns(table: Table, features: Sequence[Feature]) -> dict[str, list[Any]]:
    numbers, texts = iter(table.numbers.T), iter(table.texts.T)
    return {f.name: [_value(v, f) for v in next(numbers if f.kind == "numeric" else texts)] for f in features}


def _value(value: Any, feature: Feature) -> Any:
    if feature.dtype == "string":
        return value or None
    if feature.kind == "categorical":
        return None if int(value) == NO_INTEGER else int(value)
    if not math.isfinite(value):
        return None
    return int(value) if feature.dtype == "int" else float(str(np.float32(value)))  # 0.1, not 0.10000000149011612
