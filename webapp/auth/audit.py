"""The audit log: who did what, each entry sealed with the one before, so that none can be changed or lost unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from sqlalchemy import Connection, insert, select

from common.errors import GateRefused
from common.records.database import Database
from webapp import tables

BEGINNING = "0" * 64
MAXIMUM_DETAIL = 2000
MAXIMUM_WHO = 64


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
        table = tables.audit
        last = connection.execute(select(table.c.id, table.c.digest).order_by(table.c.id.desc()).limit(1)).first()
        number, before = (last.id + 1, last.digest) if last else (1, BEGINNING)
        values = (number, self._now(), _text(who, MAXIMUM_WHO), action, _text(detail, MAXIMUM_DETAIL))
        connection.execute(insert(table).values((*values, Entry(*values, "").sealed(before))))

    def entries(self, last: int | None = None) -> list[Entry]:
        """Return the entries, oldest first; only so many of the last ones, if said."""
        table = tables.audit
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
