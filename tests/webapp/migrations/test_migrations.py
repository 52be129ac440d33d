from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from common.errors import ConfigError, EnvironmentProblem
from common.records import labels
from common.records.database import Database
from tests.support.paths import ROOT
from tests.support.postgresql import PostgreSQL
from tests.support.web.apps import app_settings, open_database
from webapp import migrations, tables

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]


def test_the_last_file_is_what_the_code_takes_for_the_last() -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "webapp" / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.HEAD]


@pytest.mark.parametrize("where", BOTH, indirect=True)
def test_the_migrations_make_the_tables_that_the_code_works_with(open_own: Callable[[], Database]) -> None:
    with open_own().reading() as connection:
        context = MigrationContext.configure(connection)
        assert migrations.revision(connection) == migrations.HEAD
        assert compare_metadata(context, [tables.metadata, labels.metadata]) == []


@pytest.mark.parametrize("where", BOTH, indirect=True)
def test_a_database_that_newer_code_has_changed_is_refused(open_own: Callable[[], Database]) -> None:
    with open_own().writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for _ in range(2):
        with pytest.raises(EnvironmentProblem, match="newer than this code"), open_own().reading():
            pass


START = """
import sys
from pathlib import Path
from tests.support.web.apps import open_database
where = sys.argv[1]
with open_database(Path(where) if where.startswith("/") else where).reading():
    print("ready")
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_of_several_that_start_at_once_one_migrates_and_the_others_wait(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server: PostgreSQL | None = request.getfixturevalue("server") if kind == "postgresql" else None
    where = server.new_database() if server else str(tmp_path / "webapp.sqlite")
    command = [sys.executable, "-c", START, where]
    starts = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [start.communicate(timeout=120)[0] for start in starts] == ["ready\n"] * 4
    database = open_database(where if server else Path(where))
    with database.reading() as connection:
        assert inspect(connection).has_table("jobs")
    database.close()


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "webapp.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE feedback (id INTEGER)")  # in the way of the second step
    database = open_database(tmp_path / "webapp.sqlite")
    with pytest.raises(EnvironmentProblem, match="feedback already exists"), database.reading():
        pass
    with closing(sqlite3.connect(tmp_path / "webapp.sqlite")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("feedback",)]


def test_an_address_that_nobody_answers_is_told_in_a_sentence_without_its_password() -> None:
    database = open_database("postgres://vouch:very-secret@127.0.0.1:9/vouch")
    with (
        pytest.raises(EnvironmentProblem, match="the database cannot be read or written") as caught,
        database.reading(),
    ):
        pass
    told = str(caught.value)
    assert "very-secret" not in told
    assert "127.0.0.1:9/vouch" in told
    assert "VOUCH_DATABASE_URL" in told


@pytest.mark.parametrize("url", ["mysql://vouch:very-secret@db/vouch", "vouch very-secret", "postgresql+asyncpg://x"])
def test_an_address_of_no_database_that_we_know_is_refused_by_name_and_not_shown(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="VOUCH_DATABASE_URL") as caught:
        app_settings(var=tmp_path, database_url=url)
    assert "very-secret" not in str(caught.value)


def test_a_folder_with_signs_that_mean_something_in_an_address_is_taken_as_it_is(tmp_path: Path) -> None:
    settings = app_settings(var=tmp_path / "50%?#x")
    database = Database(settings.database, migrations.migrate)
    with database.reading():
        pass
    database.close()
    assert (tmp_path / "50%?#x" / "webapp.sqlite").exists()
