"""From the bytes of a request to its JSON, read as TensorFlow Serving reads it.

Its parser does not limit depth, allows NaN and Inf, ignores the text after the document, keeps the first of duplicate
keys, makes a double of a whole number beyond 64 bits, and keeps strings as bytes whatever they hold. The fast parsers
refuse some of that or read it differently, so what they cannot be trusted with is read slowly.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from serving.server.status import invalid_argument

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_SPACE = re.compile(r"[ \n\r\t]*")
_TOKEN = re.compile(
    r"""[ \n\r\t]*(?:
    (?P<opening>\[+)
    |(?P<sign>[]{},:])
    |(?P<text>"(?:[^"\\\x00-\x1f]|\\.)*")
    |(?P<word>[-+.0-9A-Za-z]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<part>\.[0-9]+)?(?:[eE](?P<exponent>[+-]?[0-9]+))?")
_WORDS = {"null": None, "true": True, "false": False, "NaN": float("nan")}
_WORDS |= {"Inf": float("inf"), "Infinity": float("inf"), "-Inf": float("-inf"), "-Infinity": float("-inf")}
_VALUE, _VALUE_OR_END, _KEY, _KEY_OR_END = (
    "a value",
    "a value or a closing bracket",
    "a key",
    "a key or a closing brace",
)
_COLON, _COMMA_OR_END = "a colon", "a comma or a closing bracket"
_INT64_DIGITS, _LARGEST_EXPONENT = 18, 308
_MATRIX_BYTES = 8192  # below, the general reader is as quick
_FORMS = frozenset(("inputs", "instances"))
_LOCAL = threading.local()
Matrices = tuple[str, str, Mapping[str | None, NDArray[np.float64]]]


def read_object(body: bytes) -> dict[Any, Any]:
    """Return the JSON object a request's body starts with; its text is `str`, or `bytes` where it is not UTF-8.

    Raises INVALID_ARGUMENT if it does not parse or is no object.
    """
    document = _parsed(body)
    if type(document) is not dict:
        raise invalid_argument(f"The request must be a JSON object, but it is {shown(document)}")
    return document


def signature_of(document: dict[Any, Any]) -> str:
    """Return the signature named in a request's object, empty if none is. Raises INVALID_ARGUMENT if it is not text."""
    name = document.get("signature_name", "")
    if not isinstance(name, str | bytes):
        raise invalid_argument(f"'signature_name' must be a string, but it is {shown(name)}")
    return name if isinstance(name, str) else name.decode("utf-8", "replace")


def as_bytes(text: str | bytes) -> bytes:
    """Return text of a document as the bytes it was sent as."""
    return text if isinstance(text, bytes) else text.encode()


def shown(value: Any) -> str:
    """Return a value of a document as errors show it: its kind, and what it is if that is short."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, str | bytes):
        return f'the string "{as_bytes(value)[:40].decode("utf-8", "replace")}"'
    return json.dumps(value)


def read_matrices(body: bytes) -> Matrices | None:
    """Return (signature name, `inputs` or `instances`, float64 arrays by input) of a big request of numbers alone.

    No Python object is made of every number. Arrays are [n] or [n, m]; a form without names gives one array under
    None. Return None for anything that is not surely such a request: it is for `read_object`.
    """
    if len(body) < _MATRIX_BYTES or body.count(b"{", 0, _MATRIX_BYTES) > 2:
        return None
    if not hasattr(_LOCAL, "parser"):
        _LOCAL.parser = simdjson.Parser()
    try:
        return _matrices(_LOCAL.parser, body)
    except (ValueError, TypeError, RuntimeError, UnicodeDecodeError):
        return None


# --- documents


def _parsed(body: bytes) -> Any:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _parsed_leniently(body)
    # orjson keeps the last of duplicate keys; with as many colons as members there are none
    return document if _has_members(document, body.count(b":")) else _parsed_leniently(body)


def _has_members(document: Any, count: int) -> bool:
    members, level = 0, [document]
    while level:
        members += sum(len(node) for node in level if type(node) is dict)
        if members == count:
            return True
        below: list[Any] = []
        for node in level:
            below += node.values() if type(node) is dict else node if type(node) is list else ()
        level = [node for node in below if type(node) is dict or type(node) is list]
    return False


def _parsed_leniently(body: bytes) -> Any:
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        if not _SURROGATE_ESCAPE.search(body):
            text = body.decode()
            start = _SPACE.match(text)
            return _DECODER.raw_decode(text, start.end() if start else 0)[0]
    except (ValueError, RecursionError):  # the slow parser reads it, or knows the error
        pass
    return _Parser(body).document()


def _first_of_duplicates(members: list[tuple[str, Any]]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in members:
        kept.setdefault(name, value)
    return kept


def _whole_number(text: str) -> int | float:
    if len(text) <= _INT64_DIGITS:
        return int(text)
    number = float(text)
    if abs(number) == float("inf"):
        raise ValueError("a number is too large")
    whole = int(text) if abs(number) < 1e20 else 1 << 64
    return whole if -(1 << 63) <= whole < 1 << 64 else number


def _decimal(text: str) -> float:
    number = float(text)
    if abs(number) == float("inf") and int(text.lower().partition("e")[2] or _LARGEST_EXPONENT + 1) > _LARGEST_EXPONENT:
        raise ValueError("a number is too large")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_first_of_duplicates, parse_int=_whole_number, parse_float=_decimal)


class _Parser:
    """One pass over one document; containers are kept on a list of our own, never on the call stack."""

    def __init__(self, body: bytes) -> None:
        try:
            self._text, self._encoding = body.decode(), "surrogatepass"
        except UnicodeDecodeError:
            self._text, self._encoding = body.decode("utf-8", "surrogateescape"), "surrogateescape"
        self._position = 0

    def document(self) -> Any:
        """Return the first value. Raises INVALID_ARGUMENT."""
        if not self._text.strip(" \n\r\t"):
            raise invalid_argument("JSON Parse error: The document is empty")
        root: list[Any] = []
        container: Any = root
        above: list[Any] = []
        key: Any = None
        wanted = _VALUE
        while not root or above:
            match = _TOKEN.match(self._text, self._position)
            kind = (match and match.lastgroup) or ""
            token = match[kind] if match and kind else ""
            if wanted in (_VALUE, _VALUE_OR_END) and (kind in ("opening", "text", "word") or token == "{"):
                for _ in range(len(token) if kind == "opening" else 1):
                    value = [] if kind == "opening" else {} if token == "{" else self._scalar(token, kind)
                    if type(container) is list:
                        container.append(value)
                    else:
                        container.setdefault(key, value)
                    if type(value) is list or type(value) is dict:
                        above.append(container)
                        container = value
                wanted = _VALUE_OR_END if kind == "opening" else _KEY_OR_END if token == "{" else _COMMA_OR_END
            elif (token == "]" and type(container) is list and wanted in (_VALUE_OR_END, _COMMA_OR_END)) or (
                token == "}" and type(container) is dict and wanted in (_KEY_OR_END, _COMMA_OR_END)
            ):
                container, wanted = above.pop(), _COMMA_OR_END
            elif token == "," and wanted == _COMMA_OR_END:
                wanted = _VALUE if type(container) is list else _KEY
            elif kind == "text" and wanted in (_KEY, _KEY_OR_END):
                key, wanted = self._scalar(token, kind), _COLON
            elif token == ":" and wanted == _COLON:
                wanted = _VALUE
            else:
                self._fail(f"{wanted} is missing")
            self._position += len(match[0]) if match else 0
        return root[0]

    def _scalar(self, token: str, kind: str) -> Any:
        try:
            if kind == "text":
                return self._string(json.loads(token, strict=False))
            if token in _WORDS:
                return _WORDS[token]
            number = _NUMBER.fullmatch(token)
            if number is None:
                self._fail("a value cannot be read")
            return _decimal(token) if number["part"] or number["exponent"] else _whole_number(token)
        except ValueError as error:
            self._fail(str(error))

    def _string(self, text: str) -> str | bytes:
        if text.isascii():
            return text
        try:
            text.encode()
            return text
        except UnicodeEncodeError:
            if re.search("[\ud800-\udbff]", text):
                raise ValueError("half of a surrogate pair") from None
            try:
                return text.encode("utf-8", self._encoding)
            except UnicodeEncodeError:
                return text.encode("utf-8", "surrogatepass")

    def _fail(self, fault: str) -> NoReturn:
        start = _SPACE.match(self._text, self._position)
        offset = len(self._text[: start.end() if start else 0].encode("utf-8", "surrogatepass"))
        raise invalid_argument(f"JSON Parse error: {fault} at offset: {offset}")


# --- matrices


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
    is_named = isinstance(values, simdjson.Object)
    if is_named and key == "instances":
        return None
    aliases = list(values.keys()) if is_named else [None]
    signs = np.frombuffer(body, np.uint8)  # counted by numpy in half the time
    if np.count_nonzero(signs == ord(":")) != len(keys) + is_named * len(aliases):
        return None  # duplicate keys, or a colon in a name
    columns = {alias: values[alias] if is_named else values for alias in aliases}
    if np.count_nonzero(signs == ord("[")) != sum(map(_lists, columns.values())):
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
