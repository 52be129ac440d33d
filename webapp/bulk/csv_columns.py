"""Hold whole columns of texts to the rules of a version's fields.

What is surely right is found a column at a time; what is left is asked of the same rules as any other value, once for
each text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from common.tables.cleaning import Cleaning
from webapp.models.catalog import ModelVersion
from webapp.predict.validation import FieldRules, Refused, rules_of
from webapp.types import MAX_PROBLEMS, Problem

DECIMAL = r"^-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
WHOLE = r"^-?[0-9]{1,18}$"
PADDED = r"^\s|\s$"
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class CheckedTable:
    """The rows of a table that can be predicted, as columns for the model, and what is wrong with the others."""

    columns: dict[str, Any]  # field: numbers as arrays, texts as lists
    is_good: Mask  # of the table's rows
    wrong: int  # rows left out
    cautions: NDArray[np.int64]  # unusual values of each good row
    cautions_by_field: Counter[str]
    problems: list[Problem]  # the first, by row
    counts: Counter[tuple[str, str]]  # of all problems, by field and rule


@dataclass
class _Column:
    values: Any
    is_unseen: Mask
    wrong: NDArray[np.int64]  # indices of values that break a rule
    rules: list[str]  # the rule that each breaks


def check_table(
    model_version: ModelVersion, table: Any, numbers: Sequence[int] | NDArray[np.int64], cleaning: Cleaning
) -> CheckedTable:
    """Return texts as columns, numbers as `cleaning` reads them. A row is left out if a value breaks a rule."""
    rules = rules_of(model_version)
    texts = {rule.name: _texts_of(table, rule.name) for rule in rules}
    columns = {rule.name: _column(rule, texts[rule.name], cleaning) for rule in rules}
    problems = [
        (int(numbers[index]), rule.problem(reason, texts[rule.name][index].as_py(), int(numbers[index])))
        for rule in rules
        for index, reason in islice(
            zip(columns[rule.name].wrong.tolist(), columns[rule.name].rules, strict=True), MAX_PROBLEMS
        )
    ]
    is_good = np.ones(table.num_rows, np.bool_)
    for column in columns.values():
        is_good[column.wrong] = False
    good = int(is_good.sum())
    unseen = {name: column.is_unseen[is_good] for name, column in columns.items()}
    return CheckedTable(
        {name: _chosen(column.values, is_good) for name, column in columns.items()},
        is_good,
        table.num_rows - good,
        np.sum([np.zeros(good), *unseen.values()], axis=0, dtype=np.int64),
        Counter({name: int(mask.sum()) for name, mask in unseen.items() if mask.any()}),
        [problem for _, problem in sorted(problems, key=lambda pair: pair[0])[:MAX_PROBLEMS]],
        Counter((rule.name, reason) for rule in rules for reason in columns[rule.name].rules),
    )


def _column(rule: FieldRules, texts: Any, cleaning: Cleaning) -> _Column:
    if rule.is_text:
        is_known = pc.is_in(texts, value_set=pa.array(sorted(rule.allowed), pa.string()))
        cleaned = pc.if_else(is_known, texts, cleaning.texts(rule.name, texts))
    else:
        if (quick := _plain_numbers(rule, texts, cleaning)) is not None:
            return quick
        cleaned = cleaning.numbers(texts)
    is_null = _mask(pc.is_null(cleaned))
    cleaned = pc.fill_null(cleaned, "")
    values, is_sure = _texts(rule, cleaned) if rule.is_text else _numbers(rule, cleaned, cleaning)
    is_sure &= ~is_null
    if not rule.field.required:
        _put(values, np.flatnonzero(is_null), rule.blank)
        is_sure |= is_null
    unsure = np.flatnonzero(~is_sure)
    encoded = cleaned.take(pa.array(unsure)).dictionary_encode()
    codes = np.array(encoded.indices)
    read = [_read(rule, text) for text in encoded.dictionary.to_pylist()]
    is_refused = np.array([isinstance(value, Refused) for value in read], np.bool_)[codes]
    for index, code in zip(unsure[~is_refused].tolist(), codes[~is_refused].tolist(), strict=True):
        values[index] = read[code]
    rules = [str(value) for value in read]
    wrong = unsure[is_refused]
    return _Column(values, _unseen(rule, values), wrong, [rules[code] for code in codes[is_refused].tolist()])


def _read(rule: FieldRules, text: str) -> Any:
    try:
        return rule.read_text(text)
    except Refused as refused:
        return refused


def _plain_numbers(rule: FieldRules, texts: Any, cleaning: Cleaning) -> _Column | None:
    """Return a column in which every text is a plain number that is surely right, else None."""
    if not rule.takes_floats or not cleaning.takes_points or rule.is_date:
        return None
    with suppress(pa.ArrowInvalid):
        values = np.array(pc.cast(texts, pa.float64()))
        if ((values >= rule.low) & (values <= rule.high)).all():
            return _Column(values, _unseen(rule, values), np.zeros(0, np.int64), [])
    return None


def _numbers(rule: FieldRules, texts: Any, cleaning: Cleaning) -> tuple[NDArray[Any], Mask]:
    """Return `[rows]` numbers, int64 for codes, and which of them are surely right."""
    kind = pa.int64() if rule.dtype == "DT_INT64" else pa.float64()
    is_number = pc.match_substring_regex(texts, DECIMAL if rule.takes_floats else WHOLE)
    cast = pc.cast(pc.if_else(is_number, texts, pa.scalar(None, pa.string())), kind)
    values = np.array(pc.fill_null(cast, 0))
    is_sure = _mask(is_number) & (values >= rule.low) & (values <= rule.high)
    if cleaning.null_numbers:
        is_sure &= ~np.isin(values, cleaning.null_numbers)
    return values, is_sure & (not rule.is_date)


def _texts(rule: FieldRules, texts: Any) -> tuple[list[str], Mask]:
    if rule.allowed or rule.is_date:  # a date is looked at by itself
        is_sure = pc.is_in(texts, value_set=pa.array(sorted(rule.allowed), pa.string()))
    else:
        is_sure = pc.invert(pc.match_substring_regex(texts, PADDED))
    return texts.to_pylist(), _mask(is_sure)


def _unseen(rule: FieldRules, values: Any) -> Mask:
    if rule.field.stats.seen is None and not rule.is_text:
        return ((values < rule.seen_low) | (values > rule.seen_high)) & (values != rule.blank)
    listed = values if isinstance(values, list) else values.tolist()
    unseen = {value for value in set(listed) if not rule.is_seen(value)}
    return np.fromiter((value in unseen for value in listed), np.bool_, len(listed))


def _chosen(values: Any, is_chosen: Mask) -> Any:
    if isinstance(values, list):
        return (
            values if is_chosen.all() else [v for v, chosen in zip(values, is_chosen.tolist(), strict=True) if chosen]
        )
    return values[is_chosen]


def _put(values: Any, indices: NDArray[np.int64], value: Any) -> None:
    for index in indices.tolist():
        values[index] = value


def _texts_of(table: Any, name: str) -> Any:
    """Return a column as one array; one that is not there has no values."""
    chunks = table.column(name).chunks if name in table.column_names else []
    return pa.concat_arrays(chunks) if chunks else pa.array([""] * table.num_rows, pa.string())


def _mask(array: Any) -> Mask:
    return np.array(array, np.bool_)
