"""The SQLite file of accounts, shared by all workers: made when first needed, readable by its owner only."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from common.errors import EnvironmentProblem
from webapp.auth import tables

BUSY_TIMEOUT_S = 5.0
OWNER_ONLY = 0o600
PRAGMAS = ("foreign_keys = ON", "synchronous = FULL", "journal_mode = WAL")
AS_WRITER = "vouch_writes"


class Database:
    """Transactions on the file. An engine belongs to the process that made it: a fork makes its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._made: tuple[int, Engine] | None = None

    @property
    def exists(self) -> bool:
        """Tell whether anything was ever written."""
        return self.path.exists()

    def close(self) -> None:
        with self._lock:
            if self._made:
                self._made[1].dispose(close=self._made[0] == os.getpid())
            self._made = None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the file. Raises EnvironmentProblem."""
        with self._transaction(writes=False) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that waits for other writers first. Raises EnvironmentProblem."""
        with self._transaction(writes=True) as connection:
            yield connection

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        try:
            with self._engine().connect().execution_options(**{AS_WRITER: writes}) as connection, connection.begin():
                yield connection
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise EnvironmentProblem(
                "the accounts cannot be read or written",
                got=f"{self.path}: {getattr(error, 'orig', None) or error}",
                fix="see that the disk has room, and that the file is whole and yours; put a backup in its place",
            ) from None

    def _engine(self) -> Engine:
        made = self._made
        if made and made[0] == os.getpid():
            return made[1]
        with self._lock:
            if not self._made or self._made[0] != os.getpid():
                self._made = (os.getpid(), self._open())
            return self._made[1]

    def _open(self) -> Engine:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, OWNER_ONLY))
        self.path.chmod(OWNER_ONLY)  # SQLite gives the files beside it the same mode
        # without a limit to connections nobody waits for one: predictions are let in on the event loop
        engine = create_engine(f"sqlite:///{self.path}", max_overflow=-1, connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        with engine.connect().execution_options(**{AS_WRITER: True}) as connection, connection.begin():
            tables.create(connection)
        return engine


def _prepare(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late to keep a read and its write together
    for pragma in PRAGMAS:
        _patiently(partial(connection.execute, f"PRAGMA {pragma}"))


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(AS_WRITER)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


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
