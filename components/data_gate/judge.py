"""From what the checks find to the gate's verdict: the rows behind each finding, their export, the severities."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.files import write_text
from common.tables.columns import safe_text
from common.text import counted
from components.data_gate.scan import Block
from components.verdict import Finding, Verdict
from config.gate_settings import DataGateSettings

SHOWN_VALUES = 5
Mask = NDArray[np.bool_]
Key = tuple[str, str | None]  # kind and feature
SEVERITIES = ("error", "warn", "info")


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

    @property
    def key(self) -> Key:
        return self.finding.kind, self.finding.feature

    @property
    def text(self) -> str:
        if not self.finding.counts_rows:
            return self.finding.text
        shown = f": {', '.join(self.values)}" if self.values else ""
        return f"{self.finding.text}{shown} ({counted(self.rows, 'row')})"


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


def name_files(all_located: Iterable[Located]) -> dict[Key, str]:
    return {key: file_name(*key) for key in dict.fromkeys(located.key for located in all_located if located.exported)}


def export(all_located: Sequence[Located], names: Mapping[Key, str], folder: Path, most: int) -> None:
    """Write the rows of each kind and feature into one file, at most `most` of them.

    `_row` counts from 0 in the reading order of the split.
    """
    for key, name in names.items():
        same = [located for located in all_located if located.key == key]
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


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([cell(name) for name in names])
    writer.writerows([cell(row.get(name)) for name in names] for row in rows)
    return text.getvalue()


def judge(
    all_located: Sequence[Located],
    files: Mapping[Key, str],
    settings: DataGateSettings,
    rows: Mapping[str, int],
    override: str,
) -> Verdict:
    """Return the verdict; the gravest findings come first. `files` names exported rows by kind and feature."""
    weighed = [(_finding(located, files, settings), located.text) for located in all_located]
    weighed.sort(key=lambda pair: SEVERITIES.index(pair[0].severity))
    findings = tuple(finding for finding, _ in weighed)
    errors = [text for finding, text in weighed if finding.severity == "error"]
    warnings = sum(finding.severity == "warn" for finding in findings)
    total = f"{counted(sum(rows.values()), 'row')} ({', '.join(f'{n} {split}' for split, n in rows.items())})"
    warned = f"; {counted(warnings, 'warning')}" if warnings else ""
    if not errors:
        sentence = f"The data passed: {total}, no error{warned}."
    else:
        more = f" ({counted(len(errors) - 1, 'more error')})" if len(errors) > 1 else ""
        decision = f"were let pass by override ({override})" if override else "were refused"
        sentence = f"The data {decision}: {errors[0]}{more}{warned}."
    return Verdict("data", not errors or bool(override), sentence, findings, override or None)


def _finding(located: Located, files: Mapping[Key, str], settings: DataGateSettings) -> Finding:
    raw = located.finding
    details = dict(raw.details)
    if raw.counts_rows:
        details["rows"] = located.rows
    if file := files.get((raw.kind, raw.feature)):
        details["rows_file"] = file
    if raw.splits:
        details["splits"] = list(raw.splits)
    return Finding(
        kind=raw.kind,
        severity=settings.severity_of(raw.kind, raw.feature, raw.usual),
        sentence=f"{located.text}. {raw.cure}." if raw.cure else f"{located.text}.",
        feature=raw.feature,
        details=details,
    )
