"""Windows one after the other, and the alarms that they come to.

A window has findings; an alarm needs findings in one column in `ALARM_WINDOWS` of a version's last `OF_WINDOWS`
checked windows. So
whoever watches for months is not woken by the one clean window in some hundred that looks odd by chance.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from sqlalchemy import Connection

from common.errors import DataError
from common.records import labels
from common.records.drift import Alarm, DriftReport, Measurement, WindowCheck
from common.records.labels import Key
from common.text import counted
from monitoring.drift.check import LEAST_ROWS, check
from monitoring.drift.window import ALL_ROWS, Only, Span, Window, read_window, rows_by_version
from serving.repository.drift_reference import DriftReference

ALARM_WINDOWS, OF_WINDOWS = 2, 3
MOST_KEPT = 500  # measurements of a window, so that a month of a wide table is a file that a page can read
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
SETTLED = timedelta(minutes=1)  # by then the log holds what was predicted
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Places:
    """Where a model's versions and its predictions are."""

    model: str
    serving: Path
    predictions: Path

    @staticmethod
    def under(var: Path, model: str) -> Places:
        return Places(model, var / "serving" / model, var / "predictions" / model)


def spans(start: datetime, end: datetime, length: timedelta) -> Iterator[Span]:
    """Yield the windows of a length that begin on its multiples, such as midnight; the first and the last are cut."""
    moment = EPOCH + (start - EPOCH) // length * length
    while moment < end:
        yield Span(max(moment, start), min(moment + length, end))
        moment += length


def latest_report(var: Path, model: str) -> DriftReport | None:
    """Return what was kept of a model, for `examine` to go on from; None if it cannot be read: it is made anew then."""
    try:
        return DriftReport.latest(var, model)
    except DataError as error:
        log.warning("%s", error)
        return None


def examine(
    places: Places,
    period: Span,
    length: timedelta,
    *,
    now: datetime,
    only: Only = ALL_ROWS,
    earlier: DriftReport | None = None,
    connection: Connection | None = None,
) -> DriftReport:
    """Check all windows of a period, with the true labels that a database has, if there is one.

    What `earlier` says of windows that were over by then is taken from there, unless labels have come since.
    """
    known = _settled(earlier, length, only)
    references: dict[int, DriftReference | DataError] = {}
    checks: list[WindowCheck] = []
    for span in spans(period.start, period.end, length):
        feedback = labels.between(connection, places.model, span.start, span.end) if connection else {}
        if span in known and sum(each.labelled for each in known[span]) == len(feedback):
            checks += known[span]
            continue
        truth = {key: each.label for key, each in feedback.items()}
        for version, logged in rows_by_version(places.predictions, span, only).items():
            if version not in references:
                references[version] = _reference(places.serving / str(version), only.part)
            checks.append(_checked(places, span, version, logged, references[version], only, truth))
    return DriftReport(places.model, now, length.total_seconds(), tuple(checks), alarms(checks), only.route, only.part)


def alarms(checks: Iterable[WindowCheck]) -> tuple[Alarm, ...]:
    """Return the alarms of each version's last windows. `checks`: from the oldest to the newest."""
    by_version: dict[int, list[WindowCheck]] = defaultdict(list)
    for each in checks:
        if each.state == "checked":
            by_version[each.version].append(each)
    raised = []
    for version, windows in sorted(by_version.items()):
        latest = windows[-OF_WINDOWS:]
        starts: dict[str, list[datetime]] = defaultdict(list)
        for window in latest:
            for column in dict.fromkeys(finding.column for finding in window.findings):
                starts[column].append(window.start)
        raised += [
            Alarm(version, column, len(begins), len(latest), begins[0])
            for column, begins in starts.items()
            if len(begins) >= ALARM_WINDOWS
        ]
    return tuple(raised)


Drawn = tuple[WindowCheck, Window, DriftReference]


def latest_window(places: Places, report: DriftReport) -> Drawn | None:
    """Return the last checked window that has findings, else the last checked one, with its rows and reference."""
    checked = [each for each in report.windows if each.state == "checked"]
    if not checked:
        return None
    shown = next((each for each in reversed(checked) if each.findings), checked[-1])
    reference, only = DriftReference.read(places.serving / str(shown.version)), Only(report.route, report.part)
    reference = reference.of_slice(only.part) if only.part else reference
    window = read_window(places.predictions, Span(shown.start, shown.end), shown.version, reference, only)
    return shown, window, reference


def _checked(
    places: Places,
    span: Span,
    version: int,
    logged: int,
    reference: DriftReference | DataError,
    only: Only,
    truth: Mapping[Key, str],
) -> WindowCheck:
    if isinstance(reference, DataError):
        return WindowCheck(version, span.start, span.end, 0, logged, "no reference", reason=str(reference))
    if logged < LEAST_ROWS:
        reason = f"{counted(logged, 'row')}; from {LEAST_ROWS} on drift can be told from chance"
        return WindowCheck(version, span.start, span.end, 0, logged, "too few rows", reason=reason)
    window = read_window(places.predictions, span, version, reference, only, truth)
    return WindowCheck(
        version,
        span.start,
        span.end,
        window.rows,
        logged,
        "checked",
        _worth_keeping(check(reference, window)),
        window.gone,
        window.new,
        labelled=sum(sum(row.values()) for row in window.labelled.values()),
    )


def _worth_keeping(measurements: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """Return all, or of a wide table the errors, the findings and what is closest to being one."""

    def rank(each: Measurement) -> tuple[bool, bool, float]:
        return each.kind != "errors", not each.is_finding, -each.size / each.limit

    nearest = sorted(measurements, key=rank)[:MOST_KEPT]
    kept = {(each.column, each.kind) for each in nearest}
    return tuple(each for each in measurements if (each.column, each.kind) in kept)


def _reference(folder: Path, part: str) -> DriftReference | DataError:
    try:
        reference = DriftReference.read(folder)
        return reference.of_slice(part) if part else reference
    except DataError as error:
        return error


def _settled(earlier: DriftReport | None, length: timedelta, only: Only) -> dict[Span, list[WindowCheck]]:
    """Return the whole windows of an earlier report to which no row can have come since, by their time."""
    settled: dict[Span, list[WindowCheck]] = defaultdict(list)
    if earlier and (earlier.window_s, Only(earlier.route, earlier.part)) == (length.total_seconds(), only):
        for each in earlier.windows:
            if each.end - each.start == length and each.end + SETTLED <= earlier.checked_at:
                settled[Span(each.start, each.end)].append(each)
    return settled
