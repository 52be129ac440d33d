"""Plain models: rivals of the network by scikit-learn, and what they say written as TF ops, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

MAX_ROWS = 20_000
MAX_SVM_ROWS = 5_000  # its time grows with the square of the rows
Floats = NDArray[np.float64]
Ops = Callable[[Any, tf.Tensor], tf.Tensor]  # fitted estimator, [batch, columns] -> [batch, k]


@dataclass(frozen=True)
class PlainModel:
    """A rival, fitted on at most so many rows.

    `says`: the estimator's method; margins of a `decision_function` become probabilities by a temperature fitted on
    eval. `ops` writes that method as TF ops; None where public attributes do not tell enough, or nobody would ask.
    """

    name: str
    estimator: Any
    says: str
    ops: Ops | None
    most_rows: int = MAX_ROWS
    is_constant: bool = False  # answers all rows alike

    def said(self, x: Floats) -> Floats:
        """Return what the estimator says of rows, `[rows, k]`."""
        return np.asarray(getattr(self.estimator, self.says)(x), np.float64).reshape(len(x), -1)


def svm_gamma(x: Floats) -> float:
    """Return what scikit-learn calls `scale`, which a fitted SVM does not tell."""
    variance = float(x.var())
    return 1 / (x.shape[1] * variance) if variance and x.shape[1] else 1.0


def linear(estimator: Any, x: tf.Tensor) -> tf.Tensor:
    """Write a linear regression."""
    return tf.matmul(x, np.atleast_2d(estimator.coef_).T) + estimator.intercept_


def logistic(estimator: Any, x: tf.Tensor) -> tf.Tensor:
    """Write a logistic regression, multinomial from three classes on."""
    logits = linear(estimator, x)
    if logits.shape[1] > 1:
        return tf.nn.softmax(logits)
    return tf.concat([tf.sigmoid(-logits), tf.sigmoid(logits)], axis=1)


def tree(estimator: Any, x: tf.Tensor) -> tf.Tensor:
    """Write a decision tree: every row goes down one level at a time, and stays where it is once in a leaf."""
    nodes = estimator.tree_
    places = np.arange(nodes.node_count)
    is_leaf = nodes.children_left < 0
    left, right = (np.where(is_leaf, places, child) for child in (nodes.children_left, nodes.children_right))
    values = nodes.value[:, 0, :]
    if hasattr(estimator, "classes_"):
        values = values / values.sum(axis=1, keepdims=True)
    x = tf.cast(tf.cast(x, tf.float32), tf.float64)  # as scikit-learn compares
    place = tf.zeros([tf.shape(x)[0]], tf.int64)
    for _ in range(nodes.max_depth):
        value = tf.gather(x, tf.gather(np.where(is_leaf, 0, nodes.feature), place), axis=1, batch_dims=1)
        place = tf.where(value <= tf.gather(nodes.threshold, place), tf.gather(left, place), tf.gather(right, place))
    return tf.gather(values, place)


def svm(estimator: Any, x: tf.Tensor) -> tf.Tensor:
    """Write the margins of an SVC with RBF kernel: of each pair of classes, and of more than two their votes."""
    kernel = _rbf(estimator, x)
    count = len(estimator.classes_)
    if count == 2:
        return tf.matmul(kernel, estimator.dual_coef_.T) + estimator.intercept_
    pairs = list(combinations(range(count), 2))
    of_class = np.repeat(np.arange(count), estimator.n_support_)
    weights = np.zeros((len(of_class), len(pairs)))  # libsvm keeps those of a class against each other one
    for column, (i, j) in enumerate(pairs):
        weights[of_class == i, column] = estimator.dual_coef_[j - 1, of_class == i]
        weights[of_class == j, column] = estimator.dual_coef_[i, of_class == j]
    margins = tf.matmul(kernel, weights) + estimator.intercept_
    first, second = (np.eye(count)[[pair[side] for pair in pairs]] for side in (0, 1))
    confidence = tf.matmul(margins, first - second)
    is_first = tf.cast(margins >= 0, tf.float64)
    votes = tf.matmul(is_first, first) + tf.matmul(1 - is_first, second)
    return votes + confidence / (3 * (tf.abs(confidence) + 1))


def scaled_svm(estimator: Any, x: tf.Tensor) -> tf.Tensor:
    """Write a TransformedTargetRegressor of SVR and StandardScaler."""
    regressor, scaler = estimator.regressor_, estimator.transformer_
    standardised = tf.matmul(_rbf(regressor, x), regressor.dual_coef_.T) + regressor.intercept_
    return standardised * scaler.scale_ + scaler.mean_


def _rbf(estimator: Any, x: tf.Tensor) -> tf.Tensor:
    """Return the kernel of each row with each support vector."""
    vectors = estimator.support_vectors_
    squares = tf.reduce_sum(x * x, axis=1, keepdims=True) + (vectors**2).sum(axis=1)
    distances = tf.maximum(squares - 2 * tf.matmul(x, vectors.T), 0.0)
    return tf.exp(-estimator.gamma * distances)
