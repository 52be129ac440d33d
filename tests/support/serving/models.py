"""Tiny SavedModels, written as TF1 graphs, for tests of the model server, and requests to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

Tensors = dict[str, Any]  # by alias


def save(folder: Path, build: Callable[[Any], dict[str, Any]], tags: tuple[str, ...] = ("serve",)) -> Path:
    """Write the graph that `build(tf.compat.v1)` makes, with the signatures it returns; return the folder."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        signatures = build(v1)
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.builder.SavedModelBuilder(str(folder))
        builder.add_meta_graph_and_variables(session, list(tags), signature_def_map=signatures)
        builder.save()
    return folder


def signature(method: str, inputs: Tensors, outputs: Tensors) -> Any:
    """Return a SignatureDef."""
    from tensorflow.compat.v1 import saved_model

    info = saved_model.utils.build_tensor_info
    return saved_model.signature_def_utils.build_signature_def(
        {alias: info(tensor) for alias, tensor in inputs.items()},
        {alias: info(tensor) for alias, tensor in outputs.items()},
        method,
    )


def predict_request(model: str = "half", signature: str = "", **inputs: list[float]) -> Any:
    """Return a PredictRequest; without inputs one that `half_plus` answers with 3."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for alias, values in (inputs or {"x": [2.0]}).items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(values, tf.float32))
    return request


def half_plus(folder: Path, addend: float = 2.0) -> Path:
    """Write y = x / 2 + addend; `x` is declared [-1, 1], the other signatures parse it from tf.Examples."""

    def build(v1: Any) -> dict[str, Any]:
        serialized = v1.placeholder(v1.string, name="tf_example")
        parsed = v1.io.parse_example(serialized, {"x": v1.io.FixedLenFeature([1], v1.float32)})
        x = v1.placeholder_with_default(parsed["x"], [None, 1], name="x")
        a, b = v1.Variable(0.5, name="a"), v1.Variable(addend, name="b")
        y = v1.add(v1.multiply(a, x), b, name="y")
        y2 = v1.add(y, 1.0, name="y2")
        names = v1.fill(v1.shape(y), "half")
        examples = {"inputs": serialized}
        return {
            "serving_default": signature(PREDICT, {"x": x}, {"y": y}),
            "regress_x_to_y": signature(REGRESS, examples, {"outputs": y}),
            "regress_x_to_y2": signature(REGRESS, examples, {"outputs": y2}),
            "regress_two_outputs": signature(REGRESS, examples, {"outputs": y, "more": y2}),
            "classify_x_to_y": signature(CLASSIFY, examples, {"scores": y}),
            "classify_names": signature(CLASSIFY, examples, {"classes": names}),
            "classify_both": signature(CLASSIFY, examples, {"classes": names, "scores": y}),
            "classify_neither": signature(CLASSIFY, examples, {"others": y}),
            "classify_three": signature(CLASSIFY, examples, {"classes": names, "scores": y, "more": y2}),
            "wrong_batch": signature(REGRESS, examples, {"outputs": v1.tile(y, [3, 1])}),
            "wrong_classes": signature(CLASSIFY, examples, {"classes": v1.tile(names, [3, 1])}),
            "wrong_type": signature(REGRESS, examples, {"outputs": v1.cast(y, v1.int32)}),
            "wrong_shape": signature(REGRESS, examples, {"outputs": v1.tile(y, [1, 2])}),
        }

    return save(folder, build)


def counter(folder: Path) -> Path:
    """Write a state: `incr_counter` and `get_counter` have no input, `incr_counter_by` has `delta`."""

    def build(v1: Any) -> dict[str, Any]:
        count = v1.Variable(0.0, name="counter")
        delta = v1.placeholder(v1.float32, [], name="delta")
        return {
            "get_counter": signature(PREDICT, {}, {"output": v1.identity(count)}),
            "incr_counter": signature(PREDICT, {}, {"output": v1.identity(v1.assign_add(count, 1.0))}),
            "incr_counter_by": signature(
                PREDICT, {"delta": delta}, {"output": v1.identity(v1.assign_add(count, delta))}
            ),
        }

    return save(folder, build)


def two_inputs(folder: Path) -> Path:
    """Write total = a + b and their text joined; `serving_default` has three outputs, `rows` sums over the batch."""

    def build(v1: Any) -> dict[str, Any]:
        a = v1.placeholder(v1.float32, name="a")
        b = v1.placeholder(v1.float32, name="b")
        both = {"a": a, "b": b}
        total = v1.add(a, b, name="total")
        outputs = {"total": total, "same": total, "difference": v1.subtract(a, b, name="difference")}
        return {
            "serving_default": signature(PREDICT, both, outputs),
            "rows": signature(PREDICT, both, {"sum": v1.reduce_sum(a + b)}),
            "twice": signature(PREDICT, both, {"total": v1.concat([total, total], 0)}),
            "checked": signature(PREDICT, {"a": a}, {"a": v1.check_numerics(a, "not a number") * 1.0}),
        }

    return save(folder, build)


def text(folder: Path) -> Path:
    """Write `text_bytes` = `text` in lower case, and its length, whatever the shape."""

    def build(v1: Any) -> dict[str, Any]:
        given = v1.placeholder(v1.string, name="text")
        outputs = {"text_bytes": v1.strings.lower(given), "length": v1.strings.length(given)}
        return {"serving_default": signature(PREDICT, {"text": given}, outputs)}

    return save(folder, build)


def with_defaults(folder: Path) -> Path:
    """Write total = a + b where the signature has 10 as default of `b`."""
    import tensorflow as tf

    def build(v1: Any) -> dict[str, Any]:
        a, b = v1.placeholder(v1.float32, name="a"), v1.placeholder(v1.float32, name="b")
        definition = signature(PREDICT, {"a": a, "b": b}, {"total": a + b})
        definition.defaults["b"].CopyFrom(tf.make_tensor_proto([10.0]))
        return {"serving_default": definition}

    return save(folder, build)


def slow(folder: Path) -> Path:
    """Write y = x after `x` million turns of a loop: about a second for each."""

    def build(v1: Any) -> dict[str, Any]:
        x = v1.placeholder(v1.float32, name="x")
        turns = v1.reduce_max(x) * 1e6
        turned = v1.while_loop(lambda i: i < turns, lambda i: i + 1.0, [0.0])
        with v1.control_dependencies([turned]):
            y = v1.identity(x, name="y")
        return {"serving_default": signature(PREDICT, {"x": x}, {"y": y})}

    return save(folder, build)
