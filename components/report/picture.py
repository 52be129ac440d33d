"""One picture of a run, for people who just look."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from components.report.facts import Facts

WIDTH_PX, HEIGHT_PX, DPI = 1200, 640, 100
INK, SOFT, LINE = "#1b2330", "#5b6676", "#dfe3e9"
BLUE, ORANGE, GREEN, RED = "#2f6fd6", "#d8690b", "#17703f", "#b3261e"
SERIES = (BLUE, ORANGE, "#21875a", "#9a4fb5", "#b08900", "#c23d6a")
MOST_COUNTED = 6  # classes whose counts fit into the matrix


def write_png(facts: Facts, path: Path) -> None:
    """Draw verdict, metrics, ROC, confusion matrix and learning curve."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    _words(figure, facts)
    left, middle, right = (figure.add_axes((x, 0.12, 0.25, 0.48)) for x in (0.065, 0.395, 0.72))
    _roc(left, facts)
    _confusion(middle, facts)
    _loss(right, facts)
    canvas.print_png(path)


def _words(figure: Any, facts: Facts) -> None:
    colour = RED if facts.pushed_version is None else GREEN
    figure.add_artist(_box(figure, (0.0, 0.7), 0.012, 0.3, colour))
    figure.text(0.04, 0.925, _dollarless(facts.name), fontsize=19, fontweight="bold", color=INK)
    figure.text(0.04, 0.87, facts.headline, fontsize=15, fontweight="bold", color=colour)
    sentence = textwrap.shorten(" ".join((*facts.reasons, *facts.overrides)), 330, placeholder=" …")
    lines = textwrap.fill(sentence, 112)
    figure.text(0.04, 0.845, _dollarless(lines), fontsize=10.5, color=SOFT, va="top", linespacing=1.45)
    values = "     ".join(f"{m.title} {m.value:.3f} ({m.lower:.3f}–{m.upper:.3f})" for m in facts.metrics)
    figure.text(0.04, 0.7, values, fontsize=11.5, color=INK, fontweight="bold")
    figure.text(0.96, 0.93, f"run {facts.run_id}", fontsize=9.5, color=SOFT, ha="right")


def _box(figure: Any, at: tuple[float, float], width: float, height: float, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(at, width, height, transform=figure.transFigure, color=colour)


def _roc(axes: Any, facts: Facts) -> None:
    _style(axes, "ROC", "false-positive rate", "recall")
    axes.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.plot((0, 1), (0, 1), color=SOFT, linewidth=1, linestyle=":")
    drawn = [c for c in facts.curves[: len(SERIES)] if c.roc]
    for curves, colour in zip(drawn, SERIES, strict=False):
        x, y = zip(*curves.roc, strict=True)
        axes.plot(x, y, color=colour, linewidth=2, label=_dollarless(f"{curves.name} ({curves.auc:.3f})"))
    point = facts.operating_point
    if point:
        axes.plot(
            point.false_positive_rate,
            point.recall,
            "o",
            markersize=8,
            markerfacecolor="white",
            markeredgecolor=INK,
            markeredgewidth=2,
            linestyle="none",
            label=f"threshold {point.threshold:.3f}",
        )
    if drawn:
        axes.legend(loc="lower right", frameon=False, fontsize=9.5)
    else:
        axes.text(0.5, 0.6, "not defined:\none class only", ha="center", color=SOFT)


def _confusion(axes: Any, facts: Facts) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    at = f" at {facts.operating_point.threshold:.3f}" if facts.operating_point else ""
    _style(axes, f"Confusion on {facts.test_rows} test rows{at}", "called", "true")
    shares = [[count / max(sum(row), 1) for count in row] for row in facts.confusion]
    colours = LinearSegmentedColormap.from_list("blues", ["#f3f6fb", BLUE])
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1, aspect="auto")
    axes.grid(visible=False)
    places = range(len(facts.classes))
    names = [_dollarless(textwrap.shorten(name, 14, placeholder="…")) for name in facts.classes]
    if len(facts.classes) <= 2 * MOST_COUNTED:
        axes.set_xticks(places, names)
        axes.set_yticks(places, names)
    if len(facts.classes) <= MOST_COUNTED:
        for row in places:
            for column in places:
                colour = "white" if shares[row][column] > 0.55 else INK
                axes.text(
                    column,
                    row,
                    str(facts.confusion[row][column]),
                    ha="center",
                    va="center",
                    color=colour,
                    fontsize=17 if len(facts.classes) < 4 else 11,
                    fontweight="bold",
                )


def _loss(axes: Any, facts: Facts) -> None:
    _style(axes, f"Loss; epoch {facts.history.kept_epoch} was kept", "epoch", "loss")
    drawn = (("train", "loss", BLUE), ("eval", "val_loss", ORANGE))
    for name, key, colour in drawn:
        values = facts.history.values.get(key, ())
        axes.plot(range(1, len(values) + 1), values, color=colour, linewidth=2, label=name)
    axes.axvline(facts.history.kept_epoch, color=INK, linewidth=1, linestyle="--")
    axes.legend(loc="upper center", frameon=False, fontsize=9.5)
    axes.locator_params(nbins=4)  # drawing ticks is what takes the time


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
