"""Tokens of the API: a JWT that is good for a quarter of an hour, and one, good once, to get the next.

One algorithm, said here and never by the token. What a token says of its bearer's role is never believed: the role is
read from the accounts with each request, so that a change, a logout or a lock-out works at once.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from flask import current_app

from common.errors import EnvironmentProblem
from webapp.auth.accounts import LOGIN, Accounts
from webapp.auth.sessions import LOG_IN, Issued
from webapp.auth.throttle import Origin
from webapp.services import services
from webapp.settings import WebSettings
from webapp.types import Identity, NotAuthenticated

DEMO_FILE = ".webapp_key"
ACCESS_LIFE_S = 15 * 60
ALGORITHM = "HS256"
ISSUER = "vouch"
ACCESS, REFRESH = "vouch-api", "vouch-refresh"  # audiences: one is no good in the place of the other
CLAIMS = ["iss", "aud", "exp", "nbf", "iat", "jti", "sub", "fam"]
LEEWAY_S = 30  # for clocks of machines that share the accounts
MAXIMUM_CHARACTERS = 4096
EXTENSION = "vouch_keys"


@dataclass(frozen=True)
class Keys:
    """The keys of one secret. `id` tells verifiers which secret signed, and nothing else about it."""

    session: bytes
    csrf: bytes
    token: bytes
    id: str

    @classmethod
    def of(cls, secret: str) -> Keys:
        """Derive them (HKDF's expand step, RFC 5869, one block; the secret is uniformly random already)."""
        session, csrf, token, name = (_derived(secret, label) for label in ("session", "csrf", "token", "key id"))
        return cls(session, csrf, token, name.hex()[:16])


def key_ring(settings: WebSettings) -> tuple[Keys, ...]:
    """Return the keys of an app: all are believed, the first ones sign.

    The open demo makes its own secret once, so that all its workers have the same.
    """
    secret = settings.secret_key.get_secret_value() or _demo_secret(settings.var / DEMO_FILE)
    previous = settings.previous_secret_key.get_secret_value()
    return tuple(Keys.of(each) for each in (secret, previous) if each)


def _derived(secret: str, label: str) -> bytes:
    return hmac.new(secret.encode(), b"vouch/1 " + label.encode() + b"\x01", hashlib.sha256).digest()


def _demo_secret(path: Path) -> str:
    """Return what the file says, which is written once, whole, by whoever is first."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(48))
            with suppress(FileExistsError):  # another worker was first
                os.link(temporary, path)
            temporary.unlink()
        return path.read_text()
    except OSError as error:
        raise EnvironmentProblem(
            "the web app cannot keep its key", got=error, fix=f"make {path.parent} writable, or set VOUCH_SECRET_KEY"
        ) from None


@dataclass(frozen=True)
class Pair:
    """What a program gets at login and at each refresh."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    token_type: str = "Bearer"
    expires_in: int = ACCESS_LIFE_S  # seconds


def login(accounts: Accounts, name: str, password: str, address: str) -> Pair:
    """Begin a family of tokens. Raises NotAuthenticated, TooManyAttempts."""
    user = accounts.authenticate(name, password, Origin(address))
    issued = accounts.refresh_tokens.begin(user.id, Identity(user.name, user.role))
    accounts.audit.append(user.name, LOGIN, f"API, from {address}")
    return _pair(issued)


def refresh(refresh_token: str) -> Pair:
    """Change a refresh token for a new pair. Raises NotAuthenticated; one used twice revokes its whole family."""
    accounts, claims = services().accounts, _claims(refresh_token, REFRESH)
    try:
        return _pair(accounts.refresh_tokens.rotate(claims["jti"]))
    except NotAuthenticated as error:
        accounts.audit.append(claims["sub"], "refresh refused", error.what)
        raise


def logout(refresh_token: str) -> None:
    """Revoke the family of a refresh token, its access tokens too. Raises NotAuthenticated for a false one."""
    claims = _claims(refresh_token, REFRESH)
    services().accounts.refresh_tokens.revoke(claims["fam"])
    services().accounts.audit.append(claims["sub"], "logout", "API")


def validate(access: str) -> Identity:
    """Return who holds an access token, with the role they have now. Raises NotAuthenticated."""
    claims = _claims(access, ACCESS)
    identity = services().accounts.refresh_tokens.who(claims["fam"])
    if identity is None or identity.name != claims["sub"]:
        raise NotAuthenticated("the access token was revoked", fix=LOG_IN)
    return identity


def _pair(issued: Issued) -> Pair:
    role = issued.identity.role.name.lower()
    access = _signed(issued, ACCESS, secrets.token_hex(16), issued.issued + ACCESS_LIFE_S, role=role)
    return Pair(access, _signed(issued, REFRESH, issued.jti, issued.expires))


def _signed(issued: Issued, audience: str, jti: str, expires: float, **more: str) -> str:
    keys, now = _ring()[0], int(issued.issued)
    claims = {
        "iss": ISSUER,
        "aud": audience,
        "sub": issued.identity.name,
        "iat": now,
        "nbf": now,
        "exp": int(expires),
        "jti": jti,
        "fam": issued.family,
        **more,
    }
    return jwt.encode(claims, keys.token, ALGORITHM, headers={"kid": keys.id})


def _claims(token: str, audience: str) -> dict[str, Any]:
    try:
        if len(token) > MAXIMUM_CHARACTERS:
            raise jwt.DecodeError
        key_id = jwt.get_unverified_header(token).get("kid")
        key = next((keys.token for keys in _ring() if keys.id == key_id), None)
        if key is None:
            raise jwt.InvalidKeyError
        claims: dict[str, Any] = jwt.decode(
            token, key, [ALGORITHM], audience=audience, issuer=ISSUER, leeway=LEEWAY_S, options={"require": CLAIMS}
        )
    except jwt.ExpiredSignatureError:
        raise NotAuthenticated("the token has expired", fix="refresh it, or " + LOG_IN) from None
    except (jwt.PyJWTError, ValueError):
        raise NotAuthenticated("the token is not valid", fix=LOG_IN) from None
    if not all(isinstance(claims[name], str) for name in ("jti", "sub", "fam")):
        raise NotAuthenticated("the token is not valid", fix=LOG_IN)
    return claims


def _ring() -> tuple[Keys, ...]:
    ring: tuple[Keys, ...] = current_app.extensions[EXTENSION]
    return ring
