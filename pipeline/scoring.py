"""Score rows of the test split with a pushed version, by each of its signatures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from components.export.real_rows import inputs_of
from components.splits import some_rows, split_files
from config.schema import model_features, read_schema
from config.settings import Settings
from serving.repository.contents import plain
from serving.repository.layout import EXAMPLES_SIGNATURE, SCHEMA
from serving.server.core.servable import Servable, as_array


@dataclass(frozen=True)
class ScoredRow:
    """A row's true label and, by signature, the label given and its probability (of the positive class if binary)."""

    true: str
    by_signature: dict[str, tuple[str, float]]


def score_rows(model: Path, examples: str, settings: Settings, rows: int) -> list[ScoredRow]:
    """Load the version as the model server would and score up to `rows` test rows. `examples`: the artifact's URI."""
    features = model_features(read_schema(model / SCHEMA), settings)
    serialized = some_rows(split_files(examples, "test"), rows)
    parsed = [tf.train.Example.FromString(row) for row in serialized]
    true = [e.features.feature[settings.data.label].bytes_list.value[0].decode() for e in parsed]
    servable = Servable.load(model)
    probabilities: list[dict[str, tuple[str, float]]] = [{} for _ in serialized]
    [examples_input] = servable.signatures[EXAMPLES_SIGNATURE].inputs
    for signature, columns in inputs_of(serialized, features, True, examples_input).items():
        if signature not in servable.signatures:
            continue
        arrays = {name: as_array(plain(v), servable.dtype(signature, name)) for name, v in columns.items()}
        outputs = servable.run(signature, arrays)
        scores = outputs["probability"] if settings.data.is_binary else np.max(outputs["probabilities"], axis=1)
        for row, label, score in zip(probabilities, outputs["label"], scores, strict=True):
            row[signature] = (label.decode(), float(score))
    servable.close()
    return [ScoredRow(label, row) for label, row in zip(true, probabilities, strict=True)]
