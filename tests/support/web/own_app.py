"""One app for a module of tests: to compile the templates takes longer than most of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.webapp.conftest import App, app_settings
from webapp import create_app
from webapp.services import make_services


@contextmanager
def own_app(var: Path, serving: Path, rest: str, **given: Any) -> Iterator[App]:
    """An app on `serving` that writes under `var`. Nothing listens where it looks for the model server's gRPC."""
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
