from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.tables.cleaning import Cleaning
from common.text import MISSING_CODE
from tests.support.web.models import Made
from webapp.models.catalog import Catalog, ModelVersion
from webapp.predict.validation import check_rows, parse_text
from webapp.types import InvalidInput, Problem

BEYOND_FLOAT32, BEYOND_INT64 = 1e39, 2**63


@pytest.fixture(scope="module")
def catalog(webapp_root: Path) -> Catalog:
    return Catalog(webapp_root / "serving", webapp_root / "no names")


@pytest.fixture(scope="module")
def model_version(catalog: Catalog) -> ModelVersion:
    """The patients', with bounds on age and pressure, and an optional text and code beside the optional number."""
    model_version = catalog.model_version("patients", 1)
    bounds: dict[str, dict[str, Any]] = {
        "age": {"minimum": 0.0, "maximum": 150.0},
        "pressure": {"minimum": 0.10000000149011612},
        "city": {"required": False},
        "ward": {"required": False},
    }
    return replace(model_version, fields=tuple(replace(f, **bounds.get(f.name, {})) for f in model_version.fields))


@pytest.fixture(scope="module")
def row(made: dict[str, Made]) -> dict[str, Any]:
    return made["patients"].row(1)


def problems(model_version: ModelVersion, *rows: Any) -> tuple[Problem, ...]:
    with pytest.raises(InvalidInput) as caught:
        check_rows(model_version, rows)
    assert caught.value.http_status == 400
    return caught.value.problems


@pytest.mark.parametrize("city", ["Jakarta", " Jakarta ", "Batavia"])
def test_a_text_is_cleaned_at_every_door(model_version: ModelVersion, row: dict[str, Any], city: str) -> None:
    cleaning = Cleaning(spellings={"city": {"Batavia": "Jakarta"}})
    version = replace(model_version, cleaning=cleaning)
    assert check_rows(version, [row | {"city": city}]).columns["city"] == ["Jakarta"]
    form = {name: str(value) for name, value in row.items()} | {"city": city}
    assert parse_text(version, form)["city"] == "Jakarta"


def test_what_means_missing_does_so_in_json_too(model_version: ModelVersion, row: dict[str, Any]) -> None:
    version = replace(model_version, cleaning=Cleaning(null_values=("?", "-999")))
    columns = check_rows(version, [row | {"city": " ? ", "cholesterol": -999}]).columns
    assert columns["city"] == [""]
    assert math.isnan(columns["cholesterol"][0])
    assert problems(version, row | {"age": -999})[0].rule == "must be given"


def test_a_date_must_be_one(model_version: ModelVersion, row: dict[str, Any]) -> None:
    fields = [replace(f, date_order="ymd") if f.name == "city" else f for f in model_version.fields]
    version = replace(model_version, fields=tuple(fields))
    assert check_rows(version, [row | {"city": "2026-11-30"}]).columns["city"] == ["2026-11-30"]
    assert problems(version, row | {"city": "2026-02-30"})[0].rule.startswith("must be a date")


def test_rows_become_columns(model_version: ModelVersion, made: dict[str, Made]) -> None:
    rows = [made["patients"].row(n) for n in (1, 2)]
    checked = check_rows(model_version, rows)
    assert checked.columns == {name: [row[name] for row in rows] for name in rows[0]}
    assert checked.cautions == [(), ()]


def test_what_may_be_missing_travels_as_its_code(model_version: ModelVersion, row: dict[str, Any]) -> None:
    given = {name: value for name, value in row.items() if name not in ("cholesterol", "city")} | {"ward": None}
    columns = check_rows(model_version, [given]).columns
    assert math.isnan(columns["cholesterol"][0])
    assert (columns["city"], columns["ward"]) == ([""], [MISSING_CODE])


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("age", None, "must be given"),
        ("age", "52", "a whole number"),
        ("age", True, "a whole number"),
        ("age", 1.5, "a whole number"),
        ("age", math.nan, "a finite number"),
        ("age", -1, "at least 0"),
        ("age", 151, "at most 150"),
        ("age", 10**400, "at most 150"),
        ("age", [1], "a whole number"),
        ("pressure", False, "must be a number"),
        ("pressure", "1,5", "must be a number"),
        ("pressure", math.inf, "a finite number"),
        ("pressure", -math.inf, "a finite number"),
        ("pressure", BEYOND_FLOAT32, "must lie between"),
        ("pressure", {}, "must be a number"),
        ("cholesterol", 10**400, "must lie between"),
        ("cholesterol", math.nan, "a finite number"),
        ("smoker", "perhaps", "must be one of no, yes"),
        ("smoker", "", "must be given"),
        ("smoker", 1, "must be text"),
        ("city", "\ud800", "valid Unicode"),
        ("city", ["x"], "must be text"),
        ("ward", BEYOND_INT64, "must lie between"),
        ("ward", MISSING_CODE, "must lie between"),
    ],
)
def test_a_broken_rule_is_told_with_an_example(
    model_version: ModelVersion, row: dict[str, Any], field: str, value: Any, rule: str
) -> None:
    [problem] = problems(model_version, row | {field: value})
    assert problem.field == field
    assert rule in problem.rule
    assert problem.example == model_version.field(field).example
    assert problem.row is None
    problem.got.encode()
    assert 0 < len(problem.got) <= 100


@pytest.mark.parametrize("value", [0, 150, 27, 7.0], ids=str)
def test_whole_numbers_are_taken(model_version: ModelVersion, row: dict[str, Any], value: float) -> None:
    [taken] = check_rows(model_version, [row | {"age": value}]).columns["age"]
    assert (taken, type(taken)) == (value, int)


def test_a_bound_is_the_number_that_was_written(model_version: ModelVersion, row: dict[str, Any]) -> None:
    assert check_rows(model_version, [row | {"pressure": 0.1}]).columns["pressure"] == [0.1]
    assert problems(model_version, row | {"pressure": 0.09999})[0].rule == "must be at least 0.1"


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63) + 1, 2**53 + 1])
def test_codes_are_taken_to_the_last_digit(model_version: ModelVersion, row: dict[str, Any], value: int) -> None:
    assert check_rows(model_version, [row | {"ward": value}]).columns["ward"] == [value]


def test_an_unknown_field_is_told_with_the_nearest(model_version: ModelVersion, row: dict[str, Any]) -> None:
    given = {name: value for name, value in row.items() if name != "pressure"} | {"presure": 120}
    missing, unknown = problems(model_version, given)
    assert (missing.field, missing.rule) == ("pressure", "must be given")
    assert (unknown.field, unknown.rule) == ("presure", "is no field of this model; did you mean 'pressure'?")


def test_of_very_many_unknown_fields_only_some_are_looked_at(
    model_version: ModelVersion, row: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    monkeypatch.setattr("webapp.predict.validation.nearest", lambda name, _: looked_at.append(name))
    assert len(problems(model_version, row | {f"pressure{n}": n for n in range(20_000)})) == 100
    assert len(looked_at) == 100


@pytest.mark.parametrize("odd", [5, None, "text", [1, 2]], ids=str)
def test_a_row_that_is_no_object_is_told_by_its_number(
    model_version: ModelVersion, row: dict[str, Any], odd: Any
) -> None:
    [problem] = problems(model_version, row, odd)
    assert problem.row == 1
    assert "must be an object" in problem.rule


def test_no_rows_are_refused(model_version: ModelVersion) -> None:
    assert "at least one row" in problems(model_version)[0].rule


def test_all_problems_of_all_rows_are_told_up_to_a_hundred(model_version: ModelVersion, row: dict[str, Any]) -> None:
    found = problems(model_version, row, row | {"age": -1, "smoker": 3}, row, row | {"age": "x"})
    assert [(p.row, p.field) for p in found] == [(1, "age"), (1, "smoker"), (3, "age")]
    assert len(problems(model_version, *[row | {"age": -1}] * 500)) == 100


def test_what_was_never_seen_is_answered_with_a_caution(model_version: ModelVersion, row: dict[str, Any]) -> None:
    odd = row | {"age": 149, "city": "Atlantis", "pressure": 1, "ward": 77}
    _, cautions = check_rows(model_version, [row, odd]).cautions
    assert [(caution.field, caution.got) for caution in cautions] == [
        ("age", "149"),
        ("pressure", "1"),
        ("city", "Atlantis"),
        ("ward", "77"),
    ]
    stats = model_version.field("age").stats
    assert cautions[0].rule == f"the training data reach from {stats.minimum:g} to {stats.maximum:g}"
    assert cautions[2].rule == "the training data never had this value"


def test_a_missing_value_is_no_caution(model_version: ModelVersion, row: dict[str, Any]) -> None:
    assert check_rows(model_version, [row | {"cholesterol": None, "city": None, "ward": None}]).cautions == [()]


def test_a_form_is_read_as_a_row_that_passes(model_version: ModelVersion, row: dict[str, Any]) -> None:
    form = {name: f" {value} " for name, value in row.items()} | {"csrf_token": "x"}
    assert parse_text(model_version, form) == row
    check_rows(model_version, [parse_text(model_version, form | {"cholesterol": "", "city": " ", "ward": ""})])


@pytest.mark.parametrize(
    ("field", "text", "rule"),
    [
        ("pressure", "1,5", "decimal point, not a comma"),
        ("pressure", "1_5", "must be a number"),
        ("pressure", "١٢", "must be a number"),
        ("pressure", "１２.5", "must be a number"),
        ("age", "١٢", "a whole number"),
        ("pressure", "abc", "must be a number"),
        ("pressure", "nan", "must be given"),
        ("pressure", "inf", "a finite number"),
        ("pressure", "1e400", "a finite number"),
        ("pressure", "1e39", "must lie between"),
        ("pressure", "", "must be given"),
        ("age", "1,5", "a whole number"),
        ("age", "1.5", "a whole number"),
        ("age", "9" * 5000, "a whole number"),
        ("age", "true", "a whole number"),
        ("smoker", "JA", "must be one of"),
        ("ward", "9223372036854775808", "must lie between"),
        ("ward", "-9223372036854775808", "must lie between"),
    ],
)
def test_a_text_that_is_no_value_is_told(
    model_version: ModelVersion, row: dict[str, Any], field: str, text: str, rule: str
) -> None:
    form = {name: str(value) for name, value in row.items()} | {field: text}
    with pytest.raises(InvalidInput) as caught:
        parse_text(model_version, form)
    [problem] = caught.value.problems
    assert problem.field == field
    assert rule in problem.rule
    assert problem.example == model_version.field(field).example


@pytest.mark.parametrize(("text", "value"), [("7.0", 7), ("+7", 7), (" 7 ", 7), ("7e0", 7)])
def test_whole_numbers_are_read_as_from_files(
    model_version: ModelVersion, row: dict[str, Any], text: str, value: int
) -> None:
    assert parse_text(model_version, {name: str(v) for name, v in row.items()} | {"age": text})["age"] == value


def test_space_around_a_text_stays_if_the_model_knows_it_so(model_version: ModelVersion, row: dict[str, Any]) -> None:
    fields = tuple(replace(f, values=(" no", "yes")) if f.name == "smoker" else f for f in model_version.fields)
    form = {name: str(value) for name, value in row.items()}
    assert parse_text(replace(model_version, fields=fields), form | {"smoker": " no"})["smoker"] == " no"
    assert parse_text(replace(model_version, fields=fields), form | {"smoker": " yes "})["smoker"] == "yes"
