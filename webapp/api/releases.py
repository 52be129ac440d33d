"""What an operator changes: which version is stable, which is tried beside it."""

from __future__ import annotations

from flask import Response, request

from serving.release.state import State
from webapp.api.body import read_as
from webapp.api.models import NAME
from webapp.api.routes import Operation, answer, route
from webapp.api.schemas import Canary, Promotion, Released, Rollback, Sent
from webapp.auth import identity, reauthenticated
from webapp.models import releases
from webapp.services import services
from webapp.types import Forbidden, Role


def _operation(summary: str, body: type[Sent]) -> Operation:
    return Operation(summary, "releases", Role.OPERATOR, Released, body, parameters=(NAME,), refusals=(403, 404, 409))


@route("POST", "/models/<name>/promote", _operation("Promote a version", Promotion))
def promote(name: str) -> Response:
    """Make a version stable, once it has loaded and answered its golden rows; a trial ends with it."""
    app_services = services()
    body = read_as(Promotion, request, app_services.settings)
    who = _operator(body.password)
    return _released(name, releases.promote(app_services, name, who, body.version))


@route("POST", "/models/<name>/rollback", _operation("Roll back", Rollback))
def rollback(name: str) -> Response:
    """End the trial if there is one, else make the previous version stable again."""
    app_services = services()
    who = _operator(read_as(Rollback, request, app_services.settings).password)
    return _released(name, releases.rollback(app_services, name, who))


@route("POST", "/models/<name>/canary", _operation("Try a version", Canary))
def canary(name: str) -> Response:
    """Give a share of the requests to a version beside the stable one, once it has answered its golden rows."""
    app_services = services()
    body = read_as(Canary, request, app_services.settings)
    who = _operator(body.password)
    return _released(name, releases.canary(app_services, name, who, body.percent, body.version))


def _operator(password: str | None) -> str:
    who = identity()
    if not who.is_demo and not (password and reauthenticated(password)):
        raise Forbidden("a release asks for your password once more", wanted="password")
    return who.name


def _released(model: str, state: State) -> Response:
    return answer(
        Released(
            model=model,
            stable=state.stable,
            candidate=state.candidate,
            candidate_percent=state.weight_percent,
            previous=state.previous,
        )
    )
