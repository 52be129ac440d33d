"""Which charts a report has, and what each says in words: the page draws them as SVG, the picture some as PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from common.draw.charts import Axis, Bars, Chart, Line, Mark
from common.draw.svg import COLOURS
from components.report.curves import HISTOGRAM_BINS, ClassCurves
from components.report.facts import Facts

EVAL_PREFIX = "val_"
HISTORY_TITLES = {"loss": "Loss", "auc": "AUC", "accuracy": "Accuracy", "binary_accuracy": "Accuracy"}


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
    """Return the ROC curves, the operating point marked."""
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
    """Return the precision-recall curves, the operating point marked."""
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


def calibration(facts: Facts) -> Chart:
    """Return predicted against observed probability; on the diagonal they agree."""
    curves = facts.curves[:COLOURS]
    words = [
        f"{c.name}: " + "; ".join(f"{b.predicted:.2f} predicted, {b.observed:.2f} seen" for b in c.calibration)
        for c in curves
    ]
    return Chart(
        title="Calibration",
        description=". ".join(words) + ".",
        x=Axis("predicted probability"),
        y=Axis("share observed"),
        lines=[
            Line(
                f"{c.name}, with the rows in each tenth" if len(curves) == 1 else c.name,
                [(b.predicted, b.observed) for b in c.calibration],
                rows=[b.rows for b in c.calibration] if len(curves) == 1 else (),
            )
            for c in curves
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
