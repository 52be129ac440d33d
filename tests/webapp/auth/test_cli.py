from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from tests.support.paths import ROOT
from tests.support.web.small_app import small_app
from webapp.auth.accounts import Accounts
from webapp.auth.throttle import Origin
from webapp.migrations import HEAD
from webapp.types import Role

PASSWORD, BETTER = "seven green bicycles", "eight violet elephants"
HERE = "192.0.2.1"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = small_app(tmp_path, auth=True, has_users=True)
    yield app
    app.extensions["vouch"].close()


@pytest.fixture
def accounts(app: Flask) -> Accounts:
    found: Accounts = app.extensions["vouch"].accounts
    return found


def run(app: Flask, *words: str, told: str | None = None) -> Result:
    return app.test_cli_runner().invoke(args=list(words), input=told)


def test_a_start_without_users_says_how_to_add_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small_app(tmp_path, auth=True, has_users=True).extensions["vouch"].close()
    assert "flask --app webapp users add NAME --role admin" in caplog.text


def test_a_user_is_added_with_a_password_typed_twice(app: Flask, accounts: Accounts) -> None:
    result = run(app, "users", "add", "ada", "--role", "admin", told=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0
    assert PASSWORD not in result.output
    assert accounts.authenticate("ada", PASSWORD, Origin(HERE)).role == Role.ADMIN
    assert accounts.audit.entries()[0].who.startswith("cli")


def test_a_password_comes_from_a_file_or_standard_input(app: Flask, accounts: Accounts, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    assert run(app, "users", "add", "ada", "--password-file", str(tmp_path / "password")).exit_code == 0
    assert run(app, "users", "password", "ada", "--password-file", "-", told=f"{BETTER}\n").exit_code == 0
    with app.test_request_context():
        assert accounts.authenticate("ada", BETTER, Origin(HERE)).role == Role.VIEWER


def test_a_password_is_no_argument(app: Flask) -> None:
    assert run(app, "users", "add", "ada", PASSWORD).exit_code == 2
    assert run(app, "users", "add", "ada", "--password", PASSWORD).exit_code == 2


@pytest.mark.parametrize(
    ("words", "told", "says"),
    [
        (["add", "Ada", "--password-file", "-"], PASSWORD, "this is no name for a user"),
        (["add", "ada", "--password-file", "-"], "short", "wanted: at least 12 characters"),
        (["role", "ghost", "admin"], "", "there is no user ghost"),
        (["disable", "ghost"], "", "next: see who there is"),
        (["password", "ghost", "--password-file", "-"], PASSWORD, "there is no user ghost"),
    ],
    ids=["name", "password", "role", "disable", "nobody's password"],
)
def test_what_cannot_be_done_is_told_in_words(app: Flask, words: list[str], told: str, says: str) -> None:
    result = run(app, "users", *words, told=told)
    assert result.exit_code == 3
    assert says in result.output
    assert "Traceback" not in result.output


def test_users_are_listed_changed_and_locked_out(app: Flask) -> None:
    for name in ("ada", "otto"):
        run(app, "users", "add", name, "--password-file", "-", told=PASSWORD)
    assert run(app, "users", "role", "otto", "operator").exit_code == 0
    assert run(app, "users", "disable", "ada").exit_code == 0
    lines = [line.split() for line in run(app, "users", "list").output.splitlines()]
    assert [line[:3] for line in lines] == [["ada", "viewer", "disabled"], ["otto", "operator", "enabled"]]
    assert run(app, "users", "enable", "ada").exit_code == 0
    assert "disabled" not in run(app, "users", "list").output


def test_the_audit_log_is_shown_and_verified(app: Flask, tmp_path: Path) -> None:
    run(app, "users", "add", "ada", "--password-file", "-", told=PASSWORD)
    run(app, "users", "role", "ada", "operator")
    assert "role changed     ada: viewer to operator" in run(app, "audit", "show").output
    assert len(run(app, "audit", "show", "--last", "1").output.splitlines()) == 1
    assert run(app, "audit", "verify").output == "entries: 2, none changed\n"
    with closing(sqlite3.connect(tmp_path / "webapp.sqlite")) as connection, connection:
        connection.execute("DROP TRIGGER audit_no_UPDATE")
        connection.execute("UPDATE audit SET who = 'eve' WHERE id = 1")
    result = run(app, "audit", "verify")
    assert result.exit_code == 4
    assert "entry 1 was changed or removed" in result.output


def test_settings_that_are_wrong_are_told_without_a_traceback(tmp_path: Path) -> None:
    told = {**os.environ, "VOUCH_VAR": str(tmp_path), "VOUCH_AUTH": "on", "VOUCH_SECRET_KEY": "short"}
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "webapp", "users", "list"],
        cwd=ROOT,
        env=told,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "VOUCH_SECRET_KEY: should have at least" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_database_is_brought_up_to_date_before_a_roll_out(app: Flask) -> None:
    assert run(app, "database", "migrate").output == f"the database is at step {HEAD}\n"
