"""The commands of docs/deployment.md for the web app's database, run as they stand there."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.postgresql import PostgreSQL
from tests.support.web.apps import open_database
from webapp.auth.accounts import Accounts
from webapp.auth.passwords import Passwords
from webapp.types import Role

SECTION = re.search(
    r"### The web app's database\n.*?(?=\n### |\n## )", (ROOT / "docs" / "deployment.md").read_text(), re.S
)


def command(beginning: str) -> str:
    """Return a command of the section, without its comment."""
    assert SECTION
    [line] = re.findall(rf"^{re.escape(beginning)}.*$", SECTION[0], re.M)
    return line.split("  #")[0].strip()


def users(where: Path | str) -> list[str]:
    database = open_database(where)
    try:
        return [user.name for user in Accounts(database).users()]
    finally:
        database.close()


def add(where: Path | str, *names: str) -> None:
    database = open_database(where)
    accounts = Accounts(database, passwords=Passwords(time_cost=1, memory_kib=8))
    for name in names:
        accounts.add(name, "seven green bicycles", Role.VIEWER, who="test")
    database.close()


def test_a_file_is_backed_up_while_it_is_open_and_restored(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    path = tmp_path / "var" / "webapp.sqlite"
    add(path, "ada")
    line = command("python -c")
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("SELECT * FROM users").fetchone()
        subprocess.run(line, shell=True, cwd=tmp_path, check=True, timeout=60)
    add(path, "eve")
    subprocess.run(command("cp "), shell=True, cwd=tmp_path, check=True, timeout=60)
    assert users(path) == ["ada"]


@pytest.mark.slow
def test_a_server_is_backed_up_and_restored(server: PostgreSQL, tmp_path: Path, run_in: Callable[..., None]) -> None:
    where = server.new_database()
    add(where, "ada")
    run_in(command("pg_dump"), where)
    add(where, "eve")
    run_in(command("pg_restore"), where)
    assert users(where) == ["ada"]


@pytest.fixture
def run_in(server: PostgreSQL, tmp_path: Path) -> Callable[..., None]:
    def run(line: str, url: str) -> None:
        path = f"{server.programs}:/usr/bin:/bin"
        environment = {"PATH": path, "VOUCH_DATABASE_URL": url}
        subprocess.run(line, shell=True, cwd=tmp_path, env=environment, check=True, timeout=60)

    return run
