"""The network of a configuration as a Keras user writes it, for the rivals of `bench.pipeline` and `bench.serving`.

Nothing here comes from `components`, so that they gain and lose nothing by our code.
`model` is the `model` section of the settings as a plain dict.
"""

from __future__ import annotations

import math
from typing import Any

import keras


def dense_layers(x: Any, model: dict[str, Any]) -> Any:
    """Return the hidden layers and the sigmoid output on top of a Keras tensor `[batch, features]`."""
    for units in model["hidden_units"]:
        x = keras.layers.Dense(
            units,
            activation=model["activation"],
            kernel_initializer=model["kernel_initializer"],
            kernel_regularizer=keras.regularizers.L2(model["l2"]) if model["l2"] else None,
        )(x)
        if model["batch_normalization"]:
            x = keras.layers.BatchNormalization()(x)
        if model["dropout"]:
            x = keras.layers.Dropout(model["dropout"])(x)
    return keras.layers.Dense(1, activation="sigmoid")(x)


def compile_network(network: keras.Model, model: dict[str, Any]) -> None:
    """Compile with the optimizer and loss of the settings, and the metric that ours watches too."""
    optimizers = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW, "sgd": keras.optimizers.SGD}
    network.compile(
        optimizer=optimizers[model["optimizer"]](model["learning_rate"]),
        loss=keras.losses.BinaryCrossentropy(label_smoothing=model["label_smoothing"]),
        metrics=["accuracy"],
    )


def callbacks(model: dict[str, Any]) -> list[keras.callbacks.Callback]:
    """Return early stopping and the learning-rate schedule, where the settings ask for them."""
    chosen: list[keras.callbacks.Callback] = []
    if model["early_stopping_patience"]:
        chosen.append(
            keras.callbacks.EarlyStopping(patience=model["early_stopping_patience"], restore_best_weights=True)
        )
    if model["learning_rate_schedule"] != "constant":
        chosen.append(keras.callbacks.LearningRateScheduler(lambda epoch: learning_rate(model, epoch)))
    return chosen


def learning_rate(model: dict[str, Any], epoch: int) -> float:
    """Return the rate of an epoch, counted from 0: half a cosine down, for `one_cycle` after one up to ten times."""
    rate, epochs = model["learning_rate"], model["epochs"]
    if model["learning_rate_schedule"] == "cosine":
        return float(rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs)))
    climb = 0.3 * epochs
    if epoch < climb:
        return float(rate + 9 * rate * 0.5 * (1 - math.cos(math.pi * epoch / climb)))
    return float(10 * rate * 0.5 * (1 + math.cos(math.pi * (epoch - climb) / (epochs - climb))))
