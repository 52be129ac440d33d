from __future__ import annotations

import sqlite3
import stat
import threading
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from common.errors import EnvironmentProblem
from common.records import database
from tests.support.web.apps import open_database
from webapp.auth.accounts import Accounts
from webapp.types import Role


def test_nothing_is_written_before_it_is_needed(accounts: Accounts, tmp_path: Path) -> None:
    assert list(tmp_path.iterdir()) == []


def test_only_the_owner_can_read_the_file_and_those_beside_it(accounts: Accounts, tmp_path: Path) -> None:
    (tmp_path / "webapp.sqlite").touch(0o644)
    accounts.audit.append("ada", "login")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"webapp.sqlite": 0o600, "webapp.sqlite-wal": 0o600, "webapp.sqlite-shm": 0o600}


def test_a_folder_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    database = open_database(tmp_path / "new" / "var" / "webapp.sqlite")
    assert Accounts(database).users() == []
    database.close()


def test_a_file_that_is_no_database_is_told_with_a_way_out(accounts: Accounts, tmp_path: Path) -> None:
    (tmp_path / "webapp.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 20)
    with pytest.raises(EnvironmentProblem, match="cannot be read or written") as caught:
        accounts.users()
    assert "backup" in str(caught.value)


def test_a_writer_that_never_ends_is_waited_for_only_so_long(
    accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.05)
    accounts.audit.append("ada", "login")
    with closing(sqlite3.connect(tmp_path / "webapp.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(EnvironmentProblem, match="locked"):
            accounts.audit.append("ada", "logout")
        assert accounts.users() == []  # readers do not wait
        other.execute("ROLLBACK")
    accounts.audit.append("ada", "logout")


def test_nobody_waits_for_a_connection(tmp_path: Path) -> None:
    found = open_database(tmp_path / "webapp.sqlite")

    def read_beside_others() -> None:
        with ExitStack() as stack:
            for _ in range(40):
                stack.enter_context(found.reading())

    reader = threading.Thread(target=read_beside_others, daemon=True)
    reader.start()
    reader.join(20)
    assert not reader.is_alive()
    found.close()


def test_what_fails_half_way_is_undone(accounts: Accounts) -> None:
    accounts.audit.append("ada", "login")

    def do_half() -> None:
        with accounts._database.writing() as connection:
            accounts.audit.append_in(connection, "ada", "promote")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        do_half()
    assert [entry.action for entry in accounts.audit.entries()] == ["login"]


def test_a_user_that_sql_could_be_made_of_is_only_a_name(accounts: Accounts) -> None:
    accounts.add("ada", "seven green bicycles", Role.VIEWER, who="x'; DROP TABLE users; --")
    assert [user.name for user in accounts.users()] == ["ada"]
