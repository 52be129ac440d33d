"""What a model server answered, looked over: an answer that the model cannot have given is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from config.data_settings import STRANGENESS
from serving.client.errors import BadAnswer
from serving.client.types import Outputs
from webapp.models.catalog import ModelVersion
from webapp.types import Beside, Caution, Interval, NetworkInput, Outcome

SUM_TOLERANCE = 1e-3
LABEL_TOLERANCE = 1e-4  # the model compares in float32
BOUNDS = ("lower", "upper")  # of a number's interval


@dataclass(frozen=True)
class Scored:
    """Labels with `[rows, classes]` probabilities; or `[rows]` numbers, as texts too, with `[rows, 2]` bounds.

    `strangeness`: of each row, of pictures where the model tells it.
    """

    labels: list[str]
    probabilities: NDArray[np.float64]
    values: NDArray[np.float64] | None = None
    strangeness: tuple[float, ...] = ()

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
            Outcome(label, score, dict(zip(model_version.classes, each, strict=True)), of_row, strangeness=strange)
            for label, score, each, of_row, strange in zip(
                self.labels, scores, rows, cautions, self.strangeness or [None] * len(rows), strict=True
            )
        )


def read_answer(model_version: ModelVersion, outputs: Outputs) -> Scored:
    """Return what the model said, if it can have said it. Raises BadAnswer."""
    return _numbers(outputs) if model_version.predicts_numbers else _classes(model_version, outputs)


def read_beside(model_version: ModelVersion, outputs: Outputs) -> list[Beside]:
    """Return what plain models say of each row, and what the network reads of it. Raises BadAnswer."""
    try:
        inputs = np.array(outputs["inputs"], np.float64)
        said = {name: list(zip(*values, strict=True)) for name, values in outputs.items() if name != "inputs"}
        of_models = [
            {name: list(values[n]) for name, values in said.items()} for n in range(len(model_version.plain_models))
        ]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        got = f"{type(error).__name__}: {error}"
        raise BadAnswer("this is no answer of plain models", got=got, wanted="of each row one by each model") from None
    if inputs.ndim != 2 or inputs.shape[1] != len(model_version.inputs):
        raise BadAnswer(
            "the model read another number of inputs", got=inputs.shape, wanted=f"{len(model_version.inputs)}"
        )
    answers = []
    for plain, said_by in zip(model_version.plain_models, of_models, strict=True):
        own = replace(model_version, threshold=plain.threshold)
        if own.predicts_numbers and "value" in said_by:
            said_by |= dict.fromkeys(BOUNDS, said_by["value"])  # it promises no interval
        outcomes = read_answer(own, said_by).outcomes(own, [()] * len(inputs))
        answers.append([(plain, outcome) for outcome in outcomes])
    return [
        Beside(
            tuple(by_row),
            tuple(NetworkInput(*whose, value) for whose, value in zip(model_version.inputs, row, strict=True)),
        )
        for by_row, row in zip(zip(*answers, strict=True), inputs.tolist(), strict=True)
    ]


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
    return Scored(labels, probabilities, strangeness=_strangeness(outputs, len(labels)))


def _strangeness(outputs: Outputs, rows: int) -> tuple[float, ...]:
    if STRANGENESS not in outputs:
        return ()
    try:
        told = np.array(outputs[STRANGENESS], np.float64)
    except (TypeError, ValueError) as error:
        raise BadAnswer("the model answered a strangeness that is no number", got=error) from None
    if told.shape != (rows,) or not (np.isfinite(told) & (told >= 0.0)).all():
        raise BadAnswer("the model answered no strangeness", got=told, wanted=f"{rows} numbers from 0")
    return tuple(told.tolist())


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
