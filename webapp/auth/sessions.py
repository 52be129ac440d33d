"""Sessions of the pages. The browser holds a random id, signed; everything else is here."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

from sqlalchemy import Connection, delete, insert, select, update

from webapp.auth.database import Database
from webapp.auth.tables import sessions, users
from webapp.types import Identity, Role

IDLE_S = 30 * 60.0
ABSOLUTE_S = 12 * 3600.0
NOTED_EVERY_S = 60.0  # so that not every page costs a write


class Sessions:
    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        self._database, self._now = database, now

    def begin(self, user_id: int, address: str) -> str:
        """Return the id of a new session; those that ran out are cleared away."""
        session_id, now = secrets.token_urlsafe(32), self._now()
        with self._database.writing() as connection:
            connection.execute(
                delete(sessions).where((sessions.c.seen < now - IDLE_S) | (sessions.c.created < now - ABSOLUTE_S))
            )
            connection.execute(
                insert(sessions).values(
                    digest=_digest(session_id), user_id=user_id, created=now, seen=now, address=address[:64]
                )
            )
        return session_id

    def who(self, session_id: str) -> Identity | None:
        """Return whose session it is, with their role as it is now; None if it has ended, or they are disabled."""
        digest, now = _digest(session_id), self._now()
        wanted = (
            select(users.c.name, users.c.role, sessions.c.seen)
            .join_from(sessions, users)
            .where(
                sessions.c.digest == digest,
                sessions.c.seen > now - IDLE_S,
                sessions.c.created > now - ABSOLUTE_S,
                users.c.disabled.is_(False),
            )
        )
        with self._database.reading() as connection:
            row = connection.execute(wanted).first()
        if row is None:
            return None
        if now - row.seen > NOTED_EVERY_S:
            with self._database.writing() as connection:
                connection.execute(update(sessions).where(sessions.c.digest == digest).values(seen=now))
        return Identity(row.name, Role(row.role))

    def end(self, session_id: str) -> None:
        """End one session; nothing happens if it has ended."""
        with self._database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.digest == _digest(session_id)))

    def end_all(self, connection: Connection, user_id: int, but: str = "") -> None:
        """End all sessions of a user but one, within a transaction."""
        connection.execute(delete(sessions).where(sessions.c.user_id == user_id, sessions.c.digest != _digest(but)))


def _digest(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).digest()
