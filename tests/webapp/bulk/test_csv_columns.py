from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.tables.cleaning import Cleaning
from common.text import MISSING_CODE
from tests.support.web.models import Made
from webapp.bulk.csv_columns import CheckedTable, check_table
from webapp.models.catalog import Catalog, ModelVersion
from webapp.predict.validation import FieldRules, Refused, rules_of

ODD_TEXTS = [
    "",
    " ",
    "NA",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1,5",
    "1_5",
    "0x1F",
    " 7 ",
    "+7",
    "7.0",
    "-0",
    "1e39",
    "٣",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "yes",
    " yes",
    "maybe",
    "true",
    "1e-400",
    ".5",
    "5.",
    "-",
    "1 2",
    "=1",
]


@pytest.fixture(scope="module")
def model_version(webapp_root: Path) -> ModelVersion:
    model_version = Catalog(webapp_root / "serving", webapp_root).model_version("patients", 1)
    bounds: dict[str, dict[str, Any]] = {
        "age": {"minimum": 0.0, "maximum": 150.0},
        "city": {"required": False},
        "ward": {"required": False},
    }
    return replace(model_version, fields=tuple(replace(f, **bounds.get(f.name, {})) for f in model_version.fields))


def table(made: Made, rows: int, **columns: Sequence[str]) -> Any:
    given = {name: ["" if v is None else str(v) for v in values[:rows]] for name, values in made.columns.items()}
    return pa.table({name: pa.array(list(values), pa.string()) for name, values in (given | columns).items()})


def by_the_rules(rule: FieldRules, text: str) -> Any:
    """What becomes of one text, or why nothing does."""
    try:
        return rule.read_text(text)
    except Refused as refused:
        return refused


def check(model_version: ModelVersion, given: Any) -> CheckedTable:
    return check_table(model_version, given, range(2, given.num_rows + 2), model_version.cleaning)


def test_texts_become_what_the_model_takes(model_version: ModelVersion, made: dict[str, Made]) -> None:
    checked = check(model_version, table(made["patients"], 20))
    assert checked.is_good.all()
    for name, values in made["patients"].columns.items():
        expected = [math.nan if value is None else value for value in values[:20]]
        np.testing.assert_array_equal(list(checked.columns[name]), expected)
    assert checked.columns["ward"].dtype == np.int64
    assert (checked.wrong, checked.problems, checked.cautions_by_field) == (0, [], Counter())


@settings(max_examples=12, deadline=None)
@example(ODD_TEXTS)
@given(st.lists(st.one_of(st.sampled_from(ODD_TEXTS), st.floats().map(str), st.integers().map(str)), min_size=1))
def test_a_column_is_held_to_the_same_rules_as_a_form(
    model_version: ModelVersion, made: dict[str, Made], texts: list[str]
) -> None:
    for rule in rules_of(model_version):
        repeated = {name: [str(made["patients"].row(1)[name])] * len(texts) for name in made["patients"].columns}
        checked = check(model_version, table(made["patients"], 0, **(repeated | {rule.name: texts})))
        got = iter(list(checked.columns[rule.name]))
        for text, is_good in zip(texts, checked.is_good, strict=True):
            value = by_the_rules(rule, text)
            assert is_good != isinstance(value, Refused)
            if is_good:
                taken = next(got)
                assert taken == value or (value != value and taken != taken)
            else:
                assert checked.counts[rule.name, str(value)]


def test_rows_with_something_wrong_are_left_out_and_told(model_version: ModelVersion, made: dict[str, Made]) -> None:
    columns = {"age": ["30", "x", "40", "151"], "smoker": ["no", "no", "Yes", "perhaps"], "pressure": ["120"] * 4}
    checked = check(model_version, table(made["patients"], 4, **columns))
    assert checked.is_good.tolist() == [True, False, False, False]
    assert list(checked.columns["age"]) == [30.0]
    assert [(p.row, p.field, p.got) for p in checked.problems] == [
        (3, "age", "x"),
        (4, "smoker", "Yes"),
        (5, "age", "151"),
        (5, "smoker", "perhaps"),
    ]
    assert checked.wrong == 3
    assert checked.counts["smoker", "must be one of no, yes"] == 2
    assert checked.problems[0].example == model_version.field("age").example


def test_what_is_missing_has_its_code(model_version: ModelVersion, made: dict[str, Made]) -> None:
    columns = {"cholesterol": ["", "NA", " nan "], "ward": ["", "?", "2"], "city": ["", "null", "Jakarta"]}
    checked = check(model_version, table(made["patients"], 3, **columns))
    assert np.isnan(checked.columns["cholesterol"]).all()
    assert checked.columns["ward"].tolist() == [MISSING_CODE, MISSING_CODE, 2]
    assert checked.columns["city"] == ["", "", "Jakarta"]
    assert checked.cautions.tolist() == [0, 0, 0]


def test_a_number_can_mean_missing(model_version: ModelVersion, made: dict[str, Made]) -> None:
    given = table(made["patients"], 2, cholesterol=["-999", "200"])
    checked = check(replace(model_version, cleaning=Cleaning(null_values=("-999",))), given)
    np.testing.assert_array_equal(checked.columns["cholesterol"], [math.nan, 200.0])


@pytest.mark.parametrize(
    ("cleaning", "texts", "wanted"),
    [
        pytest.param({"thousands": ","}, ["1,234.5", "60,219", "12"], [1234.5, 60219, 12], id="thousands"),
        pytest.param({"thousands": ".", "decimal": ","}, ["1.234,5", "1.234", "7,5"], [1234.5, 1234, 7.5], id="German"),
        pytest.param({"thousands": " ", "decimal": ","}, ["1\u202f234,5", "12,5"], [1234.5, 12.5], id="French"),
        pytest.param({"percent": True}, ["12.5%", "7 %", "3"], [12.5, 7, 3], id="percent"),
        pytest.param({"null_values": ["-999"]}, ["-999.0", "-999", "5"], [math.nan, math.nan, 5], id="-999"),
    ],
)
def test_numbers_are_read_as_the_training_data_s_were(
    model_version: ModelVersion, made: dict[str, Made], cleaning: dict[str, Any], texts: list[str], wanted: list[float]
) -> None:
    version = replace(model_version, cleaning=Cleaning(**cleaning))
    checked = check(version, table(made["patients"], len(texts), cholesterol=texts))
    np.testing.assert_array_equal(checked.columns["cholesterol"], wanted)
    [rule] = [rule for rule in rules_of(version) if rule.name == "cholesterol"]
    np.testing.assert_array_equal([rule.read_text(text) for text in texts], wanted)


def test_a_column_that_may_be_missing_need_not_be_there(model_version: ModelVersion, made: dict[str, Made]) -> None:
    checked = check(model_version, table(made["patients"], 2).drop(["cholesterol", "city", "ward"]))
    assert np.isnan(checked.columns["cholesterol"]).all()
    assert (checked.columns["city"], checked.columns["ward"].tolist()) == (["", ""], [MISSING_CODE] * 2)


def test_cautions_are_counted_by_row_and_field(model_version: ModelVersion, made: dict[str, Made]) -> None:
    columns = {"age": ["30", "149", "149"], "city": ["Jakarta", "Atlantis", ""], "ward": ["1", "99", ""]}
    checked = check(model_version, table(made["patients"], 3, **columns))
    assert checked.cautions.tolist() == [0, 3, 1]
    assert checked.cautions_by_field == {"age": 2, "city": 1, "ward": 1}


def test_decimal_commas_are_read_where_no_comma_parts_the_columns(
    model_version: ModelVersion, made: dict[str, Made]
) -> None:
    given = table(made["patients"], 4, pressure=["120,5", " +99,25 ", "1.234,5", "1,2,3"])
    checked = check_table(model_version, given, range(2, 6), model_version.cleaning.with_decimal_commas)
    assert checked.columns["pressure"].tolist() == [120.5, 99.25]
    assert [(p.row, p.got) for p in checked.problems] == [(4, "1.234,5"), (5, "1,2,3")]
    assert check(model_version, given).wrong == 4


def test_of_many_problems_the_first_hundred_are_told(model_version: ModelVersion, made: dict[str, Made]) -> None:
    checked = check(model_version, table(made["patients"], 200, age=["x"] * 200))
    assert [problem.row for problem in checked.problems] == list(range(2, 102))
    assert checked.counts == {("age", "must be a whole number"): 200}


def test_no_rows_give_no_rows(model_version: ModelVersion, made: dict[str, Made]) -> None:
    assert check(model_version, table(made["patients"], 0)).is_good.size == 0
