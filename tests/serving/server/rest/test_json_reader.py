from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.server.core.status import Code, StatusError
from serving.server.rest.json_grammar import parse_exactly
from serving.server.rest.json_reader import read_object, signature_of
from serving.server.rest.json_text import value_text

_INVALID, _NO_COMMA = "Invalid value.", "Missing a comma or '}' after an object member."
_HEX, _PAIR = "Incorrect hex digit after \\u escape in string.", "The surrogate pair in string is invalid."
_ESCAPE, _TOO_BIG = "Invalid escape character in string.", "Number too big to be stored in double."
_NO_NAME, _NO_COLON = "Missing a name for object member.", "Missing a colon after a name of object member."
_FAULTS = [
    (b"  ", "The document is empty.", 2),
    (b",", "The document is empty.", 0),
    (b'{"a": }', _INVALID, 6),
    (b'{"a": nul}', _INVALID, 9),
    (b'{"a": tRue}', _INVALID, 7),
    (b'{"a": -}', _INVALID, 7),
    (b'{"a": Nan}', _INVALID, 8),
    (b'{"a": Infinite}', _INVALID, 13),
    (b'{"a": .5}', _INVALID, 6),
    (b'{"a": [1,]}', _INVALID, 9),
    (b'{"a": [,1]}', _INVALID, 7),
    (b'{"a": [', _INVALID, 7),
    (b'{"a": [1 2]}', "Missing a comma or ']' after an array element.", 9),
    (b'{"a": [1', "Missing a comma or ']' after an array element.", 8),
    (b'{"a": 1', _NO_COMMA, 7),
    (b'{"a": 01}', _NO_COMMA, 7),
    (b'{"a": 1\x00}', _NO_COMMA, 7),
    (b'{"a": 1,}', _NO_NAME, 8),
    (b"{a: 1}", _NO_NAME, 1),
    (b'{"a" 1}', _NO_COLON, 5),
    (b'{"a": 1.}', "Miss fraction part in number.", 8),
    (b'{"a": 1e+}', "Miss exponent in number.", 9),
    (b'{"a": 1e309}', _TOO_BIG, 6),
    (b'{"a": ' + b"1" * 400 + b"}", _TOO_BIG, 6),
    (b'{"a": "\\x"}', _ESCAPE, 7),
    (b'{"a": "\n"}', _ESCAPE, 7),
    (b'{"a": "b', "Missing a closing quotation mark in string.", 8),
    (b'{"a": "\\u12g4"}', _HEX, 7),
    (b'{"a": "\\ud800x"}', _PAIR, 7),
    (b'{"a": "\\ud800\\u0041"}', _PAIR, 7),
    (b'\xef\xbb\xbf{"a" 1}', _NO_COLON, 8),
]


def _fault(body: bytes) -> str:
    with pytest.raises(StatusError) as raised:
        read_object(body)
    assert raised.value.code == Code.INVALID_ARGUMENT
    return raised.value.message


@pytest.mark.parametrize(("body", "phrase", "offset"), _FAULTS, ids=[str(body[:24]) for body, _, _ in _FAULTS])
def test_a_fault_is_named_with_its_offset(body: bytes, phrase: str, offset: int) -> None:
    assert _fault(body) == f"JSON Parse error: {phrase} at offset: {offset}"


def test_an_empty_body_has_no_offset() -> None:
    assert _fault(b"") == "JSON Parse error: The document is empty"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"[1, 2.0]", "[\n    1,\n    2.0\n]"),
        (b'"a\\n\xc3\xa9"', '"a\\né"'),
        (b"null", "null"),
        (b"NaN", "NaN"),
        (b"[[], {}]", "[\n    [],\n    {}\n]"),
    ],
    ids=str,
)
def test_what_is_no_object_is_shown(body: bytes, shown: str) -> None:
    assert _fault(body) == f"JSON Value: {shown} Is not object"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"[NaN, Infinity, -Infinity, Inf, -Inf]", "[nan, inf, -inf, inf, -inf]"),
        (b"1} and more", "1"),
        (b"1} \xff {", "1"),
        (b'1, "x": 2}', "1"),
        (b"18446744073709551615}", "18446744073709551615"),
        (b"18446744073709551616}", "1.8446744073709552e+19"),
        (b"-9223372036854775809}", "-9.223372036854776e+18"),
        (b"[-0, -0.0, 1e-400, -1e-400]}", "[0, -0.0, 0.0, -0.0]"),
        (b"1.8e308}", "inf"),
        (b"0.01e310}", "1e+308"),
        (b'"\xff:"}', "b'\\xff:'"),
        (b'"\\udc00"}', "b'\\xed\\xb0\\x80'"),
        (b'"\\ud83d\\ude00\\u00e9\\/"}', "'😀é/'"),
        (b'{"b64": "QQ==", "b64": 1}}', "{'b64': 'QQ=='}"),
    ],
    ids=str,
)
def test_what_other_parsers_refuse_or_read_differently(text: bytes, value: str) -> None:
    assert repr(read_object(b'{"x": ' + text.removesuffix(b"}") + b"}")["x"]) == value


@pytest.mark.parametrize("depth", [20_000, pytest.param(500_000, marks=pytest.mark.slow)])
def test_any_depth_in_an_unused_key_is_read(depth: int) -> None:
    assert read_object(b'{"deep": ' + b"[" * depth + b"]" * depth + b', "x": 1}')["x"] == 1


@pytest.mark.parametrize("unit", [b"[", b'{"a":', b'{"a":['], ids=str)
def test_hostile_depth_ends_in_a_parse_error(unit: bytes) -> None:
    body = b'{"instances":' + unit * 5_000
    assert _fault(body) == f"JSON Parse error: {_INVALID} at offset: {len(body)}"


def test_the_signature_must_be_text() -> None:
    assert signature_of({}) == ""
    assert signature_of({"signature_name": "s"}) == "s"
    with pytest.raises(StatusError, match="'signature_name' key must be a string value") as raised:
        signature_of({"signature_name": 5})
    assert raised.value.message.startswith('JSON Value: {\n    "signature_name": 5\n} not formatted correctly.')


def test_a_shown_value_is_cut_after_256_bytes() -> None:
    assert value_text(["x" * 300]) == ('[\n    "' + "x" * 300)[:256]
    assert len(value_text(list(range(10**5)))) == 256
    assert value_text("é" * 200).encode("utf-8", "replace")[:3] == '"é'.encode()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1, "0.1"),
        (0.123456789012, "0.123456791"),  # a float32 may hold it: shown as one
        (1e39, "1e+39"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        ([1e21, 1e20, 1e-6, 1.5e-7, 0.1, -12.5], [1e21, "100000000000000000000.0", "0.000001", "1.5e-7", 0.1, -12.5]),
        (
            {"a": {"b": [None, True]}},
            '{\n    "a": {\n        "b": [\n            null,\n            true\n        ]\n    }\n}',
        ),
    ],
    ids=str,
)
def test_values_are_shown_pretty(value: Any, shown: Any) -> None:
    if isinstance(shown, list):
        shown = "[\n    " + ",\n    ".join(map(str, shown)).replace("e+", "e") + "\n]"
    assert value_text(value) == shown


def test_a_nested_number_that_is_not_finite_ends_what_is_shown() -> None:
    assert value_text({"a": float("nan"), "b": 1}) == '{\n    "a": '


_ODD_NUMBERS = [b"NaN", b"-Infinity", b"Inf", b"-0", b"-0.0", b"1e400", b"1.5e308", b"1e-330", b"1" * 25, b"00"]
_ODD_TEXTS = [
    b'"a:b"',
    b'"\\ud800"',
    b'"\\udfff"',
    b'"\\ud83d\\ude00"',
    b'"\xff"',
    b'"\\u0000\\n"',
    b'"\x1f"',
    b'"\xc3\xa9"',
]
_scalars = st.sampled_from([*_ODD_NUMBERS, *_ODD_TEXTS, b"true", b"null"])
_numbers = st.one_of(st.integers(-(2**65), 2**65), st.floats(allow_nan=False, allow_infinity=False)).map(repr)
_keys = st.sampled_from([b'"a"', b'"b"', b'"c:"', b'"\\u0061"', b'"\xc3\xa9"'])
_space = st.sampled_from([b"", b" ", b"\n\t"])


def _containers(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    members = st.tuples(_keys, _space, st.just(b":"), _space, values).map(b"".join)
    return st.one_of(
        st.lists(values, max_size=4).map(lambda items: b"[" + b",".join(items) + b"]"),
        st.lists(members, max_size=4).map(lambda items: b"{" + b", ".join(items) + b"}"),
    )


_documents = st.recursive(st.one_of(_scalars, _numbers.map(str.encode)), _containers, max_leaves=8)


@settings(max_examples=70, derandomize=True, deadline=None, database=None)
@given(_documents, st.sampled_from([b"", b" ", b"x", b"}", b",", b"\xff"]), st.integers(0, 60), st.booleans())
def test_every_way_of_reading_gives_the_same(document: bytes, junk: bytes, position: int, inside: bool) -> None:
    body = b'{"x": ' + document + b"}"
    at = min(position, len(body)) if inside else len(body)
    body = body[:at] + junk + body[at:]
    assert _read(read_object, body) == _read(parse_exactly, body)


def _read(reader: Any, body: bytes) -> str:
    try:
        return repr(reader(body))
    except StatusError as error:
        return error.message
