"""Slow down those who guess passwords: the more wrong ones, the longer the wait, never for good.

Three counts run at once: of the account from this address, of the address, of the account from anywhere. The last one
waits shortly at most, or anybody could keep somebody else out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from webapp.auth import tables
from webapp.auth.errors import TooManyAttempts

FORGOTTEN_AFTER_S = 24 * 3600.0


@dataclass(frozen=True)
class Patience:
    """So many failures are free; from then on the wait doubles from `first_s` up to `longest_s`."""

    free: int
    first_s: float
    longest_s: float

    def wait_s(self, failures: int) -> float:
        """Return how long to wait after so many failures."""
        excess = failures - self.free
        return 0.0 if excess < 0 else min(self.first_s * 2.0 ** min(excess, 30), self.longest_s)


PATIENCE = {
    "account and address": Patience(5, 2.0, 900.0),
    "address": Patience(20, 2.0, 900.0),
    "account": Patience(50, 2.0, 60.0),
}


def take_a_try(connection: Connection, name: str, address: str, now: float) -> None:
    """Count a try as failed before the password is looked at, so that tries at the same time are all counted.

    Raises TooManyAttempts while it must wait; such a try is not counted, or waiting would never end.
    """
    table, keys = tables.login_attempts, _keys(name, address)
    found = {row.key: row for row in connection.execute(select(table).where(table.c.key.in_(keys.values())))}
    # A clock that stepped back must not make a wait longer than it ever was.
    waits = [min(found[key].until - now, PATIENCE[kind].longest_s) for kind, key in keys.items() if key in found]
    if waits and max(waits) > 0:
        raise TooManyAttempts("too many attempts with a wrong name or password", retry_after_s=max(waits))
    for kind, key in keys.items():
        recent = key in found and now - found[key].last < FORGOTTEN_AFTER_S
        failures = found[key].failures + 1 if recent else 1
        counted = {"failures": failures, "last": now, "until": now + PATIENCE[kind].wait_s(failures)}
        connection.execute(insert(table).values(key=key, **counted).on_conflict_do_update(["key"], set_=counted))
    connection.execute(delete(table).where(table.c.last < now - FORGOTTEN_AFTER_S))


def forgive(connection: Connection, name: str, address: str) -> None:
    """Forget the failures of one who then knew the password; those of the address against others stay."""
    keys = _keys(name, address)
    table = tables.login_attempts
    connection.execute(delete(table).where(table.c.key.in_([keys["account and address"], keys["account"]])))
    found = connection.execute(select(table.c.failures).where(table.c.key == keys["address"])).scalar_one_or_none()
    if found is not None:  # this try was no failure
        counted = {"failures": found - 1, "until": 0.0}
        connection.execute(table.update().where(table.c.key == keys["address"]).values(**counted))


def _keys(name: str, address: str) -> dict[str, bytes]:
    """Return what is counted. Digests: what people type as a name may be their password."""
    parts = {"account and address": f"{name}\n{address}", "address": address, "account": name}
    return {
        kind: hashlib.sha256(f"{kind}\n{text}".encode("utf-8", "surrogatepass")).digest()
        for kind, text in parts.items()
    }
