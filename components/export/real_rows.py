"""Real rows that travel with a model: in golden and warm-up requests, and as a sample to look at and to try."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from common.images import thumbnail
from common.text import MISSING_CODE
from components.splits import SplitTables
from config.data_settings import IMAGE_BYTES
from config.schema import Feature
from serving.repository.contents import Golden, Inputs
from serving.repository.layout import DEFAULT_SIGNATURE, EXAMPLES_SIGNATURE, EXTRA, PACKED_SIGNATURE

WARMUP_NAME = "tf_serving_warmup_requests"
MOST_PICTURES = 100  # of a split
MOST_VALUES = 1_000_000  # of a split, so that wide rows do not make a file that no page can read


def inputs_of(
    serialized: Sequence[bytes], features: Sequence[Feature], has_packed: bool, examples_input: str = "examples"
) -> Inputs:
    """Return tf.Examples as each signature takes them. `examples_input`: how `serving_examples` calls its input."""
    examples = [tf.train.Example.FromString(row) for row in serialized]
    columns = {feature.name: [_value(example, feature) for example in examples] for feature in features}
    inputs: Inputs = {
        DEFAULT_SIGNATURE: columns,
        EXAMPLES_SIGNATURE: {examples_input: [{"b64": base64.b64encode(row).decode()} for row in serialized]},
    }
    if has_packed:
        packed = [[_packed(columns[f.name][i], f) for f in features] for i in range(len(examples))]
        inputs[PACKED_SIGNATURE] = {"features": packed}
    return inputs


def write_warmup(model_folder: Path, model_name: str, golden: Golden, dtypes: dict[str, Any]) -> None:
    """Write one request of one row and one of all rows for each signature, as TF Serving replays before serving.

    Source: tensorflow/serving g3doc/saved_model_warmup.md. `dtypes`: signature: input: tf.DType.
    """
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    path = model_folder / EXTRA / WARMUP_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for case in golden.cases:
            rows = len(next(iter(case.inputs.values())))
            for count in sorted({1, rows}):
                request = predict_pb2.PredictRequest()
                request.model_spec.name = model_name
                request.model_spec.signature_name = case.signature
                for name, values in case.inputs.items():
                    tensor = tf.make_tensor_proto(values[:count], dtype=dtypes[case.signature][name])
                    request.inputs[name].CopyFrom(tensor)
                log = prediction_log_pb2.PredictLog(request=request)
                writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def _value(example: Any, feature: Feature) -> Any:
    kind = example.features.feature[feature.name]
    values = kind.int64_list.value or kind.float_list.value or kind.bytes_list.value
    if feature.kind == "image":
        return {"b64": base64.b64encode(values[0]).decode()}
    if not values:
        missing_number = MISSING_CODE if feature.kind == "categorical" else float("nan")
        return "" if feature.dtype == "string" else missing_number
    return values[0].decode("utf-8") if isinstance(values[0], bytes) else values[0]


def _packed(value: Any, feature: Feature) -> float:
    if feature.dtype != "string":
        return float("nan") if value == MISSING_CODE else float(value)
    return float(feature.values.index(value)) if value in feature.values else -1.0


def showcase(tables: SplitTables, rows: Mapping[str, int], most: Mapping[str, int]) -> str:
    """Return the JSON of evenly thinned samples of splits: raw values by feature, and labels.

    `rows` is the number of rows of each split, `most` of its sample. A missing value is null, as are infinities: JSON
    has none.
    """
    samples = {}
    for split, most_rows in most.items():
        limit = min(most_rows, max(1, MOST_VALUES // len(tables.features)))
        columns: dict[str, list[Any]] = {feature.name: [] for feature in tables.features}
        labels: list[str] = []
        if limit:
            table = tables.read(split, rows[split], limit)
            numbers, texts = iter(table.numbers.T), iter(table.texts.T)
            for feature in tables.features:
                values = next(numbers if feature.kind == "numeric" else texts)
                columns[feature.name] = [_json_value(value, feature) for value in values]
            labels = tables.task.texts(table.targets)
        samples[split] = {"rows": rows[split], "columns": columns, "labels": labels}
    return json.dumps(samples, ensure_ascii=False, allow_nan=False) + "\n"


def picture_showcase(tables: SplitTables, rows: Mapping[str, int], most: Mapping[str, int]) -> str:
    """Return the same of pictures, as JPEGs of at most 224 pixels in base64, without EXIF."""
    samples = {}
    for split, wanted in most.items():
        limit = min(wanted, MOST_PICTURES)
        pictures: list[dict[str, str]] = []
        labels: list[str] = []
        for batch, targets in tables.batches(split, max(1, -(-rows[split] // limit))) if limit else ():
            parsed = tf.io.parse_example(batch, {IMAGE_BYTES: tf.io.FixedLenFeature([], tf.string)})
            pictures += [{"b64": base64.b64encode(thumbnail(d, 224)).decode()} for d in parsed[IMAGE_BYTES].numpy()]
            labels += tables.task.texts(targets)
        samples[split] = {"rows": rows[split], "columns": {IMAGE_BYTES: pictures}, "labels": labels}
    return json.dumps(samples, ensure_ascii=False) + "\n"


def _json_value(value: Any, feature: Feature) -> Any:
    if feature.dtype == "string":
        return value or None
    if feature.kind == "categorical":
        return None if int(value) == MISSING_CODE else int(value)
    if not math.isfinite(value):
        return None
    return int(value) if feature.dtype == "int" else float(str(np.float32(value)))  # 0.1, not 0.10000000149011612
