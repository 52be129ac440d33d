"""The database in which the web app keeps true labels, opened for reading."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, inspect

from common.errors import ConfigError
from common.records import labels
from common.records.database import Database, database_url
from common.variables import read_variable

VARIABLE = "VOUCH_DATABASE_URL"


@contextmanager
def reading(var: Path, environment: Mapping[str, str] = os.environ) -> Iterator[Connection | None]:
    """Open the database that the web app of `var` uses; None if it has kept no label there yet. Raises ConfigError.

    Its address is told as to the web app: by `VOUCH_DATABASE_URL`, or in the file that `VOUCH_DATABASE_URL_FILE` names.
    """
    address = _address(environment)
    path = var / "webapp.sqlite"
    if not (address or path.is_file()):
        yield None
        return
    database = Database(address or URL.create("sqlite", database=str(path)))
    try:
        with database.reading() as connection:
            yield connection if inspect(connection).has_table(labels.table.name) else None
    finally:
        database.close()


def _address(environment: Mapping[str, str]) -> URL | None:
    address = read_variable(environment, VARIABLE)
    try:
        return database_url(address) if address else None
    except ValueError as error:
        raise ConfigError(f"{VARIABLE} {error}") from None
