"""A model's fields as the inputs of a form: what was typed or pasted, how it was read, what is wrong with it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import DataError
from common.text import with_point
from webapp import wording
from webapp.models.catalog import Field, ModelVersion
from webapp.types import Caution, Problem

MOST_OPTIONS = 50  # beyond, values are typed, not picked


@dataclass(frozen=True)
class Input:
    """One field in a form. `typed`: the text as it came, where it was read in another way than it stood there."""

    id: str
    field: Field
    value: str
    hint: str
    options: tuple[str, ...] = ()  # to pick from; empty where a value is typed
    problem: Problem | None = None
    caution: Caution | None = None
    typed: str = ""

    @property
    def described_by(self) -> str:
        """The ids of what is said about it; the note's place is there even while it is empty."""
        return f"{self.id}-hint {self.id}-note" if self.hint else f"{self.id}-note"


def inputs_of(
    model_version: ModelVersion,
    texts: Mapping[str, str],
    problems: Sequence[Problem] = (),
    cautions: Sequence[Caution] = (),
) -> tuple[Input, ...]:
    """Return the inputs of a form filled with `texts`, in the order of the card's groups."""
    wrong, odd = {problem.field: problem for problem in problems}, {caution.field: caution for caution in cautions}
    numbers = {field.name: number for number, field in enumerate(model_version.fields)}  # names hold what ids may not
    read = with_points(model_version, texts)
    return tuple(
        Input(
            f"field-{numbers[field.name]}",
            field,
            read.get(field.name, ""),
            wording.seen_range(field),
            _options(field, read.get(field.name, "")),
            wrong.get(field.name),
            odd.get(field.name),
            "" if read.get(field.name) == texts.get(field.name) else texts.get(field.name, ""),
        )
        for _heading, fields in model_version.groups
        for field in fields
    )


def problem_links(inputs: Sequence[Input]) -> list[tuple[str, str]]:
    """Return the id of each wrong input with what to say of it, for the summary at the top of a page."""
    return [(each.id, f"{each.field.title}: {each.problem.rule}") for each in inputs if each.problem]


def with_points(model_version: ModelVersion, texts: Mapping[str, str]) -> dict[str, str]:
    """Return a form's texts with the decimal commas of its numbers as points, where they can mean nothing else."""
    decimals = {field.name for field in model_version.fields if field.dtype == "float"}
    return {name: with_point(text) if name in decimals else text for name, text in texts.items()}


def as_text(value: Any) -> str:
    """Return a value as an input holds it: never by locale, whole numbers without a point, nothing if missing."""
    text = "" if value is None else str(value)
    return text.removesuffix(".0") if isinstance(value, float) else text


def pasted_texts(model_version: ModelVersion, pasted: str) -> dict[str, str]:
    """Return the texts of one pasted row by field: cells between tabs, semicolons or commas, with or without a header.

    Without a header the cells are in the order of the batch template. Raises DataError if it is not one row that fits.
    """
    lines = [line for line in pasted.splitlines() if line.strip()]
    delimiter = next((mark for mark in "\t;," if lines and mark in lines[0]), "\t")
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    except csv.Error as error:
        raise DataError("this is no row of a table", got=error) from None
    if not rows:
        raise DataError("nothing was pasted", wanted="a row of values, with its header or without")
    names = {name.casefold(): field.name for field in model_version.fields for name in (field.title, field.name)}
    header = [names.get(cell.casefold(), "") for cell in rows[0]]
    if not any(header):
        header = [field.name for field in model_version.fields]
    else:
        rows = rows[1:]
    if len(rows) != 1:
        raise DataError("the form takes one row", got=f"{len(rows)} rows", fix="send several on the page Batch")
    if len(rows[0]) != len(header):
        raise DataError(
            "the row does not fit",
            got=wording.counted(len(rows[0]), "value"),
            wanted=f"{len(header)}, or a header that says which they are",
        )
    return {name: cell for name, cell in zip(header, rows[0], strict=True) if name}


def _options(field: Field, value: str) -> tuple[str, ...]:
    if field.kind == "numeric":
        return ()
    seen = field.stats.seen or frozenset()
    known = field.values or (tuple(sorted(seen, key=_order)) if len(seen) <= MOST_OPTIONS else ())
    return (*known, value) if known and value and value not in known else known


def _order(text: str) -> tuple[float, str]:
    return (float(text) if text.lstrip("-").isdecimal() else 0.0), text
