"""A small table whose truth is known, and models that hold so much of it, as TFX artifacts and SavedModels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from config.settings import Settings

SCHEMA = """
feature { name: "signal" type: FLOAT presence { min_fraction: 1 } }
feature { name: "noise" type: FLOAT presence { min_fraction: 1 } }
feature { name: "colour" type: BYTES presence { min_fraction: 1 } }
feature { name: "patient" type: INT presence { min_fraction: 1 } }
feature { name: "number" type: FLOAT presence { min_fraction: 1 } }
feature { name: "label" type: BYTES presence { min_fraction: 1 } }
"""


def tiny_settings(
    classes: Sequence[str] = ("no", "yes"),
    split: dict[str, Any] | None = None,
    source: Path | str = "x.csv",
    **evaluation: Any,
) -> Settings:
    is_binary = len(classes) == 2
    data = {"source": source, "label": "label", "classes": classes} | ({"positive": "yes"} if is_binary else {})
    evaluation = ({} if is_binary else {"metrics": ["auc", "accuracy"]}) | evaluation
    chosen = {"thresholds": {"auc": 0.75}, "bootstrap_samples": 200, **evaluation}
    return Settings.model_validate({"name": "tiny", "data": data, "split": split or {}, "evaluation": chosen})


def tiny_table(rows: int, seed: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    true = rng.random(rows) < 0.4
    return {
        "true": true,
        "signal": true + rng.normal(0, 0.5, rows),
        "noise": rng.normal(0, 0.5, rows),
        "colour": rng.choice(["red", "blue", "green"], rows, p=[0.6, 0.3, 0.1]),
    }


def write_examples(folder: Path, table: dict[str, Any], rows: int) -> Any:
    """Write rows as the test split of an Examples artifact; four of a kind are one patient's."""
    import tensorflow as tf
    from tfx.types import standard_artifacts

    def floats(value: float) -> Any:
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))

    def text(value: str) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))

    path = folder / "Split-test" / "data_tfrecord-00000-of-00001.gz"
    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for i in range(rows):
            feature = {
                "signal": floats(table["signal"][i]),
                "noise": floats(table["noise"][i]),
                "colour": text(table["colour"][i]),
                "label": text("yes" if table["true"][i] else "no"),
                "number": floats(float(table["true"][i])),
                "patient": tf.train.Feature(int64_list=tf.train.Int64List(value=[i // 4])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(folder), '["test"]'
    examples.set_string_custom_property("file_format", "tfrecords_gzip")
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    return examples


def write_schema(folder: Path) -> Any:
    from tfx.types import standard_artifacts

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.pbtxt").write_text(SCHEMA, encoding="utf-8")
    schema = standard_artifacts.Schema()
    schema.uri = str(folder)
    return schema


def save_model(
    folder: Path, truth: float, trained: Settings | None = None, features: Sequence[str] = ("signal", "noise")
) -> Any:
    """Save a model whose score is so much truth and the rest noise, under `serving_examples`.

    `trained`: the settings that it says it was trained by; its probabilities stand in the order of their classes.
    """
    import tensorflow as tf
    from tfx.types import standard_artifacts

    from components.table import Table
    from components.training.plain import PlainModels

    trained = trained or tiny_settings()
    spec = {name: tf.io.FixedLenFeature([], tf.float32) for name in features}
    flipped = trained.data.classes[0] == "yes"

    class Tiny(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def score(self, examples: Any) -> Any:
            row = tf.io.parse_example(examples, spec)
            yes = tf.sigmoid(truth * (row["signal"] - 0.5) + 2.0 * row["noise"])
            label = tf.where(yes >= 0.5, tf.constant("yes"), tf.constant("no"))
            both = [yes, 1 - yes] if flipped else [1 - yes, yes]
            return {"probabilities": tf.stack(both, axis=1), "probability": yes, "label": label}

    module = Tiny()
    serving = folder / "Format-Serving"
    tf.saved_model.save(module, str(serving), signatures={"serving_examples": module.score})
    facts = {"settings": json.loads(trained.model_dump_json(by_alias=True)), "features": list(features)}
    (serving / "assets.extra").mkdir()
    (serving / "assets.extra" / "training.json").write_text(json.dumps(facts), encoding="utf-8")
    none = Table(np.zeros((0, 0)), np.zeros((0, 0), object), np.zeros(0, int))
    PlainModels.fit(none, none, trained).write(folder)
    model = standard_artifacts.Model()
    model.uri = str(folder)
    return model
