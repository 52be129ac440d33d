"""The app's log: a line a record, for people or as JSON; and each request's id, line and place in the metrics."""

from __future__ import annotations

import logging
import random
import re
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import orjson
from flask import Flask, Response, g, has_app_context, request

from webapp.services import services

if TYPE_CHECKING:
    from webapp.settings import WebSettings

HEADER = "X-Request-ID"
GIVEN = re.compile(r"[A-Za-z0-9._-]{8,64}")
log = logging.getLogger("webapp.access")


class RequestId(logging.Filter):
    """Give each record the id of the request under way, `-` outside of any."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = g.get("request_id", "-") if has_app_context() else "-"
        return True


class JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "request_id": getattr(record, "request_id", "-"),
            "message": record.getMessage(),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            entry["traceback"] = record.exc_text
        return orjson.dumps(entry, default=str).decode()


def configuration(settings: WebSettings) -> dict[str, Any]:
    """Return what `logging.config.dictConfig` takes."""
    line = {"format": "%(asctime)s %(levelname)s %(process)d %(name)s %(request_id)s %(message)s"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": RequestId}},
        "formatters": {"lines": {"()": JsonLine} if settings.log_format == "json" else line},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines", "filters": ["request_id"]}},
        "root": {"level": settings.log_level, "handlers": ["stderr"]},
        "loggers": {},
    }


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
