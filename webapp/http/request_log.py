"""What every request gets: an id, a place in the metrics and a line in the log."""

from __future__ import annotations

import logging
import random
import re
import time

from flask import Flask, Response, g, request

from webapp.services import services

HEADER = "X-Request-ID"
GIVEN = re.compile(r"[A-Za-z0-9._-]{8,64}")
log = logging.getLogger("webapp.access")


def init_app(app: Flask) -> None:
    """Number, time and count all requests."""
    app.ensure_sync = lambda func: func  # type: ignore[method-assign]  # none is a coroutine; Flask asks of each, always
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    """Take the id a proxy gave if it looks like one: it goes into logs and headers. It is no secret."""
    proxy_id = request.headers.get(HEADER, "")
    g.request_id = proxy_id if GIVEN.fullmatch(proxy_id) else f"{random.getrandbits(128):032x}"
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
