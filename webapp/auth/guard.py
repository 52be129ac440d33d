"""The one hook that decides, before any view runs, whether it may."""

from __future__ import annotations

from urllib.parse import urlencode

from flask import Flask, Request, current_app, g, redirect, request, session, url_for
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from werkzeug.wrappers import Response

from common.errors import VouchError
from webapp.auth import masking, roles, tokens
from webapp.auth.accounts import Accounts
from webapp.auth.cli import audit_commands, user_commands, warn_without_users
from webapp.auth.errors import Forbidden, NotAuthenticated
from webapp.auth.tokens import key_ring
from webapp.settings import WebSettings
from webapp.types import Identity, Role

DEMO = Identity("demo", Role.OPERATOR, is_demo=True)
NOBODY = Identity("", Role.PUBLIC)
SESSION = "sid"
API, TOKENS_ONLY, DOCS = "/api/", "/api/v1/", "/api/docs"  # the last is for people
BEARER = "bearer "


class SessionsOfPages(SecureCookieSessionInterface):
    """Flask's sessions, but not where tokens only are believed: nothing is read, and nothing can be kept."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Return the session that the cookie holds; None on the API."""
        return None if request.path.startswith(TOKENS_ONLY) else super().open_session(app, request)


def init_app(app: Flask) -> None:
    """Guard every route, and give the command line its users and its audit log."""
    settings: WebSettings = app.extensions["vouch"].settings
    ring = key_ring(settings)
    masking.install(settings)
    app.extensions[tokens.EXTENSION] = ring
    app.session_interface = SessionsOfPages()
    app.secret_key = ring.current.session
    app.config["SECRET_KEY_FALLBACKS"] = [keys.session for keys in ring.believed[1:]]
    app.config["WTF_CSRF_SECRET_KEY"] = ring.current.csrf
    app.before_request(_enforce)
    app.cli.add_command(user_commands)
    app.cli.add_command(audit_commands)
    if settings.auth:
        warn_without_users(app.extensions["vouch"].accounts)


def identity() -> Identity:
    """Return who is asking; somebody without a name and a role if nobody knows, as may be on public routes."""
    try:
        return _known()
    except VouchError:  # or the accounts cannot be read; an error page is made with this, too
        return NOBODY


def reauthenticated(password: str) -> bool:
    """Tell whether the password is that of the one who is asking; in the open demo it always is.

    Raises TooManyAttempts.
    """
    who = identity()
    if who.is_demo:
        return True
    try:
        _accounts().authenticate(who.name, password, request.remote_addr or "")
    except NotAuthenticated:
        return False
    return True


def bearer_token() -> str | None:
    """Return the token of the Authorization header, None without one."""
    header = request.headers.get("Authorization", "")
    return header[len(BEARER) :].strip() if header[: len(BEARER)].lower() == BEARER else None


def _enforce() -> Response | None:
    """Let the request pass if its route is for everybody, or for who is asking."""
    if request.endpoint is None:
        return None  # there is no such page, which the router says next
    role = roles.required_role(current_app, request.endpoint)
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
    if not current_app.extensions["vouch"].settings.auth:
        return DEMO
    token = bearer_token()
    if token is not None:
        return tokens.validate(token)
    if request.path.startswith(TOKENS_ONLY):
        raise NotAuthenticated("this needs a login", wanted="Authorization: Bearer …", fix="POST /api/v1/auth/login")
    user = _accounts().sessions.who(session[SESSION]) if SESSION in session else None
    if user is None:
        raise NotAuthenticated("this needs a login", fix="log in")
    return user


def _to_login() -> Response:
    """Send a browser to the login page, and from there back to what it asked for, if it can be asked for again."""
    methods = (request.url_rule.methods if request.url_rule else None) or ()
    here = request.script_root + (request.full_path.rstrip("?") if "GET" in methods else "/")
    return redirect(f"{url_for('auth.login')}?{urlencode({'next': here})}", 303)


def _accounts() -> Accounts:
    accounts: Accounts = current_app.extensions["vouch"].accounts
    return accounts
