"""A web app on hand-made models and a model server that can be told to misbehave; and on real ones (slow)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask.testing import FlaskClient

from common.records.database import Database
from tests.support.postgresql import PostgreSQL, postgresql
from tests.support.programs import skip_without
from tests.support.web.apps import App, app_settings, open_database
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.models import Made, cells, flowers, make_version, patients, release
from webapp import create_app, make_services
from webapp.services import Services

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def made() -> dict[str, Made]:
    """The three hand-made models by name."""
    return {model.name: model for model in (cells(), patients(), flowers())}


@pytest.fixture(scope="session")
def webapp_root(made: dict[str, Made], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `var` with version 1 of each model, stable. For reading only: copy it to change it."""
    var = tmp_path_factory.mktemp("webapp") / "var"
    for model in made.values():
        make_version(var / "serving", model, 1)
        release(var / "serving", model.name, 1)
    return var


@pytest.fixture(scope="session")
def _fake(made: dict[str, Made]) -> Iterator[FakeModelServer]:
    fake = FakeModelServer({(model.name, version): model for model in made.values() for version in (1, 2)})
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def fake(_fake: FakeModelServer) -> Iterator[FakeModelServer]:
    """The fake model server in good mood; whatever a test does to it is undone."""
    _fake.calm()
    yield _fake
    _fake.calm()


@pytest.fixture
def make_app(webapp_root: Path, fake: FakeModelServer, tmp_path: Path) -> Iterator[Callable[..., App]]:
    """Make apps on the hand-made models; what they write goes under tmp_path. `serving`: another root of versions."""
    made: list[Services] = []

    def make(serving: Path | None = None, **given: Any) -> App:
        var = tmp_path / "var"
        var.mkdir(exist_ok=True)
        if not (var / "serving").exists():
            (var / "serving").symlink_to(serving or webapp_root / "serving")
        model = "" if serving else "cells"
        settings = app_settings(
            **{"var": var, "model": model, "model_server_rest": fake.url, "rate_limit": "", **given}
        )
        services = make_services(settings)
        made.append(services)
        app = create_app(settings, services)
        app.testing = True
        return app, services

    yield make
    for services in made:
        services.close()


@pytest.fixture
def client(make_app: Callable[..., App]) -> FlaskClient:
    """A browser of the open demo."""
    app, _ = make_app()
    return app.test_client()


@pytest.fixture(scope="session")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        migrated = open_database(running.new_database())
        with migrated.reading():
            pass
        migrated.close()
        running.run("psql", "-q", "-d", "postgres", "-c", f"ALTER DATABASE {migrated.url.database} RENAME TO migrated")
        yield running


@pytest.fixture
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A database that nobody has written to: a file, or with the parameter `postgresql` one on a server."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return tmp_path / "webapp.sqlite"
    return request.getfixturevalue("server").new_database("migrated")


@pytest.fixture
def open_own(where: Path | str) -> Iterator[Callable[[], Database]]:
    """Open the same database once more, as another replica does."""
    opened: list[Database] = []

    def opening() -> Database:
        opened.append(open_database(where))
        return opened[-1]

    yield opening
    for each in opened:
        each.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser, for one file of tests: those after it may want a thread that can run asyncio."""
    from tests.support.web.chromium import chromium, installed

    if installed() is None:
        skip_without("chromium")
    with chromium() as found:
        yield found
