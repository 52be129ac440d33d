"""What a result file holds, in a few numbers: how often each label, and how the scores lie."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from pyarrow import csv

LAST_COLUMN = re.compile(r"(.)(predicted_)?warnings\s*$")
OURS = ("label", "probability")
BINS = 20


@dataclass(frozen=True)
class Summary:
    """`labels`: each with its rows, the most frequent first; `bins`: low, high and rows of equal steps from 0 to 1."""

    labels: tuple[tuple[str, int], ...]
    bins: tuple[tuple[float, float, float], ...]


def summarise(path: Path) -> Summary:
    """Return the summary of a file that score_csv wrote."""
    label, probability, delimiter = _columns(path)
    options = csv.ConvertOptions(include_columns=[label, probability], column_types={label: "string"})
    parsing = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    found = csv.read_csv(path, parse_options=parsing, convert_options=options)
    counts = {each["values"]: each["counts"] for each in pc.value_counts(found[label]).to_pylist()}
    rows, edges = np.histogram(found[probability].to_numpy().astype(float), BINS, (0.0, 1.0))
    bins = tuple((float(edges[i]), float(edges[i + 1]), float(count)) for i, count in enumerate(rows))
    return Summary(tuple(sorted(counts.items(), key=lambda pair: -pair[1])), bins)


def _columns(path: Path) -> tuple[str, str, str]:
    """Return what our label and probability are called (the file may have its own), and the delimiter."""
    with path.open(encoding="utf-8", newline="") as file:
        header = file.readline()
    ours = LAST_COLUMN.search(header)
    delimiter = ours[1] if ours else ","
    names = header.rstrip("\r\n").split(delimiter)
    label, probability = (f"predicted_{name}" if f"predicted_{name}" in names else name for name in OURS)
    return label, probability, delimiter
