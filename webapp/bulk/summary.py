"""What a result file holds, in a few numbers: how often each label, and how the scores lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from pyarrow import csv

from common.tables.csv_file import CsvFile

OURS = ("label", "probability")
BINS = 20


@dataclass(frozen=True)
class Summary:
    """`labels`: each with its rows, the most frequent first; `bins`: low, high and rows of equal steps from 0 to 1."""

    labels: tuple[tuple[str, int], ...]
    bins: tuple[tuple[float, float, float], ...]


def summarise(path: Path) -> Summary:
    """Return the summary of a file that score_csv wrote."""
    file = CsvFile(path)
    names = file.dialect.names  # the file may have columns that are called as ours
    label, probability = (f"predicted_{name}" if f"predicted_{name}" in names else name for name in OURS)
    converting = csv.ConvertOptions(include_columns=[label, probability], column_types={label: "string"})
    table = csv.read_csv(path, *file.arrow_options(), converting)
    counts = {pair["values"]: pair["counts"] for pair in pc.value_counts(table[label]).to_pylist()}
    rows, edges = np.histogram(table[probability].to_numpy().astype(float), BINS, (0.0, 1.0))
    bins = tuple((float(edges[i]), float(edges[i + 1]), float(count)) for i, count in enumerate(rows))
    return Summary(tuple(sorted(counts.items(), key=lambda pair: -pair[1])), bins)
