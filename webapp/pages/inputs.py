"""A model's fields as the inputs of a form, each with its value, hint and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from webapp.models.catalog import Field, ModelVersion
from webapp.pages import wording
from webapp.types import Caution, Problem

MOST_OPTIONS = 50  # beyond, values are typed, not picked


@dataclass(frozen=True)
class Input:
    """One field in a form. `options`: the values to pick from, empty where one is typed."""

    id: str
    field: Field
    value: str
    hint: str
    options: tuple[str, ...] = ()
    problem: Problem | None = None
    caution: Caution | None = None

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
    numbers = {
        field.name: number for number, field in enumerate(model_version.fields)
    }  # a name may hold what an id may not
    return tuple(
        Input(
            f"field-{numbers[field.name]}",
            field,
            texts.get(field.name, ""),
            wording.seen_range(field),
            _options(field, texts.get(field.name, "")),
            wrong.get(field.name),
            odd.get(field.name),
        )
        for _heading, fields in model_version.groups
        for field in fields
    )


def problem_links(inputs: Sequence[Input]) -> list[tuple[str, str]]:
    """Return the id of each wrong input with what to say of it, for the summary at the top of a page."""
    return [(each.id, f"{each.field.title}: {each.problem.rule}") for each in inputs if each.problem]


def as_text(value: Any) -> str:
    """Return a value as an input holds it: never by locale, nothing for a missing one."""
    return "" if value is None else str(value).removesuffix(".0")


def _options(field: Field, given: str) -> tuple[str, ...]:
    if field.kind == "numeric":
        return ()
    seen = field.stats.seen or frozenset()
    known = field.values or (tuple(sorted(seen, key=_order)) if len(seen) <= MOST_OPTIONS else ())
    return (*known, given) if known and given and given not in known else known


def _order(text: str) -> tuple[float, str]:
    return (float(text) if text.lstrip("-").isdecimal() else 0.0), text
