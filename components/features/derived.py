"""Derived features as TensorFlow operations on `[batch] float64`, NaN where missing; see `config/derived.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import tensorflow as tf

from config.derived import parse

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": tf.add,
    "-": tf.subtract,
    "*": tf.multiply,
    "/": tf.divide,
    "**": tf.pow,
}
_COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "<": tf.less,
    "<=": tf.less_equal,
    ">": tf.greater,
    ">=": tf.greater_equal,
    "==": tf.equal,
    "!=": tf.not_equal,
}
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "abs": tf.abs,
    "exp": tf.exp,
    "floor": tf.floor,
    "log": tf.math.log,
    "log1p": tf.math.log1p,
    "round": tf.round,
    "sqrt": tf.sqrt,
}


@dataclass(frozen=True)
class TensorOperations:
    """`number` and `text` give a column: `[batch] float64`, or `[batch] string`, empty where missing."""

    number: Callable[[str], Any]
    text: Callable[[str], Any]

    def constant(self, value: float) -> Any:
        return tf.constant(value, tf.float64)

    def is_text(self, column: str, text: str) -> Any:
        values = self.text(column)
        return _missing_where(tf.equal(values, ""), tf.cast(tf.equal(values, text), tf.float64))

    def binary(self, operator: str, left: Any, right: Any) -> Any:
        return _BINARY[operator](left, right)

    def compare(self, operator: str, left: Any, right: Any) -> Any:
        is_missing = tf.math.is_nan(left + right)
        return _missing_where(is_missing, tf.cast(_COMPARED[operator](left, right), tf.float64))

    def choose(self, condition: Any, yes: Any, no: Any) -> Any:
        return _missing_where(tf.math.is_nan(condition), tf.where(tf.equal(condition, 1.0), yes, no))

    def call(self, function: str, arguments: list[Any]) -> Any:
        if function == "bucket":
            value, *edges = arguments
            return reduce(tf.add, (self.compare(">=", value, edge) for edge in edges))
        if function in ("min", "max"):
            return reduce(tf.minimum if function == "min" else tf.maximum, arguments)
        return _FUNCTIONS[function](arguments[0])


def derive(derived: Mapping[str, str], number: Callable[[str], Any], text: Callable[[str], Any]) -> dict[str, Any]:
    """Return each derived feature, `[batch] float64`, by name; what is no finite number is missing."""
    operations = TensorOperations(number, text)
    values = {name: parse(source).evaluate(operations) for name, source in sorted(derived.items())}
    return {name: _missing_where(~tf.math.is_finite(value), value) for name, value in values.items()}


def _missing_where(is_missing: Any, values: Any) -> Any:
    return tf.where(is_missing, tf.constant(float("nan"), tf.float64), values)
