"""One open demo for all tests that change nothing of it: to make an app takes longer than to ask it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.web.fake_model_server import FakeModelServer
from webapp import create_app, make_services
from webapp.settings import read_settings


@pytest.fixture(scope="session")
def demo(webapp_root: Path, _fake: FakeModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """An app on the hand-made models. There is no server that could release a version."""
    var = tmp_path_factory.mktemp("api")
    (var / "serving").symlink_to(webapp_root / "serving")
    settings = read_settings(
        {},
        var=var,
        model="cells",
        model_server_rest=_fake.url,
        model_server_grpc="127.0.0.1:1",
        rate_limit="",
        login_rate_limit="",
    )
    services = make_services(settings)
    yield create_app(settings, services)
    services.close()


@pytest.fixture
def client(demo: Flask, fake: FakeModelServer) -> FlaskClient:
    """A client of the open demo, with the model server in good mood."""
    return demo.test_client()
