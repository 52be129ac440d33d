"""What the routes work with, made once an app: by a test with its own settings, by a worker with the real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import current_app

if TYPE_CHECKING:  # every room may ask for the services, and they are made of things from most rooms
    from serving.client.types import ModelClient
    from webapp.auth.accounts import Accounts
    from webapp.history.last_hour import LastHour
    from webapp.http.metrics import Metrics
    from webapp.models.catalog import Catalog
    from webapp.models.router import Router
    from webapp.predict.log_writer import PredictionLog
    from webapp.predict.predictor import Predictor
    from webapp.settings import WebSettings


@dataclass(frozen=True)
class Services:
    """Everything that outlives a request."""

    settings: WebSettings
    client: ModelClient
    catalog: Catalog
    router: Router
    predictor: Predictor
    log: PredictionLog
    accounts: Accounts
    metrics: Metrics
    last_hour: LastHour

    def close(self) -> None:
        """Write what the log still holds and close all connections."""
        self.log.close()
        self.accounts.close()
        self.client.close()


def services() -> Services:
    """Return the services of the app that answers the present request."""
    app_services: Services = current_app.extensions["vouch"]
    return app_services
