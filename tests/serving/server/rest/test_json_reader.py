from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.server.rest.json_reader import _Parser, read_object, shown, signature_of
from serving.server.status import Code, StatusError

_FAULTS = [
    (b"  ", "empty"),
    (b",", "offset: 0"),
    (b'{"a": }', "offset: 6"),
    (b'{"a": nul}', "offset: 6"),
    (b'{"a": tRue}', "offset: 6"),
    (b'{"a": -}', "offset: 6"),
    (b'{"a": Nan}', "offset: 6"),
    (b'{"a": Infinite}', "offset: 6"),
    (b'{"a": .5}', "offset: 6"),
    (b'{"a": [1,]}', "offset: 9"),
    (b'{"a": [,1]}', "offset: 7"),
    (b'{"a": [', "offset: 7"),
    (b'{"a": [1 2]}', "offset: 9"),
    (b'{"a": [1', "offset: 8"),
    (b'{"a": 1', "offset: 7"),
    (b'{"a": 01}', "offset: 6"),
    (b'{"a": 1\x00}', "offset: 7"),
    (b'{"a": 1,}', "offset: 8"),
    (b"{a: 1}", "offset: 1"),
    (b'{"a" 1}', "offset: 5"),
    (b'{"a": 1.}', "offset: 6"),
    (b'{"a": 1e+}', "offset: 6"),
    (b'{"a": 1e309}', "too large"),
    (b'{"a": ' + b"1" * 400 + b"}", "too large"),
    (b'{"a": "\\x"}', "offset: 6"),
    (b'{"a": "\n"}', "offset: 6"),
    (b'{"a": "b', "offset: 6"),
    (b'{"a": "\\u12g4"}', "offset: 6"),
    (b'{"a": "\\ud800x"}', "surrogate"),
    (b'{"a": "\\ud800\\u0041"}', "surrogate"),
    (b'\xef\xbb\xbf{"a" 1}', "offset: 5"),
]


def _fault(body: bytes) -> str:
    with pytest.raises(StatusError) as raised:
        read_object(body)
    assert raised.value.code == Code.INVALID_ARGUMENT
    return raised.value.message


@pytest.mark.parametrize(("body", "told"), _FAULTS, ids=[str(body[:24]) for body, _ in _FAULTS])
def test_what_is_no_json_is_refused_where_it_ends_to_be(body: bytes, told: str) -> None:
    fault = _fault(body)
    assert fault.startswith("JSON Parse error: ")
    assert told in fault


def test_an_empty_body_is_no_document() -> None:
    assert _fault(b"") == "JSON Parse error: The document is empty"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"[1, 2.0]", "a list"),
        (b'"a\\n\xc3\xa9"', 'the string "a\né"'),
        (b"null", "null"),
        (b"NaN", "NaN"),
        (b"5", "5"),
    ],
    ids=str,
)
def test_what_is_no_object_is_shown(body: bytes, shown: str) -> None:
    assert _fault(body) == f"The request must be a JSON object, but it is {shown}"


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
    assert _fault(body).endswith(f"at offset: {len(body)}")


def test_the_signature_must_be_text() -> None:
    assert signature_of({}) == ""
    assert signature_of({"signature_name": "s"}) == "s"
    with pytest.raises(StatusError, match="'signature_name' must be a string, but it is 5"):
        signature_of({"signature_name": 5})


def test_a_shown_string_is_short() -> None:
    assert len(shown("x" * 300)) < 60
    assert shown(b"\xff") == 'the string "\ufffd"'


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
    assert _outcome(read_object, body) == _outcome(lambda sent: _Parser(sent).document(), body)


def _outcome(reader: Any, body: bytes) -> str:
    try:
        document = reader(body)
    except StatusError:
        return "refused"
    return repr(document) if isinstance(document, dict) else "refused"
