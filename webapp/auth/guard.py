"""Which role a route asks for, and the one hook that decides, before any view runs, whether it may.

A route that does not say stops the app from starting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

from flask import Flask, Request, current_app, g, redirect, request, session, url_for
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from werkzeug.wrappers import Response

from common.errors import ConfigError, VouchError
from webapp.auth import masking, tokens
from webapp.auth.cli import audit_commands, database_commands, user_commands, warn_without_users
from webapp.auth.throttle import origin_of
from webapp.auth.tokens import key_ring
from webapp.services import services
from webapp.settings import WebSettings
from webapp.types import Forbidden, Identity, NotAuthenticated, RequestInfo, Role, Source

DEMO = Identity("demo", Role.OPERATOR, is_demo=True)
NOBODY = Identity("", Role.PUBLIC)
SESSION = "sid"
API, TOKENS_ONLY, DOCS = "/api/", "/api/v1/", "/api/docs"  # the last is for people
BEARER = "bearer "
ATTRIBUTE = "required_role"
STATIC = "static"
View = TypeVar("View", bound=Callable[..., Any])


def requires(role: Role) -> Callable[[View], View]:
    """Let a view be used by those who have this role, or one above it."""

    def mark(view: View) -> View:
        setattr(view, ATTRIBUTE, role)
        return view

    return mark


def public(view: View) -> View:
    return requires(Role.PUBLIC)(view)


def required_role(app: Flask, endpoint: str) -> Role | None:
    """Return the role that an endpoint asks for, None if it does not say."""
    if endpoint.rpartition(".")[2] == STATIC:
        return Role.PUBLIC
    role: Role | None = getattr(app.view_functions[endpoint], ATTRIBUTE, None)
    return role


def check_every_route_has_a_role(app: Flask) -> None:
    """Raise ConfigError, naming them, if there are routes that do not say who may use them."""
    silent = sorted(
        {
            f"{rule.rule} ({rule.endpoint})"
            for rule in app.url_map.iter_rules()
            if required_role(app, rule.endpoint) is None
        }
    )
    if silent:
        raise ConfigError(
            "there are routes that do not say who may use them",
            got=", ".join(silent),
            fix="put @requires(Role…) or @public directly on the view function, below @blueprint.route",
        )


class SessionsOfPages(SecureCookieSessionInterface):
    """Flask's sessions, but not where tokens only are believed: nothing is read, and nothing can be kept."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        return None if request.path.startswith(TOKENS_ONLY) else super().open_session(app, request)


def init_app(app: Flask) -> None:
    """Guard every route, and give the command line its users and its audit log."""
    settings: WebSettings = app.extensions["vouch"].settings
    ring = key_ring(settings)
    masking.install(settings)
    app.extensions[tokens.EXTENSION] = ring
    app.session_interface = SessionsOfPages()
    app.secret_key = ring[0].session
    app.config["SECRET_KEY_FALLBACKS"] = [keys.session for keys in ring[1:]]
    app.config["WTF_CSRF_SECRET_KEY"] = ring[0].csrf
    app.before_request(_enforce)
    for group in (user_commands, audit_commands, database_commands):
        app.cli.add_command(group)
    if settings.auth:
        warn_without_users(app.extensions["vouch"].accounts)


def identity() -> Identity:
    """Return who is asking; somebody without a name and a role if nobody knows, as may be on public routes."""
    try:
        return _known()
    except VouchError:  # or the accounts cannot be read; an error page is made with this, too
        return NOBODY


def asked_by(source: Source, sticky: str = "", reference: str = "") -> RequestInfo:
    """Return who asks for predictions. A user who is logged in is routed alike each time if the settings say so.

    `reference`: the asker's own name for the case.
    """
    who = identity()
    if not sticky and services().settings.sticky and not who.is_demo:
        sticky = who.name
    return RequestInfo(g.request_id, who.name, source, sticky, reference)


def reauthenticated(password: str) -> bool:
    """Tell whether the password is that of the one who is asking; in the open demo it always is.

    Raises TooManyAttempts.
    """
    who = identity()
    if who.is_demo:
        return True
    try:
        services().accounts.authenticate(who.name, password, origin_of(who.name))
    except NotAuthenticated:
        return False
    return True


def bearer_token() -> str | None:
    header = request.headers.get("Authorization", "")
    return header[len(BEARER) :].strip() if header[: len(BEARER)].lower() == BEARER else None


def _enforce() -> Response | None:
    """Let the request pass if its route is for everybody, or for who is asking."""
    if request.endpoint is None:
        return None  # there is no such page, which the router says next
    role = required_role(current_app, request.endpoint)
    if role != Role.PUBLIC:
        try:
            identity = _known()
        except NotAuthenticated:
            is_program = request.path.startswith(API) and request.path != DOCS
            if is_program or "X-Requested-With" in request.headers:
                raise  # a redirect would cost a page what was entered
            return _to_login()
        if role is None or identity.role < role:
            needed = role.name.lower() if role else "nobody"
            raise Forbidden(
                "you may not do this",
                got=identity.role.name.lower(),
                wanted=needed,
                fix="ask an administrator for the role",
            )
    if not request.path.startswith(API):  # it takes no cookies, so nobody's browser can be made to use it
        current_app.extensions["csrf"].protect(apply_exemptions=True)
    return None


def _known() -> Identity:
    """Return who is asking, found out once a request. Raises NotAuthenticated."""
    if "identity" not in g:
        g.identity = _found_out()
    known: Identity = g.identity
    return known


def _found_out() -> Identity:
    if not services().settings.auth:
        return DEMO
    token = bearer_token()
    if token is not None:
        return tokens.validate(token)
    if request.path.startswith(TOKENS_ONLY):
        raise NotAuthenticated("this needs a login", wanted="Authorization: Bearer …", fix="POST /api/v1/auth/login")
    user = services().accounts.sessions.who(session[SESSION]) if SESSION in session else None
    if user is None:
        raise NotAuthenticated("this needs a login", fix="log in")
    return user


def _to_login() -> Response:
    """Send a browser to the login page, and from there back to what it asked for, if it can be asked for again."""
    methods = (request.url_rule.methods if request.url_rule else None) or ()
    here = request.script_root + (request.full_path.rstrip("?") if "GET" in methods else "/")
    return redirect(f"{url_for('auth.login')}?{urlencode({'next': here})}", 303)
