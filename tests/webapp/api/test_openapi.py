"""The document says what the routes do: all of them, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.web.models import Made, make_version, release
from webapp.api.openapi import REFUSALS, openapi
from webapp.auth.guard import required_role

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

UNDECLARED = {  # the document, and what shows it
    "/api/openapi.json",
    "/api/docs",
    "/api/docs/static/{name}",
    "/api/docs/vouch.http",
    "/api/docs/vouch.postman_collection.json",
}
SECRET = "a-secret-for-tests-that-is-long-enough-0123456789"
Apps = Callable[..., Any]


@pytest.fixture(scope="module")
def document(demo: Flask) -> dict[str, Any]:
    response = demo.test_client().get("/api/openapi.json")
    assert response.status_code == 200
    found: dict[str, Any] = response.json
    return found


def validator(document: dict[str, Any], name: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator  # it takes a second, which every run would wait for

    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def routes(app: Flask) -> set[tuple[str, str]]:
    found = set()
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        if path.startswith("/api/") and path not in UNDECLARED:
            found |= {(path, method) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    return found


def test_every_route_is_in_the_document_and_back(document: dict[str, Any], demo: Flask) -> None:
    assert {(path, method) for path, method, _ in operations(document)} == routes(demo)


def test_there_are_the_routes_that_were_asked_for(document: dict[str, Any]) -> None:
    assert {f"{method} {path.removeprefix('/api/v1')}" for path, method, _ in operations(document)} == {
        "POST /predict",
        "POST /predict/csv",
        "POST /predict/image",
        "GET /predict/by-index/{i}",
        "POST /jobs",
        "GET /jobs/{job_id}",
        "GET /jobs/{job_id}/result",
        "GET /models",
        "GET /models/{name}",
        "POST /models/{name}/forget",
        "POST /models/{name}/promote",
        "POST /models/{name}/rollback",
        "POST /models/{name}/canary",
        "POST /feedback",
        "POST /feedback/rows",
        "POST /auth/login",
        "POST /auth/refresh",
        "POST /auth/logout",
        "GET /auth/validate",
    }


def test_the_document_is_made_once_a_release(make_app: Apps, made: dict[str, Made], tmp_path: Path) -> None:
    for number in (1, 2):
        make_version(tmp_path / "own", made["cells"], number)
    release(tmp_path / "own", "cells", 1)
    app, services = make_app(serving=tmp_path / "own")
    first = openapi(app, services)
    assert openapi(app, services) is first
    release(tmp_path / "own", "cells", 2)
    assert "cells 2" in openapi(app, services)["components"]["schemas"]["Row_cells"]["description"]


def test_every_operation_is_described_and_its_path_parameters_are_declared(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        declared = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
        assert operation["summary"]
        assert operation["description"]
        assert {*operation["tags"]} <= {tag["name"] for tag in document["tags"]}
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in re.findall(r"'\$ref': '#/([^']+)'", str(document)):
        found: Any = document
        for part in reference.split("/"):
            found = found[part]
        assert found


def test_every_schema_is_json_schema(document: dict[str, Any]) -> None:
    from jsonschema import Draft202012Validator

    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_refusal_is_a_problem_document(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        statuses = {int(status) for status in operation["responses"]}
        assert {400, 406, 429, 503} <= statuses
        assert ({413, 415} <= statuses) == ("requestBody" in operation)
        assert statuses - {200, 201, 202} <= set(REFUSALS)
    for response in document["components"]["responses"].values():
        assert set(response["content"]) == {"application/problem+json"}


@pytest.mark.parametrize("model", ["cells", "patients", "flowers"])
def test_the_schema_of_a_row_is_as_strict_as_the_model(
    document: dict[str, Any], made: dict[str, Made], client: FlaskClient, model: str
) -> None:
    row = validator(document, f"Row_{model}")
    example = document["components"]["schemas"][f"Row_{model}"]["example"]
    name, value = next(iter(example.items()))
    whole = {"model": model, "rows": [example]}
    assert client.post("/api/v1/predict", json=whole).status_code == 200
    assert row.is_valid(example)
    assert row.is_valid(made[model].row(0))
    for wrong in (
        {**example, name: "text"},
        {**example, name: None},
        {**example, "more": 1},
        {**example, name: 1e300},
        {key: other for key, other in example.items() if key != name},
    ):
        assert not row.is_valid(wrong), wrong
        assert client.post("/api/v1/predict", json=whole | {"rows": [wrong]}).status_code == 400
    assert isinstance(value, int | float)


def test_types_values_ranges_and_gaps_of_features_are_told(document: dict[str, Any]) -> None:
    row = document["components"]["schemas"]["Row_patients"]
    told = row["properties"]
    assert (told["age"]["type"], told["pressure"]["type"], told["city"]["type"]) == ("integer", "number", "string")
    assert told["smoker"]["enum"] == ["no", "yes"]
    low, high = told["pressure"]["x-training-range"]
    assert low < told["pressure"]["example"] < high
    assert "The training data reach from" in told["pressure"]["description"]
    assert "cholesterol" not in row["required"]
    assert told["cholesterol"]["anyOf"][1] == {"type": "null"}


@pytest.mark.parametrize("form", ["rows", "row", "bare", "list"])
def test_the_request_takes_each_form_and_the_model_by_name(document: dict[str, Any], form: str) -> None:
    schemas = document["components"]["schemas"]
    request, cells, flowers = (
        validator(document, "PredictRequest"),
        schemas["Row_cells"]["example"],
        schemas["Row_flowers"]["example"],
    )
    forms = {
        "rows": lambda row: {"rows": [row]},
        "row": lambda row: {"row": row},
        "bare": lambda row: row,
        "list": lambda row: [row],
    }
    assert request.is_valid(forms[form](cells))
    assert not request.is_valid(forms[form](flowers))
    if form in ("rows", "row"):
        assert request.is_valid(forms[form](flowers) | {"model": "flowers", "sticky": "me"})
        assert not request.is_valid(forms[form](flowers) | {"model": "cells"})
        assert not request.is_valid(forms[form](cells) | {"modle": "cells"})


def test_without_logins_the_document_asks_for_none(document: dict[str, Any]) -> None:
    assert "securitySchemes" not in document["components"]
    assert not any("security" in operation for _, _, operation in operations(document))


def test_with_logins_it_says_which_role_each_operation_asks_for(make_app: Apps) -> None:
    app, services = make_app(auth=True, secret_key=SECRET)
    document = openapi(app, services)
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, _, operation in operations(document):
        is_public = path.endswith(("/login", "/refresh", "/logout"))
        assert operation["security"] == ([] if is_public else [{"token": []}])
        assert ({"401", "403"} <= set(operation["responses"])) or is_public
        role = required_role(app, f"api.{operation['operationId']}")
        assert role is not None
        assert operation["x-required-role"] == role.name.lower()


def test_a_model_pushed_later_is_in_the_document_at_once(make_app: Apps, tmp_path: Any, made: dict[str, Made]) -> None:
    from tests.support.web.models import make_version

    serving = tmp_path / "serving"
    serving.mkdir()
    app, services = make_app(serving=serving)
    assert openapi(app, services)["components"]["schemas"]["PredictRequest"]["description"]
    make_version(serving, made["flowers"], 1)
    assert "Row_flowers" in openapi(app, services)["components"]["schemas"]
