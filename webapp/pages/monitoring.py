"""How the app, the models and the model server are doing right now, and did in the last hour."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from pathlib import Path
from time import monotonic
from typing import Any

from flask import Blueprint, render_template, request, url_for
from markupsafe import Markup
from prometheus_client.parser import text_string_to_metric_families

from common.errors import VouchError
from common.records.reader import Filters, Reader
from webapp.auth import requires
from webapp.history.search import History
from webapp.insight import charts
from webapp.insight.drift import PERIODS, DriftView, drift_of
from webapp.models.catalog import ModelVersion
from webapp.pages import frame
from webapp.services import Services, services
from webapp.types import Role

blueprint = Blueprint("monitoring", __name__)
REFRESH_S = 5
DRIFT_REFRESH_S = 60
MINUTES = 60
SCORE_BINS = 20
_LATENCIES = "SELECT quantile_cont(latency_ms, [0.5, 0.95, 0.99]) FROM passing WHERE row = 0"  # of requests, not rows
_RANGE = "SELECT min(probability), max(probability) FROM passing"
_COUNTS = """
    SELECT version, CASE WHEN $is_number THEN '' ELSE label END AS label, ($now_us - epoch_us(time)) // 60000000 AS age,
        least(floor((probability - $low) / $width * $bins), $bins - 1)::INTEGER AS bin, count(*) AS rows
    FROM passing GROUP BY ALL
"""


@dataclass
class Route:
    requests: float = 0
    failed: float = 0


@dataclass(frozen=True)
class Traffic:
    """The app's requests since it started, by route, and the rows that the prediction log lost."""

    routes: dict[str, Route]
    dropped_rows: float

    @property
    def requests(self) -> float:
        return sum(route.requests for route in self.routes.values())

    @property
    def failed(self) -> float:
        """Those that were answered with a 5xx."""
        return sum(route.failed for route in self.routes.values())


@blueprint.get("/monitoring")
@requires(Role.VIEWER)
def page() -> str:
    app_services = services()
    names = app_services.catalog.models()
    model = request.args["model"] if request.args.get("model") in names else frame.opening_model(names)
    numbers = app_services.kept.get(
        ("monitoring", model), lambda before: _numbers(app_services, model, before or {}), REFRESH_S
    )
    shown = {
        "model": model,
        "models": names,
        "refresh_s": REFRESH_S,
        "next_url": url_for(".page", model=model),
        "settings": app_services.settings,
        **numbers,
    }
    if frame.is_partial():
        return render_template("_monitoring_live.html", **shown)
    return render_template("monitoring.html", drift=_drift(app_services, model), periods=PERIODS, **shown)


def _drift(app_services: Services, model: str | None) -> DriftView:
    days = next((days for days in PERIODS if request.args.get("days") == str(days)), PERIODS[0])
    if model is None:
        return DriftView(days)
    now = datetime.now(timezone.utc)
    return app_services.kept.get(
        ("drift", model, days), lambda _: drift_of(app_services.settings.var, model, days, now), DRIFT_REFRESH_S
    )


def _numbers(app_services: Services, model: str | None, before: dict[str, Any]) -> dict[str, Any]:
    now, counted, at_s = datetime.now(timezone.utc), traffic(app_services.metrics.text().decode()), monotonic()
    return {
        "now": now,
        "at_s": at_s,
        "traffic": counted,
        "rate_s": at_s - before["at_s"] if before else 0.0,
        "requests": counted.requests - before["traffic"].requests if before else 0.0,
        **_server(app_services, model),
        **_shown(app_services, model, now),
    }


def traffic(text: str) -> Traffic:
    routes: dict[str, Route] = defaultdict(Route)
    dropped = 0.0
    for sample in (sample for family in text_string_to_metric_families(text) for sample in family.samples):
        if sample.name == "vouch_http_requests_total":
            route = routes[sample.labels["route"]]
            route.requests += sample.value
            route.failed += sample.value if int(sample.labels["status"]) >= HTTPStatus.INTERNAL_SERVER_ERROR else 0
        elif sample.name == "vouch_prediction_log_dropped_rows_total":
            dropped += sample.value
    return Traffic(dict(routes), dropped)


def _shown(app_services: Services, model: str | None, now: datetime) -> dict[str, Any]:
    if model is None:
        return {"recent": None}
    hour = recent(History(app_services).base(model), now)
    try:
        model_version = frame.form_version(model)
    except VouchError:
        model_version = None  # nothing is released: the numbers stand without names
    return {
        "recent": hour,
        "about": model_version,
        "rows_chart": _rows_chart(hour, now),
        "scores_chart": _scores_chart(model_version, hour),
    }


def _rows_chart(hour: Recent, now: datetime) -> Markup:
    minutes = [now - timedelta(minutes=age) for age in range(len(hour.per_minute) - 1, -1, -1)]
    times = [minute.strftime("%H:%M") for minute in minutes]
    return charts.line("Rows predicted a minute (UTC)", "Rows a minute", times, hour.per_minute)


def _scores_chart(model_version: ModelVersion | None, hour: Recent) -> Markup | None:
    """Return how the probabilities spread, with the threshold if the model's is known; None without any."""
    if not hour.rows:
        return None
    threshold = model_version.threshold if model_version else None
    return charts.scores("Spread of what was predicted", model_version, threshold, hour.scores)


def _server(app_services: Services, model: str | None) -> dict[str, Any]:
    """Return which versions the model server has loaded, or what is wrong with it."""
    try:
        statuses = app_services.client.status(model) if model else ()
    except VouchError as error:
        return {"server_trouble": error.what}
    return {"loaded": [status.version for status in statuses if status.state == "AVAILABLE"]}


@dataclass(frozen=True)
class Recent:
    """What is known of the last hour."""

    rows: int
    per_minute: tuple[int, ...]  # rows predicted, the last minute last
    latency_ms: tuple[float, ...]  # median, 95 % and 99 % of requests; empty without any
    answers: tuple[tuple[int, str, int], ...]  # version, label, rows; the newest version first
    scores: tuple[tuple[float, float, float], ...]  # low, high, rows


def recent(base: Path, now: datetime) -> Recent:
    reader = Reader(base, Filters(start=now - timedelta(minutes=MINUTES), end=now))
    ages, answers, bins = Counter[int](), Counter[tuple[int, str]](), Counter[int]()
    low, width = _score_range(reader)
    asked = {"now_us": round(now.timestamp() * 1e6), "bins": SCORE_BINS, "low": low, "width": width}
    for version, label, age, score_bin, rows in reader.query(_COUNTS, asked | {"is_number": bool(reader.of_numbers)}):
        ages[min(age, MINUTES - 1)] += rows
        answers[version, label] += rows
        bins[score_bin] += rows
    [[latency_ms]] = reader.query(_LATENCIES)
    return Recent(
        rows=ages.total(),
        per_minute=tuple(ages[age] for age in reversed(range(MINUTES))),
        latency_ms=tuple(latency_ms or ()),
        answers=tuple((*key, answers[key]) for key in sorted(answers, key=lambda key: (-key[0], key[1]))),
        scores=tuple(
            (low + width * at / SCORE_BINS, low + width * (at + 1) / SCORE_BINS, bins[at]) for at in range(SCORE_BINS)
        ),
    )


def _score_range(reader: Reader) -> tuple[float, float]:
    """Return where what was predicted begins and how far it reaches: 0 and 1 of probabilities."""
    [[low, high]] = reader.query(_RANGE) if reader.of_numbers else [[0.0, 1.0]]
    return (0.0, 1.0) if low is None else (low, (high - low) or 1.0)
