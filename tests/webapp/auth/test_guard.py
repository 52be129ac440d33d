from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, g
from flask.testing import FlaskClient

from tests.support.web.small_app import PASSWORD, csrf_token, log_in, small_app
from webapp.auth import asked_by, reauthenticated, tokens
from webapp.auth.accounts import Accounts
from webapp.auth.throttle import PATIENCE
from webapp.types import TooManyAttempts

HERE = "192.0.2.1"


def bearer(app: Flask, name: str) -> dict[str, str]:
    with app.test_request_context():
        pair = tokens.login(app.extensions["vouch"].accounts, name, PASSWORD, HERE)
    return {"Authorization": f"Bearer {pair.access_token}"}


@pytest.mark.parametrize(
    ("path", "goes_to"),
    [("/", "/login?next=%2F"), ("/admin?a=1&b=ä", "/login?next=%2Fadmin%3Fa%3D1%26b%3D%C3%A4")],
    ids=["home", "with a query"],
)
def test_a_page_asks_for_a_login_and_remembers_what_was_asked_for(
    browser: FlaskClient, path: str, goes_to: str
) -> None:
    response = browser.get(path)
    assert (response.status_code, response.headers["Location"]) == (303, goes_to)


def test_what_cannot_be_asked_for_again_goes_to_the_first_page_after_the_login(browser: FlaskClient) -> None:
    assert browser.post("/act").headers["Location"] == "/login?next=%2F"


def test_the_api_answers_with_a_problem_and_says_how(browser: FlaskClient) -> None:
    response = browser.get("/api/v1/who")
    assert (response.status_code, response.mimetype) == (401, "application/problem+json")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("name", "statuses"), [("vera", (200, 403, 403)), ("otto", (200, 200, 403)), ("ada", (200, 200, 200))]
)
def test_a_role_may_do_what_those_below_it_may_and_no_more(
    browser: FlaskClient, name: str, statuses: tuple[int, ...]
) -> None:
    log_in(browser, name)
    token = {"X-CSRFToken": csrf_token(browser.get("/account").text)}
    found = (browser.get("/"), browser.post("/act", headers=token), browser.get("/admin"))
    assert tuple(response.status_code for response in found) == statuses


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_other_methods_of_a_page_are_guarded_as_it_is(browser: FlaskClient, method: str) -> None:
    assert browser.open("/admin", method=method).status_code == 303
    log_in(browser, "vera")
    assert browser.open("/admin", method=method).status_code == 403
    log_in(browser, "ada")
    assert browser.open("/admin", method=method).status_code == 200


def test_what_is_not_there_is_not_there_for_anybody(browser: FlaskClient) -> None:
    assert browser.get("/nowhere").status_code == 404
    assert browser.get("/api/v1/nowhere").status_code == 404
    assert browser.get("/act").status_code == 405


def test_public_routes_are_for_everybody_and_know_who_is_logged_in(browser: FlaskClient) -> None:
    assert browser.get("/public").text == "hello nobody"
    assert browser.get("/static/app.css").status_code == 200
    log_in(browser, "vera")
    assert browser.get("/public").text == "hello vera"


def test_a_session_is_no_credential_of_the_api(browser: FlaskClient) -> None:
    log_in(browser, "ada")
    assert browser.get("/api/docs").status_code == 200  # a page, though it tells of the API
    assert browser.get("/api/v1/who").status_code == 401


def test_a_token_is_the_credential_of_the_api_and_needs_no_csrf_token(app: Flask, browser: FlaskClient) -> None:
    assert browser.post("/api/v1/who", headers=bearer(app, "vera")).json == {
        "name": "vera",
        "role": "VIEWER",
        "bytes": 0,
    }


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer"},
        {"Authorization": "Basic dmVyYTp4"},
        {"Authorization": "Bearer a.b.c"},
        {"Cookie": "access=x"},
        {"Authorization": "Bearer \xff"},
    ],
    ids=["empty", "basic", "made up", "cookie", "bytes"],
)
def test_other_credentials_are_none(browser: FlaskClient, headers: dict[str, str]) -> None:
    assert browser.get("/api/v1/who", headers=headers).status_code == 401


def test_a_token_in_the_address_or_a_cookie_is_no_credential(app: Flask, browser: FlaskClient) -> None:
    token = bearer(app, "vera")["Authorization"].removeprefix("Bearer ")
    browser.set_cookie("access_token_cookie", token)
    for name in ("token", "jwt", "access_token", "Authorization"):
        assert browser.get("/api/v1/who", query_string={name: token}).status_code == 401


def test_a_wrong_token_is_not_mended_by_a_session(browser: FlaskClient) -> None:
    log_in(browser, "ada")
    assert browser.get("/admin", headers={"Authorization": "Bearer a.b.c"}).status_code == 303


def test_a_form_without_its_token_changes_nothing(browser: FlaskClient) -> None:
    log_in(browser, "otto")
    assert browser.post("/act").status_code == 400
    assert browser.post("/act", headers={"X-CSRFToken": "made up"}).status_code == 400


def test_the_form_token_of_one_session_is_no_good_in_another(app: Flask, browser: FlaskClient) -> None:
    log_in(browser, "otto")
    other = app.test_client()
    log_in(other, "otto")
    theirs = {"X-CSRFToken": csrf_token(other.get("/account").text)}
    assert browser.post("/act", headers=theirs).status_code == 400
    assert other.post("/act", headers=theirs).status_code == 200


def test_a_user_who_is_locked_out_is_out_at_the_next_request(browser: FlaskClient, kept: Accounts) -> None:
    log_in(browser, "otto")
    kept.set_disabled("otto", True, who="test")
    assert browser.get("/").status_code == 303


def test_a_cookie_that_was_changed_or_signed_by_others_is_nobody(browser: FlaskClient, tmp_path: Path) -> None:
    log_in(browser, "otto")
    cookie = browser.get_cookie("vouch")
    assert cookie
    start, seal = cookie.value.rsplit(".", 1)  # the seal's last character holds bits that say nothing
    browser.set_cookie("vouch", f"{start}.{'B' if seal[0] == 'A' else 'A'}{seal[1:]}")
    assert browser.get("/").status_code == 303
    other = small_app(
        tmp_path, auth=True, secure_cookies=False, has_users=True, secret_key="x1" + "another secret 0123456789 abcdef"
    )
    visitor = other.test_client()
    visitor.set_cookie("vouch", cookie.value)
    assert visitor.get("/").status_code == 303
    other.extensions["vouch"].close()


def test_a_cookie_signed_with_the_key_before_is_good(browser: FlaskClient, tmp_path: Path) -> None:
    from tests.support.web.small_app import SECRET

    log_in(browser, "otto")
    cookie = browser.get_cookie("vouch")
    assert cookie
    other = small_app(
        tmp_path,
        auth=True,
        secure_cookies=False,
        has_users=True,
        previous_secret_key=SECRET,
        secret_key="the secret of tomorrow, 0123456789 abcdefghi",
    )
    visitor = other.test_client()
    visitor.set_cookie("vouch", cookie.value)
    assert visitor.get("/").status_code == 200
    other.extensions["vouch"].close()


def test_the_own_password_once_more_is_asked_for_with_the_same_patience(app: Flask, kept: Accounts) -> None:
    with app.test_request_context(headers=bearer(app, "otto"), environ_base={"REMOTE_ADDR": HERE}):
        assert reauthenticated(PASSWORD)
        for _ in range(PATIENCE["account and address"].free):
            assert not reauthenticated("wrong password")
        with pytest.raises(TooManyAttempts):
            reauthenticated(PASSWORD)


def test_accounts_that_cannot_be_read_are_a_clear_refusal(app: Flask, browser: FlaskClient, tmp_path: Path) -> None:
    log_in(browser, "otto")
    app.extensions["vouch"].database.close()
    for path in tmp_path.glob("webapp.sqlite*"):
        path.unlink()
    (tmp_path / "webapp.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 20)
    response = browser.get("/")
    assert response.status_code == 503
    assert "cannot be read or written" in response.text
    assert str(tmp_path) not in response.text


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Flask]:
    app = small_app(tmp_path / "demo", auth=False)
    yield app
    app.extensions["vouch"].close()


def test_in_the_demo_everybody_is_an_operator_and_no_accounts_are_made(demo: Flask, tmp_path: Path) -> None:
    client = demo.test_client()
    assert client.get("/").status_code == 200
    assert client.get("/api/v1/who").json == {"name": "demo", "role": "OPERATOR", "bytes": 0}
    assert client.get("/admin").status_code == 403
    with demo.test_request_context():
        assert reauthenticated("")
    assert not list((tmp_path / "demo").glob("*.sqlite*"))


def test_in_the_demo_forms_need_their_token_too(demo: Flask) -> None:
    assert demo.test_client().post("/act").status_code == 400


@pytest.mark.parametrize(("name", "sticky_key"), [("vera", "vera"), (None, "")], ids=["logged in", "the open demo"])
def test_only_who_is_logged_in_is_routed_alike_each_time(tmp_path: Path, name: str | None, sticky_key: str) -> None:
    app = small_app(tmp_path, auth=bool(name), sticky=True)
    headers = bearer(app, name) if name else {}
    with app.test_request_context("/api/v1/who", headers=headers):
        g.request_id = "r"
        assert asked_by("page").sticky_key == sticky_key
        assert asked_by("api", sticky="patient 17").sticky_key == "patient 17"
    app.extensions["vouch"].close()
