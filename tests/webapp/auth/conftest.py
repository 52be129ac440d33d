"""Accounts with a clock that can be turned, and password hashes that cost nothing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from common.records import database
from common.records.database import Database
from tests.support.clock import Clock
from tests.support.web.apps import open_database
from tests.support.web.small_app import add_users, small_app
from webapp.auth.accounts import Accounts
from webapp.auth.passwords import Passwords

CHEAP = {"time_cost": 1, "memory_kib": 8}


@pytest.fixture(autouse=True, scope="session")
def _without_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "PRAGMAS", (*database.PRAGMAS, "synchronous = OFF"))
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
def open_accounts(open_own: Callable[[], Database], clock: Clock) -> Callable[[], Accounts]:
    """Open the same accounts once more, as another replica does."""
    return lambda: Accounts(open_own(), passwords=Passwords(**CHEAP), now=clock)


@pytest.fixture
def accounts(open_accounts: Callable[[], Accounts]) -> Accounts:
    return open_accounts()


@pytest.fixture(scope="session")
def _app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    app = small_app(tmp_path_factory.mktemp("auth"), auth=True, secure_cookies=False)
    yield app
    app.extensions["vouch"].close()


@pytest.fixture(scope="session")
def _users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the three users, to be copied."""
    path = tmp_path_factory.mktemp("users") / "webapp.sqlite"
    opened = open_database(path)
    add_users(Accounts(opened, passwords=Passwords(**CHEAP)))
    opened.close()
    return path


@pytest.fixture
def app(_app: Flask, _users: Path, tmp_path: Path, clock: Clock) -> Iterator[Flask]:
    """An app with logins, and accounts of the test's own."""
    shutil.copy(_users, tmp_path / "webapp.sqlite")
    shared = _app.extensions["vouch"]
    opened = open_database(tmp_path / "webapp.sqlite")
    accounts = Accounts(opened, passwords=Passwords(**CHEAP), now=clock)
    _app.extensions["vouch"] = replace(shared, accounts=accounts, database=opened)
    yield _app
    _app.extensions["vouch"] = shared
    opened.close()


@pytest.fixture
def browser(app: Flask) -> FlaskClient:
    """A browser that is not logged in."""
    return app.test_client()


@pytest.fixture
def kept(app: Flask) -> Accounts:
    """The accounts of `app`."""
    found: Accounts = app.extensions["vouch"].accounts
    return found
