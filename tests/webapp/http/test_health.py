"""Alive, ready, version, metrics."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from common.errors import ConfigError
from tests.support.web.apps import App
from tests.support.web.fake_model_server import FakeModelServer, Mood
from tests.support.web.models import Made, make_version, release

GOOD_SECRET = "tO7k-9f2mZq8Xw1vRb5nJc3hLd6sYp0aGe4uKi"


def test_it_is_ready_when_every_model_answers_its_golden_rows(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json) == (200, {"status": "ready"})


@pytest.mark.parametrize("mood", ["garbage", "nan", "fewer", "failing", "unavailable", "closing"])
def test_it_is_alive_but_not_ready_when_the_model_server_is_not_well(
    client: FlaskClient, fake: FakeModelServer, mood: Mood
) -> None:
    fake.mood = mood
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert "cells" in " ".join(answer.json["reasons"])
    assert client.get("/livez").status_code == 200


def test_it_is_not_ready_when_the_stable_version_is_not_loaded(
    make_app: Callable[..., App], webapp_root: Path, tmp_path: Path
) -> None:
    serving = tmp_path / "serving"
    shutil.copytree(webapp_root / "serving" / "cells", serving / "cells")
    release(serving, "cells", stable=7)
    app, _ = make_app(serving=serving)
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 503
    assert "version 7" in answer.json["reasons"][0]


def test_it_is_not_ready_when_the_golden_answers_are_others(
    make_app: Callable[..., App], made: dict[str, Made], tmp_path: Path
) -> None:
    serving = tmp_path / "serving"
    folder = make_version(serving, made["cells"], 1)
    golden = folder / "assets.extra" / "golden.json"
    golden.write_text(golden.read_text().replace('"probabilities": [[', '"probabilities": [[1'))
    release(serving, "cells", 1)
    app, _ = make_app(serving=serving)
    assert "wrong" in app.test_client().get("/readyz").json["reasons"][0]


def test_one_broken_model_takes_no_other_away(
    make_app: Callable[..., App], made: dict[str, Made], webapp_root: Path, tmp_path: Path
) -> None:
    serving = tmp_path / "serving"
    shutil.copytree(webapp_root / "serving" / "cells", serving / "cells")
    make_version(serving, replace(made["cells"], name="broken"), 1)
    app, _ = make_app(serving=serving)
    client = app.test_client()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (200, "ready")
    assert [reason.partition(":")[0] for reason in answer.json["reasons"]] == ["broken"]
    assert client.get("/readyz?model=cells").json == {"status": "ready"}
    assert client.get("/readyz?model=broken").status_code == 503
    assert client.get("/readyz?model=other").json["reasons"] == ["other: there is no such model"]


def test_without_a_pushed_model_it_is_alive_and_says_what_is_missing(
    make_app: Callable[..., App], tmp_path: Path
) -> None:
    (tmp_path / "serving").mkdir()
    app, _ = make_app(serving=tmp_path / "serving")
    client = app.test_client()
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").json["reasons"] == ["no model was pushed yet"]
    page = client.get("/")
    assert page.status_code == 503
    assert int(page.headers["Retry-After"]) >= 1


def test_the_version_names_code_and_models(client: FlaskClient) -> None:
    answer = client.get("/version").json
    assert set(answer["models"]) == {"cells", "patients", "flowers"}
    assert answer["models"]["cells"]["version"] == 1
    assert answer["code"]


def test_the_metrics_can_be_read_by_prometheus_and_count_what_was_asked(client: FlaskClient) -> None:
    for _ in range(3):
        client.get("/livez")
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    [counted] = [
        sample.value
        for sample in families["vouch_http_requests"].samples
        if sample.name.endswith("_total") and sample.labels["route"] == "/livez"
    ]
    assert counted == 3


@pytest.mark.parametrize("path", ["/metrics", "/version"])
def test_metrics_and_version_of_a_guarded_app_are_for_this_machine_and_for_users(
    make_app: Callable[..., App], path: str
) -> None:
    app, _ = make_app(auth=True, secret_key=GOOD_SECRET)
    client = app.test_client()
    assert client.get(path, environ_overrides={"REMOTE_ADDR": "127.0.0.1"}).status_code == 200
    assert client.get(path, environ_overrides={"REMOTE_ADDR": "203.0.113.5"}).status_code in (401, 403)
    assert client.get("/livez", environ_overrides={"REMOTE_ADDR": "203.0.113.5"}).status_code == 200


TOKEN = "k7Vw2pQ9sXz4Lm8Rt1Yb6Nc3Hd5Jf0Ga"


@pytest.mark.parametrize("path", ["/metrics", "/version"])
@pytest.mark.parametrize(
    ("setting", "header", "may_read"),
    [
        (TOKEN, f"Bearer {TOKEN}", True),
        (TOKEN, "Bearer another", False),
        (TOKEN, TOKEN, False),
        (TOKEN, "Bearer ", False),
        ("", "Bearer ", False),
    ],
    ids=["right", "wrong", "no bearer", "empty", "none is set"],
)
def test_from_elsewhere_a_token_reads_them(
    make_app: Callable[..., App], path: str, setting: str, header: str, may_read: bool
) -> None:
    app, _ = make_app(auth=True, secret_key=GOOD_SECRET, metrics_token=setting)
    sent = {"REMOTE_ADDR": "203.0.113.5", "HTTP_AUTHORIZATION": header}
    assert (app.test_client().get(path, environ_overrides=sent).status_code == 200) is may_read
    assert app.test_client().get("/api/v1/models", environ_overrides=sent).status_code == 401, "and nothing else"


def test_a_short_token_is_refused(make_app: Callable[..., App]) -> None:
    with pytest.raises(ConfigError, match="VOUCH_METRICS_TOKEN: should have at least 32 bytes"):
        make_app(auth=True, secret_key=GOOD_SECRET, metrics_token="short")
