"""A web app that listens, on a hand-made model with numbers, texts, codes and gaps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from werkzeug.serving import make_server

from tests.support.web.apps import App, own_app
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.models import Made, make_version, patients, release


@dataclass(frozen=True)
class Listening:
    url: str
    var: Path
    made: Made
    app: App


@pytest.fixture(scope="session")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """One for all tests that look at their own rows alone."""
    with _listening(tmp_path_factory.mktemp("simulate")) as made:
        yield made


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Listening]:
    """One that nobody else sends rows to."""
    with _listening(tmp_path) as made:
        yield made


@contextmanager
def _listening(root: Path) -> Iterator[Listening]:
    made = patients()
    make_version(root / "serving", made, 1)
    release(root / "serving", made.name, 1)
    fake = FakeModelServer({(made.name, 1): made})
    fake.start()
    with own_app(root / "var", root / "serving", fake.url) as app:
        server = make_server("127.0.0.1", 0, app[0], threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Listening(f"http://127.0.0.1:{server.server_port}", root / "var", made, app)
        server.shutdown()
        thread.join()
        server.server_close()
    fake.stop()
