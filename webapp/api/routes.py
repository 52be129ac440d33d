"""Where the API's routes are declared: what serves a request and what the document says of it are one thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeVar

import orjson
from flask import Blueprint, Request, Response, request
from pydantic import BaseModel

from common.errors import VouchError
from webapp.api.body import JSON
from webapp.auth import requires
from webapp.predict.validation import shown
from webapp.types import InvalidInput, Problem, Role

PREFIX = "/api"
VERSION = "/v1"
ATTRIBUTE = "api_operation"
blueprint = Blueprint("api", __name__, url_prefix=PREFIX)
View = TypeVar("View", bound=Callable[..., Any])


class NotAcceptable(VouchError):
    http_status = 406


@dataclass(frozen=True)
class Parameter:
    """A word in the path or the query. `schema` is JSON Schema."""

    name: str
    description: str
    schema: Mapping[str, Any]
    in_path: bool = False


@dataclass(frozen=True)
class Operation:
    """What one route takes and gives. `body` and `answer` are the JSON's models, or a schema's name.

    `takes` are the media types of a body that is not JSON; `gives` those of the answer, the usual one first; `refusals`
    are statuses beside those that follow from the rest; `headers` the answer's own, with what they say.
    """

    summary: str
    tag: str
    role: Role
    answer: type[BaseModel]
    body: type[BaseModel] | str | None = None
    parameters: tuple[Parameter, ...] = ()
    status: int = 200
    refusals: tuple[int, ...] = ()
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = (JSON,)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_body(self) -> bool:
        return self.body is not None or bool(self.takes)

    @property
    def query(self) -> frozenset[str]:
        return frozenset(parameter.name for parameter in self.parameters if not parameter.in_path)

    def check(self, request: Request) -> None:
        """Raise NotAcceptable, or InvalidInput for a word in the query that means nothing or is said twice."""
        accepted = request.accept_mimetypes
        if accepted and not any(accepted[kind] for kind in self.gives):
            raise NotAcceptable(
                "this is not answered in the form that you accept",
                got=shown(str(accepted)),
                wanted=f"Accept: {' or '.join(self.gives)}",
            )
        if not request.args:
            return
        wanted = (
            f"must be {' or '.join(sorted(self.query))}, once" if self.query else "must be left out: there is no query"
        )
        problems = [
            Problem(shown(name), wanted, shown(f"{name}={values[0]}"), request.path)
            for name, values in request.args.lists()
            if name not in self.query or len(values) > 1
        ]
        if problems:
            raise InvalidInput(problems)


def route(method: str, rule: str, operation: Operation) -> Callable[[View], View]:
    """Register a view under /api/v1, for the role that its operation asks for. Its docstring goes into the document."""

    def register(view: View) -> View:
        @wraps(view)
        def checked(**path: str) -> Any:
            operation.check(request)
            return view(**path)

        setattr(checked, ATTRIBUTE, operation)
        blueprint.add_url_rule(VERSION + rule, view.__name__, requires(operation.role)(checked), methods=[method])
        return view

    return register


def answer(document: Any, status: int = 200) -> Response:
    """Answer a model of `schemas`, or what orjson writes: a mapping, a dataclass."""
    plain = document.model_dump(mode="json") if isinstance(document, BaseModel) else document
    return Response(orjson.dumps(plain), status, content_type=JSON)
