"""What expressions may say, what is refused and how, and that what is computed is what Python computes."""

from __future__ import annotations

import contextlib
import math
import operator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.derived import parse, problems

VALUES: dict[str, Any] = {"a": 2.0, "b": -0.5, "net price": 8.0, "none": math.nan, "colour": "red"}


class PlainOperations:
    """The same by Python's own arithmetic on one row."""

    def constant(self, value: float) -> float:
        return value

    def number(self, column: str) -> float:
        return float(VALUES[column])

    def is_text(self, column: str, text: str) -> float:
        return float(VALUES[column] == text)

    def binary(self, sign: str, left: float, right: float) -> float:
        names = {"+": "add", "-": "sub", "*": "mul", "/": "truediv", "**": "pow"}
        return float(getattr(operator, names[sign])(left, right))

    def compare(self, sign: str, left: float, right: float) -> float:
        if math.isnan(left) or math.isnan(right):
            return math.nan
        names = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}
        return float(getattr(operator, names[sign])(left, right))

    def choose(self, condition: float, yes: float, no: float) -> float:
        return math.nan if math.isnan(condition) else yes if condition else no

    def call(self, function: str, arguments: list[float]) -> float:
        if function in ("min", "max"):
            return math.nan if any(map(math.isnan, arguments)) else (min if function == "min" else max)(arguments)
        if function == "bucket":
            return float(sum(arguments[0] >= edge for edge in arguments[1:]))
        return float({"abs": abs, "round": round}.get(function, getattr(math, function, None))(*arguments))  # type: ignore[misc]


def value(source: str) -> float:
    return float(parse(source).evaluate(PlainOperations()))


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("a * b + 1", 0.0),
        ("-a ** 2", -4.0),
        ('column("net price") / a', 4.0),
        ("sqrt(column('net price') * a)", 4.0),
        ("max(a, b, 1.5)", 2.0),
        ("bucket(a, 1, 2, 3)", 2.0),
        ("1 if a > 1 and b < 0 else 0", 1.0),
        ("a if 0 < b < 1 else -1", -1.0),
        ("a > 1", 1.0),
        ("not a > 1", 0.0),
        ('colour == "red"', 1.0),
        ('a if colour != "red" else 0', 0.0),
        ("none > 1", math.nan),
        ("-" * 98 + "a", 2.0),
        ("1 if none > 1 else 0 * a", math.nan),
    ],
)
def test_expressions_mean_what_they_say(source: str, wanted: float) -> None:
    assert value(source) == pytest.approx(wanted, nan_ok=True)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("a *", "is no expression: invalid syntax"),
        ("a b", "is no expression: invalid syntax at character 3"),
        ("logg(a)", "'logg(a)' at character 1: no function 'logg'; did you mean 'log'?"),
        ("a + sqrt(a, b)", "'sqrt(a, b)' at character 5: sqrt takes 1 values, got 2"),
        ("a.real", "'a.real' at character 1: is not of the language"),
        ("__import__('os').system('x')", "is not of the language"),
        ("[a for a in b]", "is not of the language"),
        ("(lambda: a)()", "is not of the language"),
        ("a if b else 1", "'b' at character 6: should be a comparison"),
        ("bucket(a, 3, 1)", "edges of bucket should be numbers, each larger than the one before"),
        ('"red"', "is not of the language"),
        ('colour < "red"', "a text can only be == or != to a column"),
        ("True", "compare with 0 or 1"),
        ("1 + 2", "reads no column"),
        ("a" * 501, "is longer than 500 characters"),
        ("-" * 100 + "a", "is nested too deeply"),
        ("1e999 * a", "is not of the language"),
    ],
)
def test_all_else_is_refused_by_character(source: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"(?s).") as refusal:
        parse(source)
    assert words in str(refusal.value)


def test_columns_that_do_not_fit_are_named() -> None:
    derived = {n: parse(s) for n, s in {"x": "aa + y", "a": "b * 2", "z": "colour + 1", "w": 'b == "no"'}.items()}
    wrong = problems(derived, {"a": "number", "b": "number", "colour": "text"}, "y")
    assert wrong == [
        "derived.x: there is no feature 'aa'; did you mean 'a'?",
        "derived.x: reads the label 'y', which nobody has when asking",
        "derived.a: is a column already; call it something else",
        "derived.z: 'colour' is text; compare it with a text, or leave it out",
        "derived.w: 'b' is a number; compare it with one, without quotes",
    ]


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_no_text_is_more_than_refused(source: str) -> None:
    with contextlib.suppress(ValueError):
        parse(source)
