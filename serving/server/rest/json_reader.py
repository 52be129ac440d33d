"""From the bytes of a request to its JSON object, by the fastest parser that reads it just as the model server does."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from serving.server.core.status import invalid_argument
from serving.server.rest.json_grammar import parse_exactly
from serving.server.rest.json_text import value_text

# What the standard library reads, but not as the model server does: half surrogates, numbers beyond 64 bits or float64.
_READ_DIFFERENTLY = re.compile(rb"\\u[dD][89a-fA-F]|[0-9]{19}|[eE]\+?[0-9]{3}")
_LEADING_SPACE = re.compile(r"[ \n\r\t]*")


def read_object(body: bytes) -> dict[Any, Any]:
    """Return the JSON object a request's body starts with; its text is `str`, or `bytes` where it is not UTF-8.

    Raise INVALID_ARGUMENT if it does not parse or is no object.
    """
    document = _parse(body)
    if type(document) is not dict:
        raise invalid_argument(f"JSON Value: {value_text(document)} Is not object")
    return document


def signature_of(document: dict[Any, Any]) -> str:
    """Return the signature named in a request's object, empty if none is; raise INVALID_ARGUMENT if it is not text."""
    name = document.get("signature_name", "")
    if type(name) is str:
        return name
    if type(name) is bytes:
        return name.decode("utf-8", "replace")
    raise invalid_argument(
        f"JSON Value: {value_text(document)} not formatted correctly. 'signature_name' key must be a string value."
    )


def _parse(body: bytes) -> Any:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _parse_leniently(body)
    # orjson keeps the last of duplicate keys; with as many colons as members there are none.
    return document if _members_are(document, body.count(b":")) else _parse_leniently(body)


def _members_are(document: Any, count: int) -> bool:
    found, level = 0, [document]
    while level:
        objects = [node for node in level if type(node) is dict]
        found += sum(map(len, objects))
        if found == count:
            return True
        below: list[Any] = []
        for node in level:
            below += node.values() if type(node) is dict else node if type(node) is list else ()
        level = [node for node in below if type(node) is dict or type(node) is list]
    return False


def _parse_leniently(body: bytes) -> Any:
    if not _READ_DIFFERENTLY.search(body):
        try:
            text = body.decode()
            start = _LEADING_SPACE.match(text)
            document, _ = _DECODER.raw_decode(text, start.end() if start else 0)
        except (ValueError, RecursionError):
            pass
        else:
            if type(document) is dict:
                return document
    return parse_exactly(body)


def _first_of_duplicates(members: list[tuple[str, Any]]) -> dict[str, Any]:
    kept = dict(members)
    if len(kept) < len(members):
        kept = {}
        for name, value in members:
            kept.setdefault(name, value)
    return kept


_DECODER = json.JSONDecoder(object_pairs_hook=_first_of_duplicates)
