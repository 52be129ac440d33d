"""Plain models, fitted once beside the network: the Evaluator sets them beside it, an export answers by them."""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from common.errors import DataError
from common.text import MISSING_CODE
from components.features.derived import derive
from components.features.transform import date_parts, input_names, numbers_of, texts_of
from components.table import Table
from components.tasks import Task, task_of
from components.tasks.plain import PlainModel, svm_gamma
from components.tasks.rows import Answered
from config.schema import Feature
from config.settings import Settings

FILE_NAME = "plain_models.pickle"  # beside the SavedModel in the artifact: no pushed version carries it
MAX_CATEGORIES = 100  # commonest values of a text column that get a column of their own
MOST_BYTES = 8_000_000  # of a model that is written into the graph
Floats = NDArray[np.float64]
Tensors = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Encoder:
    """Makes a matrix of a table: z-scores and missing flags, and one column for each common text."""

    mean: Floats
    scale: Floats  # 1 / deviation: TensorFlow would turn a division by a constant into a product, rounded otherwise
    optional: NDArray[np.int64]  # numbers of which train lacked some
    texts: tuple[NDArray[np.str_], ...]

    @staticmethod
    def of(train: Table) -> Encoder:
        known = ~np.isnan(train.numbers)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, train.numbers, 0.0).sum(axis=0) / count
        deviation = np.sqrt((np.where(known, train.numbers - mean, 0.0) ** 2).sum(axis=0) / count)
        texts = []
        for column in train.texts.T:
            values, counts = np.unique(column.astype(str), return_counts=True)
            texts.append(values[np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]])
        scale = 1 / np.where(deviation > 0, deviation, 1.0)
        return Encoder(mean, scale, np.flatnonzero(~known.all(axis=0)), tuple(texts))

    def __call__(self, table: Table) -> Floats:
        missing = np.isnan(table.numbers)
        scores = np.where(missing, 0.0, table.numbers - self.mean) * self.scale
        hot = [column.astype(str)[:, None] == values for column, values in zip(table.texts.T, self.texts, strict=True)]
        return np.concatenate([scores, missing[:, self.optional], *hot], axis=1).astype(np.float64)

    def tensor(self, numbers: tf.Tensor, texts: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the same of `[batch, n] float64` and of a `[batch]` for each text column."""
        missing = tf.math.is_nan(numbers)
        scores = tf.where(missing, tf.zeros_like(numbers), numbers - self.mean) * self.scale
        hot = [column[:, tf.newaxis] == tf.constant(values) for column, values in zip(texts, self.texts, strict=True)]
        flags = [tf.gather(missing, self.optional, axis=1), *hot]
        return tf.concat([scores, *(tf.cast(flag, tf.float64) for flag in flags)], axis=1)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A plain model with what makes answers of it."""

    model: PlainModel
    head: Any
    rows: int
    seconds: float  # that fitting took

    @property
    def threshold(self) -> float | None:
        """From which probability on the positive class is said; None where nothing was chosen."""
        return self.head.point.threshold if self.head and self.head.point else None

    @property
    def is_written(self) -> bool:
        """Whether the export can answer by it: one too large would make every load of the version slow."""
        return self.model.ops is not None and len(pickle.dumps(self.model.estimator)) <= MOST_BYTES


@dataclass(frozen=True, eq=False)
class PlainModels:
    """All of a run. There are none where train holds a single label, or train or eval no rows."""

    task: Task
    encode: Encoder
    fitted: tuple[Fitted, ...]

    @staticmethod
    def fit(train: Table, evaluation: Table, settings: Settings) -> PlainModels:
        """Fit each on train, and what makes answers of it on eval. Large splits are sampled with the run's seed."""
        task, encode = task_of(settings.data), Encoder.of(train)
        if len(np.unique(train.targets)) < 2 or not len(evaluation.targets):
            return PlainModels(task, encode, ())
        x_train, x_eval = encode(train), encode(evaluation)
        rng = np.random.default_rng(settings.seed)
        fitted = []
        for model in task.plain_models(settings.seed, svm_gamma(x_train)):
            rows, began = len(train.targets), time.monotonic()
            limit = model.most_rows
            chosen = np.arange(rows) if rows <= limit else np.sort(rng.choice(rows, limit, replace=False))
            if len(np.unique(train.targets[chosen])) < 2:
                continue
            model.estimator.fit(x_train[chosen], train.targets[chosen])
            head = task.plain_head(model, x_eval, evaluation.targets, settings)
            fitted.append(Fitted(model, head, len(chosen), time.monotonic() - began))
        return PlainModels(task, encode, tuple(fitted))

    @staticmethod
    def read(folder: Path) -> PlainModels:
        """Return what Trainer left beside its model. `folder`: the artifact's. Raises DataError."""
        try:
            models = pickle.loads((folder / FILE_NAME).read_bytes())
        except OSError as error:
            raise DataError("the model has no plain models beside it", got=error, fix="train it again") from None
        assert isinstance(models, PlainModels)
        return models

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE_NAME).write_bytes(pickle.dumps(self))

    def rows(self, one: Fitted, table: Table) -> Answered:
        """Return what one says of a table, beside what is true."""
        groups = None if table.groups is None else np.unique(table.groups, return_inverse=True)[1]
        answers = self.task.plain_answers(one.model, one.head, one.model.said(self.encode(table)))
        return self.task.rows(table.targets, {name: values.numpy() for name, values in answers.items()}, groups)

    def export(self, features: Sequence[Feature], settings: Settings) -> PlainExport | None:
        """Return those that a version answers by; None where there are none, or they read more than the model does."""
        written = tuple(one for one in self.fitted if one.is_written)
        if settings.data.is_images or not written:
            return None
        return PlainExport(replace(self, fitted=written), features, settings)


@dataclass(frozen=True, eq=False)
class PlainExport:
    """Plain models as a part of an exported graph, where outputs are `[batch, models, …]`."""

    models: PlainModels
    features: Sequence[Feature]
    settings: Settings

    def __call__(self, raw: Mapping[str, Any]) -> Tensors:
        """Write what each model says of parsed columns."""
        x = self.models.encode.tensor(*self._columns(raw))
        return self._stacked([one.model.ops(one.model.estimator, x) for one in self.models.fitted if one.model.ops])

    def golden(self, table: Table) -> dict[str, list[Any]]:
        """Return what scikit-learn says of a table, as the graph has to answer."""
        x = self.models.encode(table)
        answers = self._stacked([one.model.said(x) for one in self.models.fitted])
        return {name: _as_json(values.numpy().tolist()) for name, values in answers.items()}

    def facts(self, raw_spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `training.json` holds: models in the order of their answers, and whose `inputs` are."""
        optional = {name for name, column in raw_spec.items() if isinstance(column, tf.io.VarLenFeature)}
        settings = self.settings
        return {
            "plain_models": [{"name": one.model.name, "threshold": one.threshold} for one in self.models.fitted],
            "inputs": input_names(self.features, settings.dates, settings.derived, optional),
        }

    def _stacked(self, said: Sequence[Any]) -> Tensors:
        task, fitted = self.models.task, self.models.fitted
        answers = [task.plain_answers(one.model, one.head, each) for one, each in zip(fitted, said, strict=True)]
        return {name: tf.stack([each[name] for each in answers], axis=1) for name in task.plain_outputs}

    def _columns(self, raw: Mapping[str, Any]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return the numbers, `[batch, n] float64`, and texts that a Table holds of parsed columns, in its order."""
        dates, cleaning = self.settings.dates, self.settings.data.cleaning

        def number(name: str) -> tf.Tensor:
            return numbers_of(raw[name], cleaning)

        def text(name: str) -> tf.Tensor:
            return texts_of(raw[name], name, cleaning)

        def category(feature: Feature) -> tf.Tensor:
            values = text(feature.name)
            return tf.where(values == "", str(MISSING_CODE), values) if feature.dtype == "int" else values

        parts = [part for name, order in sorted(dates.items()) for part in date_parts(text(name), order)]
        numbers = [number(feature.name) for feature in self.features if feature.kind == "numeric"]
        columns = [*numbers, *parts, *derive(self.settings.derived, number, text).values()]
        texts = [category(feature) for feature in self.features if feature.kind == "categorical"]
        rows = tf.shape([*columns, *texts][0])[0]
        return tf.stack(columns, axis=1) if columns else tf.zeros([rows, 0], tf.float64), texts


def _as_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_json(inner) for inner in value]
    return value.decode() if isinstance(value, bytes) else value
