"""What drives an answer: contributions of the values that lead from the usual case's probability to this one's.

They are Shapley values against one reference, the usual values (training mean; of text and codes the most frequent),
estimated from random orders in which the case's values replace them, each order together with its reverse. Whatever
the orders, the contributions add up to the difference. All mixtures travel in one request.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.text import MISSING_CODE
from webapp.models.catalog import Field, ModelVersion
from webapp.models.sample import KEPT_VERSIONS, showcase_of
from webapp.predict.predictor import Predictor
from webapp.predict.validation import rules_of

MOST_ROWS = 500  # in one request
MOST_PARTS = 30  # more are grouped: those nearest to what is usual
MOST_PAIRS = 32  # of orders; a few values need no more
MOST_VALUES = 400_000  # in one request: a very wide row is mixed in fewer orders
SEED = 0  # the same case is explained alike each time
Columns = Mapping[str, list[Any]]
Ask = Callable[[Columns], NDArray[np.floating[Any]]]  # columns of values to [rows, classes] or [rows, 1]
Masks = NDArray[np.bool_]  # [rows, parts]: whether a part has the case's value, or else the usual one
Orders = NDArray[np.int64]  # [orders, parts]


@dataclass(frozen=True)
class Effect:
    """What one value, or a group of them, adds to the probability or number. `usual`: None for a group."""

    fields: tuple[Field, ...]
    effect: float
    usual: Any = None

    @property
    def is_group(self) -> bool:
        return len(self.fields) > 1

    @property
    def field(self) -> Field:
        return self.fields[0]


@dataclass(frozen=True)
class Explanation:
    """The effects on the probability of the class `of`, largest first, a group last: from `base` to `probability`.

    `left_out`: fields without a usual value, which keep the case's.
    """

    of: str
    base: float
    probability: float
    effects: tuple[Effect, ...]
    orders: int
    left_out: int = 0
    is_number: bool = False  # not probabilities but numbers


def explain(model_version: ModelVersion, row: Mapping[str, Any], ask: Ask) -> Explanation:
    """Ask once what drives the answer to a row. `row`: every field's value; None, or none at all, is missing."""
    usual = usual_values(model_version)
    parts = _parts(model_version, row, usual)
    orders = _orders(len(parts), len(model_version.fields))
    masks, places = np.unique(_masks(orders), axis=0, return_inverse=True)
    probabilities = ask(_columns(model_version, row, usual, (parts, masks)))
    own, base = (int(places.ravel()[index]) for index in (-1, 0))
    positive, classes = model_version.positive, model_version.classes or (model_version.label,)
    index = classes.index(positive) if positive else int(np.argmax(probabilities[own]))
    steps = np.diff(probabilities[places.ravel(), index].reshape(len(orders), len(parts) + 1).astype(float), axis=1)
    effects = np.zeros(len(parts))
    np.add.at(effects, orders, steps / len(orders))
    listed = [
        Effect(part, float(e), usual[part[0].name] if len(part) == 1 else None)
        for part, e in zip(parts, effects, strict=True)
    ]
    unmoved = [f for f in model_version.fields if f.name in usual and row.get(f.name) == usual[f.name]]
    listed += [Effect((field,), 0.0, usual[field.name]) for field in unmoved]
    listed.sort(key=lambda effect: (effect.is_group, -abs(effect.effect)))
    return Explanation(
        classes[index],
        float(probabilities[base, index]),
        float(probabilities[own, index]),
        tuple(listed),
        len(orders),
        len(model_version.fields) - len(usual),
        model_version.predicts_numbers,
    )


def asker(predictor: Predictor, model_version: ModelVersion) -> Ask:
    """Return how to ask this version, and nobody else, about columns in which None is missing.

    Such questions are no predictions: they are neither logged nor counted. Asking raises what `predict_columns` raises.
    """

    def ask(columns: Columns) -> NDArray[np.floating[Any]]:
        blanks = {rule.name: rule.blank for rule in rules_of(model_version)}
        sent = {name: [blank if v is None else v for v in columns[name]] for name, blank in blanks.items()}
        return predictor.predict_columns(model_version, sent).explained

    return ask


@lru_cache(KEPT_VERSIONS)
def usual_values(model_version: ModelVersion) -> Mapping[str, Any]:
    """Return each field's training mean or most frequent value; a field of which neither is known is left out."""
    values = {field.name: _usual(model_version, field) for field in model_version.fields}
    return {name: value for name, value in values.items() if value is not None}


def _parts(model_version: ModelVersion, row: Mapping[str, Any], usual: Mapping[str, Any]) -> list[tuple[Field, ...]]:
    """Return the fields whose values are not the usual ones; if there are too many, the least odd as one part."""
    moved = [f for f in model_version.fields if f.name in usual and row.get(f.name) != usual[f.name]]
    moved.sort(key=lambda field: -_oddness(field, row.get(field.name), usual[field.name]))
    if len(moved) <= MOST_PARTS:
        return [(field,) for field in moved]
    return [*((field,) for field in moved[: MOST_PARTS - 1]), tuple(moved[MOST_PARTS - 1 :])]


def _orders(parts: int, width: int) -> Orders:
    """Return random orders of the parts, each followed by its reverse, as many as fit into one request; all if few."""
    most_rows = min(MOST_ROWS, MOST_VALUES // max(width, 1))
    pairs = (most_rows - 2) // (2 * max(parts - 1, 1))
    pairs = min(max(pairs, 1), MOST_PAIRS)
    if math.factorial(parts) <= 2 * pairs:
        return np.array(list(permutations(range(parts))), np.int64)
    random = np.random.default_rng(SEED)
    drawn = [random.permutation(parts) for _ in range(pairs)]
    return np.array([order for permutation in drawn for order in (permutation, permutation[::-1])], np.int64)


def _masks(orders: Orders) -> Masks:
    """Return [orders * (parts + 1), parts]: along each order, from all usual to all of the case."""
    ranks = np.argsort(orders, axis=1)
    steps = np.arange(orders.shape[1] + 1)
    return (ranks[:, None, :] < steps[None, :, None]).reshape(orders.size + len(orders), orders.shape[1])


def _columns(
    model_version: ModelVersion,
    row: Mapping[str, Any],
    usual: Mapping[str, Any],
    mixed: tuple[Sequence[tuple[Field, ...]], Masks],
) -> Columns:
    parts, masks = mixed
    columns = {field.name: [row.get(field.name)] * len(masks) for field in model_version.fields}
    for part, is_own in zip(parts, masks.T, strict=True):
        for field in part:
            columns[field.name] = [row.get(field.name) if own else usual[field.name] for own in is_own]
    return columns


def _usual(model_version: ModelVersion, field: Field) -> Any:
    if field.kind == "numeric":
        return field.stats.mean
    if field.stats.top:
        text = field.stats.top[0][0]
        return int(text) if field.dtype == "int" else text
    showcase = showcase_of(model_version)  # statistics take a code for a quantity unless the schema says what it is
    counts = Counter(v for v in showcase.train.columns[field.name] if not is_missing(v)) if showcase else None
    return counts.most_common(1)[0][0] if counts else None


def is_missing(value: object) -> bool:
    """Return whether a value is one of those that stand for none: null, NaN, empty text, the code for it."""
    return value is None or value == "" or value == MISSING_CODE or (isinstance(value, float) and math.isnan(value))


def _oddness(field: Field, value: Any, usual: Any) -> float:
    if is_missing(value) or value == usual:
        return 0.0
    if field.kind == "numeric":
        deviation = field.stats.std_dev or 0.0
        return abs(float(value) - usual) / deviation if deviation else math.inf
    counts = [count for _, count in field.stats.top]
    share = counts[0] / sum(counts) if counts else 0.5
    return math.sqrt(share / max(1 - share, 1e-3))  # of the column that says: this is the most frequent value
