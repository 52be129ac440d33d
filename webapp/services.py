"""What the routes work with, made once an app: by a test with its own settings, by a worker with the real ones."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from flask import current_app

if TYPE_CHECKING:  # every room may ask for the services, and they are made of things from most rooms
    from common.records.database import Database
    from serving.client.types import ModelClient
    from webapp.auth.accounts import Accounts
    from webapp.bulk.jobs import Jobs
    from webapp.http.metrics import Metrics
    from webapp.images.decoding import Decoders
    from webapp.models.catalog import Catalog
    from webapp.models.releases import Router
    from webapp.predict.log_writer import PredictionLog
    from webapp.predict.predictor import Predictor
    from webapp.settings import WebSettings

T = TypeVar("T")


class Kept:
    """What takes a while to find out, found out now and then however many ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._locks: dict[Hashable, threading.Lock] = {}
        self._known: dict[Hashable, tuple[float, Any]] = {}

    def get(self, key: Hashable, find: Callable[[T | None], T], for_s: float) -> T:
        """Return what `find` returned less than `for_s` ago, else what it returns now; it is told the former, or None.

        Who comes meanwhile waits for the same.
        """
        with self._locks.setdefault(key, threading.Lock()):
            found_at, value = self._known.get(key, (-math.inf, None))
            if self._clock() - found_at >= for_s:
                value = find(value)
                self._known[key] = (self._clock(), value)
            found: T = value
            return found


@dataclass(frozen=True)
class Services:
    """Everything that outlives a request."""

    settings: WebSettings
    client: ModelClient
    catalog: Catalog
    router: Router
    predictor: Predictor
    log: PredictionLog
    database: Database
    accounts: Accounts
    metrics: Metrics
    kept: Kept
    jobs: Jobs
    decoders: Decoders

    def close(self) -> None:
        self.decoders.close()
        self.jobs.close()
        self.log.close()
        self.database.close()
        self.client.close()


def services() -> Services:
    app_services: Services = current_app.extensions["vouch"]
    return app_services
