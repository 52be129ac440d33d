"""From a Classify or Regress request's JSON to serialized tf.Example protos, the context merged into each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serving.server.core.status import StatusError, invalid_argument
from serving.server.rest.json_dense import from_base64, is_base64
from serving.server.rest.json_numbers import as_float32
from serving.server.rest.json_reader import read_object, signature_of
from serving.server.rest.json_text import as_bytes, type_name, value_text

_INT64_LIMIT = 1 << 63
_LIST_OF_KIND = {"bytes": "bytes_list", "float": "float_list", "int64": "int64_list"}


@dataclass(frozen=True)
class ExamplesBody:
    """What a Classify or Regress request asks: the signature as named (maybe empty) and serialized tf.Examples."""

    signature_name: str
    examples: list[bytes]


def read_examples(body: bytes) -> ExamplesBody:
    """Return a Classify or Regress request's examples, with the context's bytes in front of each example's.

    Raise INVALID_ARGUMENT with the model server's words.
    """
    document = read_object(body)
    name = signature_of(document)
    context = _serialized(document["context"]) if "context" in document else b""
    fault = ""
    examples: Any = document.get("examples")
    if "examples" not in document:
        fault = "When method is classify, key 'examples' is expected and was not found"
    elif type(examples) is not list:
        fault = "Expecting 'examples' value to be an list/array"
    elif not examples:
        fault = "'examples' value is an empty array"
    if fault:
        raise invalid_argument(f"JSON Value: {value_text(document)} {fault}")
    return ExamplesBody(name, [context + _serialized(example) for example in examples])


def _serialized(value: Any) -> bytes:
    from tensorflow.core.example.example_pb2 import Example

    if type(value) is not dict:
        raise invalid_argument(f"Example must be JSON object but got JSON {type_name(value)}")
    example = Example()
    for key, content in value.items():
        name = as_bytes(key).decode("utf-8", "replace")
        feature = example.features.feature[name]
        kind, values = _feature(name, content if type(content) is list else [content])
        if kind:
            getattr(feature, _LIST_OF_KIND[kind]).value.extend(values)
    serialized: bytes = example.SerializeToString()
    return serialized


def _feature(name: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
    """Return the one kind of a feature's values, "" for none, and the values as the proto takes them."""
    feature_kind = ""
    taken: list[Any] = []
    for value in values:
        kind = _kind(name, value)
        if feature_kind not in ("", kind):
            raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {feature_kind}")
        feature_kind = kind
        if kind == "bytes":
            taken.append(from_base64(value) if type(value) is dict else as_bytes(value))
        elif kind == "float":
            taken.append(as_float32(value))
        else:
            taken.append(_int64(name, value))
    return feature_kind, taken


def _kind(name: str, value: Any) -> str:
    kind = type(value)
    if value is None or kind is list or (kind is dict and not is_base64(value)):
        raise _unexpected(name, value)
    if kind is float:
        return "float"
    return "int64" if kind is int or kind is bool else "bytes"


def _unexpected(name: str, value: Any) -> StatusError:
    return invalid_argument(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")


def _int64(name: str, value: int) -> int:
    if value >= _INT64_LIMIT:
        raise invalid_argument(f"Feature: {name} has uint64 element. Only int64 is supported.")
    return int(value)
