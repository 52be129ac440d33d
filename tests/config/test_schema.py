from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.errors import ConfigError
from config.schema import Feature, check_schema, model_features, read_schema
from config.settings import Settings

SCHEMA = """
feature { name: "y" type: BYTES string_domain { value: "no" value: "yes" } presence { min_fraction: 1.0 } shape {} }
feature { name: "age" type: INT int_domain { min: 0 max: 120 } presence { min_fraction: 1.0 } shape {} }
feature { name: "ward" type: INT presence { min_fraction: 1.0 } shape {} }
feature { name: "size" type: FLOAT float_domain { min: 0.5 } presence { min_fraction: 0.8 } }
feature { name: "sex" type: BYTES domain: "sexes" presence { min_fraction: 1.0 } shape {} }
feature { name: "person" type: BYTES presence { min_fraction: 1.0 } shape {} }
feature { name: "old" type: FLOAT lifecycle_stage: DEPRECATED }
string_domain { name: "sexes" value: "f" value: "m" }
"""


def schema_at(tmp_path: Path, text: str = SCHEMA) -> Any:
    path = tmp_path / "schema.pbtxt"
    path.write_text(text, encoding="utf-8")
    return read_schema(path)


def settings(**changes: Any) -> Settings:
    data = {"source": "x.csv", "label": "y", "classes": ["no", "yes"], **changes.pop("data", {})}
    return Settings.model_validate({"name": "m", "data": data, **changes})


def test_features_are_typed_and_bounded(tmp_path: Path) -> None:
    given = settings(split={"group_by": "person"}, categorical=["ward"])
    assert model_features(schema_at(tmp_path), given) == (
        Feature("age", "numeric", "int", True, minimum=0, maximum=120),
        Feature("ward", "categorical", "int", True),
        Feature("size", "numeric", "float", False, minimum=0.5),
        Feature("sex", "categorical", "string", True, values=("f", "m")),
    )


def test_ignored_columns_are_no_features(tmp_path: Path) -> None:
    names = [feature.name for feature in model_features(schema_at(tmp_path), settings(data={"ignore": ["age", "sex"]}))]
    assert names == ["ward", "size", "person"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param('feature { name: "a" typ: INT }', "typ", id="unknown field"),
        pytest.param("name,type\na,b\n", "is not a schema", id="something else"),
    ],
)
def test_what_is_no_schema_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        schema_at(tmp_path, text)


def test_a_missing_schema_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the schema"):
        read_schema(tmp_path / "schema.pbtxt")


def test_names_that_fit_pass(tmp_path: Path) -> None:
    check_schema(
        schema_at(tmp_path), settings(split={"group_by": "person"}, categorical=["ward"], features={"age": {}})
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"data": {"label": "Y"}}, "did you mean 'y'", id="label"),
        pytest.param({"split": {"group_by": "persn"}}, "did you mean 'person'", id="group"),
        pytest.param({"categorical": ["wart"]}, "did you mean 'ward'", id="categorical"),
        pytest.param({"categorical": ["size"]}, "'size' is not an INT column", id="categorical float"),
        pytest.param({"features": {"aeg": {"unit": "years"}}}, "did you mean 'age'", id="display"),
        pytest.param({"evaluation": {"slices": [{"feature": "sexe"}]}}, "did you mean 'sex'", id="slice"),
        pytest.param({"data": {"classes": ["no", "maybe"]}}, "disagree about the label", id="classes"),
        pytest.param({"data": {"label": "age"}}, "disagree about the label", id="label of numbers"),
        pytest.param({"data": {"ignore": ["age", "ward", "size", "sex", "person"]}}, "no feature", id="nothing left"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_schema(schema_at(tmp_path), settings(**changes))
