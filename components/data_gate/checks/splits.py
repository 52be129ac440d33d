"""How the splits came out: as large as asked, with every class and column, and the classes in like shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import binom, hypergeom

from common.tables.splitting import row_hashes
from components.data_gate.judge import RawFinding
from components.data_gate.scan import TRAIN, Columns, Scan
from serving.repository.contents import Statistics

FALSE_ALARM = 0.001  # of each check on rows dealt one by one: at most so often it speaks though nothing is wrong
OFF = 0.25  # a share is told of if it is besides off by so much of what was asked
FAR_OFF = 2.0  # and an error beyond twice, or below half
TESTED = "test"


def split_sizes(scan: Scan, columns: Columns, synthetic_rows: int = 0) -> list[RawFinding]:
    """Hold the rows of each split against its weight: rows that go together make some far too small.

    Made-up rows are never dealt to test, so the other splits are to have their weights' shares of these.
    """
    rows, weights = scan.rows, columns.split.weights
    total, whole = sum(rows.values()), sum(weights.values())
    synthetic = min(1.0, synthetic_rows / max(total, 1))
    without_test = whole - weights[TESTED]
    asked = {
        split: (1 - synthetic) * weights[split] / whole + synthetic * (split != TESTED) * weights[split] / without_test
        for split in rows
        if split in weights
    }
    ratios = {split: rows[split] / (total * share) for split, share in asked.items() if share} if total else {}
    off = [
        split
        for split, ratio in ratios.items()
        if abs(ratio - 1) > OFF and _two_sided(binom(total, asked[split]), rows[split]) < FALSE_ALARM / len(ratios)
    ]
    if not off:
        return []
    listed = ", ".join(
        f"{split} has {rows[split]} of {total} rows ({rows[split] / total:.0%}, asked {asked[split]:.0%})"
        for split in asked
    )
    far = any(not 1 / FAR_OFF < ratios[split] < FAR_OFF for split in off)
    return [
        RawFinding(
            "SPLIT_OFF_WEIGHTS",
            f"The splits are far from their weights: {listed}",
            cure=_cure(scan, columns),
            usual="error" if far else None,
            details={"rows": dict(rows), "asked": asked},
        )
    ]


def _cure(scan: Scan, columns: Columns) -> str:
    if columns.split.by == "time":
        return "Many rows have one time: take a finer column for split.time"
    if columns.group_by:
        return f"Some groups of {columns.group_by!r} are too large to share out: name a finer column in split.group_by"
    distinct = len(np.unique(np.concatenate([*scan.content.values()])))
    return f"There are {distinct} different rows of features, and equal ones go to one split: set split.by: row"


def class_shares(scan: Scan, columns: Columns) -> list[RawFinding]:
    """Look for classes that a split has not, or has in another share than the others (exact test)."""
    counts = _class_counts(scan, columns)
    rows, total = scan.rows, sum(scan.rows.values())
    of_class = {name: sum(by_split[name] for by_split in counts.values()) for name in columns.classes}
    findings = []
    for split, by_class in counts.items():
        absent = [name for name, count in by_class.items() if not count and rows[split]]
        findings += [_absent(name, split, of_class[name], columns) for name in absent]
    tests = len(counts) * len(columns.classes)
    for split, by_class in counts.items():
        for name, count in by_class.items():
            expected = of_class[name] * rows[split] / max(total, 1)
            chance = _two_sided(hypergeom(total, of_class[name], rows[split]), count)
            if count and chance < FALSE_ALARM / tests and abs(count - expected) > OFF * expected:
                findings.append(_share(name, split, count, rows[split], of_class[name], total, chance, columns))
    return findings


def _class_counts(scan: Scan, columns: Columns) -> dict[str, dict[str, int]]:
    """Return the rows of each class in each split."""
    batch = pa.RecordBatch.from_arrays([pa.array(columns.classes, pa.string())], [columns.label])
    hashes = row_hashes(batch, [columns.label]).tolist()
    counts = {}
    for split, labels in scan.labels.items():
        present = dict(zip(*(array.tolist() for array in np.unique(labels, return_counts=True)), strict=True))
        counts[split] = {name: present.get(code, 0) for name, code in zip(columns.classes, hashes, strict=True)}
    return counts


def _absent(name: str, split: str, rows: int, columns: Columns) -> RawFinding:
    what = {
        TRAIN: "the model cannot learn it",
        TESTED: "nothing can be said of it, and with two classes no metric is defined",
    }.get(split, "it has no say in when training stops")
    is_binary = len(columns.classes) == 2
    return RawFinding(
        "CLASS_ABSENT",
        f"{split} has no row of class {name!r}, of which there are {rows} in all: {what}",
        feature=columns.label,
        splits=(split,),
        cure=f"Add rows of it, give {split} more weight, or take it out of data.classes and its rows out of the data",
        usual="error" if split == TRAIN or (split == TESTED and is_binary) else None,
        details={"class": name, "rows": rows},
    )


def _share(
    name: str, split: str, count: int, rows: int, of_class: int, total: int, chance: float, columns: Columns
) -> RawFinding:
    cures = {
        "time": "If it changed with time, that is what the test is to show; else deal by content",
        "row": "Were the rows sorted or thinned after they were dealt? Look at them",
        "content": "Equal rows and groups go together: set split.by: row, or name a finer split.group_by",
    }
    return RawFinding(
        "CLASS_SHARE_DIFFERS",
        f"Class {name!r} is {count / rows:.1%} of {split} and {of_class / total:.1%} of all rows: rows dealt "
        f"one by one differ so much once in {1 / max(chance, 1e-12):.0g} times",
        feature=columns.label,
        splits=(split,),
        cure=cures[columns.split.by],
        details={"class": name, "share": count / rows, "share_of_all": of_class / total, "chance": chance},
    )


def splits_without_values(statistics: Mapping[str, Statistics], columns: Columns) -> list[RawFinding]:
    """Find columns that have values in some split and none in another, as a sparse one may by chance."""
    filled: dict[str, set[str]] = {}
    splits = [split for split, of_split in statistics.items() if of_split.rows]
    for split in splits:
        for name, column in statistics[split].columns.items():
            if _values(column):
                filled.setdefault(name, set()).add(split)
    left_out = columns.left_out
    return [
        RawFinding(
            "SPLIT_WITHOUT_VALUES",
            f"{name!r} has no value in {split}, and has some in {' and '.join(sorted(present))}: "
            + ("the model cannot learn from it" if split == TRAIN else f"{split} does not show what it is worth"),
            feature=name,
            splits=(split,),
            cure="List it in data.ignore if it is hardly ever filled; else deal otherwise (split.seed) or add rows",
        )
        for name, present in filled.items()
        for split in splits
        if split not in present and name not in left_out
    ]


def _values(column: Any) -> int:
    stats = column.string_stats if column.HasField("string_stats") else column.num_stats
    return int(stats.common_stats.num_non_missing)


def features_set_aside(set_aside: Sequence[tuple[str, str]], columns: Columns) -> list[RawFinding]:
    """Tell of each column that the schema keeps from the model, `(name, stage)`, where nobody wrote the schema."""
    return [
        RawFinding(
            "FEATURE_SET_ASIDE",
            f"The inferred schema sets {name!r} aside ({stage}): the model does not read it",
            feature=name,
            cure="List it in data.ignore, or write a schema that describes it (local_runner.py init)",
        )
        for name, stage in set_aside
        if not columns.has_schema and name not in columns.left_out
    ]


def _two_sided(distribution: Any, count: int) -> float:
    """Return how often a count at least so far out comes by chance: twice the smaller tail."""
    return float(min(1.0, 2 * min(distribution.cdf(count), distribution.sf(count - 1))))
