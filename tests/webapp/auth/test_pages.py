from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.web.small_app import PASSWORD, csrf_token, log_in, small_app
from webapp.auth.accounts import Accounts
from webapp.auth.pages import safe_target
from webapp.auth.throttle import DEVICE_COOKIE, PATIENCE
from webapp.types import Role

pytestmark = pytest.mark.slow

BETTER = "eight violet elephants"


def send(browser: FlaskClient, path: str, **form: str) -> Any:
    """Fill in the form of a page and send it."""
    return browser.post(path, data={"csrf_token": csrf_token(browser.get(path).text), **form})


def session_cookie(response: Any) -> str:
    return next(cookie for cookie in response.headers.getlist("Set-Cookie") if "vouch=" in cookie)


def test_a_login_leads_to_what_was_asked_for(browser: FlaskClient, kept: Accounts) -> None:
    response = log_in(browser, "vera", target="/admin?a=1")
    assert (response.status_code, response.headers["Location"]) == (303, "/admin?a=1")
    entry = kept.audit.entries()[-1]
    assert (entry.who, entry.action, entry.detail) == ("vera", "login", "page, from 127.0.0.1")


def test_who_is_logged_in_already_goes_on(browser: FlaskClient) -> None:
    log_in(browser, "vera")
    assert browser.get("/login?next=/account").headers["Location"] == "/account"


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "\\/evil.example",
        "javascript:alert(1)",
        "evil.example",
        "",
        "/\n/evil.example",
        "///evil.example",
        "/%0a\r\nSet-Cookie: a=b",
        "http:evil",
        " /x",
        "/ä",
    ],
)
def test_after_the_login_nobody_is_sent_elsewhere(browser: FlaskClient, target: str) -> None:
    assert log_in(browser, "vera", target=target).headers["Location"] == "/"
    assert browser.get("/login", query_string={"next": target}).headers["Location"] == "/"


@pytest.mark.parametrize("target", ["/", "/models/cells?x=1&y=//z", "/history/cells#top"])
def test_paths_of_this_app_are_safe(target: str) -> None:
    assert safe_target(target) == target


@pytest.mark.parametrize(("name", "password"), [("vera", "wrong password"), ("nobody", PASSWORD)])
def test_a_wrong_login_says_one_thing_and_keeps_the_name(browser: FlaskClient, name: str, password: str) -> None:
    response = log_in(browser, name, password)
    assert response.status_code == 401
    assert "The name or the password is wrong." in response.text
    assert f'value="{name}"' in response.text
    assert password not in response.text
    assert browser.get("/").status_code == 303


def test_too_many_wrong_logins_say_how_long_to_wait(browser: FlaskClient) -> None:
    for _ in range(PATIENCE["account and address"].free):
        log_in(browser, "vera", "wrong password")
    response = log_in(browser, "vera")
    assert (response.status_code, response.headers["Retry-After"]) == (429, "2")
    assert "Wait 2 s" in response.text


def test_a_name_that_is_markup_is_shown_as_text(browser: FlaskClient) -> None:
    assert "<script>alert" not in log_in(browser, '"><script>alert(1)</script>', "x").text


def test_a_login_gives_the_browser_a_new_session(app: Flask, browser: FlaskClient) -> None:
    browser.get("/login")
    planted = browser.get_cookie("vouch")
    assert planted
    log_in(browser, "vera")
    victim = app.test_client()
    victim.set_cookie("vouch", planted.value)
    assert victim.get("/").status_code == 303


def test_a_second_login_ends_the_session_before(app: Flask, browser: FlaskClient) -> None:
    log_in(browser, "vera")
    first = browser.get_cookie("vouch")
    assert first
    token = csrf_token(browser.get("/account").text)
    again = browser.post("/login", data={"csrf_token": token, "name": "otto", "password": PASSWORD})
    assert again.status_code == 303
    other = app.test_client()
    other.set_cookie("vouch", first.value)
    assert other.get("/").status_code == 303


def test_a_logout_ends_the_session_on_the_server_too(app: Flask, browser: FlaskClient, kept: Accounts) -> None:
    log_in(browser, "vera")
    stolen = browser.get_cookie("vouch")
    assert stolen
    assert send_logout(browser).headers["Location"] == "/login"
    assert browser.get("/").status_code == 303
    thief = app.test_client()
    thief.set_cookie("vouch", stolen.value)
    assert thief.get("/").status_code == 303
    assert kept.audit.entries()[-1].action == "logout"


def send_logout(browser: FlaskClient) -> Any:
    return browser.post("/logout", data={"csrf_token": csrf_token(browser.get("/account").text)})


def test_a_link_does_not_log_out(browser: FlaskClient) -> None:
    log_in(browser, "vera")
    assert browser.get("/logout").status_code == 405
    assert browser.post("/logout").status_code == 400
    assert browser.get("/").status_code == 200


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(browser: FlaskClient) -> None:
    cookie = session_cookie(log_in(browser, "vera"))
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert "vera" not in cookie


def test_over_https_the_cookie_is_bound_to_this_host(tmp_path: Path) -> None:
    app = small_app(tmp_path / "tls", auth=True)
    client = app.test_client()
    page = client.get("/login", base_url="https://localhost")
    form = {"csrf_token": csrf_token(page.text), "name": "vera", "password": PASSWORD}
    response = client.post("/login", base_url="https://localhost", data=form)  # a browser may send no Referer
    assert response.status_code == 303
    cookie = session_cookie(response)
    assert cookie.startswith("__Host-vouch=")
    assert {"Secure", "HttpOnly", "Path=/"} <= set(cookie.split("; "))
    app.extensions["vouch"].close()


def test_over_http_the_login_says_that_its_cookie_needs_https(tmp_path: Path) -> None:
    app = small_app(tmp_path / "tls", auth=True)
    client = app.test_client(use_cookies=False)  # no browser takes a secure cookie over HTTP
    form = {"csrf_token": csrf_token(client.get("/login").text), "name": "vera", "password": PASSWORD}
    response = client.post("/login", data=form)
    assert response.status_code == 400
    assert "VOUCH_SECURE_COOKIES" in response.text
    app.extensions["vouch"].close()


def test_one_changes_ones_own_password_with_the_old_one(app: Flask, browser: FlaskClient) -> None:
    log_in(browser, "vera")
    elsewhere = app.test_client()
    log_in(elsewhere, "vera")
    response = send(browser, "/account", password=PASSWORD, new=BETTER, again=BETTER)
    assert response.headers["Location"] == "/account"
    assert "Your password is changed" in browser.get("/account").text
    assert elsewhere.get("/").status_code == 303
    assert log_in(elsewhere, "vera", PASSWORD).status_code == 401
    assert log_in(elsewhere, "vera", BETTER).status_code == 303


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"password": "wrong password", "new": BETTER, "again": BETTER}, "this is not your password"),
        ({"password": PASSWORD, "new": BETTER, "again": "not " + BETTER}, "the two new passwords are not the same"),
        ({"password": PASSWORD, "new": "tiny", "again": "tiny"}, "the password is too short: at least 12 characters"),
        ({}, "this is not your password"),
    ],
    ids=["wrong", "not twice", "short", "empty"],
)
def test_a_password_that_is_not_changed_says_why_at_its_field(
    browser: FlaskClient, form: dict[str, str], says: str
) -> None:
    log_in(browser, "vera")
    response = send(browser, "/account", **form)
    assert response.status_code == 400
    assert response.text.count(says) == 2  # in the summary, and at the field
    assert not any(secret in response.text for secret in form.values())


def test_an_administrator_adds_a_user_who_can_log_in(app: Flask, browser: FlaskClient, kept: Accounts) -> None:
    log_in(browser, "ada")
    response = send(browser, "/users", name="nora", role="operator", password=BETTER, own_password=PASSWORD)
    assert response.headers["Location"] == "/users"
    assert "nora is added" in browser.get("/users").text
    assert log_in(app.test_client(), "nora", BETTER).status_code == 303
    assert kept.find("nora").role == Role.OPERATOR
    told = [entry for entry in kept.audit.entries() if entry.action == "user added"][-1]
    assert (told.who, told.detail) == ("ada", "nora: operator")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"own_password": "wrong password"}, "this is not your password"),
        ({"name": "No Ra"}, "no name for a user"),
        ({"name": "otto"}, "there is a user otto already"),
        ({"password": "short"}, "too short"),
        ({"role": "public"}, "there is no such role"),
        ({"role": "god"}, "there is no such role"),
    ],
    ids=["own password", "name", "taken", "password", "no role", "unknown role"],
)
def test_a_user_who_is_not_added_is_told_why(browser: FlaskClient, change: dict[str, str], says: str) -> None:
    log_in(browser, "ada")
    form = {"name": "nora", "role": "viewer", "password": BETTER, "own_password": PASSWORD, **change}
    response = send(browser, "/users", **form)
    assert response.status_code == 400
    assert says in response.text
    assert "nora</th>" not in response.text


@pytest.mark.parametrize(
    ("form", "name", "password", "status"),
    [
        ({"action": "password", "password": BETTER}, "vera", BETTER, 303),
        ({"action": "disable"}, "vera", PASSWORD, 401),
        ({"action": "role", "role": "admin"}, "vera", PASSWORD, 303),
    ],
    ids=["password", "lock out", "role"],
)
def test_an_administrator_changes_a_user(
    app: Flask, browser: FlaskClient, kept: Accounts, form: dict[str, str], name: str, password: str, status: int
) -> None:
    log_in(browser, "ada")
    assert send(browser, f"/users/{name}", own_password=PASSWORD, **form).headers["Location"] == "/users"
    other = app.test_client()
    assert log_in(other, name, password).status_code == status
    if form["action"] == "disable":
        send(browser, f"/users/{name}", own_password=PASSWORD, action="enable")
        assert log_in(other, name, password).status_code == 303
    if form["action"] == "role":
        assert kept.find(name).role == Role.ADMIN


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"action": "disable", "own_password": PASSWORD}, "ada is the last administrator"),
        ({"action": "disable", "own_password": "wrong password"}, "this is not your password"),
        ({"action": "explode", "own_password": PASSWORD}, "choose what to change"),
    ],
    ids=["last", "own password", "nonsense"],
)
def test_a_change_that_is_not_made_says_why(
    browser: FlaskClient, kept: Accounts, form: dict[str, str], says: str
) -> None:
    log_in(browser, "ada")
    response = send(browser, "/users/ada", **form)
    assert response.status_code == 400
    assert says in response.text
    assert not kept.find("ada").is_disabled


def test_users_are_for_administrators_and_one_who_is_not_there_is_not_found(browser: FlaskClient) -> None:
    log_in(browser, "ada")
    assert browser.get("/users/ghost").status_code == 404
    log_in(browser, "otto")
    assert [browser.get(path).status_code for path in ("/users", "/users/vera")] == [403, 403]


def test_in_the_demo_there_is_nothing_to_log_in_to(tmp_path: Path) -> None:
    app = small_app(tmp_path / "demo", auth=False)
    client = app.test_client()
    assert client.get("/login?next=/account").headers["Location"] == "/account"
    assert "open demo" in client.get("/account").text
    app.extensions["vouch"].close()


def test_on_a_device_where_she_has_logged_in_an_owner_is_let_in_whoever_guesses_at_her_account(
    app: Flask, kept: Accounts
) -> None:
    known, stranger = app.test_client(), app.test_client()
    assert log_in(known, "vera").status_code == 303
    cookie = known.get_cookie(DEVICE_COOKIE)
    assert cookie is not None
    assert cookie.http_only
    for _ in range(PATIENCE["account and address"].free):
        log_in(stranger, "vera", "wrong password")
    assert log_in(stranger, "vera").status_code == 429  # even from the same address
    known.delete_cookie("vouch")
    assert log_in(known, "vera").status_code == 303
    assert log_in(known, "otto", "wrong password").status_code == 401  # and is nobody's device but hers


def test_a_known_device_may_not_guess_for_long_either_and_a_made_up_one_is_none(app: Flask) -> None:
    browser = app.test_client()
    log_in(browser, "vera")
    for _ in range(PATIENCE["device"].free):
        assert log_in(browser, "vera", "wrong password").status_code == 401
    assert log_in(browser, "vera").status_code == 429
    forger = app.test_client()
    forger.set_cookie(DEVICE_COOKIE, "WyJ2ZXJhIiwiYWJjIl0.aaaa.bbbb")
    for _ in range(PATIENCE["account and address"].free):
        log_in(forger, "vera", "wrong password")
    assert log_in(forger, "vera").status_code == 429
