"""What drives an answer: each value in turn is replaced by what is usual, and the model server is asked again.

That is occlusion against the training mean; for text and codes, against the most frequent value. All variants travel
in one request, together with the row itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webapp.insight.encoding import is_missing
from webapp.models.catalog import Field, ModelVersion
from webapp.models.sample import KEPT_VERSIONS, showcase_of
from webapp.predict.predictor import Predictor
from webapp.predict.rules import rules_of

MOST_FEATURES = 200
MOST_VALUES = 400_000  # in one request, so that a very wide row is not sent two hundred times
Columns = Mapping[str, list[Any]]
Ask = Callable[[Columns], NDArray[np.floating[Any]]]  # columns of values to probabilities, [rows, classes]


@dataclass(frozen=True)
class Effect:
    """By how much a value, None if missing, moves the probability from where the usual one would have it; -1 to 1."""

    field: Field
    value: Any
    baseline: Any
    effect: float


@dataclass(frozen=True)
class Explanation:
    """The effects, largest first, on the probability of the class `of`.

    `baseline_probability`: with every value at its usual one. `left_out`: features not tried, because there are too
    many; those that differ most from what is usual were.
    """

    of: str
    probability: float
    baseline_probability: float
    effects: tuple[Effect, ...]
    left_out: int = 0


@dataclass(frozen=True)
class Question:
    """The rows to ask about: the row itself first, then all values at their usual ones, then one field at a time."""

    model_version: ModelVersion
    row: Mapping[str, Any]
    fields: tuple[Field, ...]  # those tried
    columns: Columns
    left_out: int

    def read(self, probabilities: NDArray[np.floating[Any]]) -> Explanation:
        """Return what the answers, [rows, classes], say: of the positive class, or else of the likeliest."""
        model_version = self.model_version
        index = (
            model_version.classes.index(model_version.positive)
            if model_version.positive
            else int(np.argmax(probabilities[0]))
        )
        own, baseline, *others = (float(value) for value in probabilities[:, index])
        usual = usual_values(model_version)
        effects = [
            Effect(field, _told(self.row.get(field.name)), usual[field.name], own - other)
            for field, other in zip(self.fields, others, strict=True)
        ]
        effects.sort(key=lambda found: -abs(found.effect))
        return Explanation(model_version.classes[index], own, baseline, tuple(effects), self.left_out)


def explain(model_version: ModelVersion, row: Mapping[str, Any], ask: Ask) -> Explanation:
    """Ask once what drives the answer to a row. `row`: every field's value; None, or none at all, is missing."""
    asked = question(model_version, row)
    return asked.read(ask(asked.columns))


def asker(predictor: Predictor, model_version: ModelVersion) -> Ask:
    """Return how to ask this version, and nobody else, about columns in which None is missing.

    Such questions are no predictions: they are neither logged nor counted. Asking raises what `predict_columns` raises.
    """

    def ask(columns: Columns) -> NDArray[np.floating[Any]]:
        blanks = {rule.name: rule.blank for rule in rules_of(model_version)}
        sent = {name: [blank if v is None else v for v in columns[name]] for name, blank in blanks.items()}
        return predictor.predict_columns(model_version, sent).probabilities

    return ask


def question(model_version: ModelVersion, row: Mapping[str, Any]) -> Question:
    """Return what to ask about a row. `row`: every field's value; None, or none at all, is missing."""
    usual = usual_values(model_version)
    known = [field for field in model_version.fields if field.name in usual]
    most = max(1, min(MOST_FEATURES, MOST_VALUES // len(model_version.fields)))
    tried = sorted(known, key=lambda f: -_oddness(f, row.get(f.name), usual[f.name]))[:most]
    columns = {field.name: [row.get(field.name)] * (len(tried) + 2) for field in model_version.fields}
    for field in known:
        columns[field.name][1] = usual[field.name]
    for number, field in enumerate(tried, start=2):
        columns[field.name][number] = usual[field.name]
    return Question(model_version, row, tuple(tried), columns, len(model_version.fields) - len(tried))


@lru_cache(KEPT_VERSIONS)
def usual_values(model_version: ModelVersion) -> Mapping[str, Any]:
    """Return each field's training mean or most frequent value; a field of which neither is known is left out."""
    found = {field.name: _usual(model_version, field) for field in model_version.fields}
    return {name: value for name, value in found.items() if value is not None}


def _told(value: Any) -> Any:
    return None if is_missing(value) else value


def _usual(model_version: ModelVersion, field: Field) -> Any:
    if field.kind == "numeric":
        return field.stats.mean
    if field.stats.top:
        return _as_value(field, field.stats.top[0][0])
    showcase = showcase_of(model_version)  # statistics take a code for a quantity unless the schema says what it is
    counts = Counter(v for v in showcase.train.columns[field.name] if not is_missing(v)) if showcase else None
    return counts.most_common(1)[0][0] if counts else None


def _as_value(field: Field, text: str) -> Any:
    return int(text) if field.dtype == "int" else text


def _oddness(field: Field, value: Any, usual: Any) -> float:
    """Return how far a value is from what is usual, in standard deviations."""
    if is_missing(value) or value == usual:
        return 0.0
    if field.kind == "numeric":
        deviation = field.stats.std_dev or 0.0
        return abs(float(value) - usual) / deviation if deviation else math.inf
    counts = [count for _, count in field.stats.top]
    share = counts[0] / sum(counts) if counts else 0.5
    return math.sqrt(share / max(1 - share, 1e-3))  # of the column that says: this is the most frequent value
