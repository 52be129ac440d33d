"""Slow down those who guess passwords: the more wrong ones, the longer the wait, never for good.

Three counts run at once: of the account from this network, of the network, of the account from anywhere. The last one
does not hold where the account has logged in from before, or anybody could keep its owner out.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from webapp.auth import tables
from webapp.auth.errors import TooManyAttempts

FORGOTTEN_AFTER_S = 24 * 3600.0
KNOWN_S = 90 * 24 * 3600.0  # since the last login from there
IPV6_NETWORK_BITS = 64  # what one household has; its addresses are as many as it likes


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


def network_of(address: str) -> str:
    """Return what counts as one address: an IPv4 address, the /64 of an IPv6 one, or the text if it is neither."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, IPV6_NETWORK_BITS), strict=False))


def take_a_try(connection: Connection, name: str, address: str, now: float) -> None:
    """Count a try as failed before the password is looked at, so that tries at the same time are all counted.

    Raises TooManyAttempts while it must wait; such a try is not counted, or waiting would never end.
    """
    table, keys = tables.login_attempts, _keys(name, address)
    known = select(tables.known_places.c.last).where(tables.known_places.c.key == keys["account and address"])
    if connection.execute(known).scalar_one_or_none() is not None:
        del keys["account"]
    rows = {row.key: row for row in connection.execute(select(table).where(table.c.key.in_(keys.values())))}
    # A clock that stepped back must not make a wait longer than it ever was.
    waits = [min(rows[key].until - now, PATIENCE[kind].longest_s) for kind, key in keys.items() if key in rows]
    if waits and max(waits) > 0:
        raise TooManyAttempts("too many attempts with a wrong name or password", retry_after_s=max(waits))
    for kind, key in keys.items():
        recent = key in rows and now - rows[key].last < FORGOTTEN_AFTER_S
        failures = rows[key].failures + 1 if recent else 1
        counted = {"failures": failures, "last": now, "until": now + PATIENCE[kind].wait_s(failures)}
        connection.execute(insert(table).values(key=key, **counted).on_conflict_do_update(["key"], set_=counted))
    connection.execute(delete(table).where(table.c.last < now - FORGOTTEN_AFTER_S))


def forgive(connection: Connection, name: str, address: str, now: float) -> None:
    """Forget the failures of one who then knew the password, and remember from where; those against others stay."""
    table, places, keys = tables.login_attempts, tables.known_places, _keys(name, address)
    place = insert(places).values(key=keys["account and address"], last=now)
    connection.execute(place.on_conflict_do_update(["key"], set_={"last": now}))
    connection.execute(delete(places).where(places.c.last < now - KNOWN_S))
    connection.execute(delete(table).where(table.c.key.in_([keys["account and address"], keys["account"]])))
    failures = connection.execute(select(table.c.failures).where(table.c.key == keys["address"])).scalar_one_or_none()
    if failures is not None:  # this try was no failure
        counted = {"failures": failures - 1, "until": 0.0}
        connection.execute(table.update().where(table.c.key == keys["address"]).values(**counted))


def _keys(name: str, address: str) -> dict[str, bytes]:
    """Return what is counted. Digests: what people type as a name may be their password."""
    network = network_of(address)
    parts = {"account and address": f"{name}\n{network}", "address": network, "account": name}
    return {
        kind: hashlib.sha256(f"{kind}\n{text}".encode("utf-8", "surrogatepass")).digest()
        for kind, text in parts.items()
    }
