"""Logins of programs: tokens by name and password, and what is refused without one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from common.records import database
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.models import Made
from webapp import create_app, make_services
from webapp.api.login import Tokens
from webapp.auth import accounts
from webapp.auth.passwords import Passwords
from webapp.settings import read_settings
from webapp.types import Role

SECRET = "a-secret-for-tests-that-is-long-enough-0123456789"
PASSWORD = "correct horse battery staple"
Apps = Callable[..., Any]


@pytest.fixture(scope="module", autouse=True)
def _cheap() -> Iterator[None]:
    """Hash passwords at no cost, and do not wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "Passwords", lambda: Passwords(time_cost=1, memory_kib=8))
        patch.setattr(database, "PRAGMAS", (*database.PRAGMAS, "synchronous = OFF"))
        yield


@pytest.fixture(scope="module")
def app(webapp_root: Path, _fake: FakeModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """An app with logins and users named as their roles."""
    var = tmp_path_factory.mktemp("login")
    (var / "serving").symlink_to(webapp_root / "serving")
    given = {"auth": True, "secret_key": SECRET, "rate_limit": "", "login_rate_limit": "", "workers": 1}
    services = make_services(read_settings({}, var=var, model_server_rest=_fake.url, **given))
    for role in (Role.VIEWER, Role.OPERATOR):
        services.accounts.add(role.name.lower(), PASSWORD, role, who="test")
    yield create_app(services.settings, services)
    services.close()


def logged_in(client: FlaskClient, name: str) -> Tokens:
    response = client.post("/api/v1/auth/login", json={"username": name, "password": PASSWORD})
    assert response.status_code == 200, response.text
    return Tokens.model_validate(response.json)


def bearer(tokens: Tokens) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.access_token}"}


def test_a_login_goes_from_password_to_token_to_logout(app: Flask) -> None:
    client = app.test_client()
    tokens = logged_in(client, "operator")
    assert tokens.expires_in == 900
    who = client.get("/api/v1/auth/validate", headers=bearer(tokens)).json
    assert who == {"name": "operator", "role": "operator", "is_demo": False}
    renewed = Tokens.model_validate(
        client.post("/api/v1/auth/refresh", json={"refresh_token": tokens.refresh_token}).json
    )
    assert renewed.refresh_token != tokens.refresh_token
    done = client.post("/api/v1/auth/logout", json={"refresh_token": renewed.refresh_token})
    assert (done.status_code, done.json) == (200, {"done": True})
    assert client.get("/api/v1/auth/validate", headers=bearer(renewed)).status_code == 401


def test_a_refresh_token_used_after_its_successor_ends_the_login(app: Flask) -> None:
    client = app.test_client()
    tokens = logged_in(client, "viewer")
    used = {"refresh_token": tokens.refresh_token}
    first = Tokens.model_validate(client.post("/api/v1/auth/refresh", json=used).json)
    renewed = Tokens.model_validate(
        client.post("/api/v1/auth/refresh", json={"refresh_token": first.refresh_token}).json
    )
    assert client.post("/api/v1/auth/refresh", json=used).status_code == 401
    assert client.get("/api/v1/auth/validate", headers=bearer(renewed)).status_code == 401


def test_a_wrong_name_and_a_wrong_password_are_told_alike(app: Flask) -> None:
    client = app.test_client()
    answers = [
        client.post("/api/v1/auth/login", json={"username": name, "password": "something else"})
        for name in ("viewer", "nobody", "x" * 200, "../..")
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({(answer.json["detail"], answer.json["next"]) for answer in answers}) == 1
    assert all("Bearer" in answer.headers["WWW-Authenticate"] for answer in answers)


@pytest.mark.parametrize(
    "body",
    [
        {"username": "viewer", "password": ["swordfish"]},
        {"username": "viewer", "pasword": "swordfish"},
        {"password": "swordfish"},
        "swordfish",
    ],
    ids=["not text", "misspelt", "without a name", "bare"],
)
def test_what_may_be_a_secret_is_never_said_back(app: Flask, body: Any) -> None:
    response = app.test_client().post("/api/v1/auth/login", json=body)
    assert response.status_code == 400
    assert {each["got"] for each in response.json["errors"]} <= {"hidden", "nothing"}
    assert "swordfish" not in response.text


def test_without_a_token_only_logins_are_open(app: Flask) -> None:
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/v1/"):
            [method] = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            response = client.open(re.sub(r"<\w+>", "cells", rule.rule), method=method, json={})
            is_open = rule.rule.endswith(("/login", "/refresh", "/logout"))
            assert response.status_code == (400 if is_open else 401), rule.rule
            assert response.content_type == "application/problem+json"


def test_a_viewer_predicts_and_changes_nothing(app: Flask, made: dict[str, Made]) -> None:
    client = app.test_client()
    headers = bearer(logged_in(client, "viewer"))
    assert (
        client.post("/api/v1/predict", json={"row": made["cells"].row(), "model": "cells"}, headers=headers).status_code
        == 200
    )
    for path in ("models/cells/promote", "models/cells/rollback", "models/cells/canary", "feedback", "feedback/rows"):
        response = client.post(f"/api/v1/{path}", json={"percent": 1}, headers=headers)
        assert (response.status_code, response.json["wanted"]) == (403, "operator")


@pytest.mark.parametrize("password", [{}, {"password": "not that one"}], ids=["none", "wrong"])
@pytest.mark.parametrize("action", ["promote", "rollback", "canary"])
def test_a_release_asks_for_the_password_once_more(app: Flask, action: str, password: dict[str, str]) -> None:
    client = app.test_client()
    headers = bearer(logged_in(client, "operator"))
    body = password | ({"percent": 5} if action == "canary" else {})
    response = client.post(f"/api/v1/models/cells/{action}", json=body, headers=headers)
    assert (response.status_code, response.json["wanted"]) == (403, "password")


def test_with_the_password_it_goes_as_far_as_the_model_server(make_app: Apps) -> None:
    app, services = make_app(auth=True, secret_key=SECRET, model_server_grpc="127.0.0.1:1")
    services.accounts.add("ana", PASSWORD, Role.OPERATOR, who="test")
    client = app.test_client()
    headers = bearer(logged_in(client, "ana"))
    response = client.post("/api/v1/models/cells/promote", json={"password": PASSWORD}, headers=headers)
    assert response.status_code == 503


def test_the_document_is_for_those_who_are_logged_in(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/api/openapi.json").status_code == 401
    document = client.get("/api/openapi.json", headers=bearer(logged_in(client, "viewer"))).json
    assert document["components"]["securitySchemes"]


@pytest.mark.parametrize("path", ["login", "refresh", "logout"])
def test_nobody_logs_in_to_the_open_demo(client: FlaskClient, path: str) -> None:
    response = client.post(f"/api/v1/auth/{path}", json={})
    assert (response.status_code, "logins are off" in response.json["detail"]) == (409, True)
    assert client.get("/api/v1/auth/validate").json == {"name": "demo", "role": "operator", "is_demo": True}


def test_a_known_user_stays_with_a_version_if_the_settings_say_so(
    make_app: Apps, made: dict[str, Made], tmp_path: Any
) -> None:
    from tests.support.web.models import make_version, release

    serving = tmp_path / "serving"
    for version in (1, 2):
        make_version(serving, made["cells"], version)
    release(serving, "cells", 1, candidate=2, weight_percent=50.0)
    app, services = make_app(serving=serving, auth=True, secret_key=SECRET, sticky=True)
    services.accounts.add("ana", PASSWORD, Role.VIEWER, who="test")
    client = app.test_client()
    headers = bearer(logged_in(client, "ana"))
    routes = {
        client.post("/api/v1/predict", json=made["cells"].row(), headers=headers).json["route"] for _ in range(12)
    }
    assert len(routes) == 1
