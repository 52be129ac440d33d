"""Charts as inline SVG that follow the page's colours, light and dark, and say in words what they show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 420.0, 290.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 12.0, 12.0, 44.0
SERIES = 6  # colours in the style sheet


@dataclass(frozen=True)
class Axis:
    """A linear scale from `low` to `high`."""

    title: str
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class Line:
    """A series; `colour` counts from 0. `rows` makes each point a dot as large as the rows behind it."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    dashed: bool = False
    rows: Sequence[int] = ()


@dataclass(frozen=True)
class Bars:
    """Bars as `(left, right, height)`."""

    name: str
    bars: Sequence[tuple[float, float, float]]
    colour: int = 0


@dataclass(frozen=True)
class Mark:
    """A point worth a name."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Chart:
    """What is drawn. `description` is what somebody hears who cannot see it; `rules` are upright lines by name."""

    title: str
    description: str
    x: Axis
    y: Axis
    lines: Sequence[Line] = ()
    bars: Sequence[Bars] = ()
    marks: Sequence[Mark] = ()
    rules: Sequence[tuple[str, float]] = ()
    diagonal: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(line.points for line in self.lines) and not any(bars.bars for bars in self.bars)

    @property
    def legend(self) -> list[tuple[str, str]]:
        """The series as `(CSS class, name)`."""
        drawn = [(f"s{line.colour % SERIES}{' dashed' if line.dashed else ''}", line.name) for line in self.lines]
        drawn += [(f"s{bars.colour % SERIES}", bars.name) for bars in self.bars]
        return drawn + [("mark", mark.name) for mark in self.marks if _is_finite(mark.x, mark.y)]

    def svg(self) -> Markup:
        """Return the drawing."""
        across = _Scale(self.x.low, self.x.high, LEFT, WIDTH - RIGHT)
        up = _Scale(self.y.low, self.y.high, HEIGHT - BOTTOM, TOP)
        parts = [*_grid(self, across, up)]
        if self.diagonal:
            parts.append(_path([(self.x.low, self.y.low), (self.x.high, self.y.high)], across, up, "diagonal"))
        for bars in self.bars:
            parts += [_bar(bar, across, up, f"bar s{bars.colour % SERIES}") for bar in bars.bars if bar[2] > 0]
        for line in self.lines:
            kind = f"s{line.colour % SERIES}"
            parts.append(_path(line.points, across, up, f"line {kind}{' dashed' if line.dashed else ''}"))
            for rows, (x, y) in zip(line.rows, line.points, strict=False):
                radius = 2.5 + 5.5 * math.sqrt(rows / max(line.rows))
                parts += [_dot(x, y, across, up, radius, f"dot {kind}"), _label(rows, x, y, radius, across, up)]
        for name, x in self.rules:
            parts.append(_rule(name, x, across))
        parts += [_dot(m.x, m.y, across, up, 6, "mark") for m in self.marks if _is_finite(m.x, m.y)]
        label = escape(f"{self.title}. {self.description}")
        return Markup(f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{label}">{"".join(parts)}</svg>')


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers from `low` to `high`, some `about` many."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def _grid(chart: Chart, across: _Scale, up: _Scale) -> list[str]:
    bottom, parts = HEIGHT - BOTTOM, []
    for value in ticks(chart.x.low, chart.x.high):
        x = across(value)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16:g}" text-anchor="middle">{value:g}</text>')
    for value in ticks(chart.y.low, chart.y.high):
        y = up(value)
        parts.append(f'<path class="grid" d="M{LEFT:g} {y:.1f}H{WIDTH - RIGHT:g}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7:g}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    parts.append(f'<path class="axis" d="M{LEFT:g} {bottom:g}H{WIDTH - RIGHT:g}"/>')
    middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + bottom) / 2
    parts.append(
        f'<text class="axis-title" x="{middle_x:g}" y="{HEIGHT - 6:g}" text-anchor="middle">'
        f"{escape(chart.x.title)}</text>"
        f'<text class="axis-title" transform="translate(13 {middle_y:g}) rotate(-90)" text-anchor="middle">'
        f"{escape(chart.y.title)}</text>"
    )
    return parts


def _path(points: Sequence[tuple[float, float]], across: _Scale, up: _Scale, kind: str) -> str:
    drawn = [f"{across(x):.1f} {up(y):.1f}" for x, y in points if _is_finite(x, y)]
    return f'<path class="{kind}" d="M{"L".join(drawn)}"/>' if drawn else ""


def _bar(bar: tuple[float, float, float], across: _Scale, up: _Scale, kind: str) -> str:
    left, right, height = across(bar[0]), across(bar[1]), up(bar[2])
    return (
        f'<rect class="{kind}" x="{left:.1f}" y="{height:.1f}" width="{right - left:.1f}" '
        f'height="{up(up.low) - height:.1f}"/>'
    )


def _dot(x: float, y: float, across: _Scale, up: _Scale, radius: float, kind: str) -> str:
    return f'<circle class="{kind}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="{radius:g}"/>'


def _label(rows: int, x: float, y: float, radius: float, across: _Scale, up: _Scale) -> str:
    below = up(y) < HEIGHT / 2
    place = up(y) + (radius + 11 if below else -radius - 4)
    return f'<text class="dot-name" x="{across(x):.1f}" y="{place:.1f}" text-anchor="middle">{rows}</text>'


def _rule(name: str, x: float, across: _Scale) -> str:
    if not math.isfinite(x):
        return ""
    at = across(x)
    is_right = at > (LEFT + WIDTH) / 2
    anchor, shift = ("end", -5) if is_right else ("start", 5)
    return (
        f'<path class="rule" d="M{at:.1f} {TOP:g}V{HEIGHT - BOTTOM:g}"/>'
        f'<text class="rule-name" x="{at + shift:.1f}" y="{TOP + 11:g}" text-anchor="{anchor}">{escape(name)}</text>'
    )


def _is_finite(*values: float) -> bool:
    return all(math.isfinite(value) for value in values)
