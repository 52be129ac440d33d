"""Log lines, for people or as JSON, each with the id of its request: alike in the web app and in our model server."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any

import orjson

HEADER = "X-Request-ID"
VALID_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
NO_REQUEST = "-"
LEVELS, FORMATS = ("DEBUG", "INFO", "WARNING", "ERROR"), ("text", "json")
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default=NO_REQUEST)  # of the request under way


class Sparse:
    """Lets something be said once in a while, with how often it would have been since."""

    def __init__(self, every_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s, self._clock, self._lock = every_s, clock, threading.Lock()
        self._counts: dict[str, int] = {}
        self._next_at: dict[str, float] = {}

    def due(self, kind: str, count: int = 1) -> int:
        """Return how many there were of a kind since it was said last; 0: do not say it now."""
        with self._lock:
            total = self._counts.get(kind, 0) + count
            is_due = self._clock() >= self._next_at.get(kind, 0.0)
            self._counts[kind] = 0 if is_due else total
            if is_due:
                self._next_at[kind] = self._clock() + self._every_s
            return total if is_due else 0


class RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = REQUEST_ID.get()
        return True


class JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "request_id": getattr(record, "request_id", NO_REQUEST),
            "message": record.getMessage(),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            entry["traceback"] = record.exc_text
        return orjson.dumps(entry, default=str).decode()


def configuration(level: str, log_format: str) -> dict[str, Any]:
    """Return what `logging.config.dictConfig` takes: lines on standard error, from one of LEVELS, in one of FORMATS."""
    line = {"format": "%(asctime)s %(levelname)s %(process)d %(name)s %(request_id)s %(message)s"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": RequestId}},
        "formatters": {"lines": {"()": JsonLine} if log_format == "json" else line},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines", "filters": ["request_id"]}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {},
    }
