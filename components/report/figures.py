"""Which charts a report has, and what each says in words: the page draws them as SVG, the picture some as PNG."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.draw.charts import Axis, Bars, Chart, Line, Mark
from common.draw.svg import COLOURS, PALETTE
from components.evaluation.baselines import Baseline
from components.report import figures
from components.report.curves import HISTOGRAM_BINS, ClassCurves
from components.report.facts import Facts

EVAL_PREFIX = "val_"
HISTORY_TITLES = {
    "mae": "Mean absolute error in deviations",
    "loss": "Loss",
    "auc": "AUC",
    "accuracy": "Accuracy",
    "binary_accuracy": "Accuracy",
}
WIDTH_PX, HEIGHT_PX, PLAIN_PX, DPI = 1200, 640, 260, 100
INK, SOFT, LINE = "#1b2330", "#5b6676", "#dfe3e9"
GREEN, RED = "#17703f", "#b3261e"
MOST_COUNTED = 6  # classes whose counts fit into the matrix


def learning_curves(facts: Facts) -> list[Chart]:
    """Return a chart for each measure taken by epoch on train and eval, the loss first."""
    charts = []
    for key, on_eval in sorted(facts.history.values.items(), key=lambda item: item[0] != f"{EVAL_PREFIX}loss"):
        name = key.removeprefix(EVAL_PREFIX)
        if not key.startswith(EVAL_PREFIX) or name not in facts.history.values:
            continue
        on_train = facts.history.values[name]
        title = HISTORY_TITLES.get(name, name.replace("_", " "))
        kept = facts.history.kept_epoch
        at_kept = on_eval[kept - 1] if 0 < kept <= len(on_eval) else math.nan
        low, high = _range([*on_train, *on_eval])
        charts.append(
            Chart(
                title=f"{title} by epoch",
                description=f"After {len(on_eval)} epochs; epoch {kept} was kept, with {at_kept:.4g} on eval.",
                x=Axis("epoch", 1, max(len(on_eval), 2)),
                y=Axis(title.lower() if title != "AUC" else title, 0.0 if name == "loss" else low, high),
                lines=(Line("train", _by_epoch(on_train)), Line("eval", _by_epoch(on_eval))),
                rules={f"kept: {kept}": kept} if kept else {},
            )
        )
    return charts


def roc(facts: Facts) -> Chart:
    point, curves = facts.operating_point, facts.curves[:COLOURS]
    return Chart(
        title="ROC",
        description=" ".join(_area(c, "AUC", c.auc) for c in curves) + _at_operating_point(facts),
        x=Axis("false-positive rate"),
        y=Axis("true-positive rate (recall)"),
        lines=[Line(_area(c, "AUC", c.auc, brief=True), c.roc) for c in curves],
        marks=[Mark(f"threshold {point.threshold:.3f}", point.false_positive_rate, point.recall)] if point else [],
        diagonal=True,
    )


def precision_recall(facts: Facts) -> Chart:
    point, curves = facts.operating_point, facts.curves[:COLOURS]
    area = "average precision"
    return Chart(
        title="Precision and recall",
        description=" ".join(_area(c, area, c.average_precision) for c in curves) + _at_operating_point(facts),
        x=Axis("recall"),
        y=Axis("precision"),
        lines=[Line(_area(c, area, c.average_precision, brief=True), c.precision_recall) for c in curves],
        marks=[Mark(f"threshold {point.threshold:.3f}", point.recall, point.precision)] if point else [],
    )


def calibrations(facts: Facts) -> list[Chart]:
    """Return predicted against observed probability for each class; on the diagonal they agree."""
    return [_calibration(curves) for curves in facts.curves[:COLOURS]]


def _calibration(curves: ClassCurves) -> Chart:
    bins = curves.calibration
    words = "; ".join(
        f"{b.predicted:.2f} predicted, {b.observed:.2f} seen in {b.rows} rows ({b.lower:.2f} to {b.upper:.2f})"
        for b in bins
    )
    return Chart(
        title=f"Calibration: {curves.name}",
        description=f"{words}.",
        x=Axis("predicted probability"),
        y=Axis("share observed"),
        lines=[
            Line(
                "with bounds, and the rows behind each",
                [(b.predicted, b.observed) for b in bins],
                rows=[b.rows for b in bins],
                spans=[(b.lower, b.upper) for b in bins],
            )
        ],
        diagonal=True,
    )


def histograms(facts: Facts) -> list[Chart]:
    """Return how the probability is spread over the rows of a class and over the others."""
    return [_histogram(facts, curves) for curves in facts.curves[:COLOURS]]


def _histogram(facts: Facts, curves: ClassCurves) -> Chart:
    others = next((c for c in facts.classes if c != curves.name), "") if len(facts.classes) == 2 else "other classes"
    top = max([*curves.histogram_own, *curves.histogram_others, 1])
    point = facts.operating_point
    return Chart(
        title=f"Scores: probability of {curves.name}",
        description=f"{sum(curves.histogram_own)} rows of {curves.name}, {sum(curves.histogram_others)} of {others}.",
        x=Axis(f"probability of {curves.name}"),
        y=Axis("test rows", 0, top * 1.05),
        bars=[Bars(others, _bins(curves.histogram_others)), Bars(curves.name, _bins(curves.histogram_own))],
        rules={f"threshold {point.threshold:.3f}": point.threshold} if point else {},
    )


def predictions(facts: Facts) -> list[Chart]:
    """Return what a model that predicts numbers said beside what is true, and how its errors are spread."""
    if facts.numbers is None or not facts.numbers.points:
        return []
    points, residuals, spans = facts.numbers.points, facts.numbers.residuals, facts.numbers.spans
    low, high = _whole_range([*(v for point in points for v in point), *(v for span in spans for v in span)])
    places = sorted((x, *span) for (x, _), span in zip(points, spans, strict=True))
    lower, upper = ([(x, span[end]) for x, *span in places] for end in (0, 1))
    least, most = residuals[0][0], residuals[-1][1]
    r2 = facts.metric("r2")
    return [
        Chart(
            title=f"True and predicted {facts.label}",
            description=f"{len(points)} of {facts.test_rows} test rows; on the diagonal they agree"
            + (f", and R² is {r2.value:.3f}." if r2 else "."),
            x=Axis("predicted", low, high, _short),
            y=Axis("true", low, high, _short),
            lines=[Line("interval: from", lower), Line("interval: to", upper)],
            dots=points,
            diagonal=True,
        ),
        Chart(
            title="Residuals: predicted less true",
            description=f"From {least:.4g} to {most:.4g}.",
            x=Axis("predicted less true", least, most, _short),
            y=Axis("test rows", 0, max(count for *_, count in residuals) * 1.05),
            bars=[Bars("", residuals)],
            rules={"none": 0.0} if least <= 0 <= most else {},
        ),
    ]


def _short(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.1e}"


def _whole_range(values: Sequence[float]) -> tuple[float, float]:
    margin = 0.03 * (max(values) - min(values)) or 0.5
    return min(values) - margin, max(values) + margin


def _bins(counts: Sequence[int]) -> list[tuple[float, float, float]]:
    return [(i / HISTOGRAM_BINS, (i + 1) / HISTOGRAM_BINS, count) for i, count in enumerate(counts)]


def _at_operating_point(facts: Facts) -> str:
    point = facts.operating_point
    if point is None:
        return ""
    return f" At threshold {point.threshold:.3f} recall {point.recall:.3f} and precision {point.precision:.3f}."


def _area(curves: ClassCurves, word: str, value: float, *, brief: bool = False) -> str:
    number = "not defined" if math.isnan(value) else f"{value:.3f}"
    return f"{curves.name}, {word} {number}" if brief else f"{curves.name}: {word} {number}."


def _by_epoch(values: Sequence[float]) -> list[tuple[float, float]]:
    return [(float(i), value) for i, value in enumerate(values, 1)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    margin = (high - low) * 0.05 or 0.05
    return low - margin if low < 0 or low > margin else 0.0, high + margin


def write_png(facts: Facts, path: Path) -> None:
    """Draw verdict, metrics, learning curve, ROC and confusion matrix or numbers and residuals; below, plain models."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    plain = [baseline for baseline in facts.baselines if not baseline.is_constant]
    parts = (HEIGHT_PX, PLAIN_PX) if plain else (HEIGHT_PX,)
    whole = Figure(figsize=(WIDTH_PX / DPI, sum(parts) / DPI), dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(whole)
    figure, *below = whole.subfigures(len(parts), 1, height_ratios=parts, squeeze=False)[:, 0]
    for part in below:
        _plain(part, facts, plain)
    _words(figure, facts)
    left, middle, right = (figure.add_axes((x, 0.12, 0.25, 0.48)) for x in (0.065, 0.395, 0.72))
    if shown := figures.predictions(facts):
        for axes, chart in zip((left, middle), shown, strict=True):
            _chart(axes, chart)
    else:
        _chart(left, figures.roc(facts))
        at = f" at {facts.operating_point.threshold:.3f}" if facts.operating_point else ""
        _style(middle, f"Confusion on {facts.test_rows} test rows{at}", "called", "true")
        _confusion(middle, facts.classes, facts.confusion)
    for chart in figures.learning_curves(facts)[:1]:
        _chart(right, chart)
    canvas.print_png(path)


def _words(figure: Any, facts: Facts) -> None:
    from matplotlib.patches import Rectangle

    colour = RED if facts.pushed_version is None else GREEN
    figure.add_artist(Rectangle((0.0, 0.7), 0.012, 0.3, transform=figure.transSubfigure, color=colour))
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
        x, y = zip(*line.points, strict=True) if line.points else ((), ())  # a class without a test row has none
        axes.plot(x, y, color=colour, linewidth=2, clip_on=False, label=_dollarless(line.name))
    if chart.dots:
        axes.plot(*zip(*chart.dots, strict=True), ".", color=PALETTE[0], markersize=3)
    for bars in chart.bars:
        axes.bar(
            [low for low, *_ in bars.bins], [b[2] for b in bars.bins], [b[1] - b[0] for b in bars.bins], align="edge"
        )
    for name, place in chart.rules.items():
        axes.axvline(place, color=INK, linewidth=1, linestyle="--", label=_dollarless(name))
    for mark in chart.marks:
        look = {"markersize": 8, "markerfacecolor": "white", "markeredgecolor": INK, "markeredgewidth": 2}
        axes.plot(mark.x, mark.y, "o", linestyle="none", clip_on=False, zorder=3, label=mark.name, **look)
    axes.legend(loc="lower right" if chart.diagonal else "best", frameon=False, fontsize=9.5)


def _plain(figure: Any, facts: Facts, plain: Sequence[Baseline]) -> None:
    """Draw the confusion matrices of plain models, of numbers their metrics."""
    figure.text(0.04, 0.92, "Plain models on the same test rows", fontsize=11.5, fontweight="bold", color=INK)
    for number, baseline in enumerate(plain):
        metric = next(iter(baseline.metrics), None)
        title = f"{baseline.name}: {metric.title} {metric.value:.3f}" if metric else baseline.name
        if not baseline.confusion:
            figure.text(0.04, 0.75 - 0.14 * number, title, fontsize=10.5, color=SOFT)
            continue
        axes = figure.add_axes((0.04 + 0.94 * number / len(plain), 0.08, 0.82 / len(plain), 0.62))
        _style(axes, "", "", "")
        axes.set_title(title, fontsize=9.5, color=INK, loc="left")
        _confusion(axes, facts.classes, baseline.confusion)
        axes.set(xticks=[], yticks=[])


def _confusion(axes: Any, classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    shares = [[count / max(sum(row), 1) for count in row] for row in matrix]
    colours = LinearSegmentedColormap.from_list("blues", ["#f3f6fb", PALETTE[0]])
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1, aspect="auto")
    axes.grid(visible=False)
    places = range(len(classes))
    names = [_dollarless(textwrap.shorten(name, 14, placeholder="…")) for name in classes]
    if len(classes) <= 2 * MOST_COUNTED:
        axes.set_xticks(places, names)
        axes.set_yticks(places, names)
    if len(classes) <= MOST_COUNTED:
        size = 17 if len(classes) < 4 else 11
        for row in places:
            for column in places:
                colour = "white" if shares[row][column] > 0.55 else INK
                count = str(matrix[row][column])
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
