"""JSON values as the model server's messages show them: pretty-printed and cut, and the names of types."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from serving.server.rest.json_numbers import as_float32, decimal

_SHOWN_BYTES = 256
_FLOAT_LIMIT = 3.4028234e38
_ESCAPED = re.compile(rb'["\\\x00-\x1f]')
_SHORT = {b'"': b'\\"', b"\\": b"\\\\", b"\b": b"\\b", b"\f": b"\\f", b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t"}
_DATA_TYPES = ["invalid", "float", "double", "int32", "uint8", "int16", "int8", "string", "complex64", "int64", "bool"]
_DATA_TYPES += [
    "qint8",
    "quint8",
    "qint32",
    "bfloat16",
    "qint16",
    "quint16",
    "uint16",
    "complex128",
    "half",
    "resource",
]
_DATA_TYPES += ["variant", "uint32", "uint64", "float8_e5m2", "float8_e4m3fn"]
_TYPES = {dict: "Object", list: "Array", str: "String", bytes: "String", int: "Number", float: "Number"}


def data_type_name(number: int) -> str:
    """Return a DataType's name as messages print it: 1 is `float`."""
    return _DATA_TYPES[number] if 0 < number < len(_DATA_TYPES) else f"unknown dtype enum ({number})"


def type_name(value: Any) -> str:
    """Return the kind of a parsed value: Null, False, True, Object, Array, String or Number."""
    if value is None:
        return "Null"
    if value is True or value is False:
        return str(value)
    return _TYPES[type(value)]


def as_bytes(text: str | bytes) -> bytes:
    """Return text of a parsed document as the bytes it was sent as."""
    return text if type(text) is bytes else text.encode()  # type: ignore[union-attr]


def quoted(text: bytes) -> bytes:
    """Return bytes as a JSON string: quotes, backslashes and control signs escaped, UTF-8 not checked."""
    return b'"' + _ESCAPED.sub(_escape, text) + b'"'


def _escape(match: re.Match[bytes]) -> bytes:
    sign = match.group()
    return _SHORT.get(sign) or b"\\u%04X" % sign[0]


def value_text(value: Any) -> str:
    """Return a parsed value as it is quoted in messages: four spaces of indent, cut after 256 bytes."""
    if type(value) is float:
        single = -_FLOAT_LIMIT <= value <= _FLOAT_LIMIT
        return decimal(as_float32(value) if single else value, single)
    text = bytearray()
    for piece in _pieces(value):
        text += piece
        if len(text) >= _SHOWN_BYTES:
            break
    return bytes(text[:_SHOWN_BYTES]).decode("utf-8", "replace")


def _pieces(value: Any) -> Iterator[bytes]:
    """Yield a value's text piece by piece; a number that is not finite ends the text, as in the model server."""
    opening, closing = (b"{", b"}") if type(value) is dict else (b"[", b"]")
    if type(value) not in (dict, list):
        yield _scalar_text(value) or b""
        return
    yield opening
    stack = [(_members(value), closing, 0)]
    while stack:
        members, closing, count = stack.pop()
        indent = b"\n" + b"    " * len(stack)
        try:
            name, child = next(members)
        except StopIteration:
            yield indent + closing if count else closing
            continue
        stack.append((members, closing, count + 1))
        yield (b"," if count else b"") + indent + b"    " + name
        if type(child) is dict or type(child) is list:
            opening, closing = (b"{", b"}") if type(child) is dict else (b"[", b"]")
            yield opening
            stack.append((_members(child), closing, 0))
        else:
            text = _scalar_text(child)
            if text is None:
                return
            yield text


def _members(container: Any) -> Iterator[tuple[bytes, Any]]:
    if type(container) is dict:
        return ((quoted(as_bytes(name)) + b": ", child) for name, child in container.items())
    return ((b"", child) for child in container)


def _scalar_text(value: Any) -> bytes | None:
    if value is None:
        return b"null"
    if value is True or value is False:
        return b"true" if value else b"false"
    if type(value) is float:
        return _shortest(value)
    if type(value) is int:
        return b"%d" % value
    return quoted(as_bytes(value))


def _shortest(value: float) -> bytes | None:
    """Return the fewest digits that read back, plain from 1e-6 up to 1e21; None if not finite."""
    if value - value != 0:
        return None
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text.encode()
    sign = "-" if mantissa[0] == "-" else ""
    digits = mantissa.lstrip("-").replace(".", "")
    power = int(exponent)
    if 0 <= power < 21:
        return f"{sign}{digits.ljust(power + 1, '0')}.0".encode()
    if -7 < power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits}".encode()
    point = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{point}e{power}".encode()
