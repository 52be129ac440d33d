"""Every fault of the model server ends as a clear answer, before the server ends it, and passes by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from common.logs import Sparse
from tests.support.clock import Clock
from tests.support.web.apps import App, csrf_token
from tests.support.web.fake_model_server import FakeModelServer, Mood
from tests.support.web.models import Made
from webapp.http.admission import Admission
from webapp.http.errors import OUTAGES

BUDGET_S = 1.0


@pytest.fixture
def hasty(make_app: Callable[..., App]) -> FlaskClient:
    """A client of an app that waits one second for the model server."""
    app, _ = make_app(model_server_timeout_s=BUDGET_S)
    return app.test_client()


def ask(client: FlaskClient, made: dict[str, Made]) -> Any:
    return client.post("/api/v1/predict", json={"model": "cells", "rows": [made["cells"].row()]})


@pytest.mark.parametrize(
    "mood", ["garbage", "nan", "fewer", "beyond", "stranger", "failing", "unavailable", "closing", "hanging"]
)
def test_a_fault_of_the_model_server_is_a_503_and_never_a_prediction(
    hasty: FlaskClient, fake: FakeModelServer, made: dict[str, Made], mood: Mood
) -> None:
    values = {"csrf_token": csrf_token(hasty, "/predict/cells"), **made["cells"].row()}
    fake.mood = mood
    answer = ask(hasty, made)
    page = hasty.post("/predict/cells", data=values)
    assert bool(fake.hanging) == (mood == "hanging"), "the request is still held: it was not waited for"
    for found in (answer, page):
        assert found.status_code == 503
        assert int(found.headers["Retry-After"]) >= 1
    assert answer.content_type == "application/problem+json"
    assert "predictions" not in answer.json
    assert page.content_type.startswith("text/html")
    assert str(values["radius"]) in page.text  # what was typed is kept


def test_an_outage_is_logged_once_a_minute_with_a_count(
    make_app: Callable[..., App], fake: FakeModelServer, made: dict[str, Made], caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = make_app(model_server_timeout_s=BUDGET_S)
    clock = Clock(0.0)
    app.extensions[OUTAGES] = Sparse(clock=clock)
    fake.mood = "failing"
    for clock.now in (0.0, 1.0, 59.0, 61.0):
        assert ask(app.test_client(), made).status_code == 503
    said = [record.getMessage() for record in caplog.records if "since this was said last" in record.getMessage()]
    assert [line.split(" since")[0] for line in said] == [
        "answered 1 requests with 503",
        "answered 3 requests with 503",
    ]
    assert all("the model server failed" in line for line in said)


@pytest.mark.slow
def test_a_server_that_failed_time_after_time_is_left_alone_and_tried_again(
    hasty: FlaskClient, fake: FakeModelServer, made: dict[str, Made]
) -> None:
    fake.mood = "closing"
    for _ in range(4):
        assert ask(hasty, made).status_code == 503
    fake.asked.clear()
    assert ask(hasty, made).status_code == 503
    assert not fake.asked
    fake.mood = "well"
    deadline = time.monotonic() + 15
    while ask(hasty, made).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_error_of_our_own_tells_its_request_and_no_more(make_app: Callable[..., App]) -> None:
    app, _ = make_app()
    app.testing = False

    def fail() -> str:
        raise RuntimeError("the inner secret")

    app.view_functions["health.livez"] = fail
    fail.required_role = 0  # type: ignore[attr-defined]
    answer = app.test_client().get("/livez", headers={"X-Request-ID": "abcdef0123456789"})
    assert answer.status_code == 500
    assert "abcdef0123456789" in answer.text
    assert "inner secret" not in answer.text


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/nothing"], ids=["API", "page"])
def test_an_unknown_path_is_answered_in_its_own_form(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.content_type.startswith("application/problem+json" if "api" in path else "text/html")


def test_a_wrong_method_says_which_are_right(client: FlaskClient) -> None:
    answer = client.get("/api/v1/predict")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]
    assert answer.content_type == "application/problem+json"


def test_a_request_id_is_given_and_one_that_was_given_is_kept(client: FlaskClient) -> None:
    assert len(client.get("/livez").headers["X-Request-ID"]) == 32
    assert client.get("/livez", headers={"X-Request-ID": "from-a-proxy-1"}).headers["X-Request-ID"] == "from-a-proxy-1"
    assert client.get("/livez", headers={"X-Request-ID": "a\tb"}).headers["X-Request-ID"] != "a\tb"


@pytest.mark.parametrize(
    ("path", "told"),
    [("/nowhere", "there is no such page"), ("/models/cells/versions/9/report", "there is no such version")],
)
def test_what_is_not_there_is_named(client: FlaskClient, path: str, told: str) -> None:
    page = client.get(path)
    assert page.status_code == 404
    assert told in page.text.lower()


@pytest.mark.parametrize(
    ("path", "sent", "content_type"),
    [
        ("/api/v1/predict", "application/json", "application/problem+json"),
        ("/predict/cells", "application/x-www-form-urlencoded", "text/html; charset=utf-8"),
    ],
)
def test_a_body_that_comes_too_slowly_is_answered_as_other_problems_are(
    make_app: Callable[..., App], monkeypatch: pytest.MonkeyPatch, path: str, sent: str, content_type: str
) -> None:
    app, _ = make_app()
    monkeypatch.setattr(Admission, "goes_on", lambda _self, _visit: 3600.0)  # what was waited for the last piece
    answer = app.test_client().post(path, data=b"{}", content_type=sent)
    assert (answer.status_code, answer.content_type) == (408, content_type)
    if "json" in content_type:
        document = json.loads(answer.data)
        assert set(document) == {"type", "title", "status", "detail", "instance", "got", "wanted"}
        assert document["instance"].endswith(answer.headers["X-Request-ID"])
