"""A drift check for people: one HTML file that needs nothing else, with each column in training and in a window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from common.draw.charts import STYLE, Axis, Bars, Chart
from common.records.drift import DriftReport, Measurement, WindowCheck
from common.records.files import INPUT, STRANGENESS
from monitoring.drift import measures
from monitoring.drift.check import FALSE_RATE, LEAST_ROWS
from monitoring.drift.timeline import ALARM_WINDOWS, OF_WINDOWS
from monitoring.drift.window import LABEL, SCORE, Window
from serving.repository.drift_reference import Categories, DriftReference, Numbers

TEMPLATE = "report.html.j2"
MOST_CHARTS = 100
MOST_CATEGORIES = 10  # of a chart; all others are one bar
TRAINING, TEST, WINDOW = "training", "test", "window"


def render_html(report: DriftReport, shown: tuple[WindowCheck, Window, DriftReference] | None) -> str:
    """Return the page. `shown`: the window that is drawn, if any was checked."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": "{:.3g}".format, "moment": "{:%Y-%m-%d %H:%M}".format}
    return environment.get_template(TEMPLATE).render(
        report=report,
        shown=shown[0] if shown else None,
        ranked=_ranked(shown[0].measurements) if shown else [],
        charts=_charts(*shown) if shown else [],
        chart_style=Markup(STYLE.read_text(encoding="utf-8")),
        rules={"windows": ALARM_WINDOWS, "of": OF_WINDOWS, "rate": FALSE_RATE, "least_rows": LEAST_ROWS},
    )


def _ranked(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Return the findings first, then what is closest to being one."""
    return sorted(measurements, key=lambda each: (not each.is_finding, -each.size / each.limit))


def _charts(check: WindowCheck, window: Window, reference: DriftReference) -> list[Chart]:
    columns = [each.column for each in _ranked(check.measurements) if each.kind == "distribution"]
    numbers: dict[str, Numbers] = {INPUT + name: known for name, known in reference.numbers.items()}
    categories: dict[str, Categories] = {INPUT + name: known for name, known in reference.categories.items()}
    if reference.scores:
        numbers[SCORE], categories[LABEL] = reference.scores.score, reference.scores.labels
        if reference.scores.strangeness:
            numbers[STRANGENESS] = reference.scores.strangeness
    return [
        _of_numbers(column, numbers[column], window)
        if column in numbers
        else _of_categories(column, categories[column], window.categories[column].counts)
        for column in columns[:MOST_CHARTS]
    ]


def _of_numbers(column: str, reference: Numbers, window: Window) -> Chart:
    """Draw the bins over the training range, with what lies beyond it in one bin at each end."""
    inner = measures.bin_edges(reference)
    width = inner[1] - inner[0]
    edges = [inner[0] - width, *inner, inner[-1] + width]
    series = measures.binned(reference, window.numbers[column].values)
    bars = [
        Bars(name, [(edges[i], edges[i + 1], share) for i, share in enumerate(shares)])
        for name, shares in zip((_reference_rows(column), WINDOW), series, strict=True)
    ]
    return _chart(column, bars, Axis("", edges[0], edges[-1], "{:.4g}".format))


def _of_categories(column: str, reference: Categories, counts: Mapping[str, int]) -> Chart:
    trained, seen = measures.shares_of(reference, counts)
    names = [*reference.counts][:MOST_CATEGORIES]
    bars = [
        Bars(name, [(i, i + 1, share) for i, share in enumerate([*shares[: len(names)], shares[len(names) :].sum()])])
        for name, shares in ((_reference_rows(column), trained), (WINDOW, seen))
    ]
    words = {i + 0.5: name[:8] for i, name in enumerate([*names, "others"])}
    return _chart(column, bars, Axis("", 0, len(names) + 1, "{:g}".format, words))


def _reference_rows(column: str) -> str:
    """Return which split a column of the reference was summarized over."""
    return TRAINING if column.startswith(INPUT) else TEST


def _chart(column: str, bars: list[Bars], axis: Axis) -> Chart:
    highest = max(share for series in bars for *_, share in series.bins)
    title = column.removeprefix(INPUT)
    description = (
        f"How {title} was spread over the {_reference_rows(column)} rows and over those of the window, in shares."
    )
    return Chart(title, description, axis, Axis("", 0.0, highest or 1.0, "{:.0%}".format), bars=bars)
