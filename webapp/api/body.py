"""Bodies of requests: their type first, then JSON from strangers, bounded in depth, then rows in one of four forms."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import orjson
from flask import Request
from pydantic import BaseModel, ValidationError

from common.errors import VouchError
from webapp.api.schemas import STICKY_LENGTH
from webapp.predict.validation import shown
from webapp.settings import WebSettings
from webapp.types import InvalidInput, Problem

EXAMPLE = '{"rows": [{"feature": 1.5}]}'
_NOT_A_NUMBER = re.compile("-?(NaN|Infinity|nan|inf)|-$")
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_KEYS = ("model", "reference", "row", "rows", "sticky")
JSON, CSV, MULTIPART = "application/json", "text/csv", "multipart/form-data"
IMAGES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "application/octet-stream")
_CHARSETS = ("utf-8", "utf8")
Body = TypeVar("Body", bound=BaseModel)


def parse_json(text: bytes, max_depth: int) -> Any:
    """Return what a JSON text says. Whole numbers beyond 64 bits become floats.

    Raises InvalidInput with the place: not JSON (RFC 8259), nested deeper than `max_depth`, a key given twice, NaN or
    infinity. Takes time linear in the text's length, whatever it holds.
    """
    plain = _without_strings(text)
    if _is_deeper(plain, max_depth):
        raise _invalid(f"must nest at most {max_depth} objects and lists", "more of them", EXAMPLE)
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _not_json(error) from None
    if plain.count(b":") != _keys(parsed):
        raise _twice(text)
    return parsed


def _without_strings(text: bytes) -> bytes:
    """Return what stands outside of the strings, if the text is JSON; of another text it is some part."""
    if b"\\" in text:
        text = text.replace(rb"\\", b"").replace(rb"\"", b"")
    return b"".join(text.split(b'"')[::2])


def _is_deeper(plain: bytes, max_depth: int) -> bool:
    """Return whether brackets nest deeper: each pass takes the innermost pairs away, and brings the next to light."""
    brackets = plain.translate(_BRACKETS, _ALL_BUT_BRACKETS)
    for _ in range(max_depth):
        brackets = brackets.replace(b"[]", b"")
    return b"[]" in brackets or brackets.count(b"[") > max_depth


def _keys(parsed: Any) -> int:
    level, keys = [parsed] if type(parsed) in (dict, list) else [], 0
    while level:
        keys += sum(len(value) for value in level if type(value) is dict)
        inner = chain.from_iterable(value.values() if type(value) is dict else value for value in level)
        level = [value for value in inner if type(value) in (dict, list)]
    return keys


def _not_json(error: orjson.JSONDecodeError) -> InvalidInput:
    place = f"line {error.lineno}, column {error.colno}: {error.msg}"
    if _NOT_A_NUMBER.match(error.doc, error.pos):
        return _invalid("must be a finite number, or null where the value is missing", place, "17.99")
    return _invalid("must be JSON as in RFC 8259, in UTF-8", place, EXAMPLE)


def _twice(text: bytes) -> InvalidInput:
    twice: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        counts = Counter(key for key, _ in pairs)
        if len(counts) < len(pairs):
            twice.append(counts.most_common(1)[0][0])

    json.loads(text, object_pairs_hook=note)
    return _invalid("must stand only once in its object", "it stands there again", EXAMPLE, field=shown(twice[0]))


def _invalid(rule: str, got: str, example: str, field: str = "") -> InvalidInput:
    return InvalidInput([Problem(field, rule, got, example)], "the body cannot be read")


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


class WrongMediaType(VouchError):
    http_status = 415


def check_media_type(request: Request, taken: tuple[str, ...]) -> None:
    if request.mimetype not in taken:
        got = request.content_type or "no Content-Type"
        raise WrongMediaType("the body is of the wrong type", got=shown(got), wanted=" or ".join(taken))
    charset = request.mimetype_params.get("charset", "utf-8")
    if charset.lower() not in _CHARSETS:
        raise WrongMediaType("the body has the wrong character set", got=shown(charset), wanted="UTF-8")


def read_json(request: Request, settings: WebSettings) -> Any:
    """Return what the JSON body says.

    Raises WrongMediaType, InvalidInput; werkzeug's RequestEntityTooLarge if the client had not said how much there is.
    """
    check_media_type(request, (JSON,))
    return parse_json(request.get_data(cache=False), settings.max_depth)


def read_as(kind: type[Body], request: Request, settings: WebSettings) -> Body:
    """Return the JSON body as what it should be. Raises as `read_json`; InvalidInput names each key that is wrong."""
    payload = read_json(request, settings)
    try:
        return kind.model_validate(payload)
    except ValidationError as error:
        problems = [_problem(kind, problem) for problem in error.errors(include_url=False)]
        raise InvalidInput(problems) from None


def _problem(kind: type[BaseModel], problem: Any) -> Problem:
    key = ".".join(map(str, problem["loc"]))
    field = kind.model_fields.get(key)
    examples = (field.examples if field else None) or [""]
    return Problem(shown(key) if key else "", problem["msg"], _got(kind, key, problem), str(examples[0]))


def _got(kind: type[BaseModel], key: str, problem: Any) -> str:
    """Return what stands there; not where it may be a secret, be it in the wrong place."""
    if problem["type"] == "missing":
        return "nothing"  # the error's input is all of the body
    secrets = {name for name in kind.model_fields if "password" in name or "token" in name}
    is_secret = bool(secrets) and (key in secrets or key not in kind.model_fields)
    return "hidden" if is_secret else shown(problem["input"])
