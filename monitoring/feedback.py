"""The database in which the web app keeps true labels, and what people say of pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, inspect

from common.errors import ConfigError, DataError
from common.records import image_labels, labels
from common.records.database import Database, database_url
from common.variables import read_variable

VARIABLE = "VOUCH_DATABASE_URL"


@contextmanager
def reading(var: Path, environment: Mapping[str, str] = os.environ) -> Iterator[Connection | None]:
    """Open the database that the web app of `var` uses; None if it has kept no label there yet. Raises ConfigError.

    Its address is told as to the web app: by `VOUCH_DATABASE_URL`, or in the file that `VOUCH_DATABASE_URL_FILE` names.
    """
    database = _opened(var, environment)
    if database is None:
        yield None
        return
    with closing(database), database.reading() as connection:
        yield connection if inspect(connection).has_table(labels.table.name) else None


@contextmanager
def with_image_labels(var: Path, *, writes: bool, environment: Mapping[str, str] = os.environ) -> Iterator[Connection]:
    """Open it for what people say of pictures. Raises ConfigError; DataError if it is not ready."""
    database = _opened(var, environment)
    fix = "start the web app once: python -m webapp"
    if database is None:
        raise DataError("the web app has kept nothing here yet", got=var, fix=fix)
    with closing(database), database.writing() if writes else database.reading() as connection:
        if not inspect(connection).has_table(image_labels.table.name):
            raise DataError("the web app's database has no place for labels of pictures yet", fix=fix)
        yield connection


def _opened(var: Path, environment: Mapping[str, str]) -> Database | None:
    address, path = _address(environment), var / "webapp.sqlite"
    if not (address or path.is_file()):
        return None
    return Database(address or URL.create("sqlite", database=str(path)))


def _address(environment: Mapping[str, str]) -> URL | None:
    address = read_variable(environment, VARIABLE)
    try:
        return database_url(address) if address else None
    except ValueError as error:
        raise ConfigError(f"{VARIABLE} {error}") from None
