from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder, run_wsgi_app

from tests.support.web.small_app import SECRET, log_in, small_app
from webapp.auth import tokens
from webapp.auth.masking import MASK
from webapp.types import Role

ANY = {"auth": True, "secure_cookies": False}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    app = small_app(
        tmp_path_factory.mktemp("demo"), max_body_bytes=1000, max_upload_bytes=5000, trusted_hosts=("vouch.test",)
    )
    yield app
    app.extensions["vouch"].close()


@pytest.fixture
def client(demo: Flask) -> FlaskClient:
    return demo.test_client()


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    app = small_app(
        tmp_path_factory.mktemp("named"), trusted_hosts=("vouch.test", ".example.org"), trusted_proxies=1, **ANY
    )
    yield app
    app.extensions["vouch"].close()


@pytest.mark.parametrize(
    "path", ["/", "/account", "/nowhere", "/act", "/api/v1/who", "/api/v1/nowhere", "/static/app.css"]
)
def test_every_answer_tells_browsers_what_not_to_do(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert (policy["default-src"], policy["frame-ancestors"], policy["base-uri"]) == ("'none'", "'none'", "'none'")
    assert not [word for word in ("unsafe", "*", "http", "nonce") if word in headers["Content-Security-Policy"]]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    assert "Access-Control-Allow-Origin" not in headers
    assert "Server" not in headers
    assert ("no-store" in headers["Cache-Control"]) == (path != "/static/app.css")


def test_https_is_insisted_on_where_it_was_used(client: FlaskClient) -> None:
    assert "Strict-Transport-Security" not in client.get("/").headers
    assert client.get("/", base_url="https://localhost").headers["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.8.9.1", "[::1]:8080", "vouch.test"]
)
def test_the_demo_answers_to_names_of_this_machine_and_those_it_was_given(client: FlaskClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "0.0.0.0",
        "192.0.2.1",
        "x.vouch.test",
        "evilvouch.test",
        "[::1",
        "a b",
        "localhost, evil.example",
        "[::ffff:192.0.2.1]",
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/v1/who", "/public", "/livez"])
def test_the_demo_does_not_answer_to_a_name_that_was_bound_to_its_address(
    client: FlaskClient, host: str, path: str
) -> None:
    response = client.get(path, headers={"Host": host})
    assert response.status_code == 400
    assert "hello" not in response.text


def test_with_logins_names_that_were_given_count_and_so_do_those_below_one_with_a_dot(named: Flask) -> None:
    client = named.test_client()
    found = [
        client.get("/public", headers={"Host": host}).status_code
        for host in ("vouch.test", "a.example.org", "127.0.0.1", "example.org", "evil.example")
    ]
    assert found == [200, 200, 200, 400, 400]
    assert (
        client.get("/livez", headers={"Host": "10.1.2.3:8080"}).status_code == 404
    )  # not there in this app, and asked for


def test_with_logins_and_no_names_any_is_taken_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = small_app(tmp_path, has_users=True, **ANY)
    assert "VOUCH_TRUSTED_HOSTS" in caplog.text
    response = app.test_client().get("/", headers={"Host": "any.example"})
    assert response.headers["Location"] == "/login?next=%2F"  # which does not repeat the host
    app.extensions["vouch"].close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, 200),
        ({"Origin": "http://LOCALHOST:80"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "http://localhost:99999"}, 403),
    ],
    ids=[
        "program",
        "own page",
        "default port",
        "other site",
        "other port",
        "form",
        "origin of another port",
        "origin",
        "null",
        "looks like it",
        "no port",
    ],
)
def test_what_another_site_makes_a_browser_send_changes_nothing(
    client: FlaskClient, headers: dict[str, str], status: int
) -> None:
    assert client.post("/api/v1/who", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
    ],
    ids=["typed", "link", "image", "fetch", "frame"],
)
def test_another_site_may_link_here_and_no_more(client: FlaskClient, headers: dict[str, str], status: int) -> None:
    assert client.get("/", headers=headers).status_code == status


def test_behind_a_proxy_that_ends_tls_unannounced_the_origin_is_still_ours(client: FlaskClient) -> None:
    headers = {"Host": "vouch.test", "Origin": "https://vouch.test"}
    assert client.post("/api/v1/who", headers=headers).status_code == 200


def test_only_proxies_that_are_told_of_are_believed(named: Flask, client: FlaskClient) -> None:
    forwarded = {
        "X-Forwarded-For": "192.0.2.9, 198.51.100.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "vouch.test",
    }
    assert "Strict-Transport-Security" not in client.get("/", headers=forwarded).headers
    browser = named.test_client()
    assert "Strict-Transport-Security" in browser.get("/public", headers=forwarded).headers
    log_in(browser, "vera", "wrong password")
    entries = named.extensions["vouch"].accounts
    browser.post("/api/v1/auth/login", headers=forwarded)
    assert entries.audit.entries()[-1].detail == "from 127.0.0.1"


def test_a_body_over_its_bound_is_refused_before_it_is_read(client: FlaskClient) -> None:
    assert client.post("/api/v1/who", data=b"x" * 1000).json == {"name": "demo", "role": "OPERATOR", "bytes": 1000}
    response = client.post("/api/v1/who", data=b"x" * 1001)
    assert (response.status_code, response.mimetype) == (413, "application/problem+json")
    assert response.json
    assert (response.json["got"], response.json["wanted"]) == ("1001 bytes", "≤ 1000 bytes")


def send_chunked(app: Flask, body: io.IOBase) -> str:
    """Return the status of a body that comes in chunks."""
    environ = EnvironBuilder("/api/v1/who", method="POST", headers={"Transfer-Encoding": "chunked"}).get_environ()
    _, status, _ = run_wsgi_app(app, environ | {"wsgi.input": body, "wsgi.input_terminated": True})
    return status


def test_a_body_in_chunks_is_bounded(demo: Flask) -> None:
    assert send_chunked(demo, io.BytesIO(b"x" * 1000)).startswith("200")
    assert send_chunked(demo, io.BytesIO(b"x" * 1001)).startswith("413")


def test_a_body_in_chunks_is_refused_before_its_end(demo: Flask) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as coming, open(writing, "wb") as sending:
        sending.write(b"x" * 1001)
        sending.flush()
        assert send_chunked(demo, coming).startswith("413")


def test_a_form_is_bounded_and_a_file_may_be_larger(client: FlaskClient) -> None:
    def send(size: int, path: str) -> int:
        return client.post(path, data={"file": (io.BytesIO(b"x" * size), "cells.csv")}).status_code

    assert send(2000, "/act") == 413
    assert send(6000, "/batch/cells") == 413
    assert send(2000, "/batch/cells") == 400  # no CSRF token; but it was read


@pytest.mark.parametrize("host", [None, ""], ids=["none", "an empty one"])
def test_http_1_1_needs_a_host(named: Flask, host: str | None) -> None:
    environ = EnvironBuilder("/public").get_environ() | {"HTTP_HOST": host}
    if host is None:
        del environ["HTTP_HOST"]
    assert run_wsgi_app(named, environ)[1].startswith("400")


def test_a_proxy_that_drops_the_port_is_told_of(client: FlaskClient) -> None:
    answer = client.post("/api/v1/who", headers={"Origin": "https://localhost:8443"})
    assert answer.status_code == 403
    assert answer.json["got"] == "Origin https://localhost:8443, Host localhost"
    assert "VOUCH_TRUSTED_PROXIES" in answer.json["next"]


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "deflate, gzip", "zstd"])
def test_a_body_that_is_compressed_is_refused(client: FlaskClient, coding: str) -> None:
    response = client.post("/api/v1/who", data=b"\x1f\x8b", headers={"Content-Encoding": coding})
    assert response.status_code == 415


def test_a_body_that_says_it_is_not_compressed_is_taken(client: FlaskClient) -> None:
    assert client.post("/api/v1/who", data=b"x", headers={"Content-Encoding": "identity"}).status_code == 200


@pytest.fixture
def everything_told(caplog: pytest.LogCaptureFixture) -> Iterator[io.StringIO]:
    """All that is logged by anybody, at every level, as a handler on the root writes it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    with caplog.at_level(logging.DEBUG):
        yield stream
    root.removeHandler(handler)


def test_no_secret_is_ever_logged_or_answered(tmp_path: Path, everything_told: io.StringIO) -> None:
    password, wrong, token = "canary-pass-word-one", "canary-pass-word-two", "canary-token-value"
    app = small_app(tmp_path, **ANY)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    accounts = app.extensions["vouch"].accounts
    accounts.add("cora", password, Role.VIEWER, who="test")
    client, answers = app.test_client(), []
    answers += [
        log_in(client, "cora", wrong),
        log_in(client, "cora", password),
        client.get("/"),
        client.get("/account"),
    ]
    session = client.get_cookie("vouch")
    assert session
    with app.test_request_context():
        pair = tokens.login(accounts, "cora", password, "192.0.2.1")
    bearer = {"Authorization": f"Bearer {pair.access_token}"}
    answers += [
        client.get("/api/v1/who", headers={"Authorization": f"Bearer {token}"}),
        client.post("/api/v1/fail", headers=bearer, json={"password": wrong, "refresh_token": pair.refresh_token}),
        client.post("/api/v1/fail", headers=bearer, json={"secret_key": SECRET}),
        client.get("/api/v1/nowhere", headers=bearer),
        client.post("/account", data={"password": wrong}),
    ]
    told = everything_told.getvalue()
    assert "about to fail" in told
    assert "could not handle" in told
    assert MASK in told
    assert [answer.status_code for answer in answers] == [401, 303, 200, 200, 401, 500, 500, 404, 400]
    seen = told + "".join(
        f"{answer.text}\n{ {k: v for k, v in answer.headers if k != 'Set-Cookie'} }" for answer in answers
    )
    planted = {SECRET, password, wrong, token, pair.access_token, pair.refresh_token, session.value}
    assert [secret for secret in planted if secret in seen] == []
    app.extensions["vouch"].close()
