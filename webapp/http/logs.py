"""The app's log: a line a record, for people or as JSON, each with the id of the request that it is about."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import orjson
from flask import g, has_app_context

if TYPE_CHECKING:
    from webapp.settings import WebSettings


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
