"""Transform's callback, after the taxi template: one z-scored output for each feature."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft


def transformed_name(key: str) -> str:
    """Return the name of a feature after Transform."""
    return key + "_xf"


def _fill_in_missing(x: Any) -> Any:
    """Return a dense `[batch]` tensor with 0 or '' for missing values."""
    if not isinstance(x, tf.sparse.SparseTensor):
        return x
    default = "" if x.dtype == tf.string else 0
    return tf.squeeze(tf.sparse.to_dense(tf.SparseTensor(x.indices, x.values, [x.dense_shape[0], 1]), default), axis=1)


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Return each feature z-scored, and the label as 0 or 1.

    `custom_config` holds `features`, `label` and `positive`, which the template has as constants.
    """
    label = custom_config["label"]
    outputs = {
        transformed_name(key): tft.scale_to_z_score(_fill_in_missing(inputs[key])) for key in custom_config["features"]
    }
    is_positive = tf.equal(_fill_in_missing(inputs[label]), custom_config["positive"])
    outputs[transformed_name(label)] = tf.cast(is_positive, tf.int64)
    return outputs
