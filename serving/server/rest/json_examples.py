"""From a Classify or Regress request's JSON to serialized tf.Example protos, the context merged into each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.server.rest.json_reader import as_bytes, read_object, shown, signature_of
from serving.server.rest.json_tensors import from_base64, is_base64
from serving.server.status import invalid_argument

_INT64_LIMIT = 1 << 63
_KINDS = {str: "bytes", bytes: "bytes", float: "float", int: "int64", bool: "int64"}


@dataclass(frozen=True)
class ExamplesBody:
    """What a Classify or Regress request asks: the signature as named (maybe empty) and serialized tf.Examples."""

    signature_name: str
    examples: list[bytes]


def read_examples(body: bytes) -> ExamplesBody:
    """Return a Classify or Regress request's examples, with the context's bytes in front of each example's.

    Raises INVALID_ARGUMENT, which names the example and the feature that is wrong.
    """
    document = read_object(body)
    name = signature_of(document)
    context = _serialized(document["context"], "context") if "context" in document else b""
    examples = document.get("examples")
    if type(examples) is not list or not examples:
        got = "missing" if "examples" not in document else "empty" if examples == [] else shown(examples)
        raise invalid_argument(f"'examples' must be a list of one example or more, but it is {got}")
    return ExamplesBody(
        name, [context + _serialized(example, f"examples[{index}]") for index, example in enumerate(examples)]
    )


def _serialized(value: Any, where: str) -> bytes:
    from tensorflow.core.example.example_pb2 import Example

    if type(value) is not dict:
        raise invalid_argument(f"{where} must be an object, but it is {shown(value)}")
    example = Example()
    for key, content in value.items():
        name = as_bytes(key).decode("utf-8", "replace")
        feature = example.features.feature[name]
        kind, values = _feature(content if type(content) is list else [content], f"{where}[{name!r}]")
        if kind:
            getattr(feature, f"{kind}_list").value.extend(values)
    serialized: bytes = example.SerializeToString()
    return serialized


def _feature(values: list[Any], where: str) -> tuple[str, list[Any]]:
    """Return the one kind of a feature's values, "" for none, and the values as the proto takes them."""
    feature_kind = ""
    taken: list[Any] = []
    for value in values:
        kind = "bytes" if is_base64(value) else _KINDS.get(type(value), "")
        if not kind:
            raise invalid_argument(f"{where} must hold numbers, booleans or strings, but it holds {shown(value)}")
        if feature_kind not in ("", kind):
            raise invalid_argument(f"{where} must hold values of one kind, but it holds {feature_kind} and {kind}")
        feature_kind = kind
        if kind == "int64" and value >= _INT64_LIMIT:
            raise invalid_argument(f"{where} holds {value}, which is beyond int64")
        taken.append(_taken(value, kind, where))
    return feature_kind, taken


def _taken(value: Any, kind: str, where: str) -> Any:
    if kind == "bytes":
        return from_base64(value, where) if type(value) is dict else as_bytes(value)
    if kind == "int64":
        return int(value)
    with np.errstate(over="ignore"):  # too big for float32 is infinity
        return float(np.float32(value))
