"""Who is logged in: sessions of the pages, and refresh tokens of programs.

A browser holds a random id, signed; a program's refresh token is good once, and all that follow from one login fall
together.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from common.records.database import Database
from webapp.tables import refresh_tokens, sessions, users
from webapp.types import Identity, NotAuthenticated, Role

IDLE_S = 30 * 60.0
ABSOLUTE_S = 12 * 3600.0
NOTED_EVERY_S = 60.0  # so that not every page costs a write
LIFE_S = 14 * 24 * 3600.0
AGAIN_S = 20.0  # a program whose answer was lost, or that asked twice at once, gets the same token again
LOG_IN = "log in again"


class Sessions:
    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        self._database, self._now = database, now

    def begin(self, user_id: int, address: str) -> str:
        """Return the id of a new session; those that ran out are cleared away."""
        session_id, now = secrets.token_urlsafe(32), self._now()
        values = {"digest": _digest(session_id), "user_id": user_id, "created": now, "seen": now}
        is_over = (sessions.c.seen < now - IDLE_S) | (sessions.c.created < now - ABSOLUTE_S)
        with self._database.writing() as connection:
            connection.execute(delete(sessions).where(is_over))
            connection.execute(insert(sessions).values(**values, address=address[:64]))
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


@dataclass(frozen=True)
class Issued:
    """A refresh token as the server knows it, and whose it is."""

    jti: str
    family: str
    identity: Identity
    issued: float
    expires: float


class RefreshTokens:
    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        self._database, self._now = database, now

    def begin(self, user_id: int, identity: Identity) -> Issued:
        """Begin a family; tokens that ran out are cleared away."""
        with self._database.writing() as connection:
            connection.execute(delete(refresh_tokens).where(refresh_tokens.c.expires < self._now()))
            return self._issue(connection, secrets.token_hex(16), user_id, identity)

    def rotate(self, jti: str) -> Issued:
        """Return the next token of the family: the same one to all who ask within `AGAIN_S`, unless it was used.

        Raises NotAuthenticated; for a token that was rotated before somebody has stolen it, so the family is revoked.
        """
        table, now = refresh_tokens, self._now()
        with self._database.writing() as connection:
            row = _token(connection, jti)
            if row is not None and row.revoked is None and not row.disabled and row.expires > now:
                identity = Identity(row.name, Role(row.role))
                if row.rotated is None:
                    issued = self._issue(connection, row.family, row.user_id, identity)
                    rotated = {"rotated": now, "successor": issued.jti}
                    connection.execute(update(table).where(table.c.jti == jti).values(**rotated))
                    return issued
                next_row = _token(connection, row.successor) if 0 <= now - row.rotated < AGAIN_S else None
                if next_row is not None and next_row.rotated is None:
                    return Issued(next_row.jti, row.family, identity, next_row.issued, next_row.expires)
            if row is not None and row.rotated is not None:
                self._revoke(connection, table.c.family == row.family)
        was_used = row is not None and row.rotated is not None
        what = "the refresh token was used before" if was_used else "the refresh token is not valid"
        raise NotAuthenticated(what, fix=LOG_IN)

    def who(self, family: str) -> Identity | None:
        """Return whose family it is, with their role as it is now; None if it is revoked, or they are disabled."""
        table = refresh_tokens
        wanted = (
            select(users.c.name, users.c.role)
            .join_from(table, users)
            .where(table.c.family == family, table.c.revoked.is_(None), users.c.disabled.is_(False))
        )
        with self._database.reading() as connection:
            row = connection.execute(wanted.limit(1)).first()
        return Identity(row.name, Role(row.role)) if row else None

    def revoke(self, family: str) -> None:
        """Revoke all that followed from one login."""
        with self._database.writing() as connection:
            self._revoke(connection, refresh_tokens.c.family == family)

    def revoke_all(self, connection: Connection, user_id: int) -> None:
        self._revoke(connection, refresh_tokens.c.user_id == user_id)

    def _revoke(self, connection: Connection, which: ColumnElement[bool]) -> None:
        table = refresh_tokens
        connection.execute(update(table).where(which, table.c.revoked.is_(None)).values(revoked=self._now()))

    def _issue(self, connection: Connection, family: str, user_id: int, identity: Identity) -> Issued:
        now = self._now()
        issued = Issued(secrets.token_hex(16), family, identity, now, now + LIFE_S)
        values = {"jti": issued.jti, "family": family, "user_id": user_id, "issued": now, "expires": issued.expires}
        connection.execute(insert(refresh_tokens).values(**values))
        return issued


def _token(connection: Connection, jti: str) -> Row[Any] | None:
    table = refresh_tokens
    owners = (users.c.name, users.c.role, users.c.disabled)
    return connection.execute(select(table, *owners).join_from(table, users).where(table.c.jti == jti)).first()


def _digest(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).digest()
