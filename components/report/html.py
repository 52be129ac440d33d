"""The report as one HTML file that needs nothing else: styles and charts are inside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from common.draw.charts import STYLE, Chart
from components.evaluation.bounds import Metric
from components.report import figures
from components.report.facts import Facts

TEMPLATE = "report.html.j2"


def render_html(facts: Facts) -> str:
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            facts=facts,
            learning=_drawn(figures.learning_curves(facts)),
            discrimination=_drawn([figures.roc(facts), figures.precision_recall(facts)]),
            calibration=_drawn([figures.calibration(facts)]),
            histograms=figures.histograms(facts),
            scale_start=scale_start(facts.metrics),
            stage_seconds=sum(stage.seconds for stage in facts.stages),
            chart_style=Markup(STYLE.read_text(encoding="utf-8")),
            longest=max((stage.seconds for stage in facts.stages), default=0.0),
        )
    )


def number(value: Any, digits: int = 3) -> str:
    """Return a number for people: `digits` after the point, a dash where it is not defined."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    return f"{value:.{digits}f}"


def brief(value: float | None) -> str:
    """Return a measurement in at most four significant digits."""
    return number(value) if value is None or not math.isfinite(value) else f"{value:.4g}"


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}\u202f%" if whole and math.isfinite(part) else "–"


def scale_start(metrics: Sequence[Metric]) -> float:
    """Return where a scale to 1 should start for the intervals to fill it."""
    known = [v for m in metrics for v in (m.lower, m.asked) if v is not None and math.isfinite(v)]
    return max(math.floor(min(known, default=0.0) * 10 - 0.5) / 10, 0.0)


def interval(metric: Metric, start: float) -> dict[str, float] | None:
    """Return where a metric's interval lies in per cent of the way from `start` to 1, None if it has none."""
    if not all(math.isfinite(v) for v in (metric.value, metric.lower, metric.upper)):
        return None
    place = {"lower": metric.lower, "value": metric.value, "upper": metric.upper, "asked": metric.asked}
    return {
        key: round(100 * min(max((v - start) / (1 - start), 0.0), 1.0), 2) for key, v in place.items() if v is not None
    }


def _drawn(charts: Iterable[Chart]) -> list[Chart]:
    return [chart for chart in charts if not chart.is_empty]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, brief=brief, interval=interval)
    environment.globals.update(percent=percent)
    return environment
