"""One picture of a run, for people who just look: the page's own figures, drawn by matplotlib."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from common.draw.charts import Chart
from common.draw.svg import PALETTE
from components.report import figures
from components.report.facts import Facts

WIDTH_PX, HEIGHT_PX, DPI = 1200, 640, 100
INK, SOFT, LINE = "#1b2330", "#5b6676", "#dfe3e9"
GREEN, RED = "#17703f", "#b3261e"
MOST_COUNTED = 6  # classes whose counts fit into the matrix


def write_png(facts: Facts, path: Path) -> None:
    """Draw verdict, metrics, ROC, confusion matrix and learning curve."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    _words(figure, facts)
    left, middle, right = (figure.add_axes((x, 0.12, 0.25, 0.48)) for x in (0.065, 0.395, 0.72))
    _chart(left, figures.roc(facts))
    _confusion(middle, facts)
    for chart in figures.learning_curves(facts)[:1]:
        _chart(right, chart)
    canvas.print_png(path)


def _words(figure: Any, facts: Facts) -> None:
    from matplotlib.patches import Rectangle

    colour = RED if facts.pushed_version is None else GREEN
    figure.add_artist(Rectangle((0.0, 0.7), 0.012, 0.3, transform=figure.transFigure, color=colour))
    figure.text(0.04, 0.925, _dollarless(facts.name), fontsize=19, fontweight="bold", color=INK)
    figure.text(0.04, 0.87, facts.headline, fontsize=15, fontweight="bold", color=colour)
    sentence = textwrap.shorten(" ".join((*facts.reasons, *facts.overrides)), 330, placeholder=" …")
    lines = textwrap.fill(sentence, 112)
    figure.text(0.04, 0.845, _dollarless(lines), fontsize=10.5, color=SOFT, va="top", linespacing=1.45)
    values = "     ".join(f"{m.title} {m.value:.3f} ({m.lower:.3f}–{m.upper:.3f})" for m in facts.metrics)
    figure.text(0.04, 0.7, values, fontsize=11.5, color=INK, fontweight="bold")
    figure.text(0.96, 0.93, f"run {facts.run_id}", fontsize=9.5, color=SOFT, ha="right")


def _chart(axes: Any, chart: Chart) -> None:
    _style(axes, chart.title, chart.x.title, chart.y.title)
    axes.set(xlim=(chart.x.low, chart.x.high), ylim=(chart.y.low, chart.y.high))
    axes.set_xticks([*chart.x.ticks], [*chart.x.ticks.values()])
    axes.set_yticks([*chart.y.ticks], [*chart.y.ticks.values()])
    if chart.is_empty:
        axes.text(0.5, 0.6, "not defined", ha="center", color=SOFT, transform=axes.transAxes)
        return
    if chart.diagonal:
        axes.plot((chart.x.low, chart.x.high), (chart.y.low, chart.y.high), color=SOFT, linewidth=1, linestyle=":")
    for line, colour in zip(chart.lines, PALETTE, strict=False):
        x, y = zip(*line.points, strict=True)
        axes.plot(x, y, color=colour, linewidth=2, clip_on=False, label=_dollarless(line.name))
    for name, place in chart.rules.items():
        axes.axvline(place, color=INK, linewidth=1, linestyle="--", label=_dollarless(name))
    for mark in chart.marks:
        look = {"markersize": 8, "markerfacecolor": "white", "markeredgecolor": INK, "markeredgewidth": 2}
        axes.plot(mark.x, mark.y, "o", linestyle="none", clip_on=False, zorder=3, label=mark.name, **look)
    axes.legend(loc="lower right" if chart.diagonal else "upper right", frameon=False, fontsize=9.5)


def _confusion(axes: Any, facts: Facts) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    at = f" at {facts.operating_point.threshold:.3f}" if facts.operating_point else ""
    _style(axes, f"Confusion on {facts.test_rows} test rows{at}", "called", "true")
    shares = [[count / max(sum(row), 1) for count in row] for row in facts.confusion]
    colours = LinearSegmentedColormap.from_list("blues", ["#f3f6fb", PALETTE[0]])
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1, aspect="auto")
    axes.grid(visible=False)
    places = range(len(facts.classes))
    names = [_dollarless(textwrap.shorten(name, 14, placeholder="…")) for name in facts.classes]
    if len(facts.classes) <= 2 * MOST_COUNTED:
        axes.set_xticks(places, names)
        axes.set_yticks(places, names)
    if len(facts.classes) <= MOST_COUNTED:
        size = 17 if len(facts.classes) < 4 else 11
        for row in places:
            for column in places:
                colour = "white" if shares[row][column] > 0.55 else INK
                count = str(facts.confusion[row][column])
                axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=size, fontweight="bold")


def _style(axes: Any, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=11.5, fontweight="bold", color=INK, loc="left")
    axes.set_xlabel(x, color=SOFT, fontsize=10)
    axes.set_ylabel(y, color=SOFT, fontsize=10)
    axes.tick_params(colors=SOFT, labelsize=9.5, length=0)
    axes.grid(color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)


def _dollarless(text: str) -> str:
    """Return text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")
