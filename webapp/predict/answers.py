"""What a model server answered, looked over: an answer that the model cannot have given is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.client.errors import BadAnswer
from serving.client.types import Outputs
from webapp.models.catalog import ModelVersion
from webapp.types import Caution, Interval, Outcome

SUM_TOLERANCE = 1e-3
LABEL_TOLERANCE = 1e-4  # the model compares in float32
BOUNDS = ("lower", "upper")  # of a number's interval


@dataclass(frozen=True)
class Scored:
    """Labels with `[rows, classes]` probabilities; or `[rows]` numbers, as texts too, with `[rows, 2]` bounds."""

    labels: list[str]
    probabilities: NDArray[np.float64]
    values: NDArray[np.float64] | None = None

    def scores(self, model_version: ModelVersion) -> NDArray[np.float64]:
        """Return `[rows]`: the probability of the positive class if there is one, else of the likeliest; or numbers."""
        if self.values is not None:
            return self.values
        if model_version.positive is None:
            return np.asarray(self.probabilities.max(axis=1))
        return self.probabilities[:, model_version.classes.index(model_version.positive)]

    @property
    def explained(self) -> NDArray[np.float64]:
        """What can be explained of each row: `[rows, classes]` probabilities or `[rows, 1]` numbers."""
        return self.probabilities if self.values is None else self.values[:, None]

    def outcomes(self, model_version: ModelVersion, cautions: Iterable[tuple[Caution, ...]]) -> tuple[Outcome, ...]:
        scores, rows = self.scores(model_version).tolist(), self.probabilities.tolist()
        if self.values is not None:
            return tuple(
                Outcome(label, value, {}, of_row, Interval(*bounds))
                for label, value, bounds, of_row in zip(self.labels, scores, rows, cautions, strict=True)
            )
        return tuple(
            Outcome(label, score, dict(zip(model_version.classes, each, strict=True)), of_row)
            for label, score, each, of_row in zip(self.labels, scores, rows, cautions, strict=True)
        )


def read_answer(model_version: ModelVersion, outputs: Outputs) -> Scored:
    """Return what the model said, if it can have said it. Raises BadAnswer."""
    return _numbers(outputs) if model_version.predicts_numbers else _classes(model_version, outputs)


def _numbers(outputs: Outputs) -> Scored:
    try:
        value, lower, upper = (np.array(outputs[name], np.float64) for name in ("value", *BOUNDS))
    except (KeyError, TypeError, ValueError) as error:
        got = f"{type(error).__name__}: {error}"
        raise BadAnswer("this is no answer of a model of numbers", got=got, wanted="value, lower, upper") from None
    if value.ndim != 1 or not value.shape == lower.shape == upper.shape:
        raise BadAnswer("the model answered another number of bounds than values", got=(value.shape, lower.shape))
    together = np.stack([value, lower, upper], axis=1)
    if not np.isfinite(together).all():
        raise BadAnswer("the model answered a value that is no number", got=together[~np.isfinite(together)][0])
    if (odd := (lower > value) | (value > upper)).any():
        raise BadAnswer("the model answered a value outside its own interval", got=together[odd][0].tolist())
    return Scored([str(np.float32(v)).removesuffix(".0") for v in value], together[:, 1:], value)


def _classes(model_version: ModelVersion, outputs: Outputs) -> Scored:
    try:
        labels, probabilities = outputs["label"], np.array(outputs["probabilities"], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswer(
            "this is no answer of a classifier",
            got=f"{type(error).__name__}: {error}",
            wanted="label and probabilities",
        ) from None
    if probabilities.shape != (len(labels), len(model_version.classes)):
        raise BadAnswer(
            "the model answered another number of probabilities",
            got=probabilities.shape,
            wanted=f"{len(model_version.classes)} for each of {len(labels)} rows",
        )
    is_probability = (probabilities >= 0.0) & (probabilities <= 1.0)  # NaN is none
    if not is_probability.all():
        raise BadAnswer(
            "the model answered a value that is not a probability", got=float(probabilities[~is_probability][0])
        )
    if {*map(type, labels)} != {str} or not set(model_version.classes).issuperset(labels):
        odd = next(label for label in labels if not isinstance(label, str) or label not in model_version.classes)
        raise BadAnswer("the model answered a class it does not have", got=repr(odd)[:80])
    _check_agreement(model_version, labels, probabilities)
    return Scored(labels, probabilities)


def _check_agreement(model_version: ModelVersion, labels: Sequence[str], probabilities: NDArray[np.float64]) -> None:
    """Raise BadAnswer unless each row's probabilities sum to one, and its label is what they and the threshold say."""
    sums = probabilities.sum(axis=1)
    if len(sums) and np.abs(sums - 1.0).max() > SUM_TOLERANCE:
        odd = sums[np.abs(sums - 1.0).argmax()]
        raise BadAnswer("the model answered probabilities that do not sum to one", got=f"{odd:.4f}")
    chosen = probabilities[np.arange(len(labels)), [model_version.classes.index(label) for label in labels]]
    if model_version.positive and model_version.threshold is not None:
        scores = probabilities[:, model_version.classes.index(model_version.positive)]
        is_positive = np.array([label == model_version.positive for label in labels], bool)
        against = np.where(is_positive, model_version.threshold - scores, scores - model_version.threshold)
    else:
        against = probabilities.max(axis=1, initial=0.0) - chosen
    if len(labels) and against.max() > LABEL_TOLERANCE:
        row = int(against.argmax())
        got = f"{labels[row]!r} with {np.round(probabilities[row], 4).tolist()}"
        raise BadAnswer("the model answered a label that its probabilities do not say", got=got)
