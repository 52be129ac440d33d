from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.text import MISSING_CODE
from serving.repository.layout import SHOWCASE
from tests.support.clock import Clock
from tests.support.web.fake_model_server import FakeModelServer, probabilities_of
from tests.support.web.models import Made, cells, make_version
from webapp.insight.cases import (
    COMMON_VALUES,
    FARTHEST,
    NEAREST,
    PAUSE_S,
    Encoder,
    Example,
    Projection,
    example_rows,
    projection_of,
)
from webapp.insight.explain import is_missing
from webapp.models.catalog import Catalog, Field, ModelVersion
from webapp.models.sample import showcase_of
from webapp.models.statistics import Stats
from webapp.services import Kept


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


@pytest.fixture(params=["cells", "patients", "flowers"])
def model_version(request: pytest.FixtureRequest, webapp_root: Path, tmp_path: Path) -> ModelVersion:
    return Catalog(webapp_root / "serving", tmp_path).model_version(request.param, 1)


@pytest.fixture
def plane(model_version: ModelVersion) -> Projection:
    found = projection_of(model_version)
    assert found
    return found


def test_the_training_rows_lie_on_the_plane_and_their_classes_apart(
    model_version: ModelVersion, plane: Projection
) -> None:
    labels = np.array(plane.labels)
    assert plane.points.shape == (len(labels), 2)
    means = {name: plane.points[labels == name, 0].mean() for name in model_version.classes}
    assert max(means, key=lambda name: means[name]) == (model_version.positive or model_version.classes[-1]), (
        "looked for: to the right"
    )
    assert max(means.values()) - min(means.values()) > 1


def test_the_axes_show_most_of_the_variance_first(plane: Projection) -> None:
    first, second = plane.shares
    assert 1 >= first >= second > 0
    assert first + second <= 1 + 1e-9
    variances = plane.points.var(axis=0)
    assert variances[0] >= variances[1]


@pytest.mark.parametrize("number", [0, 10])  # of the patients, row 10 has a gap
def test_a_training_row_is_found_where_it_lies(model_version: ModelVersion, plane: Projection, number: int) -> None:
    showcase = showcase_of(model_version)
    assert showcase
    np.testing.assert_allclose(plane.project(showcase.train.row(number)), plane.points[number], atol=1e-9)


@pytest.mark.parametrize("value", [None, float("nan"), 1e308, -1e308])
def test_a_row_of_any_kind_lies_somewhere(model_version: ModelVersion, plane: Projection, value: Any) -> None:
    numeric = {field.name: value for field in model_version.fields if field.kind == "numeric"}
    assert np.isfinite(plane.project(numeric)).all()
    assert np.isfinite(plane.project({})).all()


def test_the_nearest_training_case_of_a_training_row_is_itself(model_version: ModelVersion, plane: Projection) -> None:
    showcase = showcase_of(model_version)
    assert showcase
    nearest = plane.nearest(showcase.train.row(3))
    assert len(nearest) == NEAREST
    assert nearest[0].distance == pytest.approx(0)
    assert nearest[0].label == showcase.train.labels[3]
    distances = [neighbour.distance for neighbour in nearest]
    assert distances == sorted(distances)


def test_the_plane_is_made_once(model_version: ModelVersion, plane: Projection) -> None:
    assert projection_of(model_version) is plane


def test_without_a_showcase_there_is_no_plane(tmp_path: Path) -> None:
    (make_version(tmp_path, cells(), 1) / SHOWCASE).unlink()
    assert projection_of(Catalog(tmp_path, tmp_path).model_version("cells", 1)) is None


@pytest.mark.parametrize(
    ("values", "flat"),
    [([1.0, 2.0, 4.0], (False, True)), ([1.0, 1.0, 1.0], (True, True))],
    ids=["one feature", "nothing varies"],
)
def test_what_spans_no_plane_lies_on_a_line_or_in_a_point(
    tmp_path: Path, values: list[float], flat: tuple[bool, bool]
) -> None:
    plane = projection_of(_model_version(tmp_path, values, ["B", "M", "M"]))
    assert plane
    assert tuple(bool(each) for each in (plane.points == 0).all(axis=0)) == flat
    assert np.isfinite(plane.shares).all()
    assert np.isfinite([neighbour.distance for neighbour in plane.nearest({"radius": 2.0})]).all()


def test_two_rows_are_too_few(tmp_path: Path) -> None:
    assert projection_of(_model_version(tmp_path, [1.0, 2.0], ["B", "M"])) is None


def _model_version(root: Path, radius: list[float], labels: list[str]) -> ModelVersion:
    whole = cells()
    folder = make_version(root, replace(whole, columns={"radius": whole.columns["radius"]}, minimum={}), 1)
    few = {"columns": {"radius": radius}, "labels": labels}
    (folder / SHOWCASE).write_text(json.dumps({"train": few, "test": few}), encoding="utf-8")
    return Catalog(root, root).model_version("cells", 1)


def by_key(found: tuple[Example, ...]) -> dict[str, Example]:
    return {example.key: example for example in found}


@pytest.mark.parametrize("model", ["cells", "patients", "flowers"])
def test_each_class_has_a_typical_row_that_the_model_takes_for_one(
    make_app: Callable[..., Any], made: dict[str, Made], model: str
) -> None:
    _, services = make_app()
    model_version = services.catalog.model_version(model, 1)
    found = by_key(example_rows(services, model_version))
    for label in model_version.classes:
        example = found[f"typical-{label}"]
        assert (example.label, example.title) == (label, f"Typical {label}")
        assert set(example.row) == set(model_version.by_name), "a row without gaps"
        probabilities = probabilities_of(made[model], {name: [value] for name, value in example.row.items()})
        assert probabilities[0, model_version.classes.index(label)] > 0.7


@pytest.mark.parametrize("model", ["cells", "patients"])
def test_the_borderline_row_is_the_nearest_to_the_threshold(
    make_app: Callable[..., Any], made: dict[str, Made], model: str
) -> None:
    _, services = make_app()
    model_version = services.catalog.model_version(model, 1)
    found = by_key(example_rows(services, model_version))["borderline"]
    sample = showcase_of(model_version)
    assert sample
    nearest = np.abs(probabilities_of(made[model], sample.train.columns)[:, 1] - model_version.threshold).min()
    row = {name: [found.row.get(name)] for name in model_version.by_name}
    assert abs(probabilities_of(made[model], row)[0, 1] - model_version.threshold) == pytest.approx(nearest, abs=1e-6)


def test_without_a_threshold_nothing_is_asked(make_app: Callable[..., Any], fake: FakeModelServer) -> None:
    _, services = make_app()
    found = example_rows(services, services.catalog.model_version("flowers", 1))
    assert [example.key for example in found] == ["typical-setosa", "typical-versicolor", "typical-virginica"]
    assert fake.asked == []


def test_the_model_server_is_asked_once_a_version(make_app: Callable[..., Any], fake: FakeModelServer) -> None:
    _, services = make_app()
    model_version = services.catalog.model_version("cells", 1)
    assert example_rows(services, model_version) == example_rows(services, model_version)
    assert len(fake.asked) == 1


def test_while_the_model_server_is_down_only_the_borderline_row_is_missing(
    make_app: Callable[..., Any], fake: FakeModelServer
) -> None:
    _, services = make_app()
    fake.mood = "failing"
    found = example_rows(services, services.catalog.model_version("cells", 1))
    assert [example.key for example in found] == ["typical-B", "typical-M"]


def test_after_a_failure_it_is_left_alone_for_a_while(make_app: Callable[..., Any], fake: FakeModelServer) -> None:
    _, services = make_app()
    model_version = services.catalog.model_version("cells", 1)
    clock = Clock(0.0)
    services = replace(services, kept=Kept(clock))

    def find() -> bool:
        return "borderline" in by_key(example_rows(services, model_version))

    fake.mood = "failing"
    assert not find()
    fake.mood = "well"
    fake.asked.clear()
    assert not find()
    assert fake.asked == []
    clock.now = PAUSE_S
    assert find()


def test_a_version_without_a_showcase_has_no_examples(make_app: Callable[..., Any], tmp_path: Path) -> None:
    (make_version(tmp_path / "old", cells(), 1) / SHOWCASE).unlink()
    _, services = make_app(serving=tmp_path / "old")
    assert example_rows(services, services.catalog.model_version("cells", 1)) == ()
