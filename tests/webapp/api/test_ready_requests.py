"""The Postman collection and the .http file hold requests that are answered as they stand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.web.apps import own_app
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.models import homes, make_version, release

FROM_ANSWERS = {"{{jobId}}", "request_id", "predict/image"}  # what another answer, or a file, has to give
CHANGES_RELEASES = ("promote", "canary", "rollback", "forget")


def of_postman(client: FlaskClient) -> Iterator[tuple[str, str, dict[str, str], str]]:
    collection = json.loads(client.get("/api/docs/vouch.postman_collection.json").data)
    variables = {each["key"]: each["value"] for each in collection["variable"]}
    assert collection["info"]["schema"].endswith("/v2.1.0/collection.json")
    for folder in collection["item"]:
        for item in folder["item"]:
            asked = item["request"]
            url = asked["url"].replace("{{baseUrl}}", variables["baseUrl"])
            headers = {each["key"]: each["value"] for each in asked["header"]}
            yield asked["method"], url, headers, asked.get("body", {}).get("raw", "")


def of_http_file(client: FlaskClient) -> Iterator[tuple[str, str, dict[str, str], str]]:
    head, *parts = client.get("/api/docs/vouch.http").text.split("\n### ")
    [base] = re.findall(r"@baseUrl = (\S+)", head)
    for part in parts:
        top, _, body = part.partition("\n\n")
        _, line, *headers = top.splitlines()
        method, url = line.split(" ", 1)
        yield method, url.replace("{{baseUrl}}", base), dict(h.split(": ", 1) for h in headers), body.strip() + "\n"


def answered(client: FlaskClient, read: Any) -> int:
    """Send what stands there; return how many were answered well, which is all but what is left out."""
    asked = 0
    for method, url, headers, body in read(client):
        path = url.removeprefix("http://localhost")
        if any(mark in url + body for mark in FROM_ANSWERS) or path.endswith(CHANGES_RELEASES) or "/auth/" in path:
            continue
        response = client.open(path, method=method, headers=headers, data=body)
        assert response.status_code < 300, f"{method} {url}: {response.status_code} {response.text[:300]}"
        asked += 1
    return asked


@pytest.mark.parametrize("read", [of_postman, of_http_file])
def test_requests_are_answered_as_they_stand(client: FlaskClient, read: Any) -> None:
    assert answered(client, read) >= 12, "three models, each by a row, rows, an index and a CSV"


@pytest.mark.parametrize("read", [of_postman, of_http_file])
def test_so_are_those_to_a_model_of_numbers(tmp_path: Path, read: Any) -> None:
    server = FakeModelServer({("homes", 1): homes()})
    server.start()
    make_version(tmp_path / "serving", homes(), 1)
    release(tmp_path / "serving", "homes", 1)
    with own_app(tmp_path / "var", tmp_path / "serving", server.url) as (app, _):
        assert answered(app.test_client(), read) >= 4
    server.stop()


def test_every_operation_is_there(client: FlaskClient) -> None:
    document = client.get("/api/openapi.json").json
    known = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    patterns = {(m, re.compile(re.sub(r"\{\w+\}", "[^/?]+", path) + r"(\?.*)?$")): (m, path) for m, path in known}
    seen = {
        key
        for method, url, _, _ in of_postman(client)
        for (m, pattern), key in patterns.items()
        if m == method and pattern.match(url.removeprefix("http://localhost"))
    }
    assert seen == known
