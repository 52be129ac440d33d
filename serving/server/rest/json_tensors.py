"""From a request's JSON to arrays, by row (`instances`) or column (`inputs`), and to serialized tf.Examples."""

from __future__ import annotations

import base64
import binascii
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.server.rest.json_reader import as_bytes, read_matrices, read_object, shown, signature_of
from serving.server.status import invalid_argument, unimplemented

Arrays = dict[str, NDArray[Any]]
InputsOf = Callable[[str], Mapping[str, int]]

MAX_DIMENSIONS = 32  # numpy's limit
_MISSING = object()
_FLOAT, _DOUBLE, _STRING, _BOOL, _UINT64 = 1, 2, 7, 10, 23
_TYPES: dict[int, tuple[str, Any]] = {  # DataType: its name, numpy's
    _FLOAT: ("float", np.float32),
    _DOUBLE: ("double", np.float64),
    3: ("int32", np.int32),
    4: ("uint8", np.uint8),
    5: ("int16", np.int16),
    6: ("int8", np.int8),
    _STRING: ("string", np.object_),
    9: ("int64", np.int64),
    _BOOL: ("bool", np.bool_),
    22: ("uint32", np.uint32),
    _UINT64: ("uint64", np.uint64),
}
_INT32 = (-(1 << 31), (1 << 31) - 1)
# Eight and sixteen bits take any int32 and wrap around, as the server's own copy from its protocol buffer does.
_RANGES = {3: _INT32, 4: _INT32, 5: _INT32, 6: _INT32, 9: (-(1 << 63), (1 << 63) - 1), 22: (0, (1 << 32) - 1)}
_RANGES |= {_UINT64: (0, (1 << 64) - 1)}
_NUMBERS = frozenset((int, float))


@dataclass(frozen=True)
class PredictBody:
    """What a Predict request asks: the signature as named (maybe empty), arrays by input, the form of the answer."""

    signature_name: str
    inputs: Arrays
    is_row: bool


def read_predict(body: bytes, inputs_of: InputsOf) -> PredictBody:
    """Return a Predict request's arrays.

    `inputs_of` gives the DataType number of every input of a signature; it is asked after the JSON and the signature's
    name were checked, and before the values. Raises StatusError, which names the row and the key that is wrong.
    """
    matrices = read_matrices(body)
    if matrices is not None:
        whole = _from_matrices(*matrices, inputs_of)
        if whole is not None:
            return whole
    document = read_object(body)
    name = signature_of(document)
    types = _input_types(name, inputs_of)
    instances, inputs = document.get("instances", _MISSING), document.get("inputs", _MISSING)
    if (instances is _MISSING) == (inputs is _MISSING):
        wanted = "either 'inputs' or 'instances'"
        raise invalid_argument(
            f"The request must have {wanted}, but it has {'neither' if inputs is _MISSING else 'both'}"
        )
    _check_types(types, is_row=inputs is _MISSING)
    if instances is _MISSING:
        return PredictBody(name, _from_inputs(inputs, types), is_row=False)
    if type(instances) is not list or not instances:
        got = "empty" if instances == [] else shown(instances)
        raise invalid_argument(f"'instances' must be a list of one row or more, but it is {got}")
    return PredictBody(name, _from_instances(instances, types), is_row=True)


def is_base64(value: Any) -> bool:
    """Say whether a value is {"b64": text}, that key alone."""
    return type(value) is dict and len(value) == 1 and type(value.get("b64")) in (str, bytes)


def from_base64(value: dict[Any, Any], where: str) -> bytes:
    """Return the bytes of a {"b64": text}; padding may be left out but not be wrong, white space is passed over."""
    text = b"".join(as_bytes(value["b64"]).split())
    padding = len(text) - len(text.rstrip(b"=."))
    text = text[: len(text) - padding]
    fits = padding == 0 or (padding < 3 and (padding + len(text)) % 4 == 0)
    try:
        if not fits or len(text) % 4 == 1:
            raise binascii.Error
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise invalid_argument(f"{where} is not valid base64") from None


def _input_types(name: str, inputs_of: InputsOf) -> Mapping[str, int]:
    types = inputs_of(name)
    if not types:
        raise invalid_argument(f"The signature {name or 'by default'} has no inputs")
    return types


def _check_types(types: Mapping[str, int], is_row: bool) -> None:
    for name, data_type in types.items():
        if data_type not in _TYPES:
            error = invalid_argument if is_row else unimplemented
            raise error(f"The input {name!r} is of DataType {data_type}, which JSON cannot hold: ask by gRPC")


def _from_matrices(
    signature_name: str, key: str, columns: Mapping[str | None, NDArray[np.float64]], inputs_of: InputsOf
) -> PredictBody | None:
    """Return a request read as whole matrices, None unless its inputs are just those and of FLOAT or DOUBLE."""
    types = _input_types(signature_name, inputs_of)
    if None in columns:
        columns = {next(iter(types)): columns[None]}
    if not types.keys() <= columns.keys() or not set(types.values()) <= {_FLOAT, _DOUBLE}:
        return None
    with np.errstate(over="ignore"):  # too big for float32 is infinity
        inputs = {name: columns[name].astype(_TYPES[data_type][1]) for name, data_type in types.items()}
    return PredictBody(signature_name, inputs, is_row=key == "instances")


# --- inputs


def _from_inputs(value: Any, types: Mapping[str, int]) -> Arrays:
    if type(value) is not dict or is_base64(value):
        if len(types) > 1:
            raise invalid_argument(
                f"'inputs' must be an object with the keys {_listed(types)}, but it is {shown(value)}"
            )
        return {name: _array(value, data_type, "inputs") for name, data_type in types.items()}
    missing = types.keys() - value.keys()
    if missing:
        raise invalid_argument(f"'inputs' lacks the key {_listed(missing)}")
    arrays = _flat_columns(value, types)
    if arrays is None:
        arrays = {name: _array(value[name], data_type, f"inputs[{name!r}]") for name, data_type in types.items()}
    return arrays


def _flat_columns(value: Mapping[str, Any], types: Mapping[str, int]) -> Arrays | None:
    """Return equally long lists of floats as rows of one array, which is quicker than one array each; else None."""
    columns = [value[name] for name in types]
    if set(types.values()) != {_FLOAT} or set(map(type, columns)) != {list} or len(set(map(len, columns))) > 1:
        return None
    flat = _flat_array(list(chain.from_iterable(columns)), _FLOAT)
    if flat is None:
        return None
    return dict(zip(types, flat.reshape(len(columns), -1), strict=True)) if flat.size else None


# --- instances


def _from_instances(instances: list[Any], types: Mapping[str, int]) -> Arrays:
    if not _is_object(instances[0]):
        if len(types) > 1:
            wanted = f"an object with the keys {_listed(types)}"
            raise invalid_argument(f"instances[0] must be {wanted}, but it is {shown(instances[0])}")
        return {name: _array(instances, data_type, "instances") for name, data_type in types.items()}
    if (arrays := _float_rows(instances, types)) is not None:
        return arrays
    for index, row in enumerate(instances):
        if not _is_object(row):
            raise invalid_argument(f"instances[{index}] must be an object as instances[0] is, but it is {shown(row)}")
        if row.keys() != types.keys():
            keys = _listed(row) or "none"
            raise invalid_argument(f"instances[{index}] must have the keys {_listed(types)}, but it has {keys}")
    return {
        name: _array([row[name] for row in instances], data_type, "instances", f"[{name!r}]")
        for name, data_type in types.items()
    }


def _is_object(value: Any) -> bool:
    return type(value) is dict and not is_base64(value)


def _float_rows(rows: list[Any], types: Mapping[str, int]) -> Arrays | None:
    """Return objects of floats as columns, each one row of memory, if they have the same keys in order, else None."""
    if set(types.values()) != {_FLOAT} or set(map(type, rows)) != {dict} or rows[0].keys() != types.keys():
        return None
    names = list(rows[0])
    if len(rows) > 1 and any(list(row) != names for row in rows):
        return None
    flat = _flat_array([value for row in rows for value in row.values()], _FLOAT)
    return None if flat is None else dict(zip(names, np.ascontiguousarray(flat.reshape(len(rows), -1).T), strict=True))


# --- values


def _array(value: Any, data_type: int, where: str, key: str = "") -> NDArray[Any]:
    """Return a value as an array, whose shape is that of its first elements.

    Raises INVALID_ARGUMENT, which names the place: `where`, with `key` after the first index.
    """
    array = _dense(value, data_type)
    if array is not None:
        return array
    shape = []
    first = value
    while type(first) is list:
        shape.append(len(first))
        first = first[0] if first else None
    if len(shape) > MAX_DIMENSIONS:
        raise invalid_argument(f"{where} is nested {len(shape)} lists deep, but {MAX_DIMENSIONS} are supported at most")
    flat = _flat_array(_leaves(value, data_type, where, shape, key), data_type)
    assert flat is not None  # every leaf was checked
    return flat.reshape(shape)


def _dense(value: Any, data_type: int) -> NDArray[Any] | None:
    """Return a value as an array if lists agree in length and leaves fit, else None."""
    level: list[Any] = [value]
    shape: list[int] = []
    while level and type(level[0]) is list:
        if len(shape) == MAX_DIMENSIONS or set(map(type, level)) != {list}:
            return None
        lengths = set(map(len, level))
        if len(lengths) > 1:
            return None
        shape.append(lengths.pop())
        level = level[0] if len(level) == 1 else list(chain.from_iterable(level))
    flat = _flat_array(level, data_type)
    return None if flat is None else flat.reshape(shape)


def _leaves(value: Any, data_type: int, where: str, shape: list[int], key: str = "") -> list[Any]:
    """Return the scalars of nested lists in order, bytes for {"b64": ...}. Recurses as deep as `shape` is long."""
    if not shape:
        return [_leaf(value, data_type, where)]
    if type(value) is not list:
        raise invalid_argument(f"{where} must be a list of {shape[0]}, but it is {shown(value)}")
    if len(value) != shape[0]:
        raise invalid_argument(f"{where} must be a list of {shape[0]} as the first one, but it has {len(value)}")
    leaves: list[Any] = []
    for index, item in enumerate(value):
        leaves += _leaves(item, data_type, f"{where}[{index}]{key}", shape[1:])
    return leaves


def _leaf(value: Any, data_type: int, where: str) -> Any:
    if data_type == _STRING and is_base64(value):
        return from_base64(value, where)
    if _flat_array([value], data_type) is None:
        low, high = _RANGES.get(data_type, (None, None))
        bounds = f" from {low} to {high}" if low is not None else ""
        raise invalid_argument(f"{where} must be of type {_TYPES[data_type][0]}{bounds}, but it is {shown(value)}")
    return value


def _flat_array(values: list[Any], data_type: int) -> NDArray[Any] | None:
    """Return a list of scalars as an array [n], None if one of them is not of the type."""
    kinds = set(map(type, values))
    if data_type == _FLOAT:
        # Through array: numpy would warn of every number that is infinity as float32.
        return np.frombuffer(array("f", values), np.float32) if kinds <= _NUMBERS else None
    if data_type == _DOUBLE:
        return np.array(values, np.float64) if kinds <= _NUMBERS else None
    if data_type in _RANGES:
        low, high = _RANGES[data_type]
        if not kinds <= {int} or (values and (min(values) < low or max(values) > high)):
            return None
        return np.array(values, np.uint64 if data_type == _UINT64 else np.int64).astype(
            _TYPES[data_type][1], copy=False
        )
    if data_type == _STRING and kinds <= {str, bytes}:
        texts = np.empty(len(values), np.object_)
        texts[:] = [as_bytes(value) for value in values]
        return texts
    return np.array(values, np.bool_) if data_type == _BOOL and kinds <= {bool} else None


def _listed(names: Any) -> str:
    return ", ".join(repr(as_bytes(name).decode("utf-8", "replace")) for name in sorted(names, key=as_bytes))


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
