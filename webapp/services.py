"""What the routes work with, made once an app: by a test with its own settings, by a worker with the real ones."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask import current_app

from serving.client.connect import connect
from serving.client.retry import Policy
from serving.client.types import Addresses, ModelClient
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
    last_hour: LastHour = field(default_factory=LastHour)

    def close(self) -> None:
        """Write what the log still holds and close all connections."""
        self.log.close()
        self.accounts.close()
        self.client.close()


def make_services(settings: WebSettings) -> Services:
    """Return the services that the settings describe. Nothing is asked of the model server yet."""
    addresses = Addresses(settings.model_server_rest, settings.model_server_grpc)
    client = connect(addresses, policy=Policy(budget_s=settings.model_server_timeout_s))
    catalog = Catalog(settings.serving, settings.models)
    router = Router(settings.serving)
    metrics = Metrics()
    log = PredictionLog(settings, metrics)
    predictor = Predictor(catalog, router, client, log, metrics)
    return Services(settings, client, catalog, router, predictor, log, Accounts(settings.database), metrics)


def services() -> Services:
    """Return the services of the app that answers the present request."""
    found: Services = current_app.extensions["vouch"]
    return found
