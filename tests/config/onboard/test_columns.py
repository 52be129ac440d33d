"""What type each column has for `init`, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from common.errors import DataError
from config.load import load_settings
from config.schema import model_features, read_schema
from tests.support.onboarding import ROWS, Init, read, read_as_examples, toy

BOTH_DATES = {"born": "date", "visit": "date"}


def test_types_follow_the_values(init: Init) -> None:
    table = toy(
        count=np.arange(ROWS) % 37,
        size=np.linspace(0, 1, ROWS).round(3),
        colour=["red", "green", "blue", "red"] * 50,
        smoker=[True, False] * 100,
        zip=[f"0{2100 + i % 40}" for i in range(ROWS)],
    )
    result = init(table)
    settings, schema = read(result)
    types = {name: schema_pb2.FeatureType.Name(feature.type) for name, feature in schema.items()}
    texts = dict.fromkeys(("y", "colour", "smoker", "zip"), "BYTES")
    assert types == {"x": "FLOAT", "count": "INT", "size": "FLOAT", **texts}
    assert list(schema["colour"].string_domain.value) == ["blue", "green", "red"]
    assert list(schema["smoker"].string_domain.value) == ["False", "True"]
    assert "02100" in schema["zip"].string_domain.value
    assert settings.data.ignore == ()
    assert not schema["count"].HasField("int_domain")
    first = read_as_examples(result).slice(0, 1).to_pylist()[0]
    assert (first["zip"], first["smoker"], first["count"]) == ("02100", "True", 0)


def test_ranges_stand_in_comments_only(init: Init) -> None:
    result = init(toy(count=np.arange(ROWS) % 37))
    assert '# Observed: 0 to 36.\nfeature {\n  name: "count"' in result.schema.read_text(encoding="utf-8")


def test_missing_values_make_a_column_optional(init: Init) -> None:
    random = np.random.default_rng(1)
    number = pd.Series(random.normal(size=ROWS).round(3)).mask(random.random(ROWS) < 0.3)
    rare = pd.Series(["a", "b"] * 100).mask(random.random(ROWS) < 0.97)
    result = init(toy(number=number, rare=rare))
    settings, schema = read(result)
    assert 0.3 < schema["number"].presence.min_fraction < 0.6
    assert schema["number"].presence.min_count == 1
    assert not schema["number"].HasField("shape")
    assert (schema["rare"].presence.min_fraction, schema["rare"].presence.min_count) == (0, 0)
    assert schema["x"].HasField("shape")
    assert schema["x"].presence.min_fraction == 1.0
    features = {
        feature.name: feature for feature in model_features(read_schema(settings.schema_file or Path()), settings)
    }
    assert not features["number"].required
    assert read_as_examples(result)["number"].null_count == number.isna().sum()


def test_texts_among_numbers_are_taken_for_missing(init: Init) -> None:
    result = init(toy(number=["12", "-", " 7.5", "unknown", "3"] * 40))
    settings, schema = read(result)
    assert schema["number"].type == schema_pb2.FLOAT
    assert {"-", "unknown", "", "NA"} <= set(settings.data.null_values)
    assert read_as_examples(result)["number"].to_pylist()[:5] == [12, None, 7.5, None, 3]


def test_categories_that_differ_by_capitals_are_written_as_the_commonest(init: Init) -> None:
    result = init(toy(sex=["male", "female", "Male", "male"] * 50, gene=["a", "A"] * 100))
    settings, schema = read(result)
    assert settings.data.spellings == {"sex": {"Male": "male"}}
    assert list(schema["sex"].string_domain.value) == ["female", "male"]
    assert list(schema["gene"].string_domain.value) == ["A", "a"]
    assert "'sex': 'Male', 50 rows, is read as 'male'" in str(result)
    assert read_as_examples(result)["sex"].to_pylist()[:4] == ["male", "female", "male", "male"]


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        pytest.param("first", [f"n{i % 40}" for i in range(ROWS)], "who somebody is", id="first names"),
        pytest.param("Last Name", [f"n{i % 40}" for i in range(ROWS)], "--drop 'Last Name'", id="last names"),
        pytest.param("Comments", [f"not seen in nest {i % 9}" for i in range(ROWS)], "holds sentences", id="sentences"),
        pytest.param("brand name", ["a", "b"] * 100, "", id="names of things"),
    ],
)
def test_people_and_sentences_are_pointed_at(init: Init, column: str, values: list[str], told: str) -> None:
    result = init(toy(**{column: values}))
    assert column in result.features
    assert (told in str(result)) if told else ("look at" not in str(result))


def test_what_is_told_of_a_column_holds_against_every_guess(init: Init) -> None:
    table = toy(
        number=range(1000, 1000 + ROWS),
        size=np.linspace(0, 1, ROWS).round(3),
        ward=np.arange(ROWS) % 4 + 1,
        note=[f"word {i}" for i in range(ROWS)],
    )
    roles = {"number": "feature", "size": "drop", "ward": "category", "note": "text"}
    settings, schema = read(init(table, roles=roles))
    assert settings.data.ignore == ("size",)
    assert settings.categorical == ("ward",)
    assert {name: feature.type for name, feature in schema.items() if name not in "xy"} == {
        "number": schema_pb2.INT,
        "ward": schema_pb2.INT,
        "note": schema_pb2.BYTES,
    }
    assert not schema["note"].string_domain.value


def test_dates_that_cannot_be_read_are_told_with_their_line(init: Init) -> None:
    days = ["2026-01-31", "31.02.2026", *["2026-02-01", "2026-02-03"] * 99]
    with pytest.raises(DataError, match=r"'31\.02\.2026' \(line 3\)"):
        init(toy(day=days), roles={"day": "date"})


def test_years_of_two_digits_are_read_and_told(init: Init) -> None:
    days = [f"{n % 28 + 1:02d}.{n % 12 + 1:02d}.{n % 40 + 50}" for n in range(ROWS)]
    result = init(toy(born=days, visit=[f"{n % 12 + 1}/{n % 9 + 1}/20" for n in range(ROWS)]), roles=BOTH_DATES)
    assert load_settings(result.config).dates == {"born": "dmy", "visit": "mdy"}
    text = " ".join(result.config.read_text(encoding="utf-8").replace("#", " ").split())
    for part in (
        "'born' has years of two digits: 69 to 99 are 1969 to 1999, 00 to 68 are 2000 to 2068.",
        "'visit' is read as 11/30/2026 is: no day is beyond the twelfth, so it may be otherwise.",
    ):
        assert part in str(result)
        assert part in text


def test_years_of_two_digits_in_front_are_not_taken_for_days(init: Init) -> None:
    days = [f"24-{n % 2 + 3:02d}-{n % 28 + 1:02d}" for n in range(ROWS)]
    with pytest.raises(DataError, match="where the year comes first, with four digits"):
        init(toy(day=days), roles={"day": "date"})


def test_integers_that_may_be_codes_are_pointed_out(init: Init) -> None:
    result = init(toy(ward=np.arange(ROWS) % 4 + 1, flag=np.arange(ROWS) % 2))
    text = result.config.read_text(encoding="utf-8")
    assert "# ward (1, 2, 3, 4)" in text
    assert "# flag (" not in text
    assert load_settings(result.config).categorical == ()
