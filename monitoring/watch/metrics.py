"""What the watcher tells Prometheus, made anew from the newest round at each scrape: series end with their model.

Of a version the `MOST_COLUMNS` columns whose drift is largest for its limit have series of their own, the score and the
decided class always among them; of the others there is their number and the largest of them. So 20 models of 300
features make at most about 10,000 series, whatever drifts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from common.records.drift import Measurement, WindowCheck
from monitoring.drift.check import LIMITS
from monitoring.drift.measures import QUANTILES
from monitoring.drift.window import OUTPUTS
from monitoring.watch.views import LabelView, ModelView, RegistryView, Round, Served, VersionView

MOST_COLUMNS = 20  # and as many classes
ANSWERING = ("model", "version", "role")

FAMILIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "watch_round_timestamp_seconds": ("When the newest round over all models ended.", ()),
    "watch_round_duration_seconds": ("How long it took.", ()),
    "watch_interval_seconds": ("How often there should be one.", ()),
    "watch_model_failed": ("1: the model could not be examined.", ("model",)),
    "drift_alarms": ("Columns in which an answering version has drifted.", ANSWERING),
    "drift_findings": ("Findings in its newest window.", ANSWERING),
    "drift_rows": ("Rows of that window.", ANSWERING),
    "drift_window_end_timestamp_seconds": ("When that window ends.", ANSWERING),
    "drift_size": ("How far a column is from training, as `measure` says.", (*ANSWERING, "column", "kind", "measure")),
    "drift_limit": ("From which size on what is significant is a finding.", ("measure",)),
    "drift_other_columns": ("Columns without series of their own: what drifted more has them.", ANSWERING),
    "drift_other_columns_size_ratio": ("The largest size among those, by its limit.", ANSWERING),
    "feature_value": ("Percentiles of a column.", (*ANSWERING, "column", "percentile", "of")),
    "performance_error_share": ("Wrong decisions on a true class.", (*ANSWERING, "true_class", "bound")),
    "performance_labelled_rows": ("Rows of a true class whose label is known.", (*ANSWERING, "true_class")),
    "performance_broken_promises": ("True classes with surely more errors than test had.", ANSWERING),
    "label_lag_seconds": ("From a prediction to its true label.", ("model", "percentile")),
    "labelled_rows": ("Predictions of the period whose true label is known.", ("model",)),
    "label_newest_timestamp_seconds": ("When a true label was last told.", ("model",)),
    "prediction_newest_timestamp_seconds": ("When the newest logged prediction was made.", ("model",)),
    "span_newest_timestamp_seconds": ("When examples were last collected.", ("model",)),
    "model_version": ("The newest version on disk and on all servers, the stable one, the candidate.", ("model", "at")),
    "model_awaits_release": ("1: the newest version on disk was never released.", ("model",)),
    "model_releases_not_served": ("Released versions that a server does not have.", ("model",)),
    "retrain_stage": ("1 for where a retraining is.", ("model", "stage")),
    "retrain_budget_left": ("Retrainings that may still begin this week.", ("model",)),
    "retrain_cool_down_seconds": ("Until one may begin again.", ("model",)),
    "retrain_paused": ("1: somebody has paused it.", ("model",)),
    "registry_differs": ("1: an alias in MLflow is not where the release is.", ("model",)),
    "registry_waiting_entries": ("Runs and releases that MLflow was not told of yet.", ()),
    "registry_refused_entries": ("Those that it would not take.", ()),
    "registry_sync_failed": ("1: MLflow could not be told.", ()),
}


class WatchCollector(Collector):
    """The newest round as metrics; before the first there are none."""

    def __init__(self) -> None:
        self.newest: Round | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families = {
            name: GaugeMetricFamily(f"vouch_{name}", help_text, labels=labels)
            for name, (help_text, labels) in FAMILIES.items()
        }
        if self.newest:
            for name, labels, value in _samples(self.newest):
                families[name].add_metric([str(label) for label in labels], float(value))
        yield from families.values()


Sample = tuple[str, tuple[Any, ...], float]


def _samples(newest: Round) -> Iterator[Sample]:
    yield "watch_round_timestamp_seconds", (), newest.started_at.timestamp() + newest.duration_s
    yield "watch_round_duration_seconds", (), newest.duration_s
    yield "watch_interval_seconds", (), newest.interval_s
    for measure, limit in LIMITS.items():
        yield "drift_limit", (measure,), limit
    for model in newest.models:
        yield "watch_model_failed", (model.model,), bool(model.problem)
        yield from _of_model(model)
    if newest.registry:
        yield from _of_registry(newest.registry, newest.models)


def _of_model(view: ModelView) -> Iterator[Sample]:
    for version in view.versions:
        yield from _of_version((view.model, version.version, version.role), version)
    if view.served:
        yield from _of_served(view.model, view.served)
    if view.labels:
        yield from _of_labels(view.model, view.labels)
    if view.retraining:
        yield "retrain_stage", (view.model, view.retraining.stage), 1
        yield "retrain_budget_left", (view.model,), view.retraining.budget_left
        yield "retrain_cool_down_seconds", (view.model,), view.retraining.cool_down_s
        yield "retrain_paused", (view.model,), view.retraining.is_paused
    moments: dict[str, datetime | None] = {"prediction": view.newest_prediction, "span": view.newest_span}
    for what, moment in moments.items():
        if moment:
            yield f"{what}_newest_timestamp_seconds", (view.model,), moment.timestamp()


def _of_version(labels: tuple[Any, ...], view: VersionView) -> Iterator[Sample]:
    yield "drift_alarms", labels, len(view.alarms)
    yield "performance_broken_promises", labels, sum(each.is_broken for each in view.errors)
    for each in sorted(view.errors, key=lambda error: -error.rows)[:MOST_COLUMNS]:
        yield "performance_labelled_rows", (*labels, each.true_class), each.rows
        bounds = {"share": each.share, "lower": each.lower, "upper": each.upper, "promised": each.promised}
        for bound, value in bounds.items():
            yield "performance_error_share", (*labels, each.true_class, bound), value
    if view.window:
        yield from _of_window(labels, view.window)


def _of_window(labels: tuple[Any, ...], window: WindowCheck) -> Iterator[Sample]:
    yield "drift_findings", labels, len(window.findings)
    yield "drift_rows", labels, window.rows
    yield "drift_window_end_timestamp_seconds", labels, window.end.timestamp()
    shown = _most_drifted(window.measurements)
    others = [each for each in window.measurements if each.column not in shown]
    yield "drift_other_columns", labels, len({each.column for each in others})
    yield "drift_other_columns_size_ratio", labels, max((each.size / each.limit for each in others), default=0.0)
    for each in window.measurements:
        if each.column in shown:
            yield "drift_size", (*labels, each.column, each.kind, each.measure), each.size
            for quantile, key in QUANTILES.items():
                if key in each.numbers:
                    place = (*labels, each.column, f"{100 * quantile:g}")
                    yield "feature_value", (*place, "window"), each.numbers[key]
                    yield "feature_value", (*place, "training"), each.numbers[f"training_{key}"]


def _most_drifted(measurements: Iterable[Measurement]) -> frozenset[str]:
    largest: dict[str, float] = {}
    for each in measurements:
        largest[each.column] = max(largest.get(each.column, 0.0), each.size / each.limit)
    order = sorted(largest, key=lambda column: (column not in OUTPUTS, -largest[column], column))
    return frozenset(order[:MOST_COLUMNS])


def _of_served(model: str, served: Served) -> Iterator[Sample]:
    places = {
        "disk": served.on_disk,
        "servers": served.available,
        "stable": served.stable,
        "candidate": served.candidate,
    }
    for place, version in places.items():
        if version is not None:
            yield "model_version", (model, place), version
    yield "model_awaits_release", (model,), served.is_awaiting_release
    if served.missing is not None:
        yield "model_releases_not_served", (model,), len(served.missing)


def _of_labels(model: str, labels: LabelView) -> Iterator[Sample]:
    yield "labelled_rows", (model,), labels.rows
    yield "label_newest_timestamp_seconds", (model,), labels.newest.timestamp()
    yield "label_lag_seconds", (model, "50"), labels.median_lag_s
    yield "label_lag_seconds", (model, "95"), labels.late_lag_s


def _of_registry(registry: RegistryView, models: Iterable[ModelView]) -> Iterator[Sample]:
    yield "registry_waiting_entries", (), registry.waiting
    yield "registry_refused_entries", (), registry.refused
    yield "registry_sync_failed", (), bool(registry.problem)
    for model in models:
        yield "registry_differs", (model.model,), model.model in registry.differing
