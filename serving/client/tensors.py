"""Values to TensorProto and back, by numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.client.errors import BadAnswer, InvalidRequest
from serving.wire.messages import dtypes, message

_NUMPY: Mapping[str, Any] = {
    "DT_FLOAT": np.float32,
    "DT_DOUBLE": np.float64,
    "DT_HALF": np.float16,
    "DT_INT8": np.int8,
    "DT_INT16": np.int16,
    "DT_INT32": np.int32,
    "DT_INT64": np.int64,
    "DT_UINT8": np.uint8,
    "DT_UINT16": np.uint16,
    "DT_UINT32": np.uint32,
    "DT_UINT64": np.uint64,
    "DT_BOOL": np.bool_,
}
_FIELDS: Mapping[str, str] = {
    "DT_FLOAT": "float_val",
    "DT_DOUBLE": "double_val",
    "DT_INT8": "int_val",
    "DT_INT16": "int_val",
    "DT_INT32": "int_val",
    "DT_INT64": "int64_val",
    "DT_UINT8": "int_val",
    "DT_UINT16": "int_val",
    "DT_UINT32": "uint32_val",
    "DT_UINT64": "uint64_val",
    "DT_BOOL": "bool_val",
}


def to_tensor(name: str, values: Any, dtype: str) -> Any:
    """Return a TensorProto of a type such as `DT_FLOAT`. Raises InvalidRequest if the values do not fit it."""
    proto = message("tensorflow.TensorProto")(dtype=dtypes()[dtype])
    try:
        if dtype == "DT_STRING":
            array = np.array(values, dtype=object)
            proto.string_val.extend(value if isinstance(value, bytes) else value.encode() for value in array.flat)
        elif dtype in _NUMPY:
            array = _fitting(values, _NUMPY[dtype])
            proto.tensor_content = array.tobytes()
        else:
            raise InvalidRequest(f"input {name} is of a type that cannot be sent", got=dtype)
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise InvalidRequest(f"the values of {name} do not fit", got=error, wanted=dtype) from None
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def from_tensor(name: str, proto: Any) -> Any:
    """Return a TensorProto's values as nested lists; text as str unless the output's name ends in `_bytes`.

    Raises BadAnswer if it is of an unknown type or holds another number of values than its shape says.
    """
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    names = {number: known for known, number in dtypes().items()}
    dtype = names.get(proto.dtype, str(proto.dtype))
    try:
        if dtype == "DT_STRING":
            as_text = not name.endswith("_bytes")
            texts = [value.decode() if as_text else value for value in proto.string_val]
            return _shaped(np.array(texts, dtype=object), shape)
        if proto.tensor_content:
            return _shaped(np.frombuffer(proto.tensor_content, _NUMPY[dtype]), shape)
        return _shaped(np.array(getattr(proto, _FIELDS[dtype]), _NUMPY[dtype]), shape)
    except (KeyError, ValueError) as error:
        raise BadAnswer(f"the model server's output {name} cannot be read", got=f"{dtype}: {error}") from None


def _fitting(values: Any, dtype: Any) -> Any:
    """Return an array of the type; like the server's JSON, whole numbers pass for decimal ones but not the reverse."""
    raw = np.asarray(values)
    if raw.size and (
        raw.dtype.kind not in "fiub"
        or (raw.dtype.kind == "f" and np.dtype(dtype).kind != "f")
        or (raw.dtype.kind == "b") != (np.dtype(dtype).kind == "b")
    ):
        raise ValueError(f"{raw.dtype} given")
    with np.errstate(over="ignore"):  # to infinity, as the server's JSON has it
        array = raw.astype(dtype)
    if array.dtype.kind in "iu" and not np.array_equal(array, raw):
        raise ValueError("a number is out of range")
    return array


def _shaped(values: Any, shape: tuple[int, ...]) -> Any:
    if values.size == 1:
        values = np.broadcast_to(values.reshape(()), shape)  # one value may stand for all
    return values.reshape(shape).tolist()
