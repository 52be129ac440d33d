from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.repository.layout import SHOWCASE
from tests.support.web.fake_model_server import FakeModelServer, probabilities_of
from tests.support.web.models import Made, make_version, patients
from webapp.insight.explain import MOST_FEATURES, Explanation, asker, explain, question, usual_values
from webapp.models.catalog import Catalog, Field, ModelVersion
from webapp.models.statistics import Stats

ILL = {"age": 70, "pressure": 160.0, "cholesterol": 190.0, "smoker": "yes", "city": "Jakarta", "ward": 3}


@pytest.fixture
def model_version(webapp_root: Path, tmp_path: Path) -> Callable[[str], ModelVersion]:
    return lambda model: Catalog(webapp_root / "serving", tmp_path).model_version(model, 1)


def pressure_alone(columns: Any) -> np.ndarray[Any, Any]:
    """A model that looks at one value: 0.005 for each unit of pressure."""
    probability = np.array(columns["pressure"], float) * 0.005
    return np.column_stack([1 - probability, probability])


def by_name(found: Explanation) -> dict[str, float]:
    return {effect.field.name: effect.effect for effect in found.effects}


def test_an_effect_is_what_the_usual_value_would_change(model_version: Callable[[str], ModelVersion]) -> None:
    patient = model_version("patients")
    usual = patient.field("pressure").stats.mean
    assert usual
    found = explain(patient, ILL, pressure_alone)
    assert (found.of, found.left_out) == ("yes", 0)
    assert found.probability == pytest.approx(0.8)
    assert found.baseline_probability == pytest.approx(0.005 * usual)
    first, *others = found.effects
    assert (first.field.name, first.value, first.baseline) == ("pressure", 160.0, usual)
    assert first.effect == pytest.approx(0.8 - 0.005 * usual)
    assert [effect.effect for effect in others] == [0.0] * 5


def test_the_largest_effect_of_either_sign_comes_first(model_version: Callable[[str], ModelVersion]) -> None:
    def ask(columns: Any) -> np.ndarray[Any, Any]:
        smokes = np.array([value == "yes" for value in columns["smoker"]])
        probability = 0.5 + 0.001 * (np.array(columns["pressure"], float) - 132) - 0.3 * smokes
        return np.column_stack([1 - probability, probability])

    found = explain(model_version("patients"), ILL, ask)
    assert [effect.field.name for effect in found.effects[:2]] == ["smoker", "pressure"]
    assert found.effects[0].effect == pytest.approx(-0.3)


def test_text_and_codes_are_held_against_the_most_frequent_value(
    model_version: Callable[[str], ModelVersion], made: dict[str, Made]
) -> None:
    usual = usual_values(model_version("patients"))
    for name in ("smoker", "city", "ward"):
        counts = [list(made["patients"].columns[name]).count(value) for value in set(made["patients"].columns[name])]
        assert list(made["patients"].columns[name]).count(usual[name]) >= 0.9 * max(counts)
        assert type(usual[name]) is type(ILL[name])


def test_of_more_than_two_classes_the_likeliest_is_explained(
    model_version: Callable[[str], ModelVersion], made: dict[str, Made]
) -> None:
    row = made["flowers"].row(0)
    found = explain(model_version("flowers"), row, lambda columns: probabilities_of(made["flowers"], columns))
    assert found.of == "setosa"
    assert found.probability > 0.9 > found.baseline_probability


def test_a_missing_value_counts_as_one(model_version: Callable[[str], ModelVersion]) -> None:
    found = explain(model_version("patients"), {**ILL, "cholesterol": float("nan")}, pressure_alone)
    assert next(effect for effect in found.effects if effect.field.name == "cholesterol").value is None


def test_the_model_server_is_asked_once_and_nothing_is_counted(
    make_app: Callable[..., Any], fake: FakeModelServer
) -> None:
    _, services = make_app()
    patient = services.catalog.model_version("patients", 1)
    row = {name: value for name, value in ILL.items() if name != "cholesterol"}
    found = explain(patient, row, asker(services.predictor, patient))
    [asked] = fake.asked
    assert "/versions/1:" in asked["path"]
    assert len(asked["inputs"]["age"]) == len(patient.fields) + 2
    assert asked["inputs"]["pressure"][0] == 160.0
    assert by_name(found)["pressure"] > 0
    assert b"vouch_predictions_total{" not in services.metrics.text()


def wide(model_version: ModelVersion, count: int) -> ModelVersion:
    stats = Stats(mean=0.0, std_dev=1.0, minimum=-9.0, maximum=9.0)
    names = [f"f{number}" for number in range(count)]
    fields = [Field(name, "numeric", "float", True, (), name, "", "", "", stats) for name in names]
    return replace(model_version, fields=tuple(fields))


def test_of_very_many_features_the_oddest_are_tried(model_version: Callable[[str], ModelVersion]) -> None:
    many = wide(model_version("cells"), MOST_FEATURES + 50)
    row = {field.name: float(number) * (-1) ** number for number, field in enumerate(many.fields)}
    asked = question(many, row)
    assert {field.name for field in asked.fields} == {f"f{number}" for number in range(50, MOST_FEATURES + 50)}
    assert {len(values) for values in asked.columns.values()} == {MOST_FEATURES + 2}
    found = asked.read(np.full((MOST_FEATURES + 2, 2), 0.5))
    assert (len(found.effects), found.left_out) == (MOST_FEATURES, 50)


def test_one_request_stays_bounded_however_wide_the_row(model_version: Callable[[str], ModelVersion]) -> None:
    many = wide(model_version("cells"), 10_000)
    asked = question(many, dict.fromkeys(many.by_name, 1.0))
    assert len(asked.fields) == 40
    assert asked.left_out == 9_960


def test_a_field_of_which_nothing_is_known_is_left_out(tmp_path: Path) -> None:
    (make_version(tmp_path, patients(), 1) / SHOWCASE).unlink()
    model_version = Catalog(tmp_path, tmp_path).model_version("patients", 1)
    unknown = replace(
        model_version,
        fields=tuple(
            replace(field, stats=Stats()) if field.name == "ward" else field for field in model_version.fields
        ),
    )
    found = explain(unknown, ILL, pressure_alone)
    assert "ward" not in by_name(found)
    assert found.left_out == 1
