"""Log in and out, change one's password, and, for administrators, all users."""

from __future__ import annotations

import math
from collections.abc import Mapping

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response as AnyResponse

from common.errors import DataError
from webapp.auth.accounts import LOGIN, User
from webapp.auth.guard import SESSION, identity, public, reauthenticated, requires
from webapp.auth.throttle import origin_of, remember_device
from webapp.services import services
from webapp.types import NotAuthenticated, Role, TooManyAttempts

blueprint = Blueprint("auth", __name__)
SEE_OTHER = 303


@blueprint.get("/login")
@public
def login() -> AnyResponse:
    """Show the form; whoever is logged in already goes on."""
    target = safe_target(request.args.get("next", ""), request.script_root)
    return redirect(target, SEE_OTHER) if identity().name else _login_form(target)


@blueprint.post("/login")
@public
def log_in() -> AnyResponse:
    """Begin a session with a new id, or say that the name or the password is wrong, and never which."""
    target, name = safe_target(request.form.get("next", ""), request.script_root), request.form.get("name", "")
    if identity().is_demo:
        return redirect(target, SEE_OTHER)
    origin = origin_of(name)
    try:
        user = services().accounts.authenticate(name, request.form.get("password", ""), origin)
    except (NotAuthenticated, TooManyAttempts) as error:
        return _login_form(target, name, error)
    _forget_session()
    session[SESSION] = services().accounts.sessions.begin(user.id, origin.address)
    services().accounts.audit.append(user.name, LOGIN, f"page, from {origin.address}")
    response = redirect(target, SEE_OTHER)
    remember_device(response, user.name)
    return response


@blueprint.post("/logout")
@public
def logout() -> AnyResponse:
    who = identity()
    _forget_session()
    if who.name and not who.is_demo:
        services().accounts.audit.append(who.name, "logout", "page")
    return redirect(url_for(".login"), SEE_OTHER)


@blueprint.get("/account")
@requires(Role.VIEWER)
def account() -> AnyResponse:
    return _page("account.html")


@blueprint.post("/account")
@requires(Role.VIEWER)
def change_password() -> AnyResponse:
    """Change one's own password; every other session and token ends."""
    form, who = request.form, identity()
    if who.is_demo:
        return redirect(url_for(".account"), SEE_OTHER)
    try:
        _check_password("password")
        if form.get("new", "") != form.get("again", ""):
            raise WrongField("again", "the two new passwords are not the same")
        services().accounts.set_password(
            who.name, form.get("new", ""), who=who.name, but_session=session.get(SESSION, "")
        )
    except DataError as error:
        return _page("account.html", problems=_problems(error, "new"))
    flash("Your password is changed. You are logged out everywhere else.", "pass")
    return redirect(url_for(".account"), SEE_OTHER)


@blueprint.get("/users")
@requires(Role.ADMIN)
def users() -> AnyResponse:
    return _users_page()


@blueprint.post("/users")
@requires(Role.ADMIN)
def add_user() -> AnyResponse:
    form = request.form
    try:
        _check_password("own_password")
        user = services().accounts.add(
            form.get("name", "").strip(), form.get("password", ""), _role(), who=identity().name
        )
    except DataError as error:
        return _users_page(_problems(error, "name"))
    flash(f"{user.name} is added.", "pass")
    return redirect(url_for(".users"), SEE_OTHER)


@blueprint.get("/users/<name>")
@requires(Role.ADMIN)
def user(name: str) -> AnyResponse:
    return _user_page(services().accounts.find(name))


@blueprint.post("/users/<name>")
@requires(Role.ADMIN)
def change_user(name: str) -> AnyResponse:
    """Change a user's role or password, lock them out or let them in again."""
    user, accounts, who = services().accounts.find(name), services().accounts, identity().name
    changes = {
        "role": lambda: accounts.set_role(name, _role(), who=who),
        "password": lambda: accounts.set_password(name, request.form.get("password", ""), who=who),
        "disable": lambda: accounts.set_disabled(name, True, who=who),
        "enable": lambda: accounts.set_disabled(name, False, who=who),
    }
    action = request.form.get("action", "")
    try:
        _check_password("own_password")
        if action not in changes:
            raise WrongField("role", "choose what to change")
        changes[action]()
    except DataError as error:
        return _user_page(user, _problems(error, action))
    flash(f"{name} is changed.", "pass")
    return redirect(url_for(".users"), SEE_OTHER)


class WrongField(DataError):
    """What one field of a form says will not do."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(what)
        self.field = field


def safe_target(target: str, root: str = "") -> str:
    """Return where to go after the login: a path of this app, which is under `root`, or else its first page."""
    is_path = target.startswith(f"{root}/") and not target.startswith("//")
    # Browsers take \ for /, and leave out tabs and line ends, so that "/\t/evil.example" is another site.
    is_plain = all(" " < letter < "\x7f" and letter != "\\" for letter in target)
    return target if is_path and is_plain else f"{root}/"


def _login_form(target: str, name: str = "", error: NotAuthenticated | TooManyAttempts | None = None) -> Response:
    page = render_template("login.html", target=target, name=name, error=error)
    response = make_response(page, error.http_status if error else 200)
    if isinstance(error, TooManyAttempts):
        response.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return response


def _page(template: str, *, problems: Mapping[str, str] | None = None, **values: object) -> Response:
    page = render_template(template, problems=problems or {}, roles=_role_names(), **values)
    return make_response(page, DataError.http_status if problems else 200)


def _users_page(problems: Mapping[str, str] | None = None) -> Response:
    return _page("users.html", problems=problems, users=services().accounts.users(), form=request.form)


def _user_page(user: User, problems: Mapping[str, str] | None = None) -> Response:
    return _page("users_one.html", problems=problems, user=user)


def _problems(error: DataError, field: str) -> dict[str, str]:
    message = f"{error.what}: {error.wanted}" if error.wanted else error.what
    return {error.field if isinstance(error, WrongField) else field: message}


def _check_password(field: str) -> None:
    """Raise WrongField unless the field holds the password of whoever is logged in. Raises TooManyAttempts."""
    if not reauthenticated(request.form.get(field, "")):
        raise WrongField(field, "this is not your password")


def _role() -> Role:
    named = request.form.get("role", "")
    if named not in dict(_role_names()):
        raise WrongField("role", "there is no such role")
    return Role[named.upper()]


def _role_names() -> list[tuple[str, str]]:
    return [
        ("viewer", "viewer: pages and predictions"),
        ("operator", "operator: also releases and feedback"),
        ("admin", "administrator: also users"),
    ]


def _forget_session() -> None:
    if SESSION in session:
        services().accounts.sessions.end(session[SESSION])
    session.clear()
