"""JSON from strangers: bounded in depth before it is parsed, no key twice, neither NaN nor infinity."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import chain
from typing import Any

import orjson

from webapp.predict.rules import shown
from webapp.types import InvalidInput, Problem

EXAMPLE = '{"rows": [{"feature": 1.5}]}'
_NOT_A_NUMBER = re.compile("-?(NaN|Infinity|nan|inf)|-$")
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))


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
    """Return how many keys all objects in it have together; goes down level by level."""
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
    """Return which key stands twice; it is certain that one does."""
    twice: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        counts = Counter(key for key, _ in pairs)
        if len(counts) < len(pairs):
            twice.append(counts.most_common(1)[0][0])

    json.loads(text, object_pairs_hook=note)
    return _invalid("must stand only once in its object", "it stands there again", EXAMPLE, field=shown(twice[0]))


def _invalid(rule: str, got: str, example: str, field: str = "") -> InvalidInput:
    return InvalidInput([Problem(field, rule, got, example)], "the body cannot be read")
