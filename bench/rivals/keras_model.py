"""Write the pushed network as the Keras file that the rivals serve: same weights, z-scores in the model.

Run: `python -m bench.rivals.keras_model PUSHED_VERSION OUT.keras`, with the project's Python.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import keras
import tensorflow as tf

from bench.rivals.network import dense_layers
from serving.repository.contents import parse_statistics


def main(version: Path, out: Path) -> None:
    """Rebuild the network, give it the pushed weights, and save it."""
    training = json.loads((version / "assets.extra" / "training.json").read_text(encoding="utf-8"))
    mean, deviation = moments(version)
    inputs = keras.Input((len(mean),))
    scaled = keras.layers.Normalization(mean=mean, variance=[value**2 for value in deviation])(inputs)
    network = keras.Model(inputs, dense_layers(scaled, training["settings"]["model"]))
    weights = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    for index, variable in enumerate(network.variables):
        variable.assign(weights.get_tensor(f"network_variables/{index}/.ATTRIBUTES/VARIABLE_VALUE"))
    network.save(out)


def moments(version: Path) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each column over the training split, in the order of the packed input."""
    extra = version / "assets.extra"
    columns = json.loads((extra / "golden.json").read_text(encoding="utf-8"))["inputs"]["serving_default"]
    statistics = parse_statistics((extra / "train_statistics.pb").read_bytes()).columns
    numbers = [statistics[column].num_stats for column in columns]
    return [column.mean for column in numbers], [column.std_dev for column in numbers]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
