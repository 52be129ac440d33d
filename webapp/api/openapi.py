"""The OpenAPI document: made of what the routes declare and what the released models read, once a release."""

from __future__ import annotations

import gzip
import inspect
import io
import mimetypes
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import flask_swagger_ui
from flask import Flask, Response, abort, current_app, render_template, request, send_file
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from common.errors import VouchError
from webapp.api.body import CSV, IMAGES, JSON, MULTIPART
from webapp.api.models import default_model, request_schema, row_name, row_schema, shown_version
from webapp.api.predict import PREDICT_REQUEST
from webapp.api.routes import ATTRIBUTE, Operation, Parameter, answer, blueprint
from webapp.api.schemas import ProblemDocument
from webapp.auth import public, requires
from webapp.http.errors import PROBLEM_JSON
from webapp.models.catalog import ModelVersion
from webapp.services import Services, services
from webapp.types import Role

REFERENCE = "#/components/schemas/{model}"
IMAGE_MODELS = "x-models"  # of an operation on pictures: who answers it
DOCUMENT, TOKEN = "openapi", "token"
REFUSALS = {
    400: "Something in the request breaks a rule; `errors` names each field, the rule, what was got and an example.",
    401: "Nobody is logged in, or the token is over.",
    403: "The role does not reach so far.",
    404: "There is no such thing.",
    406: "The answer has none of the forms that `Accept` names.",
    409: "It cannot be done as things stand.",
    413: "The body is too large.",
    415: "The body is not of the right type, is compressed, or is not UTF-8.",
    429: "Too many requests; come again after `Retry-After` seconds.",
    503: "The model server, or the app, cannot answer now; come again after `Retry-After` seconds.",
}
ABOUT = (
    "Predictions with probabilities from models that passed their gates. Errors are "
    "`application/problem+json` (RFC 9457). Every answer has an `X-Request-ID`, which the prediction log knows too."
)
TAGS = {
    "predictions": "Ask the models.",
    "models": "What there is.",
    "releases": "Which version answers; for operators.",
    "jobs": "Large files, predicted when there is time.",
    "feedback": "What turned out to be true.",
    "auth": "Logins of programs.",
}
MAX_AGE_S = 3600
_OWN = Path(__file__).resolve().parent / "static"
_FILES = {
    name: folder / name
    for folder, names in {
        Path(flask_swagger_ui.__file__).parent / "dist": ("swagger-ui-bundle.js", "swagger-ui.css"),
        _OWN: ("docs.js", "docs.css"),
    }.items()
    for name in names
}


def openapi(app: Flask, app_services: Services) -> dict[str, Any]:
    """Return the document (OpenAPI 3.1) of the app as it is right now; it belongs to all who ask."""
    made_of = (default_model(app_services), [*_model_versions(app_services)])
    if app.extensions.get(DOCUMENT, (None,))[0] != made_of:
        app.extensions[DOCUMENT] = (made_of, _document(app, app_services, *made_of))
    document: dict[str, Any] = app.extensions[DOCUMENT][1]
    return document


def _document(
    app: Flask, app_services: Services, default: str | None, model_versions: list[ModelVersion]
) -> dict[str, Any]:
    operations = [*_declared(app)]
    of_rows = [version for version in model_versions if not version.reads_images]
    rows = {row_name(version.model): row_schema(version) for version in of_rows}
    body = request_schema(of_rows, default, app_services.settings.max_rows)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Vouch", "version": "1", "description": ABOUT},
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": {},
        "components": {
            "schemas": _schemas(operation for _, _, operation, _ in operations) | rows | {PREDICT_REQUEST: body},
            "responses": _refusals(),
        },
    }
    if app_services.settings.auth:
        document["components"]["securitySchemes"] = {
            TOKEN: {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "From /api/v1/auth/login.",
            }
        }
    for path, method, operation, view in operations:
        described = _operation(operation, view, is_guarded=app_services.settings.auth)
        if IMAGES[0] in operation.takes:
            described[IMAGE_MODELS] = [version.model for version in model_versions if version.reads_images]
        document["paths"].setdefault(path, {})[method] = described
    return document


def _declared(app: Flask) -> Iterator[tuple[str, str, Operation, Any]]:
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        view = app.view_functions[rule.endpoint]
        operation = getattr(view, ATTRIBUTE, None)
        if operation:
            [method] = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower(), operation, view


def _operation(operation: Operation, view: Any, is_guarded: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": view.__name__,
        "summary": operation.summary,
        "tags": [operation.tag],
        "description": inspect.getdoc(view),
        "parameters": [_parameter(each) for each in operation.parameters],
        "responses": {str(operation.status): _answer(operation)}
        | {str(status): {"$ref": f"#/components/responses/{status}"} for status in _statuses(operation, is_guarded)},
    }
    if operation.has_body:
        described["requestBody"] = {"required": True, "content": _content(operation)}
    if is_guarded:
        described["security"] = [{TOKEN: []}] if operation.role > Role.PUBLIC else []
        described["x-required-role"] = operation.role.name.lower()
    return described


def _statuses(operation: Operation, is_guarded: bool) -> list[int]:
    """Return how it can be refused: what follows from what it takes, and what it declares besides."""
    statuses = {400, 406, 429, 503, *operation.refusals}
    if operation.has_body:
        statuses |= {413, 415}
    if is_guarded and operation.role > Role.PUBLIC:
        statuses |= {401, 403}
    return sorted(statuses)


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "path" if parameter.in_path else "query",
        "required": parameter.in_path,
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _content(operation: Operation) -> dict[str, Any]:
    if not operation.takes:
        return {JSON: {"schema": _reference(operation.body)}}
    is_picture = IMAGES[0] in operation.takes
    file = {"type": "string", "format": "binary", "description": "A picture." if is_picture else "The CSV."}
    files = {"type": "array", "items": file, "minItems": 1} if is_picture else file
    form = {"type": "object", "required": ["file"], "properties": {"file": files}}
    text = {"type": "string", "description": "With a header line; columns in any order."}
    plain = file if is_picture else text
    return {kind: {"schema": form if kind == MULTIPART else plain} for kind in operation.takes}


def _answer(operation: Operation) -> dict[str, Any]:
    kinds: dict[str, Any] = {JSON: {"schema": _reference(operation.answer)}, CSV: {"schema": {"type": "string"}}}
    document = {
        "description": inspect.getdoc(operation.answer) or operation.summary,
        "content": {kind: kinds[kind] for kind in operation.gives},
    }
    headers = {name: {"description": text, "schema": {"type": "string"}} for name, text in operation.headers.items()}
    return document | ({"headers": headers} if headers else {})


def _reference(kind: type[BaseModel] | str | None) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=kind if isinstance(kind, str) else getattr(kind, "__name__", ""))}


def _schemas(operations: Iterable[Operation]) -> dict[str, Any]:
    kinds: dict[tuple[type[BaseModel], Any], None] = {(ProblemDocument, "serialization"): None}
    for operation in operations:
        kinds[operation.answer, "serialization"] = None
        if operation.body and not isinstance(operation.body, str):
            kinds[operation.body, "validation"] = None
    _, schemas = models_json_schema(list(kinds), ref_template=REFERENCE)
    return dict(schemas["$defs"])


def _model_versions(app_services: Services) -> Iterator[ModelVersion]:
    for name in app_services.catalog.models():
        with suppress(VouchError):  # a version that cannot be read is told of by /models
            yield shown_version(app_services, name)


def _refusals() -> dict[str, Any]:
    schema = {PROBLEM_JSON: {"schema": _reference(ProblemDocument)}}
    refusals: dict[str, Any] = {
        str(status): {"description": text, "content": schema} for status, text in REFUSALS.items()
    }
    for status in ("429", "503"):
        refusals[status]["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    refusals["401"]["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return refusals


@blueprint.get("/openapi.json")
@requires(Role.VIEWER)
def openapi_json() -> Response:
    servers = [{"url": request.script_root}] if request.script_root else []
    return answer(openapi(current_app, services()) | ({"servers": servers} if servers else {}))


@blueprint.get("/docs")
@requires(Role.VIEWER)
def docs() -> str:
    """Show the document; without JavaScript, a list of what there is."""
    document = openapi(current_app, services())
    return render_template("api_docs.html", document=document)


@blueprint.get("/docs/static/<name>")
@public
def docs_static(name: str) -> Response:
    if name not in _FILES:
        abort(404)
    if not request.accept_encodings["gzip"]:
        return send_file(_FILES[name], max_age=MAX_AGE_S)
    packed = _packed(name)
    kind, etag = mimetypes.guess_type(name)[0], f"{zlib.crc32(packed):08x}"
    response = send_file(io.BytesIO(packed), kind, etag=etag, max_age=MAX_AGE_S)
    response.headers.update({"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
    return response


@lru_cache(len(_FILES))
def _packed(name: str) -> bytes:
    return gzip.compress(_FILES[name].read_bytes())
