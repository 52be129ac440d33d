"""The rows of a request to predict, in whichever of the four forms they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from webapp.api.schemas import STICKY_LENGTH
from webapp.predict.rules import shown
from webapp.types import InvalidInput, Problem

EXAMPLE = '{"rows": [{"feature": 1.5}]}'
_KEYS = ("model", "reference", "row", "rows", "sticky")


@dataclass(frozen=True)
class RowsRequest:
    """Rows as objects, not yet held to a schema. `model` is empty where none was named."""

    rows: Sequence[Mapping[str, Any]]
    model: str = ""
    sticky: str = ""
    reference: str = ""


def rows_asked(payload: Any, max_rows: int) -> RowsRequest:
    """Understand parsed JSON: `{"rows": […]}` or `{"row": {…}}`, each with `model`, `sticky` and `reference` if
    wanted; else a row or a list of rows for the default model. What has a key `row` or `rows` is always of the first
    two forms.

    Raises InvalidInput.
    """
    if isinstance(payload, list):
        return RowsRequest(_checked(payload, max_rows))
    if not isinstance(payload, dict):
        raise InvalidInput([Problem("", "must be an object or a list of objects", shown(payload), EXAMPLE)])
    if "rows" not in payload and "row" not in payload:
        return RowsRequest([payload])
    problems = [
        Problem(shown(key), f"must be one of {', '.join(_KEYS)}", "a key that means nothing here", EXAMPLE)
        for key in payload
        if key not in _KEYS
    ]
    if "rows" in payload and "row" in payload:
        problems.append(Problem("row", "must be left out when there are rows", "both", EXAMPLE))
    model, sticky, reference = (_text(payload, key, problems) for key in ("model", "sticky", "reference"))
    if problems:
        raise InvalidInput(problems)
    rows = payload["rows"] if "rows" in payload else [payload["row"]]
    if not isinstance(rows, list):
        raise InvalidInput([Problem("rows", "must be a list of objects", shown(rows), EXAMPLE)])
    return RowsRequest(_checked(rows, max_rows), model, sticky, reference)


def _text(payload: dict[str, Any], key: str, problems: list[Problem]) -> str:
    value = payload.get(key, "")
    if isinstance(value, str) and (key not in payload or 0 < len(value) <= STICKY_LENGTH):
        return value
    problems.append(Problem(key, f"must be text of 1 to {STICKY_LENGTH} characters", shown(value), f'"{key}": "abc"'))
    return ""


def _checked(rows: list[Any], max_rows: int) -> list[dict[str, Any]]:
    if not 0 < len(rows) <= max_rows:
        raise InvalidInput(
            [Problem("rows", f"must have 1 to {max_rows} rows; send more as CSV", f"{len(rows)} rows", EXAMPLE)]
        )
    wrong = [
        Problem("", "must be an object", shown(row), EXAMPLE, number)
        for number, row in enumerate(rows)
        if not isinstance(row, dict)
    ]
    if wrong:
        raise InvalidInput(wrong)
    return rows
