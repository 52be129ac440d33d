"""The relational database: a SQLite file by default, PostgreSQL where the web app has replicas.

Writers come one after the other in both, so what a transaction reads is still so when it writes: SQLite has one lock,
PostgreSQL is given one.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from common.errors import EnvironmentProblem

BUSY_TIMEOUT_S = 5.0  # for other writers
PREPARING_TIMEOUT_S = 60.0  # for another process that brings the tables up to date
CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 30
WRITERS = 0x766F756368  # PostgreSQL's advisory lock that stands for SQLite's one writer
OWNER_ONLY = 0o600
PRAGMAS = ("foreign_keys = ON", "synchronous = FULL", "journal_mode = WAL")
AS_WRITER = "vouch_writes"
DRIVERS = {"sqlite": "sqlite", "postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
DRIVERS |= {"postgresql+psycopg": "postgresql+psycopg"}


def database_url(text: str) -> URL:
    """Return an address with the driver that we have for it. Raises ValueError, which never says the address."""
    try:
        url = make_url(text)
        return url.set(drivername=DRIVERS[url.drivername])
    except (ArgumentError, KeyError, ValueError):
        raise ValueError("is no address of a database; wanted such as postgresql://user:password@host/name") from None


class Database:
    """Transactions, for one process: nothing that has opened one may fork.

    `prepare` is called in a transaction that writes, before any other of this process.
    """

    def __init__(self, url: URL, prepare: Callable[[Connection], None] = lambda connection: None) -> None:
        self.url, self._prepare = url, prepare
        self._lock = threading.Lock()
        self._opened: Engine | None = None

    def close(self) -> None:
        with self._lock:
            if self._opened:
                self._opened.dispose()
            self._opened = None

    def reading(self) -> AbstractContextManager[Connection]:
        """Open a transaction that only reads. Raises EnvironmentProblem."""
        return self._transaction(writes=False)

    def writing(self) -> AbstractContextManager[Connection]:
        """Open a transaction that waits for other writers first. Raises EnvironmentProblem."""
        return self._transaction(writes=True)

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        try:
            with _begun(self._engine(), writes=writes) as connection:
                yield connection
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            told = str(getattr(error, "orig", None) or error).strip()
            where = self.url.database if self._is_file else self.url.render_as_string(hide_password=True)
            cures = (
                "see that the disk has room, and that the file is whole and yours; put a backup in its place"
                if self._is_file
                else "see that the server runs and is reached from here, and that VOUCH_DATABASE_URL is right"
            )
            raise EnvironmentProblem(
                "the database cannot be read or written", got=f"{where}: {told}", fix=cures
            ) from None

    @property
    def _is_file(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    def _engine(self) -> Engine:
        with self._lock:
            self._opened = self._opened or self._open()
            return self._opened

    def _open(self) -> Engine:
        if self._is_file:
            path = Path(self.url.database or "")
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, OWNER_ONLY))
            path.chmod(OWNER_ONLY)  # SQLite gives the files beside it the same mode
        first = self._new_engine(PREPARING_TIMEOUT_S)
        try:
            with _begun(first, writes=True) as connection:
                self._prepare(connection)
        finally:
            first.dispose()
        return self._new_engine(BUSY_TIMEOUT_S)

    def _new_engine(self, timeout_s: float) -> Engine:
        # without a limit to connections nobody waits for one
        if self._is_file:
            engine = create_engine(self.url, max_overflow=-1, connect_args={"timeout": timeout_s})
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        timeouts = {"connect_timeout": CONNECT_TIMEOUT_S, "tcp_user_timeout": 1000 * STATEMENT_TIMEOUT_S}
        engine = create_engine(self.url, max_overflow=-1, pool_pre_ping=True, connect_args=timeouts)
        event.listen(engine, "begin", partial(_begin_postgresql, timeout_s=timeout_s))
        return engine


@contextmanager
def _begun(engine: Engine, *, writes: bool) -> Iterator[Connection]:
    with closing(engine.connect().execution_options(**{AS_WRITER: writes})) as connection, connection.begin():
        yield connection


def _set_up_sqlite(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late to keep a read and its write together
    for pragma in PRAGMAS:
        _patiently(partial(connection.execute, f"PRAGMA {pragma}"))


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(AS_WRITER)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgresql(connection: Connection, timeout_s: float) -> None:
    if connection.get_execution_options().get(AS_WRITER):
        connection.exec_driver_sql(
            f"SET LOCAL lock_timeout = '{timeout_s}s'; SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s';"
            f"SELECT pg_advisory_xact_lock({WRITERS})"
        )


def _patiently(act: Callable[[], Any]) -> None:
    """Try again while another process changes the journal mode, too: SQLite does not wait for that by itself."""
    for _ in range(int(BUSY_TIMEOUT_S / 0.05)):
        try:
            act()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            threading.Event().wait(0.05)
    act()
