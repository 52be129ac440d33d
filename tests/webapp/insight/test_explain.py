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
from webapp.insight.explain import MOST_PARTS, MOST_ROWS, Explanation, asker, explain, usual_values
from webapp.models.catalog import Catalog, Field, ModelVersion
from webapp.models.statistics import Stats
from webapp.predict.validation import rules_of

ILL = {"age": 70, "pressure": 160.0, "cholesterol": 190.0, "smoker": "yes", "city": "Jakarta", "ward": 3}


@pytest.fixture
def model_version(webapp_root: Path, tmp_path: Path) -> Callable[[str], ModelVersion]:
    return lambda model: Catalog(webapp_root / "serving", tmp_path).model_version(model, 1)


def pressure_alone(columns: Any) -> np.ndarray[Any, Any]:
    """A model that looks at one value: 0.005 for each unit of pressure."""
    probability = np.array(columns["pressure"], float) * 0.005
    return np.column_stack([1 - probability, probability])


def filled(version: ModelVersion, columns: Any) -> dict[str, list[Any]]:
    """Columns as they are sent: a value stands for each that is missing."""
    blanks = {rule.name: rule.blank for rule in rules_of(version)}
    return {name: [blanks[name] if value is None else value for value in columns[name]] for name in blanks}


def by_name(found: Explanation) -> dict[str, float]:
    return {effect.field.name: effect.effect for effect in found.effects}


def test_where_one_value_counts_it_has_the_whole_difference(model_version: Callable[[str], ModelVersion]) -> None:
    patient = model_version("patients")
    usual = patient.field("pressure").stats.mean
    assert usual
    found = explain(patient, ILL, pressure_alone)
    assert (found.of, found.left_out) == ("yes", 0)
    assert found.probability == pytest.approx(0.8)
    assert found.base == pytest.approx(0.005 * usual)
    first, *others = found.effects
    assert (first.field.name, first.usual) == ("pressure", usual)
    assert first.effect == pytest.approx(0.8 - 0.005 * usual)
    assert [effect.effect for effect in others] == pytest.approx([0.0] * 5)


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
    assert found.probability > 0.9 > found.base


@pytest.mark.parametrize("model", ["cells", "flowers", "patients"])
@pytest.mark.parametrize("number", range(0, 40, 7))
def test_the_contributions_add_up_to_the_difference(
    model_version: Callable[[str], ModelVersion], made: dict[str, Made], model: str, number: int
) -> None:
    version, row = model_version(model), made[model].row(number)
    found = explain(version, row, lambda columns: probabilities_of(made[model], filled(version, columns)))
    assert sum(effect.effect for effect in found.effects) == pytest.approx(found.probability - found.base, abs=1e-3)
    index = version.classes.index(found.of)
    alone = probabilities_of(made[model], filled(version, {f.name: [row.get(f.name)] for f in version.fields}))
    assert found.probability == pytest.approx(float(alone[0, index]), abs=1e-6)


def test_two_values_that_only_count_together_share_alike(model_version: Callable[[str], ModelVersion]) -> None:
    usual = usual_values(model_version("patients"))

    def ask(columns: Any) -> np.ndarray[Any, Any]:
        both = np.array(columns["pressure"]) != usual["pressure"]
        both &= np.array(columns["age"]) != usual["age"]
        return np.column_stack([0.9 - 0.6 * both, 0.1 + 0.6 * both])

    found = by_name(explain(model_version("patients"), ILL, ask))
    assert found["pressure"] == pytest.approx(0.3, abs=0.1)
    assert found["pressure"] + found["age"] == pytest.approx(0.6)


def test_a_case_that_is_all_usual_has_nothing_to_explain(model_version: Callable[[str], ModelVersion]) -> None:
    patient = model_version("patients")
    found = explain(patient, usual_values(patient), pressure_alone)
    assert found.probability == found.base
    assert {effect.effect for effect in found.effects} == {0.0}


def test_the_model_server_is_asked_once_and_nothing_is_counted(
    make_app: Callable[..., Any], fake: FakeModelServer
) -> None:
    _, services = make_app()
    patient = services.catalog.model_version("patients", 1)
    row = {name: value for name, value in ILL.items() if name != "cholesterol"}
    found = explain(patient, row, asker(services.predictor, patient))
    [asked] = fake.asked
    assert "/versions/1:" in asked["path"]
    assert 2 < len(asked["inputs"]["age"]) <= 2 ** len(patient.fields)
    assert sorted(set(asked["inputs"]["pressure"])) == pytest.approx([usual_values(patient)["pressure"], 160.0])
    assert by_name(found)["pressure"] > 0
    assert b"vouch_predictions_total{" not in services.metrics.text()


def wide(model_version: ModelVersion, count: int) -> ModelVersion:
    stats = Stats(mean=0.0, std_dev=1.0, minimum=-9.0, maximum=9.0)
    names = [f"f{number}" for number in range(count)]
    fields = [Field(name, "numeric", "float", True, (), name, "", "", "", stats) for name in names]
    return replace(model_version, fields=tuple(fields))


@pytest.mark.parametrize("width", [MOST_PARTS, MOST_PARTS + 1, 200, 4_000])
def test_one_request_of_at_most_five_hundred_rows_whatever_the_width(
    model_version: Callable[[str], ModelVersion], width: int
) -> None:
    many = wide(model_version("cells"), width)
    row = {field.name: float(number % 9 + 1) for number, field in enumerate(many.fields)}
    asked: list[int] = []

    def ask(columns: Any) -> np.ndarray[Any, Any]:
        values = np.array([columns[name] for name in many.by_name])
        asked.append(values.shape[1])
        probability = 1 / (1 + np.exp(-np.tanh(values).mean(axis=0) - values[0] * values[1] / 50))
        return np.column_stack([1 - probability, probability])

    found = explain(many, row, ask)
    assert len(asked) == 1
    assert asked[0] <= MOST_ROWS
    assert len(found.effects) == MOST_PARTS
    assert sum(len(effect.fields) for effect in found.effects) == width
    assert found.effects[-1].is_group == (width > MOST_PARTS)
    assert sum(effect.effect for effect in found.effects) == pytest.approx(found.probability - found.base)


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
