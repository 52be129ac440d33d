from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from common.text import MISSING_CODE
from webapp.insight.encoding import COMMON_VALUES, FARTHEST, Encoder, is_missing
from webapp.models.catalog import Field
from webapp.models.statistics import Stats


def field(name: str, dtype: Any = "float", kind: Any = "numeric") -> Field:
    return Field(name, kind, dtype, False, (), name, "", "", "", Stats())


@pytest.mark.parametrize(
    ("value", "missing"),
    [(None, True), (math.nan, True), ("", True), (MISSING_CODE, True), (0, False), (0.0, False), ("0", False)],
)
def test_what_stands_for_a_missing_value(value: object, missing: bool) -> None:
    assert is_missing(value) is missing


def test_numbers_are_told_in_standard_deviations_and_a_gap_stands_at_the_mean() -> None:
    encoder = Encoder.fit([field("a")], {"a": [1.0, 3.0, None]})
    np.testing.assert_allclose(encoder.encode({"a": [1.0, 3.0, None, math.nan, 2]}, 5)[:, 0], [-1, 1, 0, 0, 0])


def test_a_number_out_of_this_world_does_not_hide_the_others() -> None:
    encoder = Encoder.fit([field("a")], {"a": [1.0, 3.0]})
    encoded = encoder.encode({"a": [1e308, -1e308, math.inf, -math.inf]}, 4)[:, 0]
    assert encoded.tolist() == [FARTHEST, -FARTHEST] * 2


def test_each_common_text_and_code_has_a_column() -> None:
    fields = [field("stain", "string", "categorical"), field("site", "int", "categorical")]
    encoder = Encoder.fit(fields, {"stain": ["red", "red", "blue", None], "site": [7, 7, 8, MISSING_CODE]})
    encoded = encoder.encode({"stain": ["blue", "green", ""], "site": [7, 9, MISSING_CODE]}, 3)
    assert encoded.tolist() == [[0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_rare_texts_have_none() -> None:
    texts = [f"t{number}" for number in range(100)] + ["often"] * 2
    encoder = Encoder.fit([field("t", "string", "categorical")], {"t": texts})
    assert encoder.encode({"t": ["often"]}, 1).shape == (1, COMMON_VALUES)
    assert encoder.encode({"t": ["often"]}, 1).sum() == 1


@pytest.mark.parametrize("values", [[5.0, 5.0], [None, None]], ids=["constant", "empty"])
def test_a_feature_that_does_not_vary_has_none(values: list[Any]) -> None:
    assert Encoder.fit([field("a")], {"a": values}).encode({"a": [1.0, 2.0]}, 2).shape == (2, 0)
