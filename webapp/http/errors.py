"""Turn every error into an answer: problem+json (RFC 9457) for programs, a page for people, never a stack trace."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

import orjson
from flask import Flask, Response, current_app, g, make_response, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, NotFound

from common.errors import EnvironmentProblem, VouchError
from common.logs import Sparse
from webapp.types import InvalidInput, Problem

PROBLEM_JSON = "application/problem+json"
OUTAGES = "outages"
RETRY_AFTER_S = 5  # where nobody said anything better
log = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    app.extensions[OUTAGES] = Sparse()
    app.register_error_handler(VouchError, answer_vouch_error)
    app.register_error_handler(HTTPException, _answer_http_error)
    app.register_error_handler(Exception, _answer_surprise)


def answer_vouch_error(error: VouchError) -> Response:
    """Answer an error that we know, with its own status; a model server down or slow is a 503 to come back to."""
    status = error.http_status
    outages: Sparse = current_app.extensions[OUTAGES]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and (times := outages.due(type(error).__name__)):
        log.warning("answered %d requests with %d since this was said last: %s", times, status, error)
    return _answer(status, error, retry_after_s=_retry_after_s(error, status))


def page_with(page: str, error: VouchError | None, status: int = HTTPStatus.OK) -> Response:
    """Return a page that leads on, with the status and headers of the error that it tells of, if there is one."""
    if error is None:
        return make_response(page, status)
    response = answer_vouch_error(error)
    response.set_data(page)
    return response


def problem_json(status: int, detail: str, problems: tuple[Problem, ...] = (), **more: Any) -> Response:
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": _title(status),
        "status": status,
        "detail": detail,
        "instance": f"urn:vouch:request:{g.get('request_id', '')}",
        **{k: v for k, v in more.items() if v},
    }
    if problems:
        document["errors"] = [{k: v for k, v in asdict(problem).items() if v is not None} for problem in problems]
    return Response(orjson.dumps(document), status, content_type=PROBLEM_JSON)


def _answer(status: int, error: VouchError, retry_after_s: float | None = None) -> Response:
    problems = error.problems if isinstance(error, InvalidInput) else ()
    if isinstance(error, EnvironmentProblem):  # what the machine says of itself, such as paths, is for the log
        error = VouchError(error.what, wanted=error.wanted, fix=error.fix)
    if request.path.startswith("/api/") or request.accept_mimetypes.best == "application/json":
        got = None if error.got is None else str(error.got)
        response = problem_json(status, error.what, problems, got=got, wanted=error.wanted, next=error.fix)
    else:
        page = render_template("error.html", status=status, title=_title(status), error=error, problems=problems)
        response = make_response(page, status)
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="vouch"'
    return response


def _answer_http_error(error: HTTPException) -> Response:
    """Answer what Flask itself refuses, keeping its headers (Allow, Retry-After)."""
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        response: Response = error.get_response()  # type: ignore[assignment]  # a redirect
        return response
    answer = _answer(error.code, VouchError(_words(error)))
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            answer.headers[name] = value
    return answer


def _words(error: HTTPException) -> str:
    """Return what went wrong; that there is no such page, if nobody said it better."""
    if isinstance(error, CSRFError) and request.scheme == "http" and current_app.config["SESSION_COOKIE_SECURE"]:
        return "the login's cookie goes over HTTPS only; use https, or set VOUCH_SECURE_COOKIES=off for a trial"
    if error.description == NotFound.description:
        return "there is no such page"
    return error.description or _title(error.code or 0)


def _answer_surprise(error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return _answer(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        VouchError(
            "something went wrong here, not with what you sent",
            fix=f"tell the operator: request {g.get('request_id', '')}",
        ),
    )


def _retry_after_s(error: VouchError, status: int) -> float | None:
    asked_s: float | None = getattr(error, "retry_after_s", None)
    is_later = status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)
    return (asked_s or RETRY_AFTER_S) if is_later else None


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
