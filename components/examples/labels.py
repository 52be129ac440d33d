"""Check that every row can be learnt from: its label is known and its group is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from common.errors import DataError
from common.tables.csv_file import LISTED, Fault
from common.text import nearest
from components.examples.blocks import Block, Source
from components.examples.request import ReadRequest


def count_labels(block: Block, source: Source, request: ReadRequest) -> Counter[str]:
    """Return how many rows each class has. Raises DataError naming rows without a known label or a group."""
    labels = block.batch.column(request.label)
    _refuse_missing(block, source, request.label, "label")
    if request.group_by:
        _refuse_missing(block, source, request.group_by, "group")
    counts = Counter({pair["values"]: pair["counts"] for pair in pc.value_counts(labels).to_pylist()})
    if unknown := sorted(set(counts) - set(request.classes)):
        is_unknown = pc.invert(pc.is_in(labels, value_set=pa.array(request.classes, pa.string())))
        near = nearest(unknown[0], request.classes)
        raise Fault(
            f"label {request.label!r} holds an unknown class",
            ", ".join(map(repr, unknown[:LISTED])),
            f"one of {list(request.classes)}",
            f"{f'did you mean {near!r}? C' if near else 'c'}orrect it, or add it to data.classes",
        ).at(_places(block, source, is_unknown))
    return counts


def check_totals(classes: Mapping[str, int], splits: Mapping[str, int], request: ReadRequest) -> None:
    """Refuse data that are empty, of one class only, or too few for all splits."""
    rows = sum(splits.values())
    if not rows:
        raise DataError(
            "there are no rows", wanted="labelled examples", fix="export them again, or correct data.source"
        )
    present = sorted(name for name, count in classes.items() if count)
    if len(present) < 2:
        raise DataError(
            f"label {request.label!r} has one class only, so there is nothing to tell apart",
            got=f"{rows} rows of {present[0]!r}",
            wanted=f"at least two of {list(request.classes)}",
            fix="add rows of another class, or correct data.label",
        )
    if empty := [name for name, count in splits.items() if not count]:
        unit = f"groups ({request.group_by})" if request.group_by else "rows"
        raise DataError(
            f"split {empty[0]!r} is empty",
            got=str(dict(splits)),
            wanted="rows in every split",
            fix=f"add {unit}, or give it more weight: split.{empty[0]}",
        )


def reconcile(read: int, written: Mapping[str, int], counted: int | None) -> None:
    """Refuse to go on if a row was lost or doubled. `counted` is what was counted without parsing, if it was."""
    if sum(written.values()) != read or counted not in (None, read):
        counted_apart = "" if counted is None else f", {counted} counted apart"
        raise DataError(
            "rows were lost or doubled on the way",
            got=f"{read} read{counted_apart}, {dict(written)} written",
            wanted="the same number everywhere",
            fix="was the file being written? Else report it with the file",
        )


def _refuse_missing(block: Block, source: Source, column: str, what: str) -> None:
    values = block.batch.column(column)
    if values.null_count:
        key = "data.classes" if what == "label" else "split.group_by"
        raise Fault(
            f"{what} {column!r} is missing",
            f"{values.null_count} row(s) without in this block",
            f"a {what} in every row ({key})",
            f"fill the {what} in or remove the rows",
        ).at(_places(block, source, values.is_null()))


def _places(block: Block, source: Source, mask: pa.Array) -> list[str]:
    rows = pc.indices_nonzero(mask).to_pylist()[:LISTED]
    return source.places(block.file, [block.first_row + row for row in rows])
