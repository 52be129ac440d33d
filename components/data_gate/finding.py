"""What the checks find, before the settings give it a severity, and the rows behind it.

A `RawFinding` becomes one `verdict.Finding` in `judge`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.data_gate.blocks import Block

SHOWN_VALUES = 5
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RawFinding:
    """One thing noticed. `where` tells which rows of a block are meant; `cure` is what a person can do.

    `usual` takes the place of the kind's default severity. `counts_rows` says whether the text lacks the number of
    rows, so that it is added once they are found.
    """

    kind: str
    text: str
    feature: str | None = None
    splits: tuple[str, ...] = ()
    where: Callable[[Block], Mask] | None = None
    cure: str = ""
    usual: Literal["error", "warn", "info"] | None = None
    counts_rows: bool = False
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Located:
    """A finding with the rows behind it: their number, some of the values, and as many rows as may be exported."""

    finding: RawFinding
    rows: int = 0
    values: list[str] = field(default_factory=list)
    exported: list[dict[str, Any]] = field(default_factory=list)


def locate(blocks: Iterable[Block], findings: Sequence[RawFinding], most: int) -> list[Located]:
    """Read all rows again and find those of each finding that says how; keep at most `most` rows of each."""
    all_located = [Located(finding) for finding in findings]
    to_locate = [located for located in all_located if located.finding.where]
    if not to_locate:
        return all_located
    for block in blocks:
        for located in to_locate:
            where = located.finding.where
            if where is not None and block.split in located.finding.splits:
                _take(located, block, np.flatnonzero(where(block)), most)
    return all_located


def _take(located: Located, block: Block, rows: Any, most: int) -> None:
    located.rows += len(rows)
    finding = located.finding
    if finding.counts_rows and finding.feature is not None and len(located.values) < SHOWN_VALUES:
        for value in block.column(finding.feature).take(rows).unique().to_pylist():
            if value is not None and (text := _shown(value)) not in located.values:
                located.values.append(text)
        del located.values[SHOWN_VALUES:]
    kept = rows[: most - len(located.exported)]
    columns = {name: block.column(name).take(kept).to_pylist() for name in block.batch.schema.names}
    for index, row in enumerate(kept.tolist()):
        values = {name: column[index] for name, column in columns.items()}
        located.exported.append({"_split": block.split, "_row": block.first_row + row, **values})


def _shown(value: object) -> str:
    text = f"{value:.7g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
