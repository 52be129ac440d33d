"""The parts of a chart: SVG whose colours and letters come from classes in charts.css, light, dark and on paper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH = 312.0  # of every chart, so that letters are equally large in all of them, and large enough on a phone
LETTER, BOLD_LETTER = 7.0, 8.0  # widths, about; there is no ruler on a server
PALETTE = ("#2f6fd6", "#d8690b", "#21875a", "#9a4fb5", "#b08900", "#c23d6a")  # as in charts.css, on a light page
COLOURS = len(PALETTE)
SHAPES = (  # of points; a class is told by more than its colour
    "M0-3.4a3.4 3.4 0 1 0 .01 0z",
    "M0-4.2L3.9 2.8H-3.9z",
    "M-3-3H3V3H-3z",
    "M0-4.4L4.4 0L0 4.4L-4.4 0z",
    "M0 4.2L-3.9-2.8H3.9z",
    "M-1.2-4H1.2V-1.2H4V1.2H1.2V4H-1.2V1.2H-4V-1.2H-1.2z",
)


@dataclass(frozen=True)
class Scale:
    """A linear scale from values to places. What lies outside of it stands at its end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def figure(kind: str, height: float, texts: tuple[str, str], parts: Iterable[str]) -> Markup:
    """Return a whole chart. `texts`: its title, and in words what it shows."""
    opening = Markup('<svg class="chart chart--{}" viewBox="0 0 {:g} {:g}" role="img"><title>{}</title><desc>{}</desc>')
    return opening.format(kind, WIDTH, height, *texts) + Markup("").join(parts) + Markup("</svg>")


def text(x: float, y: float, content: object, kind: str = "chart-tick", anchor: str = "start") -> Markup:
    """Return a line of text; `anchor`: start, middle or end."""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, content
    )


def box(x: float, y: float, width: float, height: float, kind: str, radius: float = 0.0) -> Markup:
    """Return a rectangle, never thinner than can be seen."""
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="{:g}"/>').format(
        kind, x, y, max(width, 0.8), max(height, 0.8), radius if width > 3 * radius else 0
    )


def path(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    return Markup('<path class="{}" d="M{}"/>').format(kind, "L".join(f"{x:.1f} {y:.1f}" for x, y in points))


def circle(x: float, y: float, radius: float, kind: str) -> Markup:
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{:.3g}"/>').format(kind, x, y, radius)


def shape(x: float, y: float, number: int) -> Markup:
    """Return a point in the colour and shape of a class."""
    kind = number % COLOURS
    return Markup('<path class="chart-point chart-fill--{}" transform="translate({:.1f} {:.1f})" d="{}"/>').format(
        kind, x, y, SHAPES[kind]
    )


def line_kind(number: int) -> str:
    return f"chart-line chart-line--{number % COLOURS}"


def group(parts: Iterable[str], title: str) -> Markup:
    """Return parts that tell their title when pointed at."""
    return Markup("<g><title>{}</title>{}</g>").format(title, Markup("").join(parts))


def legend(symbols: Sequence[tuple[Markup, str]], y: float) -> tuple[Markup, float]:
    """Return a legend that begins at `y`, and where it ends. `symbols`: each drawn around 0, 0, and its name."""
    parts, x = [], 4.0
    for symbol, name in symbols:
        shown = clipped(name, 38)
        width = 22 + LETTER * len(shown) + 14
        if x > 4.0 and x + width > WIDTH:
            x, y = 4.0, y + 20
        parts.append(Markup('<g transform="translate({:.1f} {:.1f})">{}</g>').format(x + 5, y, symbol))
        parts.append(text(x + 18, y + 4.5, shown, "chart-key"))
        x += width
    return Markup("").join(parts), y + 14


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round numbers from `low` to `high`, some `about` many."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= span / about * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def anchor_at(x: float) -> str:
    """Return how a text at a place stays within the chart."""
    return "start" if x < 24 else "end" if x > WIDTH - 24 else "middle"


def clipped(name: str, most: int) -> str:
    """Return a text of at most so many letters."""
    return name if len(name) <= most else name[: most - 1].rstrip() + "…"
