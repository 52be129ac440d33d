"""The exact JSON grammar of TensorFlow Serving: what the fast parsers refuse or read differently, and every error.

The model server parses iteratively, allows NaN and Inf, ignores the text after the document and keeps strings as bytes
whatever they hold. Phrases and offsets of errors are its parser's.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from serving.server.core.status import invalid_argument

_START, _ARRAY, _ELEMENT, _NEXT_ELEMENT, _OBJECT, _KEY, _COLON, _MEMBER, _NEXT_MEMBER = range(9)
_PHRASES = {
    _START: "The document is empty.",
    _ARRAY: "Invalid value.",
    _NEXT_ELEMENT: "Invalid value.",
    _COLON: "Invalid value.",
    _ELEMENT: "Missing a comma or ']' after an array element.",
    _OBJECT: "Missing a name for object member.",
    _NEXT_MEMBER: "Missing a name for object member.",
    _KEY: "Missing a colon after a name of object member.",
    _MEMBER: "Missing a comma or '}' after an object member.",
}
_VALUE_WANTED = frozenset((_START, _ARRAY, _NEXT_ELEMENT, _COLON))
_AFTER_COMMA = {_ELEMENT: _NEXT_ELEMENT, _MEMBER: _NEXT_MEMBER}
_CLOSING = {_ARRAY: 0x5D, _ELEMENT: 0x5D, _OBJECT: 0x7D, _MEMBER: 0x7D}
_PUNCTUATION = frozenset(b"]},:")
_SPACE = frozenset(b" \n\r\t")
_LITERALS = {0x6E: (b"null", None), 0x74: (b"true", True), 0x66: (b"false", False)}
_ESCAPES = {0x22: b'"', 0x2F: b"/", 0x5C: b"\\", 0x62: b"\b", 0x66: b"\f", 0x6E: b"\n", 0x72: b"\r", 0x74: b"\t"}
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_OPENINGS = re.compile(rb"\[+")
_HEX = re.compile(rb"[0-9A-Fa-f]{4}")
_NUMBER = re.compile(rb"-?(?P<whole>0|[1-9][0-9]*)(?:\.(?P<part>[0-9]+))?(?:[eE](?P<exponent>[+-]?[0-9]+))?")
_LARGEST_PREFIX = 1.7976931348623157e307  # one more digit might not fit
_MOST_DIGITS = 310  # of a whole number that may still fit


def parse_exactly(body: bytes) -> Any:
    """Return the first JSON value of `body` as lists, dicts, int, float, bool, None and text.

    Text is `str`, or `bytes` where it is not UTF-8. The first of duplicate keys counts; a whole number beyond 64 bits
    is a float. Depth is limited by memory alone. Raise INVALID_ARGUMENT `JSON Parse error: <phrase> at offset: <byte>`.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    return _Parser(body).document()


def _fail(phrase: str, offset: int) -> NoReturn:
    raise invalid_argument(f"JSON Parse error: {phrase} at offset: {offset}")


class _Parser:
    """One pass over one document; containers are kept on a list of our own, never on the call stack."""

    def __init__(self, body: bytes) -> None:
        self.data = body + b"\0"  # the end reads as a NUL, and a NUL as the end
        self.stack: list[Any] = []

    def document(self) -> Any:
        data, position, state = self.data, self._after_mark(), _START
        container: Any = []  # the document itself is the one element of this
        key: Any = None
        while True:
            byte = data[position]
            if byte in _SPACE:
                position += 1
            elif state in _VALUE_WANTED and byte not in _PUNCTUATION and byte:
                if byte == 0x5B or byte == 0x7B:
                    container, position = self._opened(container, key, position)
                    state = _ARRAY if byte == 0x5B else _OBJECT
                    continue
                value, position = self._scalar(position, byte)
                self._attach(container, key, value)
                if state == _START:
                    return value
                state = _MEMBER if state == _COLON else _ELEMENT
            elif byte == _CLOSING.get(state):
                closed, container = container, self.stack.pop()
                if not self.stack:
                    return closed
                state = _MEMBER if type(container) is dict else _ELEMENT
                position += 1
            elif byte == 0x2C and state in _AFTER_COMMA:
                state = _AFTER_COMMA[state]
                position += 1
            elif byte == 0x22 and state in (_OBJECT, _NEXT_MEMBER):
                key, position = self._string(position)
                state = _KEY
            elif byte == 0x3A and state == _KEY:
                state = _COLON
                position += 1
            else:
                _fail(_PHRASES[state], position)

    def _opened(self, container: Any, key: Any, position: int) -> tuple[Any, int]:
        """Open an object, or a run of lists, each in the last; return the innermost and where its content starts."""
        run = _OPENINGS.match(self.data, position)
        end = run.end() if run else position + 1
        for _ in range(end - position):
            child: Any = [] if run else {}
            self._attach(container, key, child)
            self.stack.append(container)
            container = child
        return container, end

    def _after_mark(self) -> int:
        position = 0
        for byte in b"\xef\xbb\xbf":
            position += self.data[position] == byte
        return position

    @staticmethod
    def _attach(container: Any, key: Any, value: Any) -> None:
        if type(container) is list:
            container.append(value)
        else:
            container.setdefault(key, value)

    def _scalar(self, start: int, byte: int) -> tuple[Any, int]:
        if byte == 0x22:
            return self._string(start)
        if byte in _LITERALS:
            word, value = _LITERALS[byte]
            end = self._matched(start, word)
            if end - start < len(word):
                _fail("Invalid value.", end)
            return value, end
        number = _NUMBER.match(self.data, start)
        return self._number(number) if number else self._not_finite(start)

    def _matched(self, start: int, word: bytes) -> int:
        """Return where `word` ends in the data, or where the data first differs from it."""
        for offset, byte in enumerate(word):
            if self.data[start + offset] != byte:
                return start + offset
        return start + len(word)

    def _not_finite(self, start: int) -> tuple[float, int]:
        sign = self.data[start] == 0x2D
        position = start + sign
        end = self._matched(position, b"NaN")
        if end - position == 3:
            return float("nan"), end
        position, end = end, self._matched(end, b"Inf")
        if end - position < 3:
            _fail("Invalid value.", end)
        if self.data[end] == 0x69:
            end = self._matched(end, b"inity")
            if end - position < 8:
                _fail("Invalid value.", end)
        return float("-inf" if sign else "inf"), end

    def _number(self, number: re.Match[bytes]) -> tuple[int | float, int]:
        start, end, (whole, part, exponent) = number.start(), number.end(), number.groups()
        if len(whole) > _MOST_DIGITS or (len(whole) > 300 and float(whole[:-1]) >= _LARGEST_PREFIX):
            _fail("Number too big to be stored in double.", start)
        after = self.data[end]
        if after == 0x2E and part is None and exponent is None:
            _fail("Miss fraction part in number.", end + 1)
        if after in b"eE" and exponent is None:
            _fail("Miss exponent in number.", end + 1 + (self.data[end + 1] in b"+-"))
        if part is None and exponent is None:
            value = int(number.group()) if len(whole) < 21 else 1 << 64
            fits = -(1 << 63) <= value < 1 << 64
            return (value if fits else float(number.group())), end
        if exponent is not None and exponent[:1] != b"-" and _too_big(whole, part or b"", exponent):
            _fail("Number too big to be stored in double.", start)
        return float(number.group()), end

    def _string(self, start: int) -> tuple[str | bytes, int]:
        pieces, position = [], start + 1
        while True:
            plain = _PLAIN.match(self.data, position)
            assert plain is not None  # it matches nothing, too
            pieces.append(plain.group())
            position = plain.end()
            byte = self.data[position]
            if byte == 0x22:
                break
            if byte != 0x5C:
                missing = "Missing a closing quotation mark in string."
                _fail("Invalid escape character in string." if byte else missing, position)
            piece, position = self._escape(position)
            pieces.append(piece)
        text = b"".join(pieces)
        try:
            return text.decode(), position + 1
        except UnicodeDecodeError:
            return text, position + 1

    def _escape(self, start: int) -> tuple[bytes, int]:
        kind = self.data[start + 1]
        if kind in _ESCAPES:
            return _ESCAPES[kind], start + 2
        if kind != 0x75:
            _fail("Invalid escape character in string.", start)
        code, position = self._hex(start + 2, start), start + 6
        if 0xD800 <= code <= 0xDBFF:
            if self.data[position : position + 2] != b"\\u":
                _fail("The surrogate pair in string is invalid.", start)
            low, position = self._hex(position + 2, start), position + 6
            if not 0xDC00 <= low <= 0xDFFF:
                _fail("The surrogate pair in string is invalid.", start)
            code = ((code - 0xD800) << 10 | (low - 0xDC00)) + 0x10000
        return chr(code).encode("utf-8", "surrogatepass"), position

    def _hex(self, start: int, escape: int) -> int:
        digits = _HEX.match(self.data, start)
        if digits is None:
            _fail("Incorrect hex digit after \\u escape in string.", escape)
        return int(digits.group(), 16)


def _too_big(whole: bytes, part: bytes, exponent: bytes) -> bool:
    """Say whether a power of ten is refused: beyond 308 and the digits of the fraction that count."""
    if len(exponent) < 3:
        return False
    significand, used = int(whole), 0
    digits = max(len(whole) - 1, 0)
    for digit in part:
        if significand > (1 << 53) - 1 and digits >= 17:
            break
        significand = significand * 10 + digit - 0x30
        used += 1
        digits += significand != 0
    return len(exponent) > 20 or int(exponent) > 308 + used
