"""Keys for each purpose, all derived from one secret: to learn one of them is not to learn another."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.errors import EnvironmentProblem
from webapp.settings import WebSettings

DEMO_FILE = ".webapp_key"


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


@dataclass(frozen=True)
class KeyRing:
    """The keys that sign, and all that are still believed."""

    current: Keys
    previous: Keys | None = None

    @property
    def believed(self) -> tuple[Keys, ...]:
        """Return all that are believed, the present ones first."""
        return (self.current, self.previous) if self.previous else (self.current,)


def key_ring(settings: WebSettings) -> KeyRing:
    """Return the keys of an app. The open demo makes its own secret once, so that all its workers have the same."""
    secret = settings.secret_key.get_secret_value() or _demo_secret(settings.var / DEMO_FILE)
    previous = settings.previous_secret_key.get_secret_value()
    return KeyRing(Keys.of(secret), Keys.of(previous) if previous else None)


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
