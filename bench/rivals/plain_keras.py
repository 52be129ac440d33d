"""The network as a Keras user writes it, without a pipeline: trained from a CSV, or rebuilt from a pushed version.

Nothing here comes from `components`, so that the rivals gain and lose nothing by our code. Run:
`python -m bench.rivals.plain_keras train SETTINGS.json OUT`, rival (a); `bench.pipeline` writes the settings;
`python -m bench.rivals.plain_keras rebuild VERSION OUT.keras`, the file that MLflow serves.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from serving.repository.contents import parse_statistics


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


def learning_rate(model: dict[str, Any], epoch: int) -> float:
    """Return the rate of an epoch, counted from 0: half a cosine down, for `one_cycle` after one up to ten times."""
    rate, epochs = model["learning_rate"], model["epochs"]
    if model["learning_rate_schedule"] == "constant":
        return float(rate)
    if model["learning_rate_schedule"] == "cosine":
        return float(rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs)))
    climb = 0.3 * epochs
    if epoch < climb:
        return float(rate + 9 * rate * 0.5 * (1 - math.cos(math.pi * epoch / climb)))
    return float(10 * rate * 0.5 * (1 + math.cos(math.pi * (epoch - climb) / (epochs - climb))))


def train(settings: dict[str, Any], out: Path) -> None:
    """Train on the CSV that the settings name and write a SavedModel to `out`."""
    data, split, model = settings["data"], settings["split"], settings["model"]
    keras.utils.set_random_seed(settings["seed"])

    table = pd.read_csv(data["source"], sep=data["delimiter"]).drop(columns=list(data["ignore"]))
    labels = (table.pop(data["label"]).astype(str) == data["positive"]).to_numpy(np.float32)
    features = table.to_numpy(np.float32)

    order = np.random.permutation(len(labels))
    total = split["train"] + split["eval"] + split["test"]
    ends = [len(order) * split["train"] // total, len(order) * (split["train"] + split["eval"]) // total]
    train_rows, eval_rows, _ = np.split(order, ends)

    mean, deviation = features[train_rows].mean(axis=0), features[train_rows].std(axis=0)
    features = (features - mean) / deviation

    inputs = keras.Input((features.shape[1],))
    network = keras.Model(inputs, dense_layers(inputs, model))
    optimizers = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW, "sgd": keras.optimizers.SGD}
    network.compile(
        optimizer=optimizers[model["optimizer"]](model["learning_rate"]),
        loss=keras.losses.BinaryCrossentropy(label_smoothing=model["label_smoothing"]),
        metrics=["accuracy"],
    )
    # `bench.pipeline` switches early stopping off
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: learning_rate(model, epoch))
    network.fit(
        features[train_rows],
        labels[train_rows],
        batch_size=model["batch_size"],
        epochs=model["epochs"],
        validation_data=(features[eval_rows], labels[eval_rows]),
        callbacks=[schedule],
        verbose=2,
    )
    network.export(out)


def rebuild(version: Path, out: Path) -> None:
    """Write the pushed network as a Keras file: same weights, z-scores in the model."""
    extra = version / "assets.extra"
    training = json.loads((extra / "training.json").read_text(encoding="utf-8"))
    golden = json.loads((extra / "golden.json").read_text(encoding="utf-8"))
    statistics = parse_statistics((extra / "train_statistics.pb").read_bytes()).columns
    numbers = [statistics[column].num_stats for column in golden["inputs"]["serving_default"]]
    inputs = keras.Input((len(numbers),))
    normalize = keras.layers.Normalization(
        mean=[column.mean for column in numbers], variance=[column.std_dev**2 for column in numbers]
    )
    network = keras.Model(inputs, dense_layers(normalize(inputs), training["settings"]["model"]))
    weights = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    for index, variable in enumerate(network.variables):
        variable.assign(weights.get_tensor(f"network_variables/{index}/.ATTRIBUTES/VARIABLE_VALUE"))
    network.save(out)


if __name__ == "__main__":
    work, source, out = sys.argv[1:]
    if work == "train":
        train(json.loads(Path(source).read_text(encoding="utf-8")), Path(out))
    else:
        rebuild(Path(source), Path(out))
