"""A table at an address: fetched once, kept under the SHA-256 of its content, and never taken for another one."""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import os
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from common.errors import ConfigError, DataError
from common.files import disk_problems

URL = r"^https?://[^/\s]+"
TIMEOUT_S = 60.0  # without a byte
PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Fetched:
    path: Path
    sha256: str


def name_of(url: str) -> str:
    """Return the last part of an address's path, as the name of a file."""
    name = Path(unquote(urlsplit(url).path)).name
    return name if name.strip(".") else "table"


def fetch(url: str, cache: Path, sha256: str | None = None) -> Fetched:
    """Return the table at an address, from the cache if its SHA-256 is known and there.

    Raises DataError if it cannot be fetched or is another one than was meant, ConfigError for an address that anybody
    on the way could answer for while no SHA-256 is known.
    """
    if sha256:
        kept = cache / sha256 / name_of(url)
        if kept.is_file() and _digest(kept) == sha256:
            return Fetched(kept, sha256)
    elif not _is_trusted(url):
        raise ConfigError(
            "an unencrypted address may be answered by anybody",
            got=url,
            wanted="https://…, or a file",
            fix="fetch it by hand and look at it",
        )
    with disk_problems(f"cannot write {cache}", "make room, or set VOUCH_VAR"):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".part-") as folder:
            part = Path(folder) / name_of(url)
            _download(url, part, cache / (sha256 or "SHA-256") / name_of(url))
            got = _digest(part)
            if sha256 and got != sha256:
                raise DataError(
                    f"{url} holds another table than the one that was described",
                    got=f"SHA-256 {got}",
                    wanted=sha256,
                    fix=f"if the new one is meant, look at it and set data.sha256: {got}",
                )
            kept = cache / got / name_of(url)
            kept.parent.mkdir(exist_ok=True)
            os.replace(part, kept)
    return Fetched(kept, got)


def _download(url: str, target: Path, place: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, target.open("wb") as file:
            wanted = answer.headers.get("Content-Length")
            while piece := answer.read(PIECE_BYTES):
                file.write(piece)
            if wanted is not None and file.tell() != int(wanted):
                raise http.client.IncompleteRead(b"", int(wanted) - file.tell())
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        raise DataError(
            f"cannot fetch {url}",
            got=getattr(error, "reason", None) or error,
            wanted="the table",
            fix=f"see that this machine reaches the address, or put the file at {place}",
        ) from None


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _is_trusted(url: str) -> bool:
    """Return whether what comes from an address is surely from there."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
