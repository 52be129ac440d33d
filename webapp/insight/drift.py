"""What monitoring last said of a model's drift, as the page shows it. Nothing is measured here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from markupsafe import Markup

from common.draw.charts import Axis, Bars, Chart, Line
from common.errors import DataError
from common.records.drift import Alarm, DriftReport, Measurement, WindowCheck
from webapp import wording

PERIODS = (7, 30)  # days
LEAST_BARS = 7  # that a chart has room for
STALE_AFTER = timedelta(days=2)


@dataclass(frozen=True)
class Series:
    """One thing measured of one column, window by window, the newest last."""

    title: str
    kind: str
    measure: str
    limit: float
    sizes: tuple[tuple[datetime, float], ...]
    findings: int

    @property
    def last(self) -> float:
        return self.sizes[-1][1]

    @property
    def largest(self) -> float:
        return max(size for _, size in self.sizes)

    @property
    def chart(self) -> Markup:
        """The size in each window, with the limit."""
        count, end = len(self.sizes), max(LEAST_BARS, len(self.sizes))
        labelled = sorted({round(i * (count - 1) / 3) for i in range(4)})
        sizes = f"{self.measure}: last {wording.short(self.last)}, at most {wording.short(self.largest)}"
        return Chart(
            title=f"{self.title}: {self.kind}",
            description=f"{sizes}. The limit is {wording.short(self.limit)}.",
            x=Axis("", 0, end, words={i + 0.5: f"{self.sizes[i][0]:%d %b}" for i in labelled}),
            y=Axis(self.measure, 0.0, 1.1 * max(self.largest, self.limit), wording.short),
            bars=[Bars("", [(i, i + 1, size) for i, (_, size) in enumerate(self.sizes)])],
            lines=[Line("", []), Line("limit", [(0, self.limit), (end, self.limit)])],
            kind="lines",
        ).svg()


@dataclass(frozen=True)
class VersionDrift:
    """The windows of one version within the period. `series`: those with findings first, then by what is closest."""

    version: int
    windows: tuple[WindowCheck, ...]
    series: tuple[Series, ...]


@dataclass(frozen=True)
class DriftView:
    """What there is to show. `checked_at`: None before anything was measured; `trouble`: why nothing is known."""

    days: int
    checked_at: datetime | None = None
    is_stale: bool = False
    alarms: tuple[Alarm, ...] = ()
    versions: tuple[VersionDrift, ...] = ()
    trouble: str = ""


def drift_of(var: Path, model: str, days: int, now: datetime) -> DriftView:
    """Return what was kept of a model, of the windows that end within some days before `now`."""
    try:
        report = DriftReport.latest(var, model)
    except DataError as error:
        return DriftView(days, trouble=str(error))
    if report is None:
        return DriftView(days)
    windows: dict[int, list[WindowCheck]] = defaultdict(list)
    for window in report.windows:
        if window.end > now - timedelta(days=days):
            windows[window.version].append(window)
    versions = (VersionDrift(version, tuple(each), _series(each)) for version, each in windows.items())
    return DriftView(
        days,
        report.checked_at,
        now - report.checked_at > STALE_AFTER,
        report.alarms,
        tuple(sorted(versions, key=lambda each: -each.version)),
    )


@dataclass(frozen=True)
class Light:
    """What monitoring last said of a model in some words. `kind`: of a badge."""

    words: str
    kind: Literal["", "pass", "warn", "fail"] = ""


def light_of(var: Path, model: str, now: datetime) -> Light:
    seen = drift_of(var, model, PERIODS[0], now)
    if seen.trouble:
        return Light("drift not known", "warn")
    if seen.checked_at is None:
        return Light("drift not measured yet")
    if seen.alarms:
        return Light(f"drift: {', '.join(sorted({alarm.title for alarm in seen.alarms}))}", "fail")
    return Light("drift not measured lately", "warn") if seen.is_stale else Light("no drift", "pass")


def _series(windows: Sequence[WindowCheck]) -> tuple[Series, ...]:
    measured: dict[tuple[str, str], list[tuple[datetime, Measurement]]] = defaultdict(list)
    for window in windows:
        for each in window.measurements:
            measured[each.column, each.kind].append((window.start, each))
    series = [
        Series(
            latest.title,
            latest.kind,
            latest.measure,
            latest.limit,
            tuple((start, each.size) for start, each in points),
            sum(each.is_finding for _, each in points),
        )
        for points in measured.values()
        for latest in [points[-1][1]]
    ]
    return tuple(sorted(series, key=lambda each: (-each.findings, -each.largest / each.limit)))
