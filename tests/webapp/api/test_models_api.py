"""The models over the API: what is told of them, and what an operator can do to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.web.models import Made, make_version, release
from webapp.api.schemas import ModelDetail, ModelList

Apps = Callable[..., Any]


@pytest.fixture
def two_versions(tmp_path: Path, made: dict[str, Made]) -> Path:
    serving = tmp_path / "serving"
    for version in (1, 2):
        make_version(serving, made["cells"], version, {"auc": [0.9 + version / 100, 0.85, 0.99], "loss": 0.3})
    release(serving, "cells", 1, candidate=2, weight_percent=12.5)
    return serving


def test_all_models_are_listed_with_what_answers(make_app: Apps, two_versions: Path) -> None:
    app, _ = make_app(serving=two_versions)
    found = ModelList.model_validate(app.test_client().get("/api/v1/models").json)
    [cells] = found.models
    assert found.default == "cells"
    assert (cells.versions, cells.stable, cells.candidate, cells.candidate_percent) == ([1, 2], 1, 2, 12.5)


def test_without_a_model_the_list_is_empty(make_app: Apps, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    app, _ = make_app(serving=tmp_path / "nothing")
    assert app.test_client().get("/api/v1/models").json == {"default": None, "models": []}


def test_a_model_is_told_with_features_metrics_and_verdicts(make_app: Apps, two_versions: Path) -> None:
    app, _ = make_app(serving=two_versions)
    found = ModelDetail.model_validate(app.test_client().get("/api/v1/models/cells").json)
    assert (found.classes, found.positive, found.label) == (["B", "M"], "M", "outcome")
    newest, oldest = found.version_details
    assert (newest.version, newest.labels, oldest.labels) == (2, ["candidate"], ["stable"])
    assert newest.metrics["auc"].model_dump() == {"value": 0.92, "lower": 0.85, "upper": 0.99}
    assert newest.metrics["loss"].model_dump() == {"value": 0.3, "lower": None, "upper": None}
    assert newest.verdicts["evaluation"].startswith("Blessed")
    assert newest.calibrated is False
    assert newest.threshold == 0.4
    radius = found.features[0]
    assert (radius.name, radius.type, radius.required) == ("radius", "number", True)
    assert radius.training is not None
    assert radius.training.minimum < float(radius.example) < radius.training.maximum


def test_kinds_of_features_are_told(client: FlaskClient) -> None:
    features = {
        each.name: each for each in ModelDetail.model_validate(client.get("/api/v1/models/patients").json).features
    }
    assert {name: each.type for name, each in features.items()} == {
        "age": "integer",
        "pressure": "number",
        "cholesterol": "number",
        "smoker": "string",
        "city": "string",
        "ward": "integer",
    }
    assert features["smoker"].values == ["no", "yes"]
    assert not features["cholesterol"].required
    assert isinstance(features["age"].example, int)


def test_a_version_whose_manifest_is_lost_is_told_with_the_reason(make_app: Apps, two_versions: Path) -> None:
    (two_versions / "cells" / "2" / "assets.extra" / "manifest.json").unlink()
    app, _ = make_app(serving=two_versions)
    newest, oldest = app.test_client().get("/api/v1/models/cells").json["version_details"]
    assert "no valid manifest" in newest["problem"]
    assert oldest["problem"] == ""


@pytest.mark.parametrize("name", ["other", "..", "%2e%2e%2fetc", "x" * 3000, "cells%00"])
@pytest.mark.parametrize("action", ["", "/promote", "/rollback", "/canary"])
def test_an_unknown_model_is_told(client: FlaskClient, name: str, action: str) -> None:
    url = f"/api/v1/models/{name}{action}"
    body = {"percent": 5} if action == "/canary" else {}
    response = client.post(url, json=body) if action else client.get(url)
    assert (response.status_code, response.content_type) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("action", "body", "field", "rule"),
    [
        ("canary", {}, "percent", "required"),
        ("canary", {"percent": 101}, "percent", "less than or equal to 100"),
        ("canary", {"percent": "5"}, "percent", "valid number"),
        ("canary", {"percent": True}, "percent", "valid number"),
        ("promote", {"version": 0}, "version", "greater than or equal to 1"),
        ("promote", {"version": 1.5}, "version", "valid integer"),
        ("promote", {"versoin": 1}, "versoin", "not permitted"),
        ("promote", [], "", "valid dictionary"),
        ("rollback", {"version": 1}, "version", "not permitted"),
        ("rollback", {"password": 7}, "password", "valid string"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_release_is_told(
    client: FlaskClient, action: str, body: Any, field: str, rule: str
) -> None:
    response = client.post(f"/api/v1/models/cells/{action}", json=body)
    assert response.status_code == 400
    [problem] = response.json["errors"]
    assert (problem["field"], rule in problem["rule"]) == (field, True), problem
    assert "7" not in problem["got"]


def test_a_release_is_no_form_that_another_site_could_send(client: FlaskClient) -> None:
    assert client.post("/api/v1/models/cells/rollback", data={}).status_code == 415


def test_a_release_without_a_model_server_is_refused_and_changes_nothing(make_app: Apps, two_versions: Path) -> None:
    app, _ = make_app(serving=two_versions, model_server_grpc="127.0.0.1:1")
    response = app.test_client().post("/api/v1/models/cells/promote", json={"version": 2})
    assert response.status_code == 503
    assert "Retry-After" in response.headers
    assert app.test_client().get("/api/v1/models").json["models"][0]["stable"] == 1
