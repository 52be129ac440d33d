"""Big numeric requests, read as whole matrices without making a Python object of every number."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import simdjson
from numpy.typing import NDArray

_SMALLEST = 8192  # bytes; below, the general reader is as quick
_PARSERS = threading.local()
_COLON, _OPENING = b":["
_FORMS = frozenset(("inputs", "instances"))
Matrices = tuple[str, str, Mapping[str | None, NDArray[np.float64]]]


def read_matrices(body: bytes) -> Matrices | None:
    """Return (signature name, `inputs` or `instances`, float64 arrays by input) of a request that holds nothing else.

    Arrays are [n] or [n, m]; a form without names gives one array under None. Return None for anything that is not
    surely a well-formed request of plain finite numbers: it is for the general reader.
    """
    if len(body) < _SMALLEST or body.count(b"{", 0, _SMALLEST) > 2:
        return None
    if not hasattr(_PARSERS, "parser"):
        _PARSERS.parser = simdjson.Parser()
    try:
        return _matrices(_PARSERS.parser, body)
    except (ValueError, TypeError, RuntimeError, UnicodeDecodeError):
        return None


def _matrices(parser: simdjson.Parser, body: bytes) -> Matrices | None:
    document = parser.parse(body)
    if not isinstance(document, simdjson.Object):
        return None
    keys = set(document.keys())
    form = keys - {"signature_name"}
    name: Any = document["signature_name"] if "signature_name" in keys else ""
    if len(form) != 1 or not form <= _FORMS or not isinstance(name, str):
        return None
    key = form.pop()
    values: Any = document[key]
    named = isinstance(values, simdjson.Object)
    if named and key == "instances":
        return None
    aliases = list(values.keys()) if named else [None]
    signs = np.frombuffer(body, np.uint8)  # counted by numpy in half the time
    if np.count_nonzero(signs == _COLON) != len(keys) + named * len(aliases):
        return None  # duplicate keys, or a colon in a name
    columns = {alias: values[alias] if named else values for alias in aliases}
    lists = sum(map(_lists, columns.values()))
    if np.count_nonzero(signs == _OPENING) != lists:
        return None  # something is nested deeper
    return name, key, {alias: _filled(column) for alias, column in columns.items()}


def _lists(column: Any) -> int:
    """Return how many lists a column of scalars or of flat rows is made of; raise TypeError if it is no filled list."""
    if not isinstance(column, simdjson.Array) or len(column) == 0:
        raise TypeError
    return 1 + len(column) if isinstance(column[0], simdjson.Array) else 1


def _filled(column: Any) -> NDArray[np.float64]:
    values = np.frombuffer(column.as_buffer(of_type="d"), np.float64)
    if not isinstance(column[0], simdjson.Array):
        return values.reshape(len(column))
    (length,) = set(map(len, column))  # ValueError for rows of several lengths
    return values.reshape(len(column), length)
