"""Charts with two axes: what they show, as plain values that any renderer may draw, and their drawing as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from markupsafe import Markup

from common.draw.svg import (
    COLOURS,
    LETTER,
    WIDTH,
    Scale,
    anchor_at,
    box,
    circle,
    clipped,
    figure,
    group,
    legend,
    line_kind,
    path,
    text,
    ticks,
)

STYLE = Path(__file__).with_name("charts.css")
LEFT, RIGHT = 42.0, WIDTH - 8.0  # of the plot
PLOT = 150.0  # its height
TEXT_LINE = 15.0
Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """A linear scale. At its ticks stand `words`, by value, or else round numbers as `form` writes them."""

    title: str = ""
    low: float = 0.0
    high: float = 1.0
    form: Callable[[float], str] = "{:g}".format
    words: Mapping[float, str] = field(default_factory=dict)

    @property
    def ticks(self) -> dict[float, str]:
        return dict(self.words) or {value: self.form(value) for value in ticks(self.low, self.high)}


@dataclass(frozen=True)
class Line:
    """A series of points; one that is not finite is a gap.

    `rows`: how many stand behind each, which makes it a dot; `spans`: from where to where its `y` may be.
    """

    name: str
    points: Sequence[Point]
    rows: Sequence[int] = ()
    spans: Sequence[tuple[float, float]] = ()

    @property
    def runs(self) -> list[list[Point]]:
        """The stretches without a gap."""
        stretches = groupby(self.points, key=lambda point: all(map(math.isfinite, point)))
        return [list(points) for is_known, points in stretches if is_known]


@dataclass(frozen=True)
class Bars:
    """Counts by bin: `(low, high, count)`. Several in one chart share the width of each bin."""

    name: str
    bins: Sequence[tuple[float, float, float]]


@dataclass(frozen=True)
class Mark:
    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Chart:
    """What is drawn. `description` is what somebody hears who cannot see it; `rules` are upright lines by name.

    A series without a name is not in the legend. `nothing` is said in the plot where there is nothing to draw.
    """

    title: str
    description: str
    x: Axis
    y: Axis
    lines: Sequence[Line] = ()
    bars: Sequence[Bars] = ()
    dots: Sequence[Point] = ()
    marks: Sequence[Mark] = ()
    rules: Mapping[str, float] = field(default_factory=dict)
    diagonal: bool = False
    nothing: str = ""
    kind: str = "plot"  # for styles

    @property
    def is_empty(self) -> bool:
        return not any(line.runs for line in self.lines) and not any(bars.bins for bars in self.bars) and not self.dots

    def svg(self) -> Markup:
        symbols = list(_symbols(self))
        key, top = legend(symbols, 10) if symbols else (Markup(""), 4.0)
        top += (TEXT_LINE + 4 if self.y.title else 0) + TEXT_LINE * len(self.rules) + 2
        bottom = top + PLOT
        across, up = Scale(self.x.low, self.x.high, LEFT, RIGHT), Scale(self.y.low, self.y.high, bottom, top)
        parts = [key, *_axes(self, across, up)]
        if self.diagonal:
            ends = (self.x.low, self.y.low), (self.x.high, self.y.high)
            parts.append(path([(across(x), up(y)) for x, y in ends], "chart-diagonal"))
        for number, bars in enumerate(self.bars):
            parts += _bars(self, number, bars, across, up)
        for number, line in enumerate(self.lines):
            parts += _line(number, line, across, up)
        parts += [circle(across(x), up(y), 2, "chart-dot chart-fill--0") for x, y in self.dots]
        parts += [_rule(self, number, across, up) for number in range(len(self.rules))]
        parts += [circle(across(mark.x), up(mark.y), 4.5, "chart-mark") for mark in self.marks if _is_known(mark)]
        if self.is_empty and self.nothing:
            parts.append(text((LEFT + RIGHT) / 2, (top + bottom) / 2, self.nothing, anchor="middle"))
        height = bottom + (40 if self.x.title else 24)
        return figure(self.kind, height, (self.title, self.description), parts)


def _symbols(chart: Chart) -> Iterator[tuple[Markup, str]]:
    for number, bars in enumerate(chart.bars):
        if bars.name:
            yield box(-4, -4, 8, 8, _fill(chart, number)), bars.name
    for number, line in enumerate(chart.lines):
        if line.name:
            yield path([(-7, 0), (7, 0)], line_kind(number)), line.name
    for mark in chart.marks:
        if _is_known(mark):
            yield circle(0, 0, 4, "chart-mark"), mark.name


def _axes(chart: Chart, across: Scale, up: Scale) -> Iterator[Markup]:
    bottom, top = up.start, up.end
    for value, words in chart.y.ticks.items():
        yield path([(LEFT, up(value)), (RIGHT, up(value))], "chart-grid")
        yield text(LEFT - 7, up(value) + 4, words, anchor="end")
    yield path([(LEFT, bottom), (RIGHT, bottom)], "chart-axis")
    for value, words in chart.x.ticks.items():
        yield text(across(value), bottom + 16, words, anchor=anchor_at(across(value)))
    if chart.x.title:
        yield text((LEFT + RIGHT) / 2, bottom + 34, chart.x.title, anchor="middle")
    if chart.y.title:
        yield text(4, top - 9 - TEXT_LINE * len(chart.rules), chart.y.title)


def _bars(chart: Chart, number: int, bars: Bars, across: Scale, up: Scale) -> Iterator[Markup]:
    for low, high, count in bars.bins:
        if count > 0:
            width = (across(high) - across(low)) / len(chart.bars)
            left = across(low) + number * width
            bar = box(left + 0.5, up(count), width - 1, up.start - up(count), _fill(chart, number))
            title = f"{chart.x.form(low)} – {chart.x.form(high)}: {chart.y.form(count)}"
            yield group([bar], f"{bars.name}, {title}" if bars.name else title)


def _fill(chart: Chart, number: int) -> str:
    return f"chart-bar chart-fill--{number % COLOURS}"


def _line(number: int, line: Line, across: Scale, up: Scale) -> Iterator[Markup]:
    for run in line.runs:
        points = [(across(x), up(y)) for x, y in run]
        yield path(points if len(points) > 1 else points * 2, line_kind(number))
    for (low, high), (x, _) in zip(line.spans, line.points, strict=False):
        yield path([(across(x), up(low)), (across(x), up(high))], "chart-axis")
    for rows, (x, y) in zip(line.rows, line.points, strict=False):
        radius = 2 + 4 * math.sqrt(rows / max(line.rows))
        is_high = up(y) < (up.start + up.end) / 2
        yield circle(across(x), up(y), radius, f"chart-dot chart-fill--{number % COLOURS}")
        beside = up(y) + (radius + 10 if is_high else -radius - 4)
        yield text(across(x), beside, rows, "chart-dot-name", anchor_at(across(x)))


def _rule(chart: Chart, number: int, across: Scale, up: Scale) -> Markup:
    """Return an upright line, its name above the plot, each in a line of its own."""
    name, value = [*chart.rules.items()][number]
    if not math.isfinite(value):
        return Markup("")
    x, top = across(value), up.end - TEXT_LINE * (len(chart.rules) - number)
    anchor, shift = ("end", -5) if x > (LEFT + RIGHT) / 2 else ("start", 5)
    shown = clipped(name, int((RIGHT - LEFT) / 2 / LETTER))
    return path([(x, top), (x, up.start)], "chart-rule") + text(x + shift, top + 10, shown, "chart-rule-name", anchor)


def _is_known(mark: Mark) -> bool:
    return math.isfinite(mark.x) and math.isfinite(mark.y)
