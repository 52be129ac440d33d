"""The charts of the pages, as SVG. Each says in words what it shows; its page gives the same numbers as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from markupsafe import Markup

from common.draw.svg import (
    BOLD_LETTER,
    COLOURS,
    LETTER,
    WIDTH,
    Scale,
    box,
    clipped,
    figure,
    group,
    legend,
    path,
    shape,
    text,
    ticks,
)
from webapp.insight.explain import Effect, Explanation
from webapp.insight.neighbours import Projection
from webapp.pages import wording

MOST_BARS = 10
BARS = (176.0, WIDTH - 54.0)  # of the waterfall: from where to where
LEFT, RIGHT = 42.0, WIDTH - 8.0  # of the plots
STEP, PLOT, PLANE = 21.0, 150.0, 240.0  # heights: of a step, of a plot, of the training data's plane
Rules = Mapping[str, float]  # upright lines: name and place


@dataclass(frozen=True)
class Series:
    """A line over time: a value for each label of the chart, None for a gap."""

    name: str
    values: Sequence[float | None]


def gauge(probability: float, threshold: float | None, label: str) -> Markup:
    """Return how probable a class is, 0 to 1, beside the threshold from which on it is said."""
    across = Scale(0, 1, 10, WIDTH - 10)
    is_over = threshold is not None and probability >= threshold
    at = across(probability)
    parts = [
        box(across(0), 26, across(1) - across(0), 16, "chart-track", 8),
        box(across(0), 26, at - across(0), 16, f"chart-bar chart-bar--{'up' if is_over else 'down'}", min(8, at / 2)),
    ]
    parts += [text(across(v), 62, f"{v:.0%}", anchor=_anchor(across(v))) for v in (0.0, 0.25, 0.5, 0.75, 1.0)]
    description = f"The probability of {label} is {wording.probability(probability)}."
    if threshold is not None:
        place, told_threshold = across(threshold), wording.percent(threshold)
        parts.append(path([(place, 20), (place, 48)], "chart-rule"))
        name = f"threshold {told_threshold}"
        parts.append(text(min(max(place, 62), WIDTH - 62), 14, name, "chart-rule-name", "middle"))
        description += " " + f"From {told_threshold} on, {label} is said."
    return figure("gauge", 68, (f"Probability of {label}", description), parts)


def waterfall(explanation: Explanation, label: str, most: int = MOST_BARS) -> Markup:
    """Return the way from the usual case's probability to this one's; beyond `most` steps, the last is of all others.

    `label`: what people call the class whose probability it is.
    """
    steps = [(_named(effect), effect.effect) for effect in explanation.effects]
    if len(steps) > most:
        rest = explanation.effects[most - 1 :]
        others = sum(len(effect.fields) for effect in rest)
        steps = [*steps[: most - 1], (f"{others} others", sum(effect.effect for effect in rest))]
    levels = [
        explanation.base,
        *(explanation.base + sum(effect for _name, effect in steps[: n + 1]) for n in range(len(steps))),
    ]
    across = Scale(min(0.0, *levels), max(1.0, *levels), *BARS)
    digits = 1 if max(abs(effect) for _name, effect in [("", 0.0), *steps]) >= 0.01 else 2
    parts = [_level(26, across, "usual case", explanation.base)]
    for number, (name, effect) in enumerate(steps):
        parts.append(
            _step(26 + STEP * (number + 1), across, (name, wording.points(effect, digits)), levels[number : number + 2])
        )
    parts.append(_level(26 + STEP * (len(steps) + 1), across, "this case", explanation.probability))
    parts.insert(0, text(BARS[0], 12, f"Probability of {clipped(label, 14)}"))
    description = f"From {wording.probability(explanation.base)} to {wording.probability(explanation.probability)}: "
    description += "; ".join(f"{name} {wording.points(effect, digits)}" for name, effect in steps)
    return figure("waterfall", 30 + STEP * (len(steps) + 2), ("What drives this answer", description), parts)


def scatter(plane: Projection, here: tuple[float, float] | None, classes: Mapping[str, str]) -> Markup:
    """Return the training rows on their plane, by class, with the present case among them.

    `classes`: each with what people call it.
    """
    key, top = legend([*classes.values()], 10, "point")
    top, height = top + 4, PLANE
    low, high = np.percentile(plane.points, 0.5, axis=0), np.percentile(plane.points, 99.5, axis=0)
    margin = np.maximum((high - low) * 0.08, 1e-6)
    (left, under), (right, over) = low - margin, high + margin
    across, up = Scale(left, right, 22, RIGHT), Scale(under, over, top + height, top)
    parts = [key, box(14, top - 8, RIGHT - 6, height + 16, "chart-plot", 8)]
    kinds = {name: number for number, name in enumerate(classes)}
    points = zip(plane.points, plane.labels, strict=True)
    parts += [shape(across(x), up(y), kinds[label]) for (x, y), label in points if label in kinds]
    if here is not None:
        inside = left <= here[0] <= right and under <= here[1] <= over
        name = "this case" if inside else "this case lies beyond"
        parts.append(_here(across(here[0]), up(here[1]), name, top + 24))
    first, second = (f"component {i}, {share:.0%} of the variance" for i, share in enumerate(plane.shares, start=1))
    bottom = top + height
    parts += [text((14 + RIGHT) / 2, bottom + 24, first, anchor="middle"), _upright(9, (top + bottom) / 2, second)]
    description = f"{len(plane.labels)} training rows on their two principal components."
    description += " " + _nearest(plane, here, classes) if here is not None else ""
    return figure("scatter", bottom + 30, ("This case among the training data", description), parts)


def histogram(
    title: str, x_title: str, bins: Sequence[tuple[float, float, float]], rules: Rules | None = None
) -> Markup:
    """Return how often values occur. `bins`: low, high and count, at least one; `rules`: such as the threshold."""
    rules = rules or {}
    low, high = min(bins[0][0], *rules.values(), bins[-1][1]), max(bins[-1][1], *rules.values(), bins[0][0])
    top, bottom = 24.0, 24 + PLOT
    across, up = Scale(low, high, LEFT, RIGHT), Scale(0, max(count for *_edges, count in bins) or 1.0, bottom, top)
    parts = _frame(up, bottom)
    for left, right, count in bins:
        if count > 0:
            bar = box(across(left) + 0.5, up(count), across(right) - across(left) - 1, bottom - up(count), "chart-bar")
            parts.append(group([bar], f"{wording.short(left)} – {wording.short(right)}: {wording.short(count)}"))
    parts += [text(across(v), bottom + 16, wording.short(v), anchor=_anchor(across(v))) for v in ticks(low, high)]
    for number, (name, value) in enumerate(rules.items()):
        anchor, shift = ("end", -5) if across(value) > (LEFT + RIGHT) / 2 else ("start", 5)
        parts.append(path([(across(value), 6), (across(value), bottom)], "chart-rule"))
        parts.append(text(across(value) + shift, 14 + 15 * number, name, "chart-rule-name", anchor))
    parts.append(text((LEFT + RIGHT) / 2, bottom + 36, x_title, anchor="middle"))
    busiest = max(bins, key=lambda found: found[2])
    description = f"Most often from {wording.short(busiest[0])} to {wording.short(busiest[1])}."
    description += "".join(f" {name}: {wording.short(value)}." for name, value in rules.items())
    return figure("histogram", bottom + 42, (title, description), parts)


def lines(title: str, times: Sequence[str], series: Sequence[Series], y_title: str = "") -> Markup:
    """Return values over time. `times` are the labels of the places, at least one; `y_title` the unit of the values."""
    key, top = legend([each.name for each in series], 10, "line") if len(series) > 1 else (Markup(""), 10.0)
    top += 22 if y_title else 6
    bottom = top + PLOT
    known = [value for each in series for value in each.values if _is_there(value)]
    across, up = Scale(0, len(times) - 1, LEFT + 4, RIGHT - 4), _roomy(known, bottom, top)
    parts = [key, *_frame(up, bottom)]
    if y_title:
        parts.append(text(LEFT, top - 8, y_title))
    for number in sorted({round(i * (len(times) - 1) / 4) for i in range(5)}):
        parts.append(text(across(number), bottom + 16, clipped(times[number], 7), anchor=_anchor(across(number))))
    for number, each in enumerate(series):
        kind = f"chart-line chart-line--{number % COLOURS}"
        for run in _runs(each.values):
            points = [(across(i), up(value)) for i, value in run]
            parts.append(path(points if len(points) > 1 else [points[0], points[0]], kind))
    if not known:
        parts.append(text((LEFT + RIGHT) / 2, (top + bottom) / 2, "nothing yet", anchor="middle"))
    description = " ".join(_last(each) for each in series)
    return figure("lines", bottom + 24, (title, description), parts)


def _frame(up: Scale, bottom: float) -> list[Markup]:
    parts = []
    for value in ticks(up.low, up.high):
        parts.append(path([(LEFT, up(value)), (RIGHT, up(value))], "chart-grid"))
        parts.append(text(LEFT - 7, up(value) + 4, wording.short(value), anchor="end"))
    return [*parts, path([(LEFT, bottom), (RIGHT, bottom)], "chart-axis")]


def _level(top: float, across: Scale, name: str, probability: float) -> Markup:
    value = wording.probability(probability)
    start, end = sorted((across(0), across(probability)))
    bar = box(start, top, end - start, 10, "chart-bar chart-bar--level", 2)
    return group(
        [text(6, top + 9, name, "chart-label"), bar, text(WIDTH - 6, top + 9, value, "chart-value", "end")], value
    )


def _step(top: float, across: Scale, texts: tuple[str, str], levels: Sequence[float]) -> Markup:
    """Return a row of the waterfall. `texts`: the value's name, its contribution; `levels`: before it, and after."""
    name, signed = texts
    start, end = sorted(across(level) for level in levels)
    kind = f"chart-bar chart-bar--{'up' if levels[1] > levels[0] else 'down'}"
    return group(
        [
            text(6, top + 9, clipped(name, int((BARS[0] - 10) / LETTER))),
            path([(across(levels[0]), top - STEP + 10), (across(levels[0]), top + 10)], "chart-grid"),
            box(start, top, end - start, 10, kind, 2),
            text(WIDTH - 6, top + 9, signed, "chart-value", "end"),
        ],
        f"{name}: {signed}",
    )


def _named(effect: Effect) -> str:
    return f"{len(effect.fields)} others" if effect.is_group else effect.field.title


def _here(x: float, y: float, name: str, highest: float) -> Markup:
    room = BOLD_LETTER * len(name)
    anchor, at = ("end", max(x - 13, room)) if x > WIDTH / 2 else ("start", min(x + 13, WIDTH - room))
    rings = Markup('<circle class="chart-here chart-here--{}" cx="{:.1f}" cy="{:.1f}" r="{}"/>')
    outer, inner = rings.format("ring", x, y, 9), rings.format("dot", x, y, 4)
    return outer + inner + text(at, max(y - 9, highest - 16), name, "chart-here-name", anchor)


def _upright(x: float, y: float, content: str) -> Markup:
    return Markup(
        '<text class="chart-tick" transform="translate({:g} {:g}) rotate(-90)" text-anchor="middle">{}</text>'
    ).format(x, y, content)


def _nearest(plane: Projection, here: tuple[float, float], classes: Mapping[str, str], most: int = 10) -> str:
    order = np.argsort(np.square(plane.points - np.array(here)).sum(axis=1), kind="stable")[:most]
    labels = [plane.labels[i] for i in order]
    counts = ", ".join(f"{labels.count(label)} {classes.get(label, label)}" for label in dict.fromkeys(labels))
    return f"Of the {len(labels)} nearest to this case: {counts}."


def _anchor(x: float) -> str:
    """Return how a text at a place stays within the chart."""
    return "start" if x < 24 else "end" if x > WIDTH - 24 else "middle"


def _is_there(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _roomy(known: Sequence[float | None], bottom: float, top: float) -> Scale:
    """Return a scale from 0 that leaves a little air above."""
    highest = max([0.0, *(value for value in known if value is not None)])
    lowest = min([0.0, *(value for value in known if value is not None)])
    return Scale(lowest, highest + 0.05 * (highest - lowest) or 1.0, bottom, top)


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Return the stretches without a gap, as places and values."""
    stretches = groupby(enumerate(values), key=lambda pair: _is_there(pair[1]))
    return [[(i, float(value)) for i, value in run if value is not None] for is_there, run in stretches if is_there]


def _last(series: Series) -> str:
    known = [value for value in series.values if value is not None and math.isfinite(value)]
    if not known:
        return f"{series.name}: nothing yet."
    last, low, high = (wording.short(value) for value in (known[-1], min(known), max(known)))
    return f"{series.name}: last {last}, from {low} to {high}."
