"""The body of a request: its type is checked before a byte of it is understood; its size was, by webapp/http."""

from __future__ import annotations

from typing import Any, TypeVar

from flask import Request
from pydantic import BaseModel, ValidationError

from common.errors import VouchError
from webapp.api.json_text import parse_json
from webapp.predict.rules import shown
from webapp.settings import WebSettings
from webapp.types import InvalidInput, Problem

JSON, CSV, MULTIPART = "application/json", "text/csv", "multipart/form-data"
_CHARSETS = ("utf-8", "utf8")
Body = TypeVar("Body", bound=BaseModel)


class WrongMediaType(VouchError):
    """The body is of a type or a character set that is not taken here."""

    http_status = 415


def check_media_type(request: Request, taken: tuple[str, ...]) -> None:
    """Raise WrongMediaType unless the body is of one of the types, in UTF-8."""
    if request.mimetype not in taken:
        got = request.content_type or "no Content-Type"
        raise WrongMediaType("the body is of the wrong type", got=shown(got), wanted=" or ".join(taken))
    charset = request.mimetype_params.get("charset", "utf-8")
    if charset.lower() not in _CHARSETS:
        raise WrongMediaType("the body has the wrong character set", got=shown(charset), wanted="UTF-8")


def read_json(request: Request, settings: WebSettings) -> Any:
    """Return what the JSON body says.

    Raises WrongMediaType, InvalidInput; werkzeug's RequestEntityTooLarge if the client had not said how much there is.
    """
    check_media_type(request, (JSON,))
    return parse_json(request.get_data(cache=False), settings.max_depth)


def read_as(kind: type[Body], request: Request, settings: WebSettings) -> Body:
    """Return the JSON body as what it should be. Raises as `read_json`; InvalidInput names each key that is wrong."""
    return understood(kind, read_json(request, settings))


def understood(kind: type[Body], payload: Any) -> Body:
    """Return the parsed JSON as what it should be. Raises InvalidInput that names each key that is wrong."""
    try:
        return kind.model_validate(payload)
    except ValidationError as error:
        problems = [_problem(kind, problem) for problem in error.errors(include_url=False)]
        raise InvalidInput(problems) from None


def _problem(kind: type[BaseModel], problem: Any) -> Problem:
    key = ".".join(map(str, problem["loc"]))
    field = kind.model_fields.get(key)
    examples = (field.examples if field else None) or [""]
    return Problem(shown(key) if key else "", problem["msg"], _got(kind, key, problem), str(examples[0]))


def _got(kind: type[BaseModel], key: str, problem: Any) -> str:
    """Return what stands there; not where it may be a secret, be it in the wrong place."""
    if problem["type"] == "missing":
        return "nothing"  # the error's input is all of the body
    secrets = {name for name in kind.model_fields if "password" in name or "token" in name}
    is_secret = bool(secrets) and (key in secrets or key not in kind.model_fields)
    return "hidden" if is_secret else shown(problem["input"])
