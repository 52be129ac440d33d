"""Who there is, and who did what: users and their passwords, and the audit log. There is no user until one is added.

Each entry of the log is sealed with the one before, so that none can be changed or lost unseen.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from common.errors import DataError, GateRefused
from common.records.database import Database
from webapp.auth import passwords as rules
from webapp.auth import throttle
from webapp.auth.passwords import Passwords
from webapp.auth.sessions import RefreshTokens, Sessions
from webapp.auth.throttle import Origin
from webapp.tables import audit as audit_table
from webapp.tables import users
from webapp.types import NotAuthenticated, Role

NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
RESERVED = frozenset({"demo", "system", "unknown"})  # said in the logs of those who are no users
LOGIN, LOGIN_FAILED = "login", "login failed"
BEGINNING = "0" * 64
MAXIMUM_DETAIL = 2000
MAXIMUM_WHO = 64


class NoSuchUser(DataError):
    """There is no user of that name."""

    http_status = 404


@dataclass(frozen=True)
class User:
    """One account, without its password."""

    id: int
    name: str
    role: Role
    is_disabled: bool
    created: datetime  # UTC
    last_login: datetime | None


@dataclass(frozen=True)
class Entry:
    """One thing done. `digest` is SHA-256 over the one before and all else, in hexadecimal."""

    number: int
    seconds: float  # since 1970
    who: str
    action: str
    detail: str
    digest: str

    @property
    def time(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, timezone.utc)

    def sealed(self, before: str) -> str:
        """Return the digest that it must have after an entry with the digest `before`."""
        content = json.dumps([before, self.number, repr(self.seconds), self.who, self.action, self.detail])
        return hashlib.sha256(content.encode()).hexdigest()


class AuditLog:
    """Append, read and verify. The file lets nobody change or delete an entry; the chain shows who did it otherwise."""

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        self._database, self._now = database, now

    def append(self, who: str, action: str, detail: str = "") -> None:
        """Write an entry. Raises EnvironmentProblem: what cannot be put on record should not be done."""
        with self._database.writing() as connection:
            self.append_in(connection, who, action, detail)

    def append_in(self, connection: Connection, who: str, action: str, detail: str = "") -> None:
        """Write an entry in the transaction of what it tells of: both, or neither."""
        table = audit_table
        last = connection.execute(select(table.c.id, table.c.digest).order_by(table.c.id.desc()).limit(1)).first()
        number, before = (last.id + 1, last.digest) if last else (1, BEGINNING)
        values = (number, self._now(), _text(who, MAXIMUM_WHO), action, _text(detail, MAXIMUM_DETAIL))
        connection.execute(insert(table).values((*values, Entry(*values, "").sealed(before))))

    def entries(self, last: int | None = None) -> list[Entry]:
        """Return the entries, oldest first; only so many of the last ones, if said."""
        table = audit_table
        wanted = select(table).order_by(table.c.id.desc())
        with self._database.reading() as connection:
            rows = connection.execute(wanted if last is None else wanted.limit(last)).all()
        return [Entry(*row) for row in reversed(rows)]

    def verify(self) -> int:
        """Return the number of entries. Raises GateRefused that names the first one that is not as it was written."""
        before, entries = BEGINNING, self.entries()
        for expected, entry in enumerate(entries, start=1):
            if entry.number != expected or entry.digest != entry.sealed(before):
                raise GateRefused(
                    f"the audit log is not whole: entry {expected} was changed or removed",
                    fix="compare with a backup; all from that entry on proves nothing",
                )
            before = entry.digest
        return len(entries)


def _text(text: str, maximum: int) -> str:
    """Keep one line of bounded length: a name somebody typed must not look like another entry."""
    printable = "".join(letter if letter.isprintable() else "�" for letter in text)
    return printable[:maximum]


class Accounts:
    """Users, sessions, refresh tokens and the audit log."""

    def __init__(
        self, database: Database, *, passwords: Passwords | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self.now, self._database = now, database
        self._passwords = passwords or Passwords()
        self.audit = AuditLog(database, now)
        self.sessions = Sessions(database, now)
        self.refresh_tokens = RefreshTokens(database, now)

    def users(self) -> list[User]:
        with self._database.reading() as connection:
            return [_user(row) for row in connection.execute(select(users).order_by(users.c.name))]

    def find(self, name: str) -> User:
        """Return a user. Raises NoSuchUser."""
        with self._database.reading() as connection:
            return _user(_row(connection, name))

    def authenticate(self, name: str, password: str, origin: Origin) -> User:
        """Return the user whose name and password these are.

        Raises TooManyAttempts; NotAuthenticated, in the same words and after the same time whatever was wrong.
        """
        known = name.strip().lower()
        with self._database.writing() as connection:
            throttle.take_a_try(connection, known, origin, self.now())
            row = connection.execute(select(users).where(users.c.name == known)).first() if _is_name(known) else None
        is_right = self._passwords.matches(row.password_hash if row else None, password)
        if not row or not is_right or row.disabled:
            who = row.name if row else "unknown"  # not what was typed: it may be a password in the wrong field
            self.audit.append(who, LOGIN_FAILED, f"from {origin.address}")
            raise NotAuthenticated("the name or the password is wrong", fix="try again, or ask an administrator")
        return self._welcome(row, password, origin)

    def add(self, name: str, password: str, role: Role, *, who: str) -> User:
        """Add a user. Raises DataError for a name or a password that will not do; `who` goes on record, as below."""
        if not _is_name(name) or name in RESERVED:
            raise DataError(
                "this is no name for a user", got=name[:80], wanted="at most 64 small letters, digits and . _ @ -"
            )
        hashed = self._passwords.hash(rules.checked(name, password))
        with self._database.writing() as connection:
            if connection.execute(select(users.c.id).where(users.c.name == name)).first():
                raise DataError(f"there is a user {name} already")
            now = self.now()
            connection.execute(
                insert(users).values(
                    name=name, password_hash=hashed, role=int(role), disabled=False, created=now, password_changed=now
                )
            )
            self.audit.append_in(connection, who, "user added", f"{name}: {role.name.lower()}")
            return _user(_row(connection, name))

    def set_password(self, name: str, password: str, *, who: str, but_session: str = "") -> None:
        """Change a password; all that was logged in with the old one is logged out, but one session."""
        hashed = self._passwords.hash(rules.checked(name, password))
        with self._database.writing() as connection:
            user = _user(_row(connection, name))
            self._change(connection, user, password_hash=hashed, password_changed=self.now())
            self._log_out(connection, user, but_session)
            self.audit.append_in(connection, who, "password changed", name)

    def set_role(self, name: str, role: Role, *, who: str) -> None:
        """Change what a user may do, from the next request on. Raises DataError for the last administrator."""
        with self._database.writing() as connection:
            user = _user(_row(connection, name))
            if role < Role.ADMIN:
                _check_not_last(connection, user)
            self._change(connection, user, role=int(role))
            self.audit.append_in(connection, who, "role changed", f"{name}: {user.role.name} to {role.name}".lower())

    def set_disabled(self, name: str, is_disabled: bool, *, who: str) -> None:
        """Lock a user out at once, or let them in again. Raises DataError for the last administrator."""
        with self._database.writing() as connection:
            user = _user(_row(connection, name))
            if is_disabled:
                _check_not_last(connection, user)
                self._log_out(connection, user)
            self._change(connection, user, disabled=is_disabled)
            self.audit.append_in(connection, who, "user disabled" if is_disabled else "user enabled", name)

    def _welcome(self, row: Row[Any], password: str, origin: Origin) -> User:
        changes: dict[str, Any] = {"last_login": self.now()}
        if self._passwords.is_outdated(row.password_hash):
            changes["password_hash"] = self._passwords.hash(password)
        user = _user(row)
        with self._database.writing() as connection:
            throttle.forgive(connection, user.name, origin, self.now())
            # Unless the password was changed while this one was looked at.
            unchanged = update(users).where(users.c.id == user.id, users.c.password_hash == row.password_hash)
            connection.execute(unchanged.values(**changes))
        return user

    def _log_out(self, connection: Connection, user: User, but_session: str = "") -> None:
        self.sessions.end_all(connection, user.id, but_session)
        self.refresh_tokens.revoke_all(connection, user.id)

    @staticmethod
    def _change(connection: Connection, user: User, **values: Any) -> None:
        connection.execute(update(users).where(users.c.id == user.id).values(**values))


def _is_name(name: str) -> bool:
    return NAME.fullmatch(name) is not None


def _row(connection: Connection, name: str) -> Row[Any]:
    row = connection.execute(select(users).where(users.c.name == name)).first() if _is_name(name) else None
    if row is None:
        raise NoSuchUser(f"there is no user {name[:80]}", fix="see who there is: flask --app webapp users list")
    return row


def _check_not_last(connection: Connection, user: User) -> None:
    others = (
        select(func.count())
        .select_from(users)
        .where(users.c.role == int(Role.ADMIN), users.c.disabled.is_(False), users.c.id != user.id)
    )
    if user.role == Role.ADMIN and not user.is_disabled and not connection.execute(others).scalar_one():
        raise DataError(f"{user.name} is the last administrator", fix="make somebody else one first")


def _user(row: Row[Any]) -> User:
    last_login = None if row.last_login is None else _time(row.last_login)
    return User(row.id, row.name, Role(row.role), bool(row.disabled), _time(row.created), last_login)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
