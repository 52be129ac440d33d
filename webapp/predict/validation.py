"""Hold what was sent to the rules of a version's fields, and name every value that breaks one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from reprlib import Repr
from typing import Any

import numpy as np

from common.tables.cleaning import Cleaning
from common.tables.dates import is_date
from common.text import MISSING_CODE, nearest
from serving.client.row_files import reader_of
from webapp.models.catalog import Field, ModelVersion
from webapp.models.statistics import plain
from webapp.types import MAX_PROBLEMS, Caution, InvalidInput, Problem

LARGEST_FLOAT = float(np.finfo(np.float32).max)
LARGEST_CODE = 2**63 - 1
LARGEST_WHOLE = 2**63 - 2**39  # the next float32 is 2^63, which wraps around in the model
GIVEN, SOME_NUMBER, FINITE = "must be given", "must be a number", "must be a finite number"
WHOLE, TEXT, UNICODE = "must be a whole number", "must be text", "must be valid Unicode"
DECIMAL_POINT = "must be a number with a decimal point, not a comma"
LISTED, SHOWN = 12, 80
_repr = Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = SHOWN
Cautions = tuple[Caution, ...]
_ABSENT = object()


class Refused(ValueError):
    """A value breaks a rule; the message is the rule."""


@dataclass(frozen=True, eq=False)
class FieldRules:
    """One field's rules, worked out once a version. Numbers from `low` to `high` are taken as they are."""

    field: Field
    name: str
    is_text: bool
    takes_floats: bool
    low: float
    high: float
    seen_low: float  # the training data's; without any: no bound
    seen_high: float
    allowed: frozenset[str]  # texts; empty: any
    blank: Any  # stands for: missing
    dtype: str  # of the signature's input
    cleaning: Cleaning

    @cached_property
    def quick(self) -> tuple[str, tuple[type, ...], float, float, float, float]:
        """Name; types of which a value from low to high is right as it is; low, high; the same two as seen."""
        is_listed = self.is_text or self.field.stats.seen is not None or self.cleaning.null_numbers or self.is_date
        kinds = () if is_listed else (float, int) if self.takes_floats else (int,)
        return self.name, kinds, self.low, self.high, self.seen_low, self.seen_high

    @property
    def is_date(self) -> bool:
        return self.field.date_order is not None

    def read(self, value: Any) -> Any:
        """Return a JSON value as it is sent to the model. Raises Refused."""
        if value is None:
            return self._missing()
        if self.is_text:
            return self._text(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refused(SOME_NUMBER if self.takes_floats else WHOLE)
        if isinstance(value, float) and not math.isfinite(value):
            raise Refused(FINITE)
        if not self.takes_floats and isinstance(value, float):
            if not value.is_integer():
                raise Refused(WHOLE)
            value = int(value)
        if value in self.cleaning.null_numbers:
            return self._missing()
        if not self.low <= value <= self.high:
            raise Refused(self._range(value))
        return self._date(value)

    def read_text(self, text: str) -> Any:
        """Return a text, of a form or a file, as it is sent to the model. Raises Refused."""
        if self.is_text:
            return self.read(text)
        text = self.cleaning.number(text)
        if not text:
            return self.read(None)
        try:
            value = reader_of("DT_FLOAT" if self.takes_floats else "DT_INT64")(text)
        except ValueError:
            kind = SOME_NUMBER if self.takes_floats else WHOLE
            raise Refused(DECIMAL_POINT if "," in text and self.takes_floats else kind) from None
        return self.read(value)

    def is_seen(self, value: Any) -> bool:
        """Return whether the training data reach to a value that `read` returned."""
        if self.field.stats.seen is not None:
            return value == self.blank or str(value) in self.field.stats.seen
        return self.is_text or value == self.blank or not (value < self.seen_low or value > self.seen_high)

    def caution(self, value: Any) -> Caution:
        if self.field.stats.seen is not None:
            return Caution(self.name, shown(value), "the training data never had this value")
        return Caution(self.name, shown(value), f"the training data reach from {self.seen_low:g} to {self.seen_high:g}")

    def problem(self, rule: str, got: Any, row: int | None = None) -> Problem:
        return Problem(self.name, rule, shown(got), self.field.example, row)

    def _fitting(self, text: str) -> str:
        """Return a text as the version's settings have it, unless it was trained with as it is."""
        is_known = text in self.allowed or text in (self.field.stats.seen or ())
        return text if is_known else self.cleaning.text(self.name, text)

    def _date(self, value: Any) -> Any:
        order = self.field.date_order
        if order and not is_date(str(value), order):
            raise Refused(f"must be a date such as {self.field.example}")
        return value

    def _missing(self) -> Any:
        if self.field.required:
            raise Refused(GIVEN)
        return self.blank

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise Refused(TEXT)
        value = self._fitting(value)
        if not value:
            return self._missing()
        if self.allowed and value not in self.allowed:
            values = self.field.values
            more = f" or {len(values) - LISTED} others" if len(values) > LISTED else ""
            raise Refused(f"must be one of {', '.join(values[:LISTED])}{more}")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refused(UNICODE) from None
        return self._date(value)

    def _range(self, value: float) -> str:
        low, high = self.field.minimum, self.field.maximum
        if low is not None and value < self.low:
            return f"must be at least {plain(low):g}"
        if high is not None and value > self.high:
            return f"must be at most {plain(high):g}"
        return f"must lie between {self.low:.8g} and {self.high:.8g}"


@lru_cache(maxsize=64)
def rules_of(model_version: ModelVersion) -> tuple[FieldRules, ...]:
    return tuple(_rules(field, model_version.cleaning) for field in model_version.fields)


def shown(value: Any) -> str:
    """Return a value as it is told: JSON's words, cut short, printable whatever it is."""
    if value is None or value == "":
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else _repr.repr(value)
    text = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
    return text.encode("utf-8", "backslashreplace").decode()


def _rules(field: Field, cleaning: Cleaning) -> FieldRules:
    largest: float = LARGEST_FLOAT if field.dtype == "float" else LARGEST_CODE if field.is_code else LARGEST_WHOLE
    stats, is_text = field.stats, field.dtype == "string"
    low, high = field.minimum, field.maximum
    return FieldRules(
        field,
        field.name,
        is_text,
        field.dtype == "float",
        low=-largest if low is None else max(plain(low), -largest),
        high=largest if high is None else min(plain(high), largest),
        seen_low=-math.inf if stats.minimum is None else stats.minimum,
        seen_high=math.inf if stats.maximum is None else stats.maximum,
        allowed=frozenset(field.values) if is_text else frozenset(),
        blank="" if is_text else MISSING_CODE if field.is_code else math.nan,
        dtype="DT_STRING" if is_text else "DT_INT64" if field.is_code else "DT_FLOAT",
        cleaning=cleaning,
    )


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
