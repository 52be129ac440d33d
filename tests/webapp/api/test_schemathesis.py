"""The API held to its own document by thousands of requests, right and wrong ones."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

pytestmark = pytest.mark.slow
EXAMPLES = 20
CONFIG = SchemathesisConfig.from_dict(
    {
        "checks": {
            "negative_data_rejection": {"expected-statuses": [400, 404, 405, 406, 409, 413, 415]},
            "positive_data_acceptance": {"expected-statuses": [200, 201, 404, 409]},
        }
    }
)


@pytest.fixture(scope="module")
def api_schema(demo: Flask) -> Any:
    return schemathesis.openapi.from_wsgi("/api/openapi.json", demo, config=CONFIG)


OPERATIONS = [
    ("POST", "/predict"),
    ("POST", "/predict/csv"),
    ("POST", "/predict/image"),
    ("GET", "/predict/by-index/{i}"),
    ("POST", "/jobs"),
    ("GET", "/jobs/{job_id}"),
    ("GET", "/jobs/{job_id}/result"),
    ("GET", "/models"),
    ("GET", "/models/{name}"),
    ("POST", "/models/{name}/forget"),
    ("POST", "/models/{name}/promote"),
    ("POST", "/models/{name}/rollback"),
    ("POST", "/models/{name}/canary"),
    ("POST", "/feedback"),
    ("POST", "/feedback/rows"),
    ("POST", "/auth/login"),
    ("POST", "/auth/refresh"),
    ("POST", "/auth/logout"),
    ("GET", "/auth/validate"),
]


WITHOUT_INPUT = {"/models", "/auth/validate"}  # nothing about them can be wrong
# The document cannot say which texts are the CSV, or bytes the picture, that is wanted; a job tells when it is scored.
UNCHECKED = {
    "/predict/csv": [positive_data_acceptance],
    "/predict/image": [positive_data_acceptance],
    "/jobs": [positive_data_acceptance, negative_data_rejection],
}
EACH = [
    pytest.param(method, path, mode, id=f"{method} {path} {mode}")
    for method, path in OPERATIONS
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode == GenerationMode.POSITIVE or path not in WITHOUT_INPUT
]


@pytest.mark.parametrize(("method", "path", "mode"), EACH)
def test_every_answer_is_as_documented_and_never_a_500(
    api_schema: Any, method: str, path: str, mode: GenerationMode
) -> None:
    operation = api_schema[f"/api/v1{path}"][method]

    @settings(max_examples=EXAMPLES, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def hold(case: Case) -> None:
        response = case.call()
        assert response.status_code != 500
        case.validate_response(response, excluded_checks=UNCHECKED.get(path, []))

    hold()


def test_every_operation_of_the_document_is_among_them(api_schema: Any) -> None:
    there = {
        (each.ok().method.upper(), each.ok().path.removeprefix("/api/v1")) for each in api_schema.get_all_operations()
    }
    assert there == set(OPERATIONS)
