"""Rival (b): the Keras file as an MLflow model, a `tf.Module`: a Keras model's `predict` takes a hundred times as long.

Run: `python mlflow_save.py MODEL.keras OUT`.
"""

from __future__ import annotations

import sys
from typing import Any

import keras
import mlflow
import numpy as np
import tensorflow as tf
from mlflow.models import infer_signature


class Module(tf.Module):
    """The network as a compiled function: MLflow calls it, where it would call `predict` of a Keras model."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    @tf.function
    def __call__(self, rows: Any) -> Any:
        return self.network(rows)


def main(model: str, out: str) -> None:
    """Save with a signature, as the documentation asks for."""
    network = keras.models.load_model(model)
    rows = np.zeros((1, network.input_shape[1]), np.float32)
    signature = infer_signature(rows, network.predict(rows, verbose=0))
    served = Module(network)
    served.__call__.get_concrete_function(tf.TensorSpec((None, network.input_shape[1]), tf.float32))
    mlflow.tensorflow.save_model(served, out, signature=signature, pip_requirements=["mlflow", "tensorflow"])


if __name__ == "__main__":
    main(*sys.argv[1:])
