"""Hold what was sent to the rules of a version's fields, and name every value that breaks one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from common.text import nearest
from webapp.models.catalog import ModelVersion
from webapp.predict.rules import FieldRules, Refused, rules_of, shown
from webapp.types import MAX_PROBLEMS, Caution, InvalidInput, Problem

Cautions = tuple[Caution, ...]
_ABSENT = object()


@dataclass(frozen=True)
class Checked:
    """Rows as typed columns, such as the model takes them, and for each row what is unusual about it."""

    columns: dict[str, list[Any]]
    cautions: list[Cautions]


def check_rows(model_version: ModelVersion, rows: Sequence[Mapping[str, Any]]) -> Checked:
    """Return JSON rows as columns: a missing value is NaN, the empty text or MISSING_CODE. Raises InvalidInput."""
    if not rows:
        raise InvalidInput([Problem("", "must hold at least one row", "no rows", "")])
    rules = rules_of(model_version)
    columns: dict[str, list[Any]] = {rule.name: [] for rule in rules}
    places = [(rule, *rule.quick, columns[rule.name].append) for rule in rules]
    cautions: list[Cautions] = []
    problems: list[Problem] = []
    for number, row in enumerate(rows):
        odd: list[FieldRules] = []
        known_values = 0
        try:
            for rule, name, kinds, low, high, seen_low, seen_high, append in places:
                value = row.get(name, _ABSENT)
                if value is _ABSENT:
                    value = None
                else:
                    known_values += 1
                # nearly every value is a number in range: no call for those
                if type(value) in kinds and low <= value <= high:
                    if value < seen_low or value > seen_high:
                        odd.append(rule)
                else:
                    value = rule.read(value)
                    if not rule.is_seen(value):
                        odd.append(rule)
                append(value)
            if known_values != len(row):
                raise Refused
        except (Refused, AttributeError):
            problems += _problems(model_version, row, number if len(rows) > 1 else None)
            if len(problems) >= MAX_PROBLEMS:
                break
        cautions.append(tuple(rule.caution(columns[rule.name][-1]) for rule in odd))
    if problems:
        raise InvalidInput(problems)
    return Checked(columns, cautions)


def parse_text(model_version: ModelVersion, form: Mapping[str, str]) -> dict[str, Any]:
    """Return the texts of a form as a row for `check_rows`, which it passes; None is missing. Raises InvalidInput.

    What else the form holds is left alone: it has buttons and tokens too.
    """
    row: dict[str, Any] = {}
    problems = []
    for rule in rules_of(model_version):
        text = form.get(rule.name, "")
        try:
            value = rule.read_text(text)
            value = value if value is rule.blank or value == rule.blank else rule.read(value)
        except Refused as error:
            problems.append(rule.problem(str(error), text.strip()))
        else:
            row[rule.name] = None if value is rule.blank or value == rule.blank else value
    if problems:
        raise InvalidInput(problems)
    return row


def _problems(model_version: ModelVersion, row: Any, number: int | None) -> list[Problem]:
    if not isinstance(row, Mapping):
        return [Problem("", "must be an object with a value for each field", shown(row), "", number)]
    problems = []
    for rule in rules_of(model_version):
        try:
            rule.read(row.get(rule.name))
        except Refused as error:
            problems.append(rule.problem(str(error), row.get(rule.name), number))
    unknown = (name for name in row if name not in model_version.by_name)
    return problems + [_unknown(model_version, name, row[name], number) for name in islice(unknown, MAX_PROBLEMS)]


def _unknown(model_version: ModelVersion, name: Any, value: Any, number: int | None) -> Problem:
    near = nearest(str(name), list(model_version.by_name))
    hint = f"; did you mean {near!r}?" if near else ""
    return Problem(
        shown(name), f"is no field of this model{hint}", shown(value), near or model_version.fields[0].name, number
    )
