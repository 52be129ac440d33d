"""What is told of each request: its id, its line in the log, and its place among what Prometheus reads."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from flask import Flask, Response, g, request
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from common.logs import HEADER, NO_REQUEST, REQUEST_ID, VALID_ID
from webapp.services import services

log = logging.getLogger("webapp.access")
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MOST_NAMES, OTHERS = 20, "(others)"  # of a model's features, and of its labels, a process
SCORES = tuple(round(0.05 * step, 2) for step in range(1, 21))


@dataclass(frozen=True)
class Living:
    """What a registry collects, but for series of models and versions that are not `loaded`: those have ended."""

    registry: Collector
    loaded: Mapping[str, Collection[int]]  # versions by model

    def collect(self) -> Iterator[Metric]:
        for family in self.registry.collect():
            family.samples = [sample for sample in family.samples if self._is_living(sample.labels)]
            yield family

    def _is_living(self, labels: Mapping[str, str]) -> bool:
        model, version = labels.get("model"), labels.get("version")
        if model is None:
            return True
        return model in self.loaded and (version is None or int(version) in self.loaded[model])


class Metrics:
    """The app's counters. Each instance has a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, histogram = partial(Counter, registry=self.registry), partial(Histogram, registry=self.registry)
        self.requests = counter("vouch_http_requests_total", "Requests answered.", ["route", "method", "status"])
        self.request_seconds = histogram(
            "vouch_http_request_duration_seconds", "Time to answer.", ["route"], buckets=SECONDS
        )
        self.in_flight = Gauge(
            "vouch_http_requests_in_flight",
            "Requests being answered.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.shed = counter("vouch_http_requests_shed_total", "Requests refused because too many were waiting.")
        self.predictions = counter("vouch_predictions_total", "Rows predicted.", ["model", "version", "route", "label"])
        self.scores = histogram(
            "vouch_prediction_score",
            "Probability of the positive, or likeliest, class.",
            ["model", "version"],
            buckets=SCORES,
        )
        self.cautions = counter(
            "vouch_prediction_cautions_total", "Values outside what the model was trained on.", ["model", "feature"]
        )
        self.calls = counter("vouch_model_server_calls_total", "Calls to the model server.", ["outcome"])
        self.call_seconds = histogram(
            "vouch_model_server_call_duration_seconds", "Time of a call to the model server.", buckets=SECONDS
        )
        self.log_dropped = counter("vouch_prediction_log_dropped_rows_total", "Rows the prediction log lost.")
        self._named: dict[tuple[str, str], set[str]] = {}

    def cautioned(self, model: str, cautions: Mapping[str, int]) -> None:
        """Count values outside what the model was trained on, by feature."""
        for feature, count in cautions.items():
            self.cautions.labels(model, self._name("feature", model, feature)).inc(count)

    def predicted(
        self, model: str, version: int, route: str, labels: Sequence[str] | None, scores: NDArray[np.float32]
    ) -> None:
        """Count rows by label, and their scores; numbers, without labels, alone: each would be a series of its own."""
        if labels is None:
            self.predictions.labels(model, version, route, "").inc(len(scores))
            return
        for label in set(labels):
            name = self._name("label", model, label)
            self.predictions.labels(model, version, route, name).inc(labels.count(label))
        histogram = self.scores.labels(model, version)
        for score in scores.tolist():
            histogram.observe(score)

    def dropped(self, rows: int) -> None:
        self.log_dropped.inc(rows)

    def model_server_call(self, outcome: str, seconds: float) -> None:
        """Count a call to the model server: `ok`, or the name of the error."""
        self.calls.labels(outcome).inc()
        self.call_seconds.observe(seconds)

    def text(self, loaded: Mapping[str, Collection[int]] | None = None) -> bytes:
        """Return it in Prometheus' text format, summed over worker processes if there are several.

        Of models and versions what is `loaded`, or all.
        """
        together = self.registry
        if MULTIPROCESS in os.environ:
            together = CollectorRegistry()
            MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # it carries no types
        return generate_latest(together if loaded is None else Living(together, loaded))

    def _name(self, kind: str, model: str, name: str) -> str:
        """Return what a series is called: the first names that come up have their own, all others share one."""
        named = self._named.setdefault((kind, model), set())
        if len(named) < MOST_NAMES:
            named.add(name)
        return name if name in named else OTHERS


def init_app(app: Flask) -> None:
    app.ensure_sync = lambda func: func  # type: ignore[method-assign]  # none is a coroutine; Flask asks of each, always
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_leave)


def _begin() -> None:
    """Take the id a proxy gave if it looks like one: it goes into logs and headers. It is no secret."""
    proxy_id = request.headers.get(HEADER, "")
    g.request_id = proxy_id if VALID_ID.fullmatch(proxy_id) else f"{random.getrandbits(128):032x}"
    REQUEST_ID.set(g.request_id)  # the model server is asked by this name
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


def _leave(_error: BaseException | None) -> None:
    REQUEST_ID.set(NO_REQUEST)
