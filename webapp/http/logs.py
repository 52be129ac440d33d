"""Each request's id, line in the log, and place in the metrics."""

from __future__ import annotations

import logging
import random
import time

from flask import Flask, Response, g, request

from common.logs import HEADER, NO_REQUEST, REQUEST_ID, VALID_ID
from webapp.services import services

log = logging.getLogger("webapp.access")


def init_app(app: Flask) -> None:
    """Number, time and count all requests."""
    app.ensure_sync = lambda func: func  # type: ignore[method-assign]  # none is a coroutine; Flask asks of each, always
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_leave)


def _begin() -> None:
    """Take the id a proxy gave if it looks like one: it goes into logs and headers. It is no secret."""
    proxy_id = request.headers.get(HEADER, "")
    g.request_id = proxy_id if VALID_ID.fullmatch(proxy_id) else f"{random.getrandbits(128):032x}"
    REQUEST_ID.set(g.request_id)  # the model server is asked by this name
    g.began = time.perf_counter()
    services().metrics.in_flight.inc()


def _end(response: Response) -> Response:
    metrics, route = services().metrics, request.url_rule.rule if request.url_rule else "(none)"
    seconds = time.perf_counter() - g.began
    metrics.in_flight.dec()
    metrics.requests.labels(route, request.method if request.url_rule else "-", response.status_code).inc()
    metrics.request_seconds.labels(route).observe(seconds)
    response.headers[HEADER] = g.request_id
    log.info("%s %s %d %.1f ms", request.method, request.path, response.status_code, 1000 * seconds)
    return response


def _leave(_error: BaseException | None) -> None:
    REQUEST_ID.set(NO_REQUEST)
