"""Export one graph under its signatures, so that TensorFlow Serving's session loader accepts it."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from common.text import MISSING_CODE
from components.export.strangeness import Strangeness
from components.features.transform import TransformGraph
from components.tasks import Head
from config.schema import Feature
from serving.repository.layout import DEFAULT_SIGNATURE, EXAMPLES_SIGNATURE, PACKED_SIGNATURE, PLAIN_SIGNATURE

Tensors = dict[str, tf.Tensor]
Plain = Callable[[dict[str, Any]], Tensors]


class Scorer(tf.Module):
    """Score raw rows: the transform graph, the network and its head as one module.

    Keras 3 variables are held as plain `tf.Variable`s: the session loader restores only those it can reach
    as such (tensorflow/serving#2226, keras#19274).
    """

    def __init__(
        self,
        network: Any,
        transform_output: Any,
        features: Sequence[Feature],
        head: Head,
        plain: Plain | None = None,
        strangeness: Strangeness | None = None,
    ) -> None:
        """`network` gives logits, and looks where there is `strangeness`; `head` and that make answers of them.

        `plain` answers parsed columns by plain models.
        """
        super().__init__(name="scorer")
        # a closure hides the Keras object from the module's tracking: only its plain variables are to be saved
        self._network: Callable[[Any], Any] = lambda inputs: network(inputs, training=False)
        self.network_variables = [variable.value for variable in network.variables]
        self.transform = TransformGraph(transform_output)
        spec = transform_output.raw_feature_spec()
        self._features = tuple(feature for feature in features if feature.name in spec)
        self._spec = {feature.name: spec[feature.name] for feature in self._features}
        self.examples_input = _free_name("examples", spec)
        self._head, self._plain, self.strangeness = head, plain, strangeness

    @property
    def has_packed(self) -> bool:
        """Whether every row fits a matrix of numbers: text columns need a domain in the schema to be numbered by."""
        return all(feature.dtype != "string" or feature.values for feature in self._features)

    def input_types(self) -> dict[str, dict[str, tf.DType]]:
        """Return what each signature takes: `{signature: {input: dtype}}`."""
        columns = {feature.name: _dtype(feature) for feature in self._features}
        has_whole = any(feature.dtype == "int" for feature in self._features)
        types = {DEFAULT_SIGNATURE: columns, EXAMPLES_SIGNATURE: {self.examples_input: tf.string}}
        if self.has_packed:
            types[PACKED_SIGNATURE] = {"features": tf.float64 if has_whole else tf.float32}
        if self._plain:
            types[PLAIN_SIGNATURE] = columns
        return types

    def save(self, folder: Path) -> None:
        types = self.input_types()
        # tf.function takes names for parameters, of which no two may differ in case only: columns get their own later
        aliases = {feature.name: f"column_{number}" for number, feature in enumerate(self._features)}

        def from_aliases(function: Callable[[Tensors], Tensors]) -> Any:
            def named(columns: Tensors) -> Tensors:
                return function({name: columns[alias] for name, alias in aliases.items()})

            specs = {
                alias: tf.TensorSpec([None], types[DEFAULT_SIGNATURE][name], name=alias)
                for name, alias in aliases.items()
            }
            return tf.function(named, autograph=False).get_concrete_function(specs)

        signatures = {
            DEFAULT_SIGNATURE: from_aliases(self.from_columns),
            EXAMPLES_SIGNATURE: tf.function(self.from_examples, autograph=False).get_concrete_function(
                tf.TensorSpec([None], tf.string, name=self.examples_input)
            ),
        }
        if self.has_packed:
            width = len(self._features)
            signatures[PACKED_SIGNATURE] = tf.function(self.from_packed, autograph=False).get_concrete_function(
                tf.TensorSpec([None, width], types[PACKED_SIGNATURE]["features"], name="features")
            )
        if self._plain:
            signatures[PLAIN_SIGNATURE] = from_aliases(self.plain_from_columns)
        tf.saved_model.save(self, str(folder), signatures=signatures)
        _rename_inputs(folder, {alias: name for name, alias in aliases.items()})

    def from_columns(self, columns: Tensors) -> Tensors:
        """Score named columns, each `[batch]`; NaN, the empty text and `MISSING_CODE` mean: missing."""
        return self._score(self._parsed(columns))

    def plain_from_columns(self, columns: Tensors) -> Tensors:
        """Return what plain models say of named columns, and as `inputs` what the network reads of them."""
        assert self._plain
        raw = self._parsed(columns)
        read = [tf.cast(values, tf.float32) for values in self.transform(raw).values()]
        return {**self._plain(raw), "inputs": tf.concat(read, axis=1)}

    def from_examples(self, examples: tf.Tensor) -> Tensors:
        """Score `[batch] string` of serialized tf.Examples."""
        return self._score(tf.io.parse_example(examples, self._spec))

    def from_packed(self, features: tf.Tensor) -> Tensors:
        """Score a `[batch, features]` matrix in the schema's order.

        A text column holds the place of the value in its domain, from 0; any other number means: missing. So does
        NaN in all others.
        """
        columns = {}
        for index, feature in enumerate(self._features):
            column = features[:, index]
            if feature.dtype == "string":
                column = _value_at(column, feature.values)
            elif feature.kind == "categorical":
                missing = tf.constant(MISSING_CODE, tf.int64)
                column = tf.where(tf.math.is_nan(column), missing, tf.cast(column, tf.int64))
            columns[feature.name] = column
        return self.from_columns(columns)

    def _score(self, raw: dict[str, Any]) -> Tensors:
        said = self._network(self.transform(raw))
        if self.strangeness is None:
            return self._head.answers(tf.cast(said, tf.float32))
        logits, looks = said
        return {**self._head.answers(logits), **self.strangeness.answers(looks)}

    def _parsed(self, columns: Tensors) -> dict[str, Any]:
        return {name: self._as_parsed(name, column) for name, column in columns.items()}

    def _as_parsed(self, name: str, column: tf.Tensor) -> Any:
        """Return a dense column as `tf.io.parse_example` would have."""
        spec = self._spec[name]
        marks = {tf.string: "", tf.int64: MISSING_CODE}
        absent = tf.equal(column, marks[column.dtype]) if column.dtype in marks else tf.math.is_nan(column)
        if spec.dtype != column.dtype:
            filled = tf.where(absent, tf.zeros_like(column), column) if spec.dtype.is_integer else column
            column = tf.cast(filled, spec.dtype)
        if isinstance(spec, tf.io.FixedLenFeature):
            return tf.reshape(column, [-1, *spec.shape])
        rows = tf.where(tf.logical_not(absent))
        indices = tf.concat([rows, tf.zeros_like(rows)], axis=1)
        shape = tf.stack([tf.size(column, out_type=tf.int64), 1])
        return tf.SparseTensor(indices, tf.gather(column, rows[:, 0]), shape)


def _free_name(name: str, columns: Container[str]) -> str:
    """Return a name that no column has: TFMA would take the column for the signature's input."""
    while name in columns:
        name += "_"
    return name


def _rename_inputs(folder: Path, names: dict[str, str]) -> None:
    """Give columns their own names in the signatures that take them by name, where any text may stand."""
    path = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for meta_graph in saved.meta_graphs:
        for signature in {DEFAULT_SIGNATURE, PLAIN_SIGNATURE} & {*meta_graph.signature_def}:
            inputs = meta_graph.signature_def[signature].inputs
            renamed = {
                name: meta_graph_pb2.TensorInfo.FromString(inputs[a].SerializeToString()) for a, name in names.items()
            }
            inputs.clear()  # all at once: a column may be called as another one's alias
            for name, info in renamed.items():
                inputs[name].CopyFrom(info)
    path.write_bytes(saved.SerializeToString(deterministic=True))


def _dtype(feature: Feature) -> tf.DType:
    """Return what a client sends: codes as integers, quantities so that 5 and 5.0 both do, as exactly as they are read.

    A double holds whole numbers to 2^53, a float to 2^24.
    """
    if feature.dtype == "string":
        return tf.string
    if feature.kind == "categorical":
        return tf.int64
    return tf.float64 if feature.dtype == "int" else tf.float32


def _value_at(column: tf.Tensor, values: Sequence[str]) -> tf.Tensor:
    known = tf.logical_and(column >= 0, column < len(values))
    index = tf.where(known, tf.cast(column, tf.int64), len(values))
    return tf.gather(tf.constant([*values, ""]), index)
