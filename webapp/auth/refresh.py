"""What the server remembers of refresh tokens: each is good once, and all that follow from one login fall together."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from webapp.auth.database import Database
from webapp.auth.errors import NotAuthenticated
from webapp.auth.tables import refresh_tokens, users
from webapp.types import Identity, Role

LIFE_S = 14 * 24 * 3600.0
LOG_IN = "log in again"


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
        """Return the next token of the family.

        Raises NotAuthenticated; for a token that was rotated already somebody has stolen it, so the family is revoked.
        """
        table, now = refresh_tokens, self._now()
        wanted = (
            select(table, users.c.name, users.c.role, users.c.disabled)
            .join_from(table, users)
            .where(table.c.jti == jti)
        )
        with self._database.writing() as connection:
            row = connection.execute(wanted).first()
            is_good = row is not None and row.revoked is None and not row.disabled and row.expires > now
            if row is not None and is_good and row.rotated is None:
                connection.execute(update(table).where(table.c.jti == jti).values(rotated=now))
                return self._issue(connection, row.family, row.user_id, Identity(row.name, Role(row.role)))
            if row is not None and row.rotated is not None:
                self._revoke(connection, table.c.family == row.family)
        what = (
            "the refresh token was used before" if row is not None and row.rotated else "the refresh token is not valid"
        )
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

    def _revoke(self, connection: Connection, version_spec: ColumnElement[bool]) -> None:
        table = refresh_tokens
        connection.execute(update(table).where(version_spec, table.c.revoked.is_(None)).values(revoked=self._now()))

    def _issue(self, connection: Connection, family: str, user_id: int, identity: Identity) -> Issued:
        now = self._now()
        issued = Issued(secrets.token_hex(16), family, identity, now, now + LIFE_S)
        connection.execute(
            insert(refresh_tokens).values(
                jti=issued.jti, family=family, user_id=user_id, issued=now, expires=issued.expires
            )
        )
        return issued
