"""The drift reference of a model: its training rows, and the scores on test that Evaluator left."""

from __future__ import annotations

from pathlib import Path

from common.text import MISSING_CODE
from components.names import SCORES
from components.splits import SplitTables
from serving.repository.drift_reference import Categories, DriftReference, Numbers, Scores, edges_of_each

MOST_ROWS, MOST_CELLS = 100_000, 3_000_000  # read of the train split, evenly thinned


def drift_reference(tables: SplitTables, rows: int, evaluation: Path) -> DriftReference:
    """Return it for a train split of so many rows. `evaluation`: Evaluator's folder, of an old run without scores."""
    table = tables.read("train", rows, min(MOST_ROWS, max(1, MOST_CELLS // len(tables.features))))
    numbers = [feature.name for feature in tables.features if feature.kind == "numeric"]
    texts = [feature.name for feature in tables.features if feature.kind == "categorical"]
    most_edges, missing = edges_of_each(len(tables.features)), {"", str(MISSING_CODE)}
    scores = evaluation / SCORES
    return DriftReference(
        rows=rows,
        numbers={name: Numbers.of(table.numbers[:, i], most_edges) for i, name in enumerate(numbers)},
        categories={
            name: Categories.of(None if value in missing else value for value in table.texts[:, i])
            for i, name in enumerate(texts)
        },
        scores=Scores.parse(scores.read_bytes()) if scores.is_file() else None,
    )
