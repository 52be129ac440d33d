"""Derived features as tensors: the values, what is missing, and the same in the graph as in tables of rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow
A = [1.0, 4.0, math.nan, 0.0]
B = [2.0, 0.0, 1.0, -1.0]
COLOUR = ["red", "", "blue", "red"]


def derived(**sources: str) -> dict[str, list[float]]:
    import tensorflow as tf

    from components.features.derived import derive

    numbers = {"a": A, "b": B}
    values = derive(sources, lambda name: tf.constant(numbers[name], tf.float64), lambda _: tf.constant(COLOUR))
    return {name: value.numpy().tolist() for name, value in values.items()}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("a * b", [2, 0, math.nan, 0]),
        ("a / b", [0.5, math.nan, math.nan, 0]),
        ("log(a)", [0, math.log(4), math.nan, math.nan]),
        ("sqrt(b)", [2**0.5, 0, 1, math.nan]),
        ("log1p(abs(b)) - exp(0 * b)", [math.log(3) - 1, -1, math.log(2) - 1, math.log(2) - 1]),
        ("floor(a / 2) + round(b ** 2)", [4, 2, math.nan, 1]),
        ("bucket(a, 1, 3)", [1, 2, math.nan, 0]),
        ("a if b > 0 else -1", [1, -1, math.nan, -1]),
        ("max(a, b)", [2, 4, math.nan, 0]),
        ('colour == "red"', [1, math.nan, 0, 1]),
        ('a if colour != "blue" and b < 5 else 9', [1, math.nan, 9, 0]),
    ],
)
def test_values_of_a_batch(source: str, wanted: list[float]) -> None:
    np.testing.assert_allclose(derived(x=source)["x"], wanted, rtol=1e-12)


def test_tables_of_rows_hold_them_behind_the_other_numbers(tmp_path: Any) -> None:
    from components.splits import SplitTables
    from tests.support.pipeline.tiny import tiny_settings, tiny_table, write_examples, write_schema

    rows = tiny_table(50)
    write_examples(tmp_path / "examples", rows, 50)
    write_schema(tmp_path / "schema")
    extra: dict[str, str] = {"both": "signal + noise", "is_red": 'colour == "red"'}
    settings = tiny_settings().model_copy(update={"derived": extra})
    table = SplitTables.of(tmp_path / "examples", tmp_path / "schema", settings).read("test", 50, 50)
    plain = SplitTables.of(tmp_path / "examples", tmp_path / "schema", tiny_settings()).read("test", 50, 50)
    assert table.numbers.shape[1] == plain.numbers.shape[1] + 2
    np.testing.assert_allclose(table.numbers[:, -2], rows["signal"] + rows["noise"], atol=1e-6)
    assert table.numbers[:, -1].tolist() == (rows["colour"] == "red").astype(float).tolist()
