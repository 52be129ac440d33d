"""Logins of programs: a short-lived access token, and a refresh token that is good once."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Response, request
from pydantic import Field

from common.errors import VouchError
from webapp.api.body import read_as
from webapp.api.routes import Operation, answer, route
from webapp.api.schemas import Done, Given, Password, Sent
from webapp.auth import identity, tokens
from webapp.services import Services, services
from webapp.types import Role

TAG = "auth"
TOKEN_LENGTH = 4096

Token = Annotated[str, Field(min_length=1, max_length=TOKEN_LENGTH, examples=["…"])]


class Login(Sent):
    """A name and a password."""

    username: str = Field(min_length=1, max_length=200, examples=["ana"])
    password: Password


class RefreshToken(Sent):
    """The refresh token of the last login or refresh. Each is good once."""

    refresh_token: Token


class Tokens(Given):
    """Send the access token as `Authorization: Bearer …`; change the refresh token for new ones before it ends."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"]
    expires_in: int = Field(description="Life of the access token in seconds.")


class WhoAmI(Given):
    """Who is asking."""

    name: str
    role: Literal["public", "viewer", "operator", "admin"]
    is_demo: bool = Field(description="Logins are off, and everybody is this one.")


class LoginsOff(VouchError):
    http_status = 409


@route("POST", "/auth/login", Operation("Log in", TAG, Role.PUBLIC, Tokens, Login, refusals=(401, 409)))
def login() -> Response:
    """Change a name and a password for tokens. Wrong ones are answered alike, whatever was wrong, and cost time."""
    app_services = _with_logins()
    body = read_as(Login, request, app_services.settings)
    return answer(tokens.login(app_services.accounts, body.username, body.password, request.remote_addr or ""))


@route("POST", "/auth/refresh", Operation("Refresh", TAG, Role.PUBLIC, Tokens, RefreshToken, refusals=(401, 409)))
def refresh() -> Response:
    """Change a refresh token for new tokens. One that is used twice ends the login: somebody else may have it."""
    return answer(tokens.refresh(read_as(RefreshToken, request, _with_logins().settings).refresh_token))


@route("POST", "/auth/logout", Operation("Log out", TAG, Role.PUBLIC, Done, RefreshToken, refusals=(401, 409)))
def logout() -> Response:
    """End the login that a refresh token belongs to, its access tokens too."""
    tokens.logout(read_as(RefreshToken, request, _with_logins().settings).refresh_token)
    return answer(Done())


@route("GET", "/auth/validate", Operation("Tell who is asking", TAG, Role.VIEWER, WhoAmI))
def validate() -> Response:
    """Tell whose the access token is, and what they may do."""
    who = identity()
    return answer({"name": who.name, "role": who.role.name.lower(), "is_demo": who.is_demo})


def _with_logins() -> Services:
    app_services = services()
    if not app_services.settings.auth:
        raise LoginsOff("logins are off: everybody may use the open demo", fix="set VOUCH_AUTH=on to have them")
    return app_services
