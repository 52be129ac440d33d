"""Look at one model: its log, its labels, its versions and what the servers have of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np

from common.errors import ConfigError, DataError, VouchError
from common.records import labels
from common.records.drift import CLASS, DriftReport, WindowCheck
from common.records.files import days, files_of_day
from common.records.spans import SUMMARY
from config.load import load_settings
from monitoring.collect.spans import Spans
from monitoring.drift.measures import share_bounds
from monitoring.drift.timeline import Places, examine, latest_report
from monitoring.drift.window import Span
from monitoring.feedback import reading
from monitoring.watch.retraining import retraining_of
from monitoring.watch.views import ErrorShare, LabelView, ModelView, Served, VersionView
from serving.client.grpc import GrpcClient
from serving.release.servers import recorded
from serving.release.state import DONE, Store
from serving.repository.drift_reference import DriftReference
from serving.repository.layout import CANDIDATE, STABLE, versions

WINDOWS = 30  # that are examined: of a day each, a month
SURELY = 0.999  # that more is wrong than was promised, before it is told: it is looked at again and again
LEAST_LABELLED = 30  # of a class


@dataclass(frozen=True)
class Site:
    """Where everything lies. `window` is how long each is."""

    var: Path
    configs: Path
    window: timedelta

    @property
    def serving(self) -> Path:
        return self.var / "serving"


def look_at(site: Site, model: str, clients: Sequence[GrpcClient]) -> ModelView:
    """Examine a model, and keep what drift was found for the web page. Raises VouchError, OSError."""
    now = datetime.now(timezone.utc)
    places = Places.under(site.var, model)
    period = Span(now - WINDOWS * site.window, now)
    with reading(site.var) as connection:
        report = examine(
            places, period, site.window, now=now, earlier=latest_report(site.var, model), connection=connection
        )
        told = labels.times(connection, model, period.start, period.end) if connection else []
    report.write(site.var)
    served = _served(places, clients)
    return ModelView(
        model,
        tuple(_version(places, report, version, role) for version, role in _roles(served)),
        served,
        _labels(told),
        newest_prediction(places.predictions),
        newest_span(site.configs / model),
        retraining_of(site.var, site.configs / model, now),
    )


def newest_prediction(log: Path) -> datetime | None:
    """Return when the newest row of a model's log was predicted, as its files are named."""
    for day, folder in days(log).items():
        if files := files_of_day(day, folder):
            return files[0].newest
    return None


def newest_span(config: Path) -> datetime | None:
    """Return when examples were last collected; None where a model's data do not come in spans."""
    if not config.is_dir():
        return None
    try:
        spans = Spans.of(load_settings(config).data.source)
        return datetime.fromtimestamp((spans.folder(spans.newest()) / SUMMARY).stat().st_mtime, timezone.utc)
    except (ConfigError, DataError, FileNotFoundError):  # no spans, none yet, or the one that somebody put there
        return None


def _served(places: Places, clients: Sequence[GrpcClient]) -> Served:
    on_disk, root = versions(places.serving)[-1], places.serving.parent
    record = recorded(root, places.model)
    if record is None:
        return Served(on_disk, None, None, is_awaiting_release=True)
    state = record.state
    released = {
        version
        for entry in Store(root, places.model).history()
        if entry.outcome == DONE
        for version in entry.after.loaded
    }
    newest_released = max(released | set(state.loaded))
    served = Served(on_disk, state.stable, state.candidate, is_awaiting_release=on_disk > newest_released)
    try:
        available = [_available(client, places.model) for client in clients]
    except VouchError:  # a server that does not answer is told by Prometheus itself
        return served
    if not available:
        return served
    everywhere = set.intersection(*available)
    missing = tuple(sorted(set(state.labels.values()) - everywhere))
    return replace(served, available=max(everywhere, default=0), missing=missing)


def _available(client: GrpcClient, model: str) -> set[int]:
    return {status.version for status in client.status(model) if status.state == "AVAILABLE"}


def _roles(served: Served) -> list[tuple[int, str]]:
    """Return the versions that answer; without a release that is the newest."""
    roles = [(served.stable or served.on_disk, STABLE)]
    return [*roles, (served.candidate, CANDIDATE)] if served.candidate else roles


def _version(places: Places, report: DriftReport, version: int, role: str) -> VersionView:
    checked = [each for each in report.windows if each.version == version and each.state == "checked"]
    alarms = tuple(alarm for alarm in report.alarms if alarm.version == version)
    errors = _errors(places.serving / str(version), checked)
    return VersionView(version, role, checked[-1] if checked else None, alarms, errors)


def _errors(folder: Path, windows: Iterable[WindowCheck]) -> tuple[ErrorShare, ...]:
    """Return the errors on each true class in all windows together, against those on test."""
    rows, wrong = Counter[str](), Counter[str]()
    for window in windows:
        for each in window.measurements:
            if each.kind == "errors" and each.column.startswith(CLASS):
                name = each.column.removeprefix(CLASS)
                rows[name] += round(each.numbers["rows"])
                wrong[name] += round(each.numbers["rows"] * each.numbers["share"])
    if not rows:
        return ()
    scores = DriftReference.read(folder).scores
    confusion: Mapping[str, Mapping[str, int]] = scores.confusion if scores else {}
    return tuple(
        _error_share(name, wrong[name], rows[name], confusion[name]) for name in sorted(rows) if name in confusion
    )


def _error_share(name: str, wrong: int, rows: int, tested: Mapping[str, int]) -> ErrorShare:
    test_rows = sum(tested.values())
    promised = share_bounds(test_rows - tested.get(name, 0), test_rows)[1]
    is_broken = rows >= LEAST_LABELLED and share_bounds(wrong, rows, SURELY)[0] > promised
    return ErrorShare(name, rows, wrong / rows, *share_bounds(wrong, rows), promised, is_broken)


def _labels(told: Sequence[tuple[float, float]]) -> LabelView | None:
    if not told:
        return None
    median, late = np.quantile([max(0.0, at - predicted) for at, predicted in told], [0.5, 0.95]).tolist()
    return LabelView(len(told), datetime.fromtimestamp(max(at for at, _ in told), timezone.utc), median, late)
