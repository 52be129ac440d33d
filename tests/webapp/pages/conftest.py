"""One app for all tests that change nothing: what takes long is to compile its templates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.web.apps import app_settings
from tests.support.web.fake_model_server import FakeModelServer
from webapp import create_app, make_services


@pytest.fixture(scope="session")
def _app(webapp_root: Path, _fake: FakeModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    var = tmp_path_factory.mktemp("pages")
    (var / "serving").symlink_to(webapp_root / "serving")
    settings = app_settings(var=var, model_server_rest=_fake.url, rate_limit="")
    services = make_services(settings)
    app = create_app(settings, services)
    app.testing = True
    yield app
    services.close()


@pytest.fixture
def visitor(_app: Flask, fake: FakeModelServer) -> FlaskClient:
    """A browser of the open demo, new to it."""
    return _app.test_client()
