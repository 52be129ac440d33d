"""The web app: a page people trust and an API programs trust, in front of a model server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Blueprint, Flask

    from webapp.services import Services
    from webapp.settings import WebSettings


def create_app(settings: WebSettings | None = None, services: Services | None = None) -> Flask:
    """Return the app. Without arguments, as `flask --app webapp` calls it, the environment says what it needs.

    Raises ConfigError if a route does not say who may use it.
    """
    from flask import Flask

    from webapp import auth
    from webapp.http import admission, errors, metrics, security

    settings = settings or _from_environment()
    app = Flask(__name__)
    app.extensions["vouch"] = services or make_services(settings)

    metrics.init_app(app)  # an id, a place in the metrics, a line in the log
    security.init_app(app, settings)  # hosts, bounds, headers, CSRF, how often one may ask
    auth.init_app(app)  # who is asking, and may they
    errors.init_app(app)  # every error has an answer

    for blueprint in _blueprints():
        app.register_blueprint(blueprint)
    admission.init_app(app, settings)  # outermost: so many requests at a time, bodies as they may be
    auth.check_every_route_has_a_role(app)
    return app


def make_services(settings: WebSettings) -> Services:
    """Return the services that the settings describe. Nothing is asked of the model server yet."""
    from common.records.database import Database
    from serving.client import connect
    from serving.client.retry import Policy
    from serving.client.types import Addresses
    from webapp.auth.accounts import Accounts
    from webapp.bulk.jobs import Jobs
    from webapp.http.metrics import Metrics
    from webapp.images.decoding import Decoders
    from webapp.migrations import migrate, take_over
    from webapp.models.catalog import Catalog
    from webapp.models.releases import Router
    from webapp.predict.log_writer import PredictionLog
    from webapp.predict.predictor import Predictor
    from webapp.services import Kept, Services

    addresses = Addresses(settings.model_server_rest, settings.model_server_grpc)
    client = connect(addresses, policy=Policy(budget_s=settings.model_server_timeout_s))
    catalog, router = Catalog(settings.serving, settings.models), Router(settings.serving)
    metrics = Metrics()
    log = PredictionLog(settings, metrics)
    predictor = Predictor(catalog, router, client, log, metrics)
    database = Database(settings.database, migrate)
    take_over(database, settings.predictions)
    accounts = Accounts(database)
    jobs = Jobs(settings, database, predictor)
    return Services(
        settings, client, catalog, router, predictor, log, database, accounts, metrics, Kept(), jobs, Decoders()
    )


def _from_environment() -> WebSettings:
    """Return the settings. Raises what `flask` tells without a traceback."""
    from flask.cli import NoAppException

    from common.errors import ConfigError
    from webapp.settings import read_settings

    try:
        return read_settings()
    except ConfigError as error:
        raise NoAppException(str(error)) from error


def _blueprints() -> list[Blueprint]:
    from webapp.api import blueprints as api
    from webapp.auth.pages import blueprint as account
    from webapp.http.health import blueprint as health
    from webapp.pages.batch import blueprint as batch
    from webapp.pages.history import blueprint as history
    from webapp.pages.labelling import blueprint as labelling
    from webapp.pages.models import blueprint as models
    from webapp.pages.monitoring import blueprint as monitoring
    from webapp.pages.predict import blueprint as predict
    from webapp.pages.result import blueprint as by_index

    return [predict, by_index, batch, models, history, labelling, monitoring, account, *api, health]
