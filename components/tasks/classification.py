"""Predict a class: cross-entropy, calibrated probabilities, and for two classes a threshold that decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from common.errors import DataError
from components.tasks import plain
from components.tasks.calibration import AS_TRAINED, Calibration, fit_calibration
from components.tasks.operating_point import OperatingPoint, choose_threshold, decide
from components.tasks.plain import PlainModel
from components.tasks.rows import Rows
from config.data_settings import STRANGENESS
from config.model_settings import ModelSettings
from config.settings import Settings

Floats = NDArray[np.floating[Any]]
Answers = dict[str, NDArray[Any]]  # output: [rows, …]


@dataclass(frozen=True)
class Classes:
    """How often each class comes in a split."""

    counts: tuple[int, ...]

    @property
    def rows(self) -> int:
        return sum(self.counts)

    @property
    def balanced_weights(self) -> list[float]:
        """A weight for each class such that all classes together weigh the same."""
        return [self.rows / (len(self.counts) * max(count, 1)) for count in self.counts]

    @property
    def facts(self) -> list[int]:
        return list(self.counts)


@dataclass(frozen=True)
class ClassHead:
    """What turns a network's logits into a label and its probabilities; fitted on the eval split."""

    classes: tuple[str, ...]
    positive: int | None
    calibration: Calibration = AS_TRAINED
    point: OperatingPoint | None = None

    @property
    def threshold(self) -> float:
        return self.point.threshold if self.point else 0.5

    def answers(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the outputs of a signature for `[batch, 1 or classes]` logits."""
        calibrated = self.calibration.apply(logits)
        classes = tf.constant(self.classes)
        if self.positive is None:
            scores = tf.cast(tf.nn.softmax(calibrated), tf.float32)
            return {"probabilities": scores, "label": tf.gather(classes, tf.argmax(scores, axis=1))}
        positive = tf.cast(tf.sigmoid(calibrated[:, 0]), tf.float32)
        pair = [positive, 1.0 - positive] if self.positive == 0 else [1.0 - positive, positive]
        chosen = tf.where(positive >= self.threshold, self.positive, 1 - self.positive)
        return {"probabilities": tf.stack(pair, axis=1), "probability": positive, "label": tf.gather(classes, chosen)}

    def in_process(self, logits: Floats) -> Answers:
        """Return what the graph must answer, computed without it."""
        scores = self.calibration.probabilities(logits)
        if self.positive is not None:
            scores = np.stack([scores[:, 0] if i == self.positive else 1 - scores[:, 0] for i in (0, 1)], axis=1)
        scores = scores.astype(np.float32)
        chosen = decide(scores, self.threshold, self.positive)
        return {"probabilities": scores, "label": np.asarray(self.classes)[chosen]}

    @property
    def facts(self) -> dict[str, Any]:
        """What `training.json` holds of it."""
        return {"operating_point": asdict(self.point) if self.point else None, "calibration": asdict(self.calibration)}


@dataclass(frozen=True)
class Classification:
    """`positive`: of two classes the index of the one that the network's output is the probability of, else None."""

    classes: tuple[str, ...]
    positive: int | None = None

    outputs = ("probabilities", "label")
    main_output = "probabilities"
    chance_metric = "auc"  # that tells a model that knows something from one that does not
    commonest = "Always the commonest class"
    chance = 0.5

    @property
    def label_column(self) -> tf.io.FixedLenFeature:
        """How the label stands in a tf.Example."""
        return tf.io.FixedLenFeature([], tf.string, "")

    def targets(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Return the index of each parsed label, `[rows] object` of bytes."""
        index = {name.encode(): i for i, name in enumerate(self.classes)}
        return np.array([index[name] for name in labels], np.int64)

    def texts(self, targets: NDArray[Any]) -> list[str]:
        """Return targets as people write them."""
        return [self.classes[i] for i in targets]

    # --- the network

    @property
    def width(self) -> int:
        return len(self.classes) if self.positive is None else 1

    @property
    def activation(self) -> str:
        return "softmax" if self.positive is None else "sigmoid"

    def loss(self, settings: ModelSettings) -> Any:
        """Return the cross-entropy of integer labels; Keras' sparse one knows no label smoothing."""
        if self.positive is not None:
            return keras.losses.BinaryCrossentropy(label_smoothing=settings.label_smoothing)

        def cross_entropy(labels: Any, probabilities: Any) -> Any:
            one_hot = keras.ops.one_hot(keras.ops.reshape(labels, [-1]), len(self.classes))
            return keras.losses.categorical_crossentropy(
                one_hot, probabilities, label_smoothing=settings.label_smoothing
            )

        return cross_entropy

    def training_metric(self) -> Any:
        metric = keras.metrics.SparseCategoricalAccuracy if self.positive is None else keras.metrics.BinaryAccuracy
        return metric(name="accuracy")

    def describe(self, targets: NDArray[np.int64]) -> Classes:
        """Return what is to be known of a split's targets. Raises DataError if one is no class."""
        if targets.min(initial=0) < 0:
            raise DataError("a row has no known label", wanted=f"one of {list(self.classes)}")
        return Classes(tuple(np.bincount(targets, minlength=len(self.classes)).tolist()))

    def parse(self, labels: tf.Tensor) -> tf.Tensor:
        """Return `[batch] int64` class indices of `[batch] string`, -1 of what is no class."""
        is_class = tf.equal(labels[:, tf.newaxis], tf.constant([self.classes]))
        index = tf.argmax(tf.cast(is_class, tf.int64), axis=1)
        return tf.where(tf.reduce_any(is_class, axis=1), index, tf.constant(-1, tf.int64))

    def for_network(self, targets: Any, _train: Classes) -> Any:
        """Return what the network calls targets: for two classes, 1 is the positive one."""
        return targets if self.positive is None else tf.cast(tf.equal(targets, self.positive), tf.int64)

    def class_weight(self, train: Classes, settings: ModelSettings) -> dict[int, float] | None:
        if settings.class_weights != "balanced":
            return None
        named = [i if self.positive is None else int(i == self.positive) for i in range(len(self.classes))]
        return dict(zip(named, train.balanced_weights, strict=True))

    # --- what makes answers of its output

    def fit_head(self, logits: Floats, targets: NDArray[Any], train: Classes, settings: Settings) -> ClassHead:
        """Calibrate and choose the threshold by the eval rows' logits and what the network calls their classes."""
        calibration = fit_calibration(logits, targets, shift=self._weight_shift(train, settings.model))
        if self.positive is None:
            return ClassHead(self.classes, None, calibration)
        scores = calibration.probabilities(logits)[:, 0].astype(np.float32)
        point = choose_threshold(targets == 1, scores, settings.operating_point)
        return ClassHead(self.classes, self.positive, calibration, point)

    def head_of(self, facts: Mapping[str, Any]) -> ClassHead:
        """Return the head that a training left."""
        point = facts.get("operating_point")
        said = facts.get("calibration") or asdict(AS_TRAINED)
        shift = said["shift"]
        calibration = Calibration(said["temperature"], tuple(shift) if isinstance(shift, list) else shift)
        return ClassHead(self.classes, self.positive, calibration, OperatingPoint(**point) if point else None)

    def _weight_shift(self, train: Classes, settings: ModelSettings) -> float | tuple[float, ...]:
        """Return by how much balanced class weights raise the logit of each class, or of the positive one."""
        if settings.class_weights != "balanced":
            return 0.0
        raised = np.log(train.balanced_weights)
        if self.positive is None:
            return tuple(raised.tolist())
        return float(raised[self.positive] - raised[1 - self.positive])

    # --- what it said of rows

    def rows(
        self, true: NDArray[Any], outputs: Mapping[str, NDArray[Any]], groups: NDArray[np.int64] | None = None
    ) -> Rows:
        """Return a signature's outputs beside the true targets."""
        strangeness = outputs.get(STRANGENESS)
        return Rows(true, self.targets(outputs["label"]), outputs["probabilities"], self.positive, groups, strangeness)

    def no_rows(self) -> Rows:
        return Rows(np.zeros(0, int), np.zeros(0, int), np.zeros((0, len(self.classes)), np.float32), self.positive)

    # --- plain models

    plain_outputs = ("probabilities", "label")

    def plain_models(self, seed: int, gamma: float) -> Sequence[PlainModel]:
        """Return the rivals to be fitted. `gamma`: of the SVM's kernel."""
        from sklearn.dummy import DummyClassifier
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.svm import SVC
        from sklearn.tree import DecisionTreeClassifier

        says = "predict_proba"
        rare = DecisionTreeClassifier(min_samples_leaf=5, random_state=seed)
        vectors = SVC(gamma=gamma, random_state=seed)
        return (
            PlainModel(self.commonest, DummyClassifier(strategy="prior"), says, None, is_constant=True),
            PlainModel("Logistic regression", LogisticRegression(max_iter=1000), says, plain.logistic),
            PlainModel("Gradient boosting", HistGradientBoostingClassifier(random_state=seed), says, None),
            PlainModel("Decision tree", rare, says, plain.tree),
            PlainModel("SVM (RBF kernel)", vectors, "decision_function", plain.svm, plain.MAX_SVM_ROWS),
        )

    def plain_head(self, model: PlainModel, x_eval: Floats, targets: NDArray[Any], settings: Settings) -> ClassHead:
        """Return what makes answers of what a plain model says, fitted on eval: its threshold is chosen as ours is."""
        logits = self._plain_logits(model, model.said(x_eval)).numpy()
        named = targets if self.positive is None else (targets == self.positive).astype(np.int64)
        calibration = AS_TRAINED
        if model.says == "decision_function":
            known = np.isin(targets, model.estimator.classes_)
            calibration = fit_calibration(logits[known], named[known])
        point = None
        if self.positive is not None and not model.is_constant:
            scores = calibration.probabilities(logits)[:, 0].astype(np.float32)
            point = choose_threshold(named == 1, scores, settings.operating_point)
        return ClassHead(self.classes, self.positive, calibration, point)

    def plain_answers(self, model: PlainModel, head: ClassHead, said: Any) -> dict[str, tf.Tensor]:
        """Return the outputs of a signature for what a plain model says, an array or a tensor, `[batch, k] float64`."""
        return head.answers(self._plain_logits(model, said))

    def _plain_logits(self, model: PlainModel, said: Any) -> tf.Tensor:
        """Return `[batch, 1 or classes]` as a network would; a class without a train row is never called."""
        known = list(model.estimator.classes_)
        logits = said if model.says == "decision_function" else tf.math.log(said)
        if self.positive is not None:
            margin = logits if logits.shape[1] == 1 else logits[:, 1:] - logits[:, :1]
            return tf.convert_to_tensor(margin if known[1] == self.positive else -margin)
        if logits.shape[1] == 1:  # an SVM's, of the two classes that train has
            logits = tf.concat([-logits / 2, logits / 2], axis=1)
        never = tf.fill([tf.shape(logits)[0], 1], tf.constant(-np.inf, tf.float64))
        places = [known.index(i) if i in known else len(known) for i in range(len(self.classes))]
        return tf.gather(tf.concat([logits, never], axis=1), places, axis=1)
