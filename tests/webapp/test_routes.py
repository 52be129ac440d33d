"""Every route of the app, and who may use it. A new route is not done before it stands here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.web.apps import app_settings
from tests.support.web.small_app import PASSWORD, SECRET, add_users, csrf_token, log_in
from webapp import create_app, make_services
from webapp.auth import tokens
from webapp.auth.accounts import Accounts
from webapp.auth.guard import required_role
from webapp.auth.passwords import Passwords

PUBLIC, VIEWER, OPERATOR, ADMIN = "public", "viewer", "operator", "admin"

ROUTES = {
    ("GET", "/"): VIEWER,
    ("GET", "/account"): VIEWER,
    ("POST", "/account"): VIEWER,
    ("GET", "/api/docs"): VIEWER,
    ("GET", "/api/docs/static/<name>"): PUBLIC,
    ("GET", "/api/docs/vouch.http"): VIEWER,
    ("GET", "/api/docs/vouch.postman_collection.json"): VIEWER,
    ("GET", "/api/openapi.json"): VIEWER,
    ("POST", "/api/v1/auth/login"): PUBLIC,
    ("POST", "/api/v1/auth/logout"): PUBLIC,
    ("POST", "/api/v1/auth/refresh"): PUBLIC,
    ("GET", "/api/v1/auth/validate"): VIEWER,
    ("POST", "/api/v1/feedback"): OPERATOR,
    ("POST", "/api/v1/feedback/rows"): OPERATOR,
    ("POST", "/api/v1/jobs"): VIEWER,
    ("GET", "/api/v1/jobs/<job_id>"): VIEWER,
    ("GET", "/api/v1/jobs/<job_id>/result"): VIEWER,
    ("GET", "/api/v1/models"): VIEWER,
    ("GET", "/api/v1/models/<name>"): VIEWER,
    ("POST", "/api/v1/models/<name>/canary"): OPERATOR,
    ("POST", "/api/v1/models/<name>/forget"): OPERATOR,
    ("POST", "/api/v1/models/<name>/promote"): OPERATOR,
    ("POST", "/api/v1/models/<name>/rollback"): OPERATOR,
    ("POST", "/api/v1/predict"): VIEWER,
    ("GET", "/api/v1/predict/by-index/<i>"): VIEWER,
    ("POST", "/api/v1/predict/csv"): VIEWER,
    ("POST", "/api/v1/predict/image"): VIEWER,
    ("GET", "/batch/<model>"): VIEWER,
    ("POST", "/batch/<model>"): VIEWER,
    ("GET", "/batch/<model>/jobs/<job_id>"): VIEWER,
    ("GET", "/batch/<model>/progress/<job_id>"): VIEWER,
    ("GET", "/batch/<model>/results/<job_id>.csv"): VIEWER,
    ("GET", "/batch/<model>/template.csv"): VIEWER,
    ("GET", "/by-index/<model>"): VIEWER,
    ("GET", "/history/<model>"): VIEWER,
    ("GET", "/history/<model>/export.csv"): VIEWER,
    ("POST", "/history/<model>/feedback"): OPERATOR,
    ("POST", "/history/<model>/forget"): OPERATOR,
    ("GET", "/history/<model>/prediction"): VIEWER,
    ("GET", "/collected/<model>/<sha256>"): VIEWER,
    ("GET", "/label/<model>"): OPERATOR,
    ("POST", "/label/<model>"): OPERATOR,
    ("POST", "/label/<model>/undo"): OPERATOR,
    ("GET", "/livez"): PUBLIC,
    ("GET", "/login"): PUBLIC,
    ("POST", "/login"): PUBLIC,
    ("POST", "/logout"): PUBLIC,
    ("GET", "/metrics"): PUBLIC,
    ("GET", "/models"): VIEWER,
    ("GET", "/models/<model>"): VIEWER,
    ("POST", "/models/<model>/canary"): OPERATOR,
    ("POST", "/models/<model>/promote"): OPERATOR,
    ("GET", "/models/<model>/release"): OPERATOR,
    ("POST", "/models/<model>/rollback"): OPERATOR,
    ("GET", "/models/<model>/versions/<int:version>/report"): VIEWER,
    ("GET", "/monitoring"): VIEWER,
    ("GET", "/predict/<model>"): VIEWER,
    ("POST", "/predict/<model>"): VIEWER,
    ("GET", "/predict/<model>/images"): VIEWER,
    ("POST", "/predict/<model>/images"): VIEWER,
    ("POST", "/predict/<model>/paste"): VIEWER,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/static/<path:filename>"): PUBLIC,
    ("GET", "/users"): ADMIN,
    ("POST", "/users"): ADMIN,
    ("GET", "/users/<name>"): ADMIN,
    ("POST", "/users/<name>"): ADMIN,
    ("GET", "/version"): PUBLIC,
}
BELOW = {VIEWER: None, OPERATOR: "vera", ADMIN: "otto"}  # who has one role less; nobody
CLOSED = [(method, rule, role) for (method, rule), role in ROUTES.items() if role != PUBLIC]
IDS = [f"{method} {rule}" for method, rule, _ in CLOSED]


@pytest.fixture(scope="module")
def app(webapp_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    var = tmp_path_factory.mktemp("routes")
    (var / "serving").symlink_to(webapp_root / "serving")
    settings = app_settings(
        var=var, auth=True, secret_key=SECRET, secure_cookies=False, rate_limit="", login_rate_limit=""
    )
    services = make_services(settings)
    accounts = Accounts(services.database, passwords=Passwords(time_cost=1, memory_kib=8))
    add_users(accounts)
    app = create_app(settings, replace(services, accounts=accounts))
    yield app
    app.extensions["vouch"].close()


@pytest.fixture(scope="module")
def ask(app: Flask) -> Callable[..., Any]:
    """Ask for a route as a user, in the way that it takes."""
    browsers: dict[str | None, tuple[FlaskClient, str]] = {}

    def asking(method: str, rule: str, name: str | None) -> Any:
        if name not in browsers:
            browser = app.test_client()
            if name:
                log_in(browser, name)
            browsers[name] = browser, csrf_token(browser.get("/account" if name else "/login").text)
        browser, form = browsers[name]
        headers = {"X-CSRFToken": form} | (bearer(app, name) if rule.startswith("/api/v1/") and name else {})
        return browser.open(path_of(rule), method=method, headers=headers)

    return asking


def bearer(app: Flask, name: str) -> dict[str, str]:
    with app.test_request_context():
        pair = tokens.login(app.extensions["vouch"].accounts, name, PASSWORD, "192.0.2.1")
    return {"Authorization": f"Bearer {pair.access_token}"}


def path_of(rule: str) -> str:
    for name, value in {
        "<int:version>": "1",
        "<i>": "0",
        "<token>": "0" * 32,
        "<model>": "cells",
        "<name>": "cells",
    }.items():
        rule = rule.replace(name, value)
    return rule


def test_every_route_stands_in_the_table_with_its_role(app: Flask) -> None:
    found = {}
    for rule in app.url_map.iter_rules():
        role = required_role(app, rule.endpoint)
        assert role is not None, f"{rule.rule} does not say who may use it"
        found |= {(method, rule.rule): role.name.lower() for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert found == ROUTES


@pytest.mark.slow
@pytest.mark.parametrize(("method", "rule", "role"), CLOSED, ids=IDS)
def test_nobody_gets_in_without_a_login(ask: Callable[..., Any], method: str, rule: str, role: str) -> None:
    response = ask(method, rule, None)
    if rule.startswith("/api/") and rule != "/api/docs":  # people open that one
        assert (response.status_code, response.mimetype) == (401, "application/problem+json")
    else:
        assert response.status_code == 303
        assert response.headers["Location"].startswith("/login?next=")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "rule", "role"),
    [route for route in CLOSED if BELOW[route[2]]],
    ids=[i for i, route in zip(IDS, CLOSED, strict=True) if BELOW[route[2]]],
)
def test_one_role_less_is_not_enough(ask: Callable[..., Any], method: str, rule: str, role: str) -> None:
    assert ask(method, rule, BELOW[role]).status_code == 403


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule", [rule for method, rule, _ in CLOSED if method == "POST" and not rule.startswith("/api/")]
)
def test_every_form_needs_its_token(app: Flask, ask: Callable[..., Any], rule: str) -> None:
    browser = app.test_client()
    log_in(browser, "ada")
    response = browser.post(path_of(rule))
    assert response.status_code == 400
    assert "CSRF" in response.text
