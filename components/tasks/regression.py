"""Predict a number: a label standardised inside the graph, squared or Huber loss, conformal prediction intervals.

The intervals are split conformal (Vovk et al. 2005; Lei et al. 2018) by the residuals of the eval rows, for bins of the
prediction apart (Mondrian), so that large values may err more than small ones. Of `n` rows of a bin the
`ceil((n + 1) * interval)`-th residual covers a new row with at least the promised probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from common.errors import DataError
from components.tasks import plain
from components.tasks.plain import PlainModel
from components.tasks.rows import NumberRows
from config.model_settings import ModelSettings
from config.settings import Settings

ROWS_A_BIN, MOST_BINS = 100, 10
Floats = NDArray[np.floating[Any]]
Answers = dict[str, NDArray[Any]]  # output: [rows]


@dataclass(frozen=True)
class Spread:
    """How the targets of a split lie."""

    rows: int
    mean: float
    deviation: float

    @property
    def facts(self) -> dict[str, float]:
        return {"mean": self.mean, "deviation": self.deviation}


@dataclass(frozen=True)
class Intervals:
    """Half the width of the prediction interval by bin of the prediction; `edges` part the bins.

    `rows`: of eval in each bin, `coverage`: what is promised.
    """

    coverage: float
    edges: tuple[float, ...]
    widths: tuple[float, ...]
    rows: tuple[int, ...]

    @staticmethod
    def fitted(predicted: Floats, residuals: Floats, coverage: float) -> Intervals:
        """Return the intervals by eval rows' predictions and absolute residuals."""
        count = min(max(len(predicted) // ROWS_A_BIN, 1), MOST_BINS)
        parts = np.array_split(np.argsort(predicted, kind="stable"), count)
        middles = [(float(predicted[a[-1]]) + float(predicted[b[0]])) / 2 for a, b in pairwise(parts)]
        edges = np.unique(np.asarray(middles, np.float32))  # bins of equal predictions are one
        member = np.searchsorted(edges, predicted.astype(np.float32), side="right")
        of_bin = [np.sort(residuals[member == number]) for number in range(len(edges) + 1)]
        ranks = [math.ceil((len(part) + 1) * coverage) for part in of_bin]
        widths = [
            part[min(rank, len(part)) - 1] if len(part) else 0.0 for part, rank in zip(of_bin, ranks, strict=True)
        ]
        return Intervals(
            coverage, tuple(edges.tolist()), tuple(float(np.float32(w)) for w in widths), tuple(map(len, of_bin))
        )


@dataclass(frozen=True)
class NumberHead:
    """What turns a network's output, in standard deviations from the train mean, into a number and its interval."""

    mean: float
    deviation: float
    intervals: Intervals

    def answers(self, standardised: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the outputs of a signature for `[batch, 1]` standardised predictions."""
        value = standardised[:, 0] * self.deviation + self.mean
        member = tf.searchsorted(tf.constant(self.intervals.edges, tf.float32), value, side="right")
        half = tf.gather(tf.constant(self.intervals.widths, tf.float32), member)
        return {"value": value, "lower": value - half, "upper": value + half}

    def in_process(self, standardised: Floats) -> Answers:
        """Return what the graph must answer, computed without it."""
        value = self.values(standardised)
        edges, widths = (np.asarray(x, np.float32) for x in (self.intervals.edges, self.intervals.widths))
        half = widths[np.searchsorted(edges, value, side="right")]
        return {"value": value, "lower": value - half, "upper": value + half}

    def values(self, standardised: Floats) -> NDArray[np.float32]:
        return np.asarray(standardised[:, 0].astype(np.float32) * np.float32(self.deviation) + np.float32(self.mean))

    @property
    def facts(self) -> dict[str, Any]:
        """What `training.json` holds of it."""
        return {"label_mean": self.mean, "label_deviation": self.deviation, "intervals": asdict(self.intervals)}


@dataclass(frozen=True)
class Regression:
    outputs = ("value", "lower", "upper")
    main_output = "value"
    chance_metric = "r2"
    commonest = "Always the mean"
    chance = 0.0
    classes: tuple[str, ...] = ()
    positive: int | None = None

    @property
    def label_column(self) -> tf.io.FixedLenFeature:
        """How the label stands in a tf.Example."""
        return tf.io.FixedLenFeature([], tf.float32, float("nan"))

    def targets(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(labels, np.float64)

    def texts(self, targets: NDArray[Any]) -> list[str]:
        """Return targets as people write them."""
        return [str(np.float32(value)).removesuffix(".0") for value in targets]

    # --- the network

    width, activation = 1, "linear"

    def loss(self, settings: ModelSettings) -> Any:
        return keras.losses.Huber() if settings.loss == "huber" else keras.losses.MeanSquaredError()

    def training_metric(self) -> Any:
        return keras.metrics.MeanAbsoluteError(name="mae")

    def describe(self, targets: NDArray[Any]) -> Spread:
        """Return what is to be known of a split's targets. Raises DataError if one is missing."""
        if not np.isfinite(targets).all():
            raise DataError("a row has no label", wanted="a number in every row")
        rows = len(targets)
        return Spread(rows, float(targets.mean()) if rows else 0.0, float(targets.std()) if rows else 0.0)

    def parse(self, labels: tf.Tensor) -> tf.Tensor:
        return labels

    def for_network(self, targets: Any, train: Spread) -> Any:
        """Return targets in standard deviations from the train mean, `[batch] float32`.

        Raises DataError where there are none, because all are alike.
        """
        if not train.deviation:
            raise DataError("every training row has the same label", got=train.mean, wanted="numbers to tell apart")
        return tf.cast((tf.cast(targets, tf.float64) - train.mean) / train.deviation, tf.float32)

    def class_weight(self, _train: Spread, _settings: ModelSettings) -> None:
        return None

    # --- what makes answers of its output

    def fit_head(self, outputs: Floats, targets: NDArray[Any], train: Spread, settings: Settings) -> NumberHead:
        """Fit the intervals by the eval rows' outputs and standardised targets."""
        bare = NumberHead(train.mean, train.deviation, Intervals(settings.model.interval, (), (0.0,), (0,)))
        predicted, true = bare.values(outputs), bare.values(targets.reshape(-1, 1))
        intervals = Intervals.fitted(predicted, np.abs(predicted - true), settings.model.interval)
        return NumberHead(train.mean, train.deviation, intervals)

    def head_of(self, facts: Mapping[str, Any]) -> NumberHead:
        """Return the head that a training left."""
        said = facts["intervals"]
        intervals = Intervals(said["coverage"], *(tuple(said[key]) for key in ("edges", "widths", "rows")))
        return NumberHead(facts["label_mean"], facts["label_deviation"], intervals)

    # --- what it said of rows

    def rows(
        self, true: NDArray[Any], outputs: Mapping[str, NDArray[Any]], groups: NDArray[np.int64] | None = None
    ) -> NumberRows:
        """Return a signature's outputs beside the true targets."""
        value, lower, upper = (np.asarray(outputs[name], np.float64) for name in self.outputs)
        return NumberRows(np.asarray(true, np.float64), value, lower, upper, groups)

    def no_rows(self) -> NumberRows:
        none = np.zeros(0)
        return NumberRows(none, none, none, none)

    # --- plain models

    plain_outputs = ("value",)

    def plain_models(self, seed: int, gamma: float) -> Sequence[PlainModel]:
        """Return the rivals to be fitted. `gamma`: of the SVM's kernel."""
        from sklearn.compose import TransformedTargetRegressor
        from sklearn.dummy import DummyRegressor
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.linear_model import Ridge
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVR
        from sklearn.tree import DecisionTreeRegressor

        rare = DecisionTreeRegressor(min_samples_leaf=5, random_state=seed)
        vectors = TransformedTargetRegressor(SVR(gamma=gamma), transformer=StandardScaler())
        return (
            PlainModel(self.commonest, DummyRegressor(), "predict", None, is_constant=True),
            PlainModel("Linear regression", Ridge(), "predict", plain.linear),
            PlainModel("Gradient boosting", HistGradientBoostingRegressor(random_state=seed), "predict", None),
            PlainModel("Decision tree", rare, "predict", plain.tree),
            PlainModel("SVM (RBF kernel)", vectors, "predict", plain.scaled_svm, plain.MAX_SVM_ROWS),
        )

    def plain_head(self, _model: PlainModel, _x_eval: Floats, _targets: NDArray[Any], _settings: Settings) -> None:
        return None

    def plain_answers(self, _model: PlainModel, _head: None, said: Any) -> dict[str, tf.Tensor]:
        """Return the outputs of a signature. A plain model promises no interval."""
        return dict.fromkeys(self.outputs, tf.convert_to_tensor(said)[:, 0])
