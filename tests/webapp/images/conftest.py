"""An app with two models: `garden` reads pictures, `cells` rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.web.apps import App, own_app
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.models import cells, garden, make_version, release
from webapp.images.decoding import Decoders
from webapp.services import Services


@pytest.fixture(scope="module")
def image_server() -> Iterator[FakeModelServer]:
    server = FakeModelServer({(made.name, version): made for made in (garden(), cells()) for version in (1, 2)})
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def image_serving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    serving = tmp_path_factory.mktemp("garden") / "serving"
    for made in (garden(), cells()):
        make_version(serving, made, 1)
        release(serving, made.name, 1)
    return serving


@pytest.fixture(scope="module")
def image_app(
    image_server: FakeModelServer, image_serving: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    var = tmp_path_factory.mktemp("images") / "var"
    with own_app(var, image_serving, image_server.url, max_images=4, max_image_bytes=1 << 20) as made:
        yield made


@pytest.fixture
def app(image_app: App, image_server: FakeModelServer) -> Flask:
    image_server.calm()
    return image_app[0]


@pytest.fixture
def services(image_app: App) -> Services:
    return image_app[1]


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    made = Decoders(at_once=1)
    yield made
    made.close()
