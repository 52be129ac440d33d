"""How far a picture lies from those of training: whether it may be none of the classes, said by the exported graph.

A network is sure of what it never saw: by its probabilities most foreign pictures pass (docs/images.md). What its
layers make of them gives them away, by Mahalanobis' distance from the training pictures (Lee et al. 2018,
arXiv:1807.03888; here of all classes and layers together, with the covariance shrunk as by Ledoit and Wolf, for there
may be fewer pictures than dimensions).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from config.data_settings import STRANGENESS

Floats = NDArray[np.floating[Any]]


class Strangeness(tf.Module):
    """The distance in shares of the limit, beyond which a chosen share of the eval pictures lies."""

    def __init__(self, train: Floats, held: Floats, share: float) -> None:
        """`train`, `held`: what the network's layers make of the train and eval split, `[pictures, dimensions]`."""
        from sklearn.covariance import ledoit_wolf

        super().__init__(name="strangeness")
        self._centre = train.mean(axis=0, dtype=np.float64)
        covariance, _ = ledoit_wolf(train - self._centre, assume_centered=True)
        spread = np.maximum(np.diag(covariance).max(), 1e-12)  # of a network that says the same of all pictures
        self._whitening = np.linalg.inv(np.linalg.cholesky(covariance + 1e-6 * spread * np.eye(len(covariance)))).T
        self._whitening /= max(float(np.quantile(self._distance(held), 1 - share)), 1e-12)
        self.centre = tf.Variable(self._centre, dtype=tf.float32, trainable=False)
        self.whitening = tf.Variable(self._whitening, dtype=tf.float32, trainable=False)

    def answers(self, looks: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the output of a signature for `[batch, dimensions]`: above 1, a picture is none of the classes."""
        return {STRANGENESS: tf.norm(tf.matmul(looks - self.centre, self.whitening), axis=1)}

    def in_process(self, looks: Floats) -> dict[str, Floats]:
        """Return what the graph must answer, computed without it."""
        return {STRANGENESS: self._distance(looks).astype(np.float32)}

    def _distance(self, looks: Floats) -> Floats:
        return np.asarray(np.linalg.norm((looks - self._centre) @ self._whitening, axis=1))
