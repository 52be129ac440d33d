"""Web apps in the test's own process, and the settings and forms of such."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from common.records.database import Database, database_url
from webapp import create_app, make_services
from webapp.migrations import migrate
from webapp.services import Services
from webapp.settings import WebSettings, read_settings

App = tuple[Flask, Services]


def app_settings(**given: Any) -> WebSettings:
    """Settings that no environment variable of the machine meddles with."""
    return read_settings({}, **given)


def open_database(where: Path | str) -> Database:
    """Open a file, or an address, as a process of the web app does."""
    return Database(database_url(f"sqlite:///{where}" if isinstance(where, Path) else where), migrate)


def csrf_token(client: FlaskClient, path: str) -> str:
    """Return the token that the forms of a page carry."""
    match = re.search(r'name="csrf_token" value="([^"]+)"', client.get(path).text)
    assert match, f"{path} has no form"
    return match[1]


@contextmanager
def own_app(var: Path, serving: Path, rest: str, **given: Any) -> Iterator[App]:
    """An app on `serving` that writes under `var`; one for many tests, as to compile the templates takes long.

    Nothing listens where it looks for the model server's gRPC.
    """
    var.mkdir(exist_ok=True)
    (var / "serving").symlink_to(serving)
    settings = app_settings(
        var=var, **{"model_server_rest": rest, "model_server_grpc": "127.0.0.1:9", "rate_limit": "", **given}
    )
    services = make_services(settings)
    app = create_app(settings, services)
    app.testing = True
    yield app, services
    services.close()
