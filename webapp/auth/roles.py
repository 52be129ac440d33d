"""Which role a route asks for. A route that does not say stops the app from starting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask

from common.errors import ConfigError
from webapp.types import Role

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
    """Let a view be used by anybody."""
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
