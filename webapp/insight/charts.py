"""The charts of the pages, as SVG. Each says in words what it shows; its page gives the same numbers as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate

import numpy as np
from markupsafe import Markup

from common.draw.charts import RIGHT, Axis, Bars, Chart, Line
from common.draw.svg import (
    BOLD_LETTER,
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
    path,
    shape,
    text,
    ticks,
)
from common.text import counted
from webapp import wording
from webapp.insight.cases import Projection
from webapp.insight.explain import Effect, Explanation
from webapp.models.catalog import ModelVersion, prettified
from webapp.types import Interval

MOST_BARS = 10
BARS = (176.0, WIDTH - 54.0)  # of the waterfall: from where to where
STEP, PLANE = 21.0, 240.0  # heights: of a step, of the training data's plane


def gauge(probability: float, threshold: float | None, label: str) -> Markup:
    """Return how probable a class is, 0 to 1, beside the threshold from which on it is said."""
    across = Scale(0, 1, 10, WIDTH - 10)
    is_over = threshold is not None and probability >= threshold
    at = across(probability)
    parts = [
        box(across(0), 26, across(1) - across(0), 16, "chart-track", 8),
        box(across(0), 26, at - across(0), 16, f"chart-bar chart-bar--{'up' if is_over else 'down'}", min(8, at / 2)),
    ]
    parts += [text(across(v), 62, f"{v:.0%}", anchor=anchor_at(across(v))) for v in (0.0, 0.25, 0.5, 0.75, 1.0)]
    described = f"The probability of {label} is {wording.probability(probability)}."
    if threshold is not None:
        place, percent = across(threshold), wording.percent(threshold)
        parts.append(path([(place, 20), (place, 48)], "chart-rule"))
        at_name = min(max(place, 62), WIDTH - 62)
        parts.append(text(at_name, 14, f"threshold {percent}", "chart-rule-name", "middle"))
        described += f" From {percent} on, {label} is said."
    return figure("gauge", 68, (f"Probability of {label}", described), parts)


def span(value: float, interval: Interval, label: str, seen: tuple[float, float]) -> Markup:
    """Return a predicted number in its interval. `seen`: from where to where the true ones of training lay."""
    across = Scale(min(interval.lower, seen[0]), max(interval.upper, seen[1]), 10, WIDTH - 10)
    left, right, at = (across(v) for v in (interval.lower, interval.upper, value))
    parts = [
        box(across(across.low), 26, across(across.high) - across(across.low), 16, "chart-track", 8),
        box(left, 26, max(right - left, 2), 16, "chart-bar chart-bar--up", 4),
        path([(at, 20), (at, 48)], "chart-rule"),
        text(min(max(at, 40), WIDTH - 40), 14, wording.number(value), "chart-rule-name", "middle"),
    ]
    parts += [
        text(across(v), 62, wording.short(v), anchor=anchor_at(across(v))) for v in ticks(across.low, across.high)
    ]
    lower, upper, least, most = map(wording.number, (interval.lower, interval.upper, *seen))
    described = (
        f"{label} is predicted as {wording.number(value)}, between {lower} and {upper}. In training it lay "
        f"from {least} to {most}."
    )
    return figure("gauge", 68, (f"Predicted {label}", described), parts)


def waterfall(explanation: Explanation, label: str, most: int = MOST_BARS) -> Markup:
    """Return the way from the usual case's probability, or number, to this one's.

    Beyond `most` steps, the last is of all others. `label`: what people call the class, or number, it is of.
    """
    steps = [(_named(effect), effect.effect) for effect in explanation.effects]
    if len(steps) > most:
        rest = explanation.effects[most - 1 :]
        others = sum(len(effect.fields) for effect in rest)
        steps = [*steps[: most - 1], (counted(others, "other"), sum(effect.effect for effect in rest))]
    levels = [*accumulate((effect for _name, effect in steps), initial=explanation.base)]
    level: Callable[[float], str] = wording.number if explanation.is_number else wording.probability
    signed: Callable[[float], str] = wording.signed
    across, heading = Scale(*with_room(min(levels), max(levels)), *BARS), clipped(label, 28)
    if not explanation.is_number:
        digits = 1 if max(abs(effect) for _name, effect in [("", 0.0), *steps]) >= 0.01 else 2
        signed = partial(wording.points, digits=digits)
        across, heading = Scale(min(0.0, *levels), max(1.0, *levels), *BARS), f"Probability of {clipped(label, 14)}"
    parts = [_level(26, across, "usual case", explanation.base, level)]
    for number, (name, effect) in enumerate(steps):
        parts.append(_step(26 + STEP * (number + 1), across, (name, signed(effect)), levels[number : number + 2]))
    parts.append(_level(26 + STEP * (len(steps) + 1), across, "this case", explanation.probability, level))
    parts.insert(0, text(BARS[0], 12, heading))
    ends = f"From {level(explanation.base)} to {level(explanation.probability)}"
    described = f"{ends}: " + "; ".join(f"{name} {signed(effect)}" for name, effect in steps)
    return figure("waterfall", 30 + STEP * (len(steps) + 2), ("What drives this answer", described), parts)


def scatter(plane: Projection, here: tuple[float, float], classes: Mapping[str, str]) -> Markup:
    """Return the training rows on their plane, by class, with the present case among them.

    `classes`: each with what people call it.
    """
    key, top = legend([(shape(0, 0, i), name) for i, name in enumerate(classes.values())], 10)
    top, height = top + 4, PLANE
    low, high = np.percentile(plane.points, 0.5, axis=0), np.percentile(plane.points, 99.5, axis=0)
    margin = np.maximum((high - low) * 0.08, 1e-6)
    (left, under), (right, over) = low - margin, high + margin
    across, up = Scale(left, right, 22, RIGHT), Scale(under, over, top + height, top)
    parts = [key, box(14, top - 8, RIGHT - 6, height + 16, "chart-plot", 8)]
    kinds = {name: number for number, name in enumerate(classes)}
    points = zip(plane.points, plane.kinds, strict=True)
    parts += [shape(across(x), up(y), kinds[label]) for (x, y), label in points if label in kinds]
    inside = left <= here[0] <= right and under <= here[1] <= over
    name = "this case" if inside else "this case lies beyond"
    parts.append(_here(across(here[0]), up(here[1]), name, top + 24))
    first, second = (f"component {i}, {share:.0%} of the variance" for i, share in enumerate(plane.shares, start=1))
    bottom = top + height
    parts += [text((14 + RIGHT) / 2, bottom + 24, first, anchor="middle"), _upright(9, (top + bottom) / 2, second)]
    described = f"{len(plane.labels)} training rows on their two principal components. {_nearest(plane, here, classes)}"
    return figure("scatter", bottom + 30, ("This case among the training data", described), parts)


def scores(
    title: str, model_version: ModelVersion | None, threshold: float | None, bins: Sequence[tuple[float, float, float]]
) -> Markup:
    """Return how a version's probabilities, or numbers, spread. `bins`: low, high and count, at least one."""
    of = ""
    if model_version and model_version.predicts_numbers:
        return histogram(title, prettified(model_version.label), bins)
    if model_version:
        positive = model_version.positive
        of = f" of {model_version.called(positive) if positive else 'the likeliest class'}"
    return histogram(title, f"Probability{of}", bins, {} if threshold is None else {"threshold": threshold})


def histogram(
    title: str, x_title: str, bins: Sequence[tuple[float, float, float]], rules: Mapping[str, float] | None = None
) -> Markup:
    """Return how often values occur. `bins`: low, high and count, at least one; `rules`: such as the threshold."""
    rules = rules or {}
    ends = [bins[0][0], bins[-1][1], *rules.values()]
    low, high, _count = max(bins, key=lambda bin_: bin_[2])
    described = f"Most often from {wording.short(low)} to {wording.short(high)}."
    return Chart(
        title=title,
        description=described + "".join(f" {name}: {wording.short(value)}." for name, value in rules.items()),
        x=Axis(x_title, min(ends), max(ends), wording.short),
        y=Axis("", 0.0, max(count for *_edges, count in bins) or 1.0, wording.short),
        bars=[Bars("", bins)],
        rules=rules,
        kind="histogram",
    ).svg()


def line(title: str, name: str, times: Sequence[str], values: Sequence[float]) -> Markup:
    """Return values over time, at least one. `times` are the labels of their places, `name` says what they are."""
    low, high = min(0.0, *values), max(0.0, *values)
    labelled = {round(i * (len(times) - 1) / 4) for i in range(5)}
    last, least, most = (wording.short(value) for value in (values[-1], min(values), max(values)))
    return Chart(
        title=title,
        description=f"{name}: last {last}, from {least} to {most}.",
        x=Axis("", 0, len(times) - 1, words={place: clipped(times[place], 7) for place in sorted(labelled)}),
        y=Axis("", low, high + 0.05 * (high - low) or 1.0, wording.short),
        lines=[Line("", list(enumerate(values)))],
        nothing="nothing yet",
        kind="lines",
    ).svg()


def with_room(low: float, high: float) -> tuple[float, float]:
    """Return a range with some room around it, so that the least bar can be seen."""
    room = 0.08 * (high - low) or abs(high) or 1.0
    return low - room, high + room


def _level(top: float, across: Scale, name: str, value: float, form: Callable[[float], str]) -> Markup:
    words = form(value)
    start, end = sorted((across(max(0.0, across.low)), across(value)))
    bar = box(start, top, end - start, 10, "chart-bar chart-bar--level", 2)
    return group(
        [text(6, top + 9, name, "chart-label"), bar, text(WIDTH - 6, top + 9, words, "chart-value", "end")], words
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
    return counted(len(effect.fields), "other") if effect.is_group else effect.field.title


def _here(x: float, y: float, name: str, highest: float) -> Markup:
    room = BOLD_LETTER * len(name)
    anchor, at = ("end", max(x - 13, room)) if x > WIDTH / 2 else ("start", min(x + 13, WIDTH - room))
    outer, inner = circle(x, y, 9, "chart-here chart-here--ring"), circle(x, y, 4, "chart-here chart-here--dot")
    return outer + inner + text(at, max(y - 9, highest - 16), name, "chart-here-name", anchor)


def _upright(x: float, y: float, content: str) -> Markup:
    return Markup(
        '<text class="chart-tick" transform="translate({:g} {:g}) rotate(-90)" text-anchor="middle">{}</text>'
    ).format(x, y, content)


def _nearest(plane: Projection, here: tuple[float, float], classes: Mapping[str, str], most: int = 10) -> str:
    order = np.argsort(np.square(plane.points - np.array(here)).sum(axis=1), kind="stable")[:most]
    labels = [plane.kinds[i] for i in order]
    counts = ", ".join(f"{labels.count(label)} {classes.get(label, label)}" for label in dict.fromkeys(labels))
    return f"Of the {len(labels)} nearest to this case: {counts}."
