"""The web app in processes of its own, as people meet it in a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from common.records.database import Database
from serving.client.types import Addresses
from tests.support.paths import ROOT
from webapp.auth.accounts import Accounts
from webapp.migrations import migrate
from webapp.settings import read_settings
from webapp.types import Role

START_S = 60.0
SECRET = "tO7k-9f2mZq8Xw1vRb5nJc3hLd6sYp0aGe4uKi"
PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Site:
    """A running web app."""

    url: str
    var: Path


@contextmanager
def site(var: Path, addresses: Addresses, extra: Mapping[str, str] | None = None) -> Iterator[Site]:
    """Run the web app on a model server; `extra` are further variables."""
    environment = _environment(var, addresses) | dict(extra or {})
    with (var / "webapp.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "webapp", "--port", "0"],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdout
    try:
        found = re.search(r"http://[\d.:]+", process.stdout.readline())
        assert found, (var / "webapp.log").read_text()
        _wait_until_ready(found[0], process, var)
        yield Site(found[0], var)
    finally:
        process.terminate()
        process.wait(30)


def add_user(var: Path, name: str, role: Role) -> None:
    """Add a user with PASSWORD."""
    with closing(Database(read_settings({}, var=var).database, migrate)) as database:
        Accounts(database).add(name, PASSWORD, role, who="test")


def guarded() -> dict[str, str]:
    """The variables of an app with a login; cookies without TLS, as there is none here."""
    return {"VOUCH_AUTH": "on", "VOUCH_SECRET_KEY": SECRET, "VOUCH_SECURE_COOKIES": "off"}


def _environment(var: Path, addresses: Addresses) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VOUCH_", "PORT", "PYTHONDONT"))}
    return {
        **clean,
        "VOUCH_VAR": str(var),
        "VOUCH_RATE_LIMIT": "",
        "VOUCH_LOGIN_RATE_LIMIT": "100 per minute",
        "VOUCH_MODEL_SERVER_REST": addresses.rest,
        "VOUCH_MODEL_SERVER_GRPC": addresses.grpc,
    }


def _wait_until_ready(url: str, process: subprocess.Popen[str], var: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        is_waiting = process.poll() is None and time.monotonic() < deadline
        assert is_waiting, (var / "webapp.log").read_text()
        try:
            if requests.get(f"{url}/readyz", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.05)
