from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.support.web.small_app import SECRET, csrf_token, small_app
from webapp.http import security

Make = Callable[..., Flask]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Flask] = []

    def making(**given: Any) -> Flask:
        made.append(small_app(tmp_path, **{"workers": 1, **given}))
        return made[-1]

    yield making
    for app in made:
        app.extensions["vouch"].close()


def statuses(app: Flask, path: str, times: int, address: str = "192.0.2.1") -> list[int]:
    client = app.test_client()
    return [client.get(path, environ_base={"REMOTE_ADDR": address}).status_code for _ in range(times)]


def test_one_more_than_allowed_is_told_when_to_come_again(make: Make) -> None:
    app = make(rate_limit="3 per minute")
    assert statuses(app, "/public", 4) == [200, 200, 200, 429]
    response = app.test_client().get("/api/v1/who", environ_base={"REMOTE_ADDR": "192.0.2.1"})
    assert (response.status_code, response.mimetype) == (429, "application/problem+json")
    assert 1 <= int(response.headers["Retry-After"]) <= 120
    page = app.test_client().get("/", environ_base={"REMOTE_ADDR": "192.0.2.1"})
    assert (page.status_code, page.mimetype) == (429, "text/html")
    assert int(page.headers["Retry-After"]) >= 1


def test_others_are_not_held_up(make: Make) -> None:
    app = make(rate_limit="2 per minute")
    assert statuses(app, "/public", 3) == [200, 200, 429]
    assert statuses(app, "/public", 1, "192.0.2.2") == [200]


def test_addresses_of_one_ipv6_network_are_one(make: Make) -> None:
    app = make(rate_limit="2 per minute")
    assert statuses(app, "/public", 2, "2001:db8::1") == [200, 200]
    assert statuses(app, "/public", 1, "2001:db8::ffff:2") == [429]
    assert statuses(app, "/public", 1, "2001:db8:0:1::1") == [200]


def test_all_routes_count_together_but_those_of_watchers(make: Make) -> None:
    app = make(rate_limit="2 per minute")
    assert statuses(app, "/public", 1) + statuses(app, "/account", 1) + statuses(app, "/api/v1/who", 1) == [
        200,
        200,
        429,
    ]
    assert statuses(app, "/livez", 5) == [404] * 5  # not there in this app, and not limited either


def test_a_user_is_counted_wherever_they_are(make: Make) -> None:
    app = make(rate_limit="4 per minute", auth=True, secure_cookies=False)
    client = app.test_client()
    form = {"csrf_token": csrf_token(client.get("/login").text), "name": "vera", "password": "seven green bicycles"}
    client.post("/login", data=form)
    found = [client.get("/", environ_base={"REMOTE_ADDR": f"192.0.2.{n}"}).status_code for n in range(5)]
    assert found == [200, 200, 200, 200, 429]


def test_who_is_turned_away_is_counted_too(make: Make) -> None:
    app = make(rate_limit="3 per minute", auth=True, secure_cookies=False)
    assert statuses(app, "/", 2) + statuses(app, "/api/v1/who", 2) == [303, 303, 401, 429]


def test_each_worker_grants_its_share(make: Make) -> None:
    assert statuses(make(rate_limit="5 per minute", workers=2), "/public", 4) == [200, 200, 200, 429]


def test_several_limits_hold_at_once(make: Make) -> None:
    assert statuses(make(rate_limit="9 per hour; 2 per minute"), "/public", 3) == [200, 200, 429]


def test_searches_of_the_log_have_a_limit_of_their_own(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "SEARCH_RATE", "2 per minute")
    app = make(rate_limit="100 per minute")
    assert statuses(app, "/history/cells", 3) == [404, 404, 429]  # there is no log in this app
    assert statuses(app, "/public", 1) == [200]


def test_no_limit_is_none(make: Make) -> None:
    assert statuses(make(rate_limit=""), "/public", 50) == [200] * 50


@pytest.mark.parametrize("path", ["/login", "/api/v1/auth/login"])
def test_logins_have_a_limit_of_their_own(make: Make, path: str) -> None:
    app = make(login_rate_limit="2 per minute", auth=True, secure_cookies=False)
    client = app.test_client()
    found = [client.post(path, json={"name": "x"}).status_code for _ in range(3)]
    assert found[2] == 429
    assert 429 not in found[:2]
    assert client.get("/login").status_code == 200
    other = client.post(path, json={"name": "x"}, environ_base={"REMOTE_ADDR": "192.0.2.9"})
    assert other.status_code != 429


def test_those_turned_away_for_want_of_a_login_are_counted_too(make_app: Callable[..., Any]) -> None:
    app, _ = make_app(rate_limit="2 per minute", workers=1, auth=True, secret_key=SECRET, secure_cookies=False)
    assert statuses(app, "/api/v1/models", 3) == [401, 401, 429]
