"""The real hooks around routes of the test's own: one for each role, one that takes a body, one that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, jsonify, render_template, request

from tests.support.web.apps import app_settings
from webapp import auth, make_services, wording
from webapp.auth import identity, pages, public, requires
from webapp.auth.accounts import Accounts
from webapp.auth.passwords import Passwords
from webapp.http import admission, errors, metrics, security
from webapp.types import Role

SECRET = "a secret of this test, 0123456789 abcdefghij"
PASSWORD = "seven green bicycles"
log = logging.getLogger(__name__)


def small_app(var: Path, *, now: Callable[[], float] | None = None, has_users: bool = False, **given: Any) -> Flask:
    """An app whose password hashes cost nothing. With auth there are `vera`, `otto` and `ada`, one of each role."""
    settings = app_settings(var=var, **{"secret_key": SECRET, "rate_limit": "", "login_rate_limit": "", **given})
    clock = {} if now is None else {"now": now}
    services = make_services(settings)
    accounts = Accounts(services.database, passwords=Passwords(time_cost=1, memory_kib=8), **clock)
    if settings.auth and not has_users:
        add_users(accounts)
    app = Flask("webapp")
    app.extensions["vouch"] = replace(services, accounts=accounts)
    app.context_processor(lambda: {"who": identity()})  # no navigation: it links to pages that are not here
    app.jinja_env.filters.update(wording.FILTERS)
    for room in (metrics, errors):
        room.init_app(app)
    security.init_app(app, settings)
    auth.init_app(app)
    for blueprint in (pages.blueprint, _pages(), _api()):
        app.register_blueprint(blueprint)
    admission.init_app(app, settings)
    return app


def add_users(accounts: Accounts) -> None:
    """Add a user of each role."""
    for name, role in (("vera", Role.VIEWER), ("otto", Role.OPERATOR), ("ada", Role.ADMIN)):
        accounts.add(name, PASSWORD, role, who="test")


def _pages() -> Blueprint:
    blueprint = Blueprint("predict", __name__)

    @blueprint.get("/")
    @requires(Role.VIEWER)
    def home() -> str:
        return render_template("base.html")

    @blueprint.route("/act", methods=["POST"])
    @requires(Role.OPERATOR)
    def act() -> str:
        return f"{identity().name} acted with {len(request.form)} fields"

    @blueprint.get("/admin")
    @requires(Role.ADMIN)
    def admin() -> str:
        return "admin"

    @blueprint.get("/public")
    @public
    def everybody() -> str:
        return f"hello {identity().name or 'nobody'}"

    @blueprint.post("/batch/cells")
    @requires(Role.VIEWER)
    def upload() -> str:
        return str(len(request.files["file"].read()))

    return blueprint


def _api() -> Blueprint:
    blueprint = Blueprint("api", __name__, url_prefix="/api")

    @blueprint.get("/docs")
    @requires(Role.VIEWER)
    def docs() -> str:
        return "docs"

    @blueprint.route("/v1/who", methods=["GET", "POST"])
    @requires(Role.VIEWER)
    def who() -> Response:
        return jsonify(name=identity().name, role=identity().role.name, bytes=len(request.get_data()))

    @blueprint.post("/v1/auth/login")
    @public
    def login() -> Response:
        return jsonify(name=request.get_json()["name"])

    @blueprint.post("/v1/fail")
    @requires(Role.VIEWER)
    def fail() -> Response:
        log.error("about to fail with %s", dict(request.headers))
        raise RuntimeError(f"could not handle {request.get_json()}")

    return blueprint


def csrf_token(page: str) -> str:
    """The token in a page's first form."""
    return page.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]


def log_in(client: Any, name: str, password: str = PASSWORD, target: str = "") -> Any:
    """Log in as a browser does: open the form, fill it in, send it. Who was logged in before is forgotten."""
    client.delete_cookie("vouch")
    token = csrf_token(client.get("/login").text)
    return client.post("/login", data={"csrf_token": token, "name": name, "password": password, "next": target})
