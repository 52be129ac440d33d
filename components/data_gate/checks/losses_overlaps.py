"""Rows must agree between steps: TFDV can lose some silently (tensorflow/data-validation#247)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Literal

import numpy as np

from common.tables.splitting import Hashes
from common.text import counted
from components.data_gate.judge import Mask, RawFinding
from components.data_gate.scan import Block, Scan, hash_columns
from config.data_settings import SplitSettings

_ODD = np.uint64(0x9E3779B97F4A7C15)  # so that a label and a feature that are equal do not cancel out


def row_losses(written: Mapping[str, int], statistics: Mapping[str, int], read: Mapping[str, int]) -> list[RawFinding]:
    """Compare the rows that ExampleGen wrote, StatisticsGen saw and this gate read.

    `written` holds `rows_in` and `rows_<split>` where ExampleGen left them; what it does not hold is not compared.
    """
    findings = []
    steps = {f"rows_{split}": rows for split, rows in read.items()} | {"rows_in": sum(read.values())}
    for key, rows in steps.items():
        counts_by_step = {"ExampleGen wrote": written.get(key), "this gate read": rows}
        if key != "rows_in":
            counts_by_step["StatisticsGen saw"] = statistics.get(key.removeprefix("rows_"), 0)
        counts_by_step = {step: count for step, count in counts_by_step.items() if count is not None}
        if len(set(counts_by_step.values())) > 1:
            what = "in all splits" if key == "rows_in" else f"in {key.removeprefix('rows_')}"
            listed = ", ".join(f"{step} {count}" for step, count in counts_by_step.items())
            findings.append(
                RawFinding(
                    "ROW_LOSS",
                    f"The numbers of rows {what} differ: {listed}",
                    details={**counts_by_step},
                    cure="Run again without the cache, and with Beam's default runner",
                )
            )
    return findings


def row_overlaps(content: Mapping[str, Hashes], features: Sequence[str], split: SplitSettings) -> list[RawFinding]:
    """Find rows whose features stand in two splits. `content` holds the rows' hashes by split, `[rows]` uint64."""
    findings = []
    usual: Literal["warn", "info"] | None = None
    cure = "Remove the copies; if they belong to one thing, name its column in split.group_by"
    if split.by == "row":
        usual, cure = ("info", "So split.by: row has it; where copies belong to one thing, use split.group_by")
    elif split.by == "time" or split.group_by:
        usual = "warn"  # two groups, or two days, may well look alike
    for (first, second), shared in _shared(content).items():
        counts = {split: int(np.isin(content[split], shared).sum()) for split in (first, second)}
        findings.append(
            RawFinding(
                "SPLIT_OVERLAP",
                f"{counted(counts[first], 'row')} of {first} have the same features as "
                f"{counted(counts[second], 'row')} of {second}: "
                "what is measured there has been seen before",
                splits=(first, second),
                where=partial(_among, shared, features),
                cure=cure,
                usual=usual,
                details=counts,
            )
        )
    return findings


def group_overlaps(groups: Mapping[str, Hashes], group_by: str) -> list[RawFinding]:
    """Find groups with rows in two splits. `groups` holds the hashes of the groups' names by split."""
    findings = []
    for (first, second), shared in _shared(groups).items():
        counts = {split: int(np.isin(groups[split], shared).sum()) for split in (first, second)}
        findings.append(
            RawFinding(
                "GROUP_OVERLAP",
                f"{counted(len(shared), 'group')} of {group_by!r} stand in two splits: "
                f"{counted(counts[first], 'row')} in {first}, {counted(counts[second], 'row')} in {second}",
                feature=group_by,
                splits=(first, second),
                where=partial(_among, shared, [group_by]),
                cure="Let ExampleGen split by split.group_by, or repair the splits given",
                details={**counts, "groups": len(shared)},
            )
        )
    return findings


def repeated_rows(scan: Scan, features: Sequence[str], label: str, *, is_number: bool) -> list[RawFinding]:
    """Find rows that repeat, and equal ones with another class; `is_number`: numbers differ where classes agree."""
    findings = []
    rows = {split: scan.content[split] + labels * _ODD for split, labels in scan.labels.items()}
    repeats = {split: len(hashes) - len(np.unique(hashes)) for split, hashes in rows.items()}
    if total := sum(repeats.values()):
        parts = ", ".join(f"{count} in {split}" for split, count in repeats.items() if count)
        findings.append(
            RawFinding(
                "DUPLICATE_ROWS",
                f"{counted(total, 'row')} repeat an earlier one, label included: {parts}",
                details=repeats,
            )
        )
    content = np.concatenate([*scan.content.values()])
    distinct = content[np.unique(np.concatenate([*rows.values()]), return_index=True)[1]]
    values, counts = np.unique(distinct, return_counts=True)
    contradicted = values[counts > 1]
    if len(contradicted) and not is_number:
        count = int(np.isin(content, contradicted).sum())
        findings.append(
            RawFinding(
                "CONTRADICTORY_LABELS",
                f"{counted(count, 'row')} have the same features as others but another {label!r}: "
                "no model can get all of them right",
                splits=tuple(scan.content),
                where=partial(_among, contradicted, features),
                cure="Correct the labels, or add the column that tells these rows apart; where chance does, leave them",
                details={"rows": count, "patterns": len(contradicted)},
            )
        )
    return findings


def _shared(hashes: Mapping[str, Hashes]) -> dict[tuple[str, str], Hashes]:
    pairs = {(a, b): np.intersect1d(hashes[a], hashes[b]) for a, b in combinations(hashes, 2)}
    return {pair: shared for pair, shared in pairs.items() if len(shared)}


def _among(hashes: Hashes, names: Sequence[str], block: Block) -> Mask:
    return np.isin(hash_columns(block, names), hashes)
