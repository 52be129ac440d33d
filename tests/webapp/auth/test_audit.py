from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest

from common.errors import GateRefused
from tests.support.clock import Clock
from tests.support.paths import ROOT
from webapp.auth.accounts import Accounts


def tamper(path: Path, statement: str) -> None:
    """Change the file as somebody could who owns it: without the triggers."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TRIGGER audit_no_UPDATE")
        connection.execute("DROP TRIGGER audit_no_DELETE")
        connection.execute(statement)


@pytest.fixture
def told(accounts: Accounts, tmp_path: Path) -> Path:
    for number in range(4):
        accounts.audit.append("ada", "promote", f"cells to version {number}")
    return tmp_path / "webapp.sqlite"


def test_entries_are_told_oldest_first_with_time_and_name(accounts: Accounts, told: Path, clock: Clock) -> None:
    assert [entry.detail[-1] for entry in accounts.audit.entries()] == ["0", "1", "2", "3"]
    assert [entry.number for entry in accounts.audit.entries(last=2)] == [3, 4]
    assert accounts.audit.entries()[0].time == datetime.fromtimestamp(clock.now, timezone.utc)


def test_a_whole_log_verifies(accounts: Accounts, told: Path) -> None:
    assert accounts.audit.verify() == 4


@pytest.mark.parametrize("statement", ["UPDATE audit SET who = 'eve'", "DELETE FROM audit WHERE id = 4"])
def test_the_file_refuses_changes(told: Path, statement: str) -> None:
    with closing(sqlite3.connect(told)) as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "entry"),
    [
        ("UPDATE audit SET who = 'eve' WHERE id = 2", 2),
        ("UPDATE audit SET time = time + 1 WHERE id = 1", 1),
        ("DELETE FROM audit WHERE id = 3", 3),
        ("UPDATE audit SET id = 9 WHERE id = 4", 4),
    ],
    ids=["another name", "another time", "one removed", "another number"],
)
def test_a_change_behind_its_back_is_found(accounts: Accounts, told: Path, statement: str, entry: int) -> None:
    tamper(told, statement)
    with pytest.raises(GateRefused, match=f"entry {entry} was changed or removed"):
        accounts.audit.verify()


def test_an_entry_is_one_line_however_it_was_told(accounts: Accounts) -> None:
    accounts.audit.append("ada\nroot", "feedback", "x\r\n\x1b[31m" + "y" * 5000)
    entry = accounts.audit.entries()[0]
    assert (entry.who, entry.detail[:8]) == ("ada�root", "x���[31m")
    assert len(entry.detail) == 2000
    assert accounts.audit.verify() == 1


WRITER = """
import sys
from pathlib import Path
from tests.support.web.apps import open_database
from webapp.auth.accounts import Accounts
accounts = Accounts(open_database(Path(sys.argv[1])))
for number in range(20):
    accounts.audit.append(sys.argv[2], "promote", str(number))
"""


@pytest.mark.slow
def test_several_processes_write_one_chain(tmp_path: Path, open_accounts: Callable[[], Accounts]) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "webapp.sqlite"), f"worker{n}"], cwd=ROOT)
        for n in range(4)
    ]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    accounts = open_accounts()
    assert accounts.audit.verify() == 80
    assert {entry.who for entry in accounts.audit.entries()} == {f"worker{n}" for n in range(4)}
