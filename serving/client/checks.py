"""Requests put into columns, answers looked over: no wrong count and no value that is not a finite number gets past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.client.errors import BadAnswer, InvalidRequest
from serving.client.types import Inputs, Outputs


def as_columns(inputs: Inputs) -> dict[str, Any]:
    """Return rows or columns as columns. Raises InvalidRequest if rows differ in their keys."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    if not inputs or not all(isinstance(row, Mapping) for row in inputs):
        raise InvalidRequest("there are no rows to predict", got=repr(inputs)[:80], wanted="columns, or rows by name")
    names = list(inputs[0])
    for number, row in enumerate(inputs):
        if set(row) != set(names):
            odd = sorted(set(row) ^ set(names))
            raise InvalidRequest(f"row {number} has other columns than row 0", got=", ".join(map(str, odd)))
    return {name: [row[name] for row in inputs] for name in names}


def count_rows(columns: Mapping[str, Any]) -> int | None:
    """Return how many rows the columns have; None if nothing is batched. Raises InvalidRequest if they differ."""
    sized = {name: len(values) for name, values in columns.items() if _is_batch(values)}
    if not sized or len(sized) < len(columns):
        return None
    if len(set(sized.values())) > 1:
        few, many = min(sized, key=lambda name: sized[name]), max(sized, key=lambda name: sized[name])
        raise InvalidRequest(
            "the columns differ in length", got=f"{few} has {sized[few]} values, {many} has {sized[many]}"
        )
    return next(iter(sized.values()))


def checked(outputs: Mapping[str, Any], rows: int | None) -> Outputs:
    """Return the outputs if each has a value for every row and all numbers are finite. Raises BadAnswer."""
    if not outputs:
        raise BadAnswer("the model server answered without outputs")
    for name, values in outputs.items():
        if rows is not None and (not isinstance(values, list) or len(values) != rows):
            count = len(values) if isinstance(values, list) else "no list"
            raise BadAnswer(
                "the model server answered another number of rows", got=f"{name}: {count}", wanted=f"{rows}"
            )
        if not _is_text(values):
            _check_numbers(name, values)
    return dict(outputs)


def _is_batch(values: Any) -> bool:
    return (isinstance(values, np.ndarray) and values.ndim > 0) or (
        isinstance(values, Sequence) and not isinstance(values, str | bytes)
    )


def _is_text(values: Any) -> bool:
    """Return whether all that is nested in lists is text. numpy would make room for the longest in every place."""
    if not isinstance(values, list):
        return isinstance(values, str | bytes)
    kinds = set(map(type, values))
    return kinds <= {str, bytes} and bool(values) if list not in kinds else all(map(_is_text, values))


def _check_numbers(name: str, values: Any) -> None:
    try:
        array = np.asarray(values)
    except ValueError:
        raise BadAnswer("the model server answered rows of differing shapes", got=name) from None
    if array.dtype.kind not in "fiub":
        raise BadAnswer("the model server answered values of no known kind", got=name)
    odd = array[~np.isfinite(array)]
    if odd.size:
        raise BadAnswer("the model server answered a value that is not a finite number", got=f"{name}: {odd.flat[0]}")
