"""Find the rows behind suspicions in one more pass, and write them as CSV files that a spreadsheet may open."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.files import write_text
from components.data_gate.blocks import Block
from components.data_gate.finding import Suspicion

SHOWN_VALUES = 5
Key = tuple[str, str | None]  # kind and feature
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet would run what begins with these


@dataclass
class Located:
    """The rows behind one suspicion: their number, some of the values, and as many rows as may be exported."""

    suspicion: Suspicion
    rows: int = 0
    values: list[str] = field(default_factory=list)
    exported: list[dict[str, Any]] = field(default_factory=list)


def locate(blocks: Iterable[Block], suspicions: Sequence[Suspicion], most: int) -> list[Located]:
    """Read all rows again and find those of each suspicion that says how; keep at most `most` rows of each."""
    found = [Located(suspicion) for suspicion in suspicions]
    wanted = [located for located in found if located.suspicion.where]
    if not wanted:
        return found
    for block in blocks:
        for located in wanted:
            where = located.suspicion.where
            if where is not None and block.split in located.suspicion.splits:
                _take(located, block, np.flatnonzero(where(block)), most)
    return found


def name_files(found: Iterable[Located]) -> dict[Key, str]:
    """Return a file name for each kind and feature with rows to export."""
    return {key: file_name(*key) for key in dict.fromkeys(_key(located) for located in found if located.exported)}


def export(found: Sequence[Located], names: Mapping[Key, str], folder: Path, most: int) -> None:
    """Write the rows of each kind and feature into one file, at most `most` of them.

    `_row` counts from 0 in the reading order of the split.
    """
    for key, name in names.items():
        rows = {(r["_split"], r["_row"]): r for located in found if _key(located) == key for r in located.exported}
        write_text(folder / name, _csv([*rows.values()][:most]))


def file_name(kind: str, feature: str | None) -> str:
    """Return a name any file system takes, and that no other feature has."""
    if feature is None:
        return f"rows-{kind}.csv"
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", feature)[:80]
    tail = "" if plain == feature else "-" + hashlib.blake2b(feature.encode(), digest_size=4).hexdigest()
    return f"rows-{kind}-{plain}{tail}.csv"


def cell(value: object) -> str:
    """Return a value as CSV text. Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _take(located: Located, block: Block, rows: Any, most: int) -> None:
    located.rows += len(rows)
    suspicion = located.suspicion
    if suspicion.counts_rows and suspicion.feature is not None and len(located.values) < SHOWN_VALUES:
        for value in block.column(suspicion.feature).take(rows).unique().to_pylist():
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


def _key(located: Located) -> Key:
    return located.suspicion.kind, located.suspicion.feature


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([cell(name) for name in names])
    writer.writerows([cell(row.get(name)) for name in names] for row in rows)
    return text.getvalue()
