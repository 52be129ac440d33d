"""Slow down those who guess passwords: the more wrong ones, the longer the wait, never for good.

Three counts run at once: of the account from this network, of the network, of the account from anywhere. The last one
does not hold where the account has logged in from before, and on a device that it has logged in on (OWASP's device
cookies) only that device's own count does: or anybody could keep its owner out.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from dataclasses import dataclass

from flask import current_app, request
from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy import Connection, delete, insert, select
from werkzeug.wrappers import Response as BaseResponse

from webapp.tables import known_places, login_attempts
from webapp.types import TooManyAttempts

FORGOTTEN_AFTER_S = 24 * 3600.0
DEVICE_COOKIE = "vouch_device"
KNOWN_S = 90 * 24 * 3600.0  # since the last login from there
IPV6_NETWORK_BITS = 64  # what one household has; its addresses are as many as it likes


@dataclass(frozen=True)
class Patience:
    """So many failures are free; from then on the wait doubles from `first_s` up to `longest_s`."""

    free: int
    first_s: float
    longest_s: float

    def wait_s(self, failures: int) -> float:
        excess = failures - self.free
        return 0.0 if excess < 0 else min(self.first_s * 2.0 ** min(excess, 30), self.longest_s)


PATIENCE = {
    "account and address": Patience(5, 2.0, 900.0),
    "address": Patience(20, 2.0, 900.0),
    "account": Patience(50, 2.0, 60.0),
    "device": Patience(10, 2.0, 900.0),
}


@dataclass(frozen=True)
class Origin:
    """Where somebody logs in from. `device`: a random name of one that the account has logged in on, if it is one."""

    address: str
    device: str = ""


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


def take_a_try(connection: Connection, name: str, origin: Origin, now: float) -> None:
    """Count a try as failed before the password is looked at, so that tries at the same time are all counted.

    Raises TooManyAttempts while it must wait; such a try is not counted, or waiting would never end.
    """
    table, keys = login_attempts, _keys(name, origin)
    if "account" in keys:
        place = select(known_places.c.last).where(known_places.c.key == keys["account and address"])
        if connection.execute(place).first():
            del keys["account"]
    rows = {row.key: row for row in connection.execute(select(table).where(table.c.key.in_(keys.values())))}
    # A clock that stepped back must not make a wait longer than it ever was.
    waits = [min(rows[key].until - now, PATIENCE[kind].longest_s) for kind, key in keys.items() if key in rows]
    if waits and max(waits) > 0:
        raise TooManyAttempts("too many attempts with a wrong name or password", retry_after_s=max(waits))
    is_old = table.c.last < now - FORGOTTEN_AFTER_S
    connection.execute(delete(table).where(table.c.key.in_(keys.values()) | is_old))
    for kind, key in keys.items():
        recent = key in rows and now - rows[key].last < FORGOTTEN_AFTER_S
        failures = rows[key].failures + 1 if recent else 1
        until = now + PATIENCE[kind].wait_s(failures)
        connection.execute(insert(table).values(key=key, failures=failures, last=now, until=until))


def forgive(connection: Connection, name: str, origin: Origin, now: float) -> None:
    """Forget the failures of one who then knew the password, and remember from where; those against others stay."""
    table, keys = login_attempts, _keys(name, origin)
    place = _digest("account and address", f"{name}\n{network_of(origin.address)}")
    is_old = known_places.c.last < now - KNOWN_S
    connection.execute(delete(known_places).where((known_places.c.key == place) | is_old))
    connection.execute(insert(known_places).values(key=place, last=now))
    connection.execute(delete(table).where(table.c.key.in_([key for kind, key in keys.items() if kind != "address"])))
    if "address" in keys:  # this try was no failure
        counted = {"failures": table.c.failures - 1, "until": 0.0}
        connection.execute(table.update().where(table.c.key == keys["address"]).values(**counted))


def origin_of(name: str) -> Origin:
    """Return where a request comes from, as the throttle counts it for an account of this name."""
    address = request.remote_addr or ""
    try:
        account, device = _serializer().loads(request.cookies.get(DEVICE_COOKIE, ""), max_age=int(KNOWN_S))
    except (BadData, ValueError, TypeError):
        return Origin(address)
    return Origin(address, device if account == name.strip().lower() else "")


def remember_device(response: BaseResponse, name: str) -> None:
    """Have the browser remember that this account has logged in on it."""
    config = current_app.config
    response.set_cookie(
        DEVICE_COOKIE,
        _serializer().dumps([name, secrets.token_hex(16)]),
        max_age=int(KNOWN_S),
        secure=config["SESSION_COOKIE_SECURE"],
        httponly=True,
        samesite="Strict",
    )


def _serializer() -> URLSafeTimedSerializer:
    keys = [*current_app.config["SECRET_KEY_FALLBACKS"], current_app.secret_key]
    return URLSafeTimedSerializer(keys, salt="vouch device")


def _keys(name: str, origin: Origin) -> dict[str, bytes]:
    network = network_of(origin.address)
    parts = {"account and address": f"{name}\n{network}", "address": network, "account": name}
    if origin.device:
        parts = {"device": f"{name}\n{origin.device}"}
    return {kind: _digest(kind, text) for kind, text in parts.items()}


def _digest(kind: str, text: str) -> bytes:
    """Return what stands for a text in the database: what people type as a name may be their password."""
    return hashlib.sha256(f"{kind}\n{text}".encode("utf-8", "surrogatepass")).digest()
