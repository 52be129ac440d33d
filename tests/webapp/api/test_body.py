"""JSON from strangers: what is valid is understood as Python understands it, what is not is refused in time."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp.api.body import parse_json
from webapp.types import InvalidInput

DEPTH = 8
WHOLE = st.integers(-(2**63), 2**64 - 1)
LEAVES = st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)


def depth(value: Any) -> int:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, inner), default=0)
    return 0


def refusal(text: bytes, max_depth: int = DEPTH) -> tuple[str, str, str]:
    with pytest.raises(InvalidInput) as caught:
        parse_json(text, max_depth)
    [problem] = caught.value.problems
    return problem.field, problem.rule, problem.got


@settings(max_examples=50, deadline=None)
@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_valid_json_is_understood_as_python_does(value: Any, is_ascii: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii, indent=indent).encode()
    if depth(value) > DEPTH:
        assert "nest" in refusal(text)[1]
    else:
        assert parse_json(text, DEPTH) == json.loads(text)


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_the_depth_is_bounded_to_the_level(value: Any) -> None:
    text = json.dumps(value).encode()
    parse_json(text, max(1, depth(value)))
    if depth(value) > 1:
        assert "nest" in refusal(text, depth(value) - 1)[1]


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200) | st.text('{}[]",:\\ 01.-eEnulltrfasNI\n', max_size=60).map(str.encode))
def test_any_text_is_understood_as_python_does_or_refused(text: bytes) -> None:
    try:
        found = parse_json(text, DEPTH)
    except InvalidInput:
        return
    assert found == json.loads(text, parse_constant=lambda name: pytest.fail(name))


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), LEAVES, min_size=1, max_size=5), st.integers(0, 6))
def test_a_key_given_twice_is_refused_wherever_it_stands(pairs: dict[str, Any], levels: int) -> None:
    body = json.dumps(pairs)
    again = json.dumps(next(iter(pairs)), ensure_ascii=True)
    text = f"{body[:-1]}, {again}: null}}"
    for _ in range(levels):
        text = f'[{{"deeper": 1}}, {text}]'
    _, rule, _ = refusal(text.encode())
    assert "only once" in rule


@pytest.mark.parametrize(
    ("text", "field", "rule", "got"),
    [
        (b"", "", "RFC 8259", "empty document"),
        (b'{"a": 1,}', "", "RFC 8259", "line 1, column 8"),
        (b'{"a": NaN}', "", "finite number", "line 1, column 7"),
        (b"[1, -Infinity]", "", "finite number", "line 1"),
        (b'{"a": Infinity}', "", "finite number", "line 1"),
        (b"[1e999]", "", "RFC 8259", "infinity"),
        (b"\xef\xbb\xbf{}", "", "RFC 8259", "BOM"),
        (b'"\xff"', "", "UTF-8", "UTF-8"),
        (b'"\\ud800"', "", "UTF-8", "surrogate"),
        (b'{"a": 1, "\\u0061": 2}', "a", "only once", "again"),
        (b'{"b": {"c": 1, "d": ":", "c": "}"}}', "c", "only once", "again"),
        (b"[" * 9 + b"]" * 9, "", "at most 8", "more"),
        (b"[" * 9, "", "at most 8", "more"),
        (b'"' + b"[" * 9, "", "RFC 8259", "line 1"),
        (b"]" * 9 + b"[" * 3, "", "RFC 8259", "line 1"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_is_wrong_is_told(text: bytes, field: str, rule: str, got: str) -> None:
    told = refusal(text)
    assert (told[0], rule in told[1], got in told[2]) == (field, True, True), told


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 1_000_000,
        b'"' + b'\\"' * 500_000,
        b"{" + b'"a":1,' * 170_000 + b'"a":1}',
        b"][" * 500_000,
    ],
    ids=["lists", "objects", "open", "escapes", "keys", "inside-out"],
)
def test_what_is_made_to_hurt_is_refused_in_no_time(text: bytes) -> None:
    began = time.thread_time()  # of this thread alone: others of the process may be busy
    refusal(text)
    assert time.thread_time() - began < 1


def test_a_hundred_thousand_levels_are_refused_within_50_ms() -> None:
    text = b"[" * 100_000 + b"]" * 100_000
    times_s = []
    for _ in range(3):
        began = time.process_time()
        refusal(text)
        times_s.append(time.process_time() - began)
    assert min(times_s) < 0.05
