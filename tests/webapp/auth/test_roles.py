from __future__ import annotations

import pytest
from flask import Blueprint, Flask

from common.errors import ConfigError
from webapp.auth import check_every_route_has_a_role, public, requires
from webapp.auth.guard import required_role
from webapp.types import Role


@pytest.fixture
def app() -> Flask:
    app = Flask("webapp")
    app.add_url_rule("/open", "open", public(lambda: ""))
    app.add_url_rule("/closed", "closed", requires(Role.ADMIN)(lambda: ""))
    app.register_blueprint(Blueprint("more", "webapp", static_folder=".", url_prefix="/more"))
    return app


def test_a_route_asks_for_what_its_view_says_and_files_for_nothing(app: Flask) -> None:
    roles = {endpoint: required_role(app, endpoint) for endpoint in ("open", "closed", "static", "more.static")}
    assert roles == {"open": Role.PUBLIC, "closed": Role.ADMIN, "static": Role.PUBLIC, "more.static": Role.PUBLIC}
    check_every_route_has_a_role(app)


def test_an_app_with_a_route_that_says_nothing_does_not_start(app: Flask) -> None:
    app.add_url_rule("/forgotten/<name>", "forgotten", lambda name: "")
    with pytest.raises(ConfigError, match=r"/forgotten/<name> \(forgotten\)"):
        check_every_route_has_a_role(app)
