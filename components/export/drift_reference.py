"""The drift reference of a model: its training rows, and the scores on test that Evaluator left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.text import MISSING_CODE
from components.names import SCORES
from components.splits import SplitTables
from components.table import Table
from config.gate_settings import Slice
from config.schema import Feature
from serving.repository.drift_reference import Categories, DriftReference, Numbers, Scores, edges_of_each

MOST_ROWS, MOST_CELLS = 100_000, 3_000_000  # read of the train split, evenly thinned
MOST_SLICES = 50  # of one feature
MISSING = frozenset({"", str(MISSING_CODE)})


def drift_reference(tables: SplitTables, rows: int, evaluation: Path, slices: Sequence[Slice] = ()) -> DriftReference:
    """Return it for a train split of so many rows. `evaluation`: Evaluator's folder, of an old run without scores."""
    table = tables.read("train", rows, min(MOST_ROWS, max(1, MOST_CELLS // len(tables.features))))
    texts = [feature.name for feature in tables.features if feature.kind == "categorical"]
    parts: dict[str, NDArray[np.bool_]] = {}
    for part in slices:
        if part.feature in texts:
            cells = table.texts[:, texts.index(part.feature)].astype(str)
            values = part.values or np.unique(cells[~np.isin(cells, list(MISSING))]).tolist()
            parts |= {f"{part.feature} = {value}": cells == value for value in values[:MOST_SLICES]}
    most_edges, scores = edges_of_each(len(tables.features) * (1 + len(parts))), evaluation / SCORES
    return replace(
        _of_rows(tables.features, table, most_edges),
        rows=rows,
        scores=Scores.parse(scores.read_bytes()) if scores.is_file() else None,
        slices={name: _of_rows(tables.features, _rows(table, is_in), most_edges) for name, is_in in parts.items()},
    )


def _rows(table: Table, is_in: NDArray[np.bool_]) -> Table:
    return Table(table.numbers[is_in], table.texts[is_in], table.targets[is_in])


def _of_rows(features: Sequence[Feature], table: Table, most_edges: int) -> DriftReference:
    numbers = [feature.name for feature in features if feature.kind == "numeric"]
    texts = [feature.name for feature in features if feature.kind == "categorical"]
    return DriftReference(
        rows=len(table.targets),
        numbers={name: Numbers.of(table.numbers[:, i], most_edges) for i, name in enumerate(numbers)},
        categories={
            name: Categories.of(None if value in MISSING else value for value in table.texts[:, i])
            for i, name in enumerate(texts)
        },
    )
