"""How the database came to be as it is: a file a step, taken by the first process that starts with new code."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from common.errors import EnvironmentProblem
from common.records import labels
from common.records.database import Database

HEAD = "0003"  # the last step that this code knows


def revision(connection: Connection) -> str:
    """Return the step that a database has reached, the empty text before the first."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none() or ""


def take_over(database: Database, predictions: Path) -> None:
    """Bring in the true labels that an earlier release kept as files beside its log."""
    folders = list(predictions.glob(f"*/{labels.OLD_FOLDER}"))
    if not folders:
        return
    with database.writing() as connection:
        taken = [path for folder in folders for path in labels.take_over(connection, folder.parent)]
    for path in taken:
        path.unlink(missing_ok=True)
    for folder in [*(path.parent for path in taken), *folders]:
        with suppress(OSError):  # not empty, or gone
            folder.rmdir()


def migrate(connection: Connection) -> None:
    """Bring the tables up to date, in a transaction that no other writer can be in.

    Raises EnvironmentProblem for a database that newer code has changed.
    """
    reached = revision(connection)
    if reached == HEAD:
        return
    if reached > HEAD:
        raise EnvironmentProblem(
            "the database is newer than this code",
            got=f"step {reached}",
            wanted=f"at most {HEAD}",
            fix="start the newer release again, or put a backup from before it in place",
        )
    from alembic import command  # a third of a second, once in a database's life
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")
