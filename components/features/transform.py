"""Turn raw columns into what the network reads. Imported by TFX Transform by path; fitted on the train split only."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

from components.features.derived import derive

NUMERIC = "numeric"
CATEGORICAL = "categorical"
VOCABULARY = "vocabulary_{}"  # the file of a column of `categorical`, by its number
Tensors = dict[str, Any]  # name: tf.Tensor or tf.SparseTensor


def preprocessing_fn(inputs: Tensors, custom_config: dict[str, Any]) -> Tensors:
    """Return `numeric [batch, n] float32`, z-scored, and `categorical [batch, k] int64`, vocabulary ids.

    Columns stand in the order of their names, and vocabularies are numbered: a name may hold any letter.
    All numbers travel packed, through one analyzer, because Beam fits an analyzer for each column much more slowly.
    A missing number becomes the train mean, hence 0, and each
    optional number adds a column that says whether it was missing. An unseen or missing category gets the id one
    past its vocabulary.

    `custom_config`: `left_out` (columns that are not features), `codes` (integers that are categories),
    `vocabulary_size` and `derived` (expressions by name: their values stand behind the other numbers).
    """
    features = {name: inputs[name] for name in sorted(inputs) if name not in custom_config["left_out"]}
    codes = set(custom_config["codes"])
    texts = [name for name, x in features.items() if x.dtype == tf.string or name in codes]
    numbers = [name for name in features if name not in texts]
    derived = derive(custom_config.get("derived", {}), lambda n: _number(inputs[n]), lambda n: _text(inputs[n]))
    outputs = {}
    if numbers or derived:
        outputs[NUMERIC] = _z_scores([*(features[name] for name in numbers), *derived.values()])
    if texts:
        ids = [
            tft.compute_and_apply_vocabulary(
                _text(features[name]),
                top_k=custom_config["vocabulary_size"],
                num_oov_buckets=1,
                vocab_filename=VOCABULARY.format(number),
            )
            for number, name in enumerate(texts)
        ]
        outputs[CATEGORICAL] = tf.stack(ids, axis=1)
    return outputs


def vocabulary_sizes(transform_output: Any, columns: int) -> tuple[int, ...]:
    """Return the size of the vocabulary of each column of `categorical`, out-of-vocabulary id not counted."""
    return tuple(transform_output.vocabulary_size_by_name(VOCABULARY.format(number)) for number in range(columns))


def _z_scores(columns: list[Any]) -> tf.Tensor:
    packed = tf.stack([_number(x) for x in columns], axis=1)
    # mean and var pass over NaN, so missing values do not shift them. Beam adds up batches in an order of its own: in
    # single precision the last bits would change from run to run, and with them the trained model
    mean = tft.mean(packed, reduce_instance_dims=False)
    deviation = tf.sqrt(tft.var(packed, reduce_instance_dims=False))
    # a constant column says nothing: 0, not infinity. Rounded only now: seconds since 1970 would lose their last digits
    scores = tf.cast(tf.math.divide_no_nan(packed - mean, deviation), tf.float32)
    missing = tf.math.is_nan(packed)
    scores = tf.where(missing, tf.zeros_like(scores), scores)
    optional = [i for i, x in enumerate(columns) if isinstance(x, tf.SparseTensor)]
    if not optional:
        return scores
    return tf.concat([scores, tf.cast(tf.gather(missing, optional, axis=1), tf.float32)], axis=1)


def _number(x: Any) -> tf.Tensor:
    """Return `[batch] float64`, NaN where missing."""
    if isinstance(x, tf.SparseTensor):
        x = tf.SparseTensor(x.indices, tf.cast(x.values, tf.float64), x.dense_shape)
        x = _one_column(x, tf.constant(float("nan"), tf.float64))
    return tf.reshape(tf.cast(x, tf.float64), [-1])


def _text(x: Any) -> tf.Tensor:
    """Return `[batch] string`, empty where missing; line breaks are escaped, for a vocabulary is a file of lines."""
    if isinstance(x, tf.SparseTensor):
        values = x.values if x.dtype == tf.string else tf.as_string(x.values)
        x = _one_column(tf.SparseTensor(x.indices, values, x.dense_shape), "")
    elif x.dtype != tf.string:
        x = tf.as_string(x)
    for letter, escaped in (("\\\\", r"\\\\"), ("\n", r"\\n"), ("\r", r"\\r")):
        x = tf.strings.regex_replace(x, letter, escaped)
    return tf.reshape(x, [-1])


def _one_column(x: tf.SparseTensor, default: Any) -> tf.Tensor:
    # a batch in which nobody has a value comes with no columns at all
    shape = [x.dense_shape[0], 1]
    return tf.sparse.to_dense(tf.SparseTensor(x.indices, x.values, shape), default)


class TransformGraph(tf.Module):
    """Turn parsed raw columns into the network's inputs.

    `TFTransformOutput.transform_features_layer()` does the same as a Keras 2 model, whose call autograph converts
    for about six seconds.
    """

    def __init__(self, transform_output: Any) -> None:
        super().__init__(name="transform_graph")
        self._apply = SavedModelLoader(transform_output.transform_savedmodel_dir)
        # the loader is no module: its attributes are what an export has to track, vocabularies among them
        self.tracked = self._apply.__dict__

    @tf.autograph.experimental.do_not_convert
    def __call__(self, raw: dict[str, Any]) -> dict[str, tf.Tensor]:
        """Return `numeric` and `categorical`, as far as there are such columns."""
        transformed = self._apply.apply_transform_model(raw)
        return {key: transformed[key] for key in (NUMERIC, CATEGORICAL) if key in transformed}
