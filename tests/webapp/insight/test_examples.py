from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.repository.layout import SHOWCASE
from tests.support.web.fake_model_server import FakeModelServer, probabilities_of
from tests.support.web.models import Made, cells, make_version
from webapp.insight.examples import PAUSE_S, Borderlines, Example, example_rows
from webapp.insight.explain import asker
from webapp.models.sample import showcase_of


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
    sample, now_s = showcase_of(model_version), 0.0
    assert sample
    borderlines = Borderlines(lambda: now_s)

    def find() -> int | None:
        return borderlines.find(model_version, sample.train, asker(services.predictor, model_version))

    fake.mood = "failing"
    assert find() is None
    fake.mood = "well"
    fake.asked.clear()
    assert find() is None
    assert fake.asked == []
    now_s = PAUSE_S
    assert find() is not None


def test_a_version_without_a_showcase_has_no_examples(make_app: Callable[..., Any], tmp_path: Path) -> None:
    (make_version(tmp_path / "old", cells(), 1) / SHOWCASE).unlink()
    _, services = make_app(serving=tmp_path / "old")
    assert example_rows(services, services.catalog.model_version("cells", 1)) == ()
