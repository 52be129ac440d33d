"""Rival (a): what a Keras user writes without a pipeline. Read a CSV, scale, train, save.

Run: `python -m bench.rivals.plain_keras SETTINGS.json OUT`; `bench.pipeline` writes the settings.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from bench.rivals.network import callbacks, compile_network, dense_layers


def main(settings: dict[str, Any], out: Path) -> None:
    """Train on the CSV that the settings name and write a SavedModel to `out`."""
    data, split, model = settings["data"], settings["split"], settings["model"]
    keras.utils.set_random_seed(settings["seed"])

    table = pd.read_csv(data["source"], sep=data["delimiter"]).drop(columns=list(data["ignore"]))
    labels = (table.pop(data["label"]).astype(str) == data["positive"]).to_numpy(np.float32)
    features = table.to_numpy(np.float32)

    order = np.random.permutation(len(labels))
    total = split["train"] + split["eval"] + split["test"]
    ends = [len(order) * split["train"] // total, len(order) * (split["train"] + split["eval"]) // total]
    train, eval_, _ = np.split(order, ends)

    mean, deviation = features[train].mean(axis=0), features[train].std(axis=0)
    features = (features - mean) / deviation

    inputs = keras.Input((features.shape[1],))
    network = keras.Model(inputs, dense_layers(inputs, model))
    compile_network(network, model)
    network.fit(
        features[train],
        labels[train],
        batch_size=model["batch_size"],
        epochs=model["epochs"],
        validation_data=(features[eval_], labels[eval_]),
        callbacks=callbacks(model),
        verbose=2,
    )
    network.export(out)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
