"""How often one may ask. Each worker counts what comes to it, and grants its share of the whole."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, request
from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from webapp.auth import identity
from webapp.auth.throttle import network_of
from webapp.http.admission import WATCHERS
from webapp.settings import WebSettings
from webapp.types import TooManyAttempts

LOGINS = ("/login", "/api/v1/auth/login")
SEARCHES, SEARCH_RATE = "/history/", "60 per minute"  # each may read files for seconds


@dataclass(frozen=True)
class Limit:
    """So many requests in so much time, each of those whom `key` tells apart."""

    item: RateLimitItem
    scope: str
    key: Callable[[], str]
    holds: Callable[[], bool]


def init_app(app: Flask, settings: WebSettings) -> None:
    """Limit all requests but those of watchers, and logins besides. An empty limit is none."""
    limits = [Limit(item, "all", _who, _is_counted) for item in _shares(settings.rate_limit, settings.workers)]
    limits += [Limit(i, "login", _address, _is_login) for i in _shares(settings.login_rate_limit, settings.workers)]
    if settings.rate_limit:
        limits += [Limit(item, "search", _who, _is_search) for item in _shares(SEARCH_RATE, settings.workers)]
    counter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def check() -> None:
        for limit in limits:
            if limit.holds() and not counter.hit(limit.item, limit.scope, limit.key()):
                again = counter.get_window_stats(limit.item, limit.scope, limit.key()).reset_time
                raise TooManyAttempts("too many requests", retry_after_s=max(1.0, again - time.time()))

    if limits:
        app.before_request(check)


def _shares(text: str, workers: int) -> list[RateLimitItem]:
    """Return a worker's share of the limits: connections spread evenly over the workers, or nearly so."""
    items = parse_many(text) if text else []
    return [type(item)(math.ceil(item.amount / workers), item.multiples) for item in items]


def _who() -> str:
    """Return the user, or the address of one without a name; in the open demo all have the same name."""
    who = identity()
    return f"user {who.name}" if who.name and not who.is_demo else _address()


def _address() -> str:
    return network_of(request.remote_addr or "nobody")


def _is_counted() -> bool:
    return request.path not in WATCHERS


def _is_search() -> bool:
    return request.path.startswith(SEARCHES)


def _is_login() -> bool:
    return request.method == "POST" and request.path in LOGINS
