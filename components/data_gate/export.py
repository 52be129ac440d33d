"""Write the rows behind findings as CSV files that a spreadsheet may open."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.files import write_text
from common.tables.safe import safe_text
from components.data_gate.finding import Located

Key = tuple[str, str | None]  # kind and feature


def name_files(all_located: Iterable[Located]) -> dict[Key, str]:
    """Return a file name for each kind and feature with rows to export."""
    return {key: file_name(*key) for key in dict.fromkeys(_key(located) for located in all_located if located.exported)}


def export(all_located: Sequence[Located], names: Mapping[Key, str], folder: Path, most: int) -> None:
    """Write the rows of each kind and feature into one file, at most `most` of them.

    `_row` counts from 0 in the reading order of the split.
    """
    for key, name in names.items():
        same = [located for located in all_located if _key(located) == key]
        rows = {(row["_split"], row["_row"]): row for located in same for row in located.exported}
        write_text(folder / name, _csv([*rows.values()][:most]))


def file_name(kind: str, feature: str | None) -> str:
    """Return a name any file system takes, and that no other feature has."""
    if feature is None:
        return f"rows-{kind}.csv"
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", feature)[:80]
    tail = "" if plain == feature else "-" + hashlib.blake2b(feature.encode(), digest_size=4).hexdigest()
    return f"rows-{kind}-{plain}{tail}.csv"


def cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return safe_text(value)
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _key(located: Located) -> Key:
    return located.finding.kind, located.finding.feature


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([cell(name) for name in names])
    writer.writerows([cell(row.get(name)) for name in names] for row in rows)
    return text.getvalue()
