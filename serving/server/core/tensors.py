"""TensorProto to numpy and back, exactly as TensorFlow reads and writes it, but bounded in what it allocates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.server.status import StatusError, invalid_argument

Array = NDArray[Any]

_MAX_BYTES = 2**31 - 1  # what one message could carry
_MAX_FILLED_BYTES = 2**28  # a few values stand for a whole shape: a small request must not take all memory
_MAX_DIMENSIONS = 254  # TensorShape's own limit; numpy's is less and found out when shaping


class _Kind(NamedTuple):
    """How values of a type are kept in a TensorProto."""

    dtype: Any
    field: str  # of typed values
    stored: Any  # the numpy type of those values, if they are not of `dtype` themselves
    is_raw: bool  # `tensor_content` holds any bytes of `dtype`, as they lie in memory
    is_listed: bool  # the field holds one value of `dtype` for each


def from_protos(messages: Mapping[str, Any]) -> dict[str, Array]:
    """Return the values of a request's TensorProtos by alias. Raises StatusError as `from_proto` does."""
    return {alias: from_proto(messages[alias], alias) for alias in messages}  # .items() of a map field is slower


def from_proto(message: Any, alias: str = "") -> Array:
    """Return a TensorProto's values; text as an object array of bytes.

    As in TensorFlow, missing typed values repeat the last one (none: zero) and surplus ones are left out. The array
    may be a read-only view of the message's bytes. Raises StatusError, INVALID_ARGUMENT, for what is no tensor.
    """
    kind = _kinds().get(message.dtype)
    content, tensor_shape = message.tensor_content, message.tensor_shape
    dims = tensor_shape.dim
    if (
        content
        and kind is not None
        and kind.is_raw
        and len(dims) == 1
        and len(content) == dims[0].size * kind.dtype.itemsize
        and not tensor_shape.unknown_rank
    ):  # the rule, and in two thirds of the time
        return np.frombuffer(content, kind.dtype)
    shape = tuple([dim.size for dim in dims])
    count = math.prod(shape)
    if (
        kind is None
        or tensor_shape.unknown_rank
        or (shape and min(shape) < 0)
        or len(shape) > _MAX_DIMENSIONS
        or count * kind.dtype.itemsize > _MAX_BYTES
    ):
        raise _malformed(alias)
    try:
        return _values(message, kind, shape, count)
    except (ValueError, OverflowError) as error:
        raise _malformed(alias) from error


def to_proto(array: Array, message: Any, as_content: bool = False) -> None:
    """Write an array into an empty TensorProto, in the type's own field or as `tensor_content`.

    Raises StatusError, INVALID_ARGUMENT, for a type that no TensorProto holds.
    """
    number = type_number(array.dtype)
    kind = _kinds()[number]
    message.dtype = number
    shape = message.tensor_shape  # named, so that a scalar has a shape too
    shape.SetInParent()
    for size in array.shape:
        shape.dim.add(size=size)
    if as_content:
        message.tensor_content = _content(array, kind)
    else:
        _FIELD_WRITERS.get(kind.field, _write_numbers)(array, message, kind)


def type_number(dtype: Any) -> int:
    """Return the DataType of a numpy type. Raises StatusError, INVALID_ARGUMENT, if there is none."""
    number = _numbers().get(dtype)
    if number is None:
        raise invalid_argument(f"Unsupported type: {dtype}")
    return number


def type_name(dtype: Any) -> str:
    """Return a numpy type as TensorFlow's DataType names it, such as DT_FLOAT."""
    from tensorflow.core.framework import types_pb2

    number = _numbers().get(dtype)
    return types_pb2.DataType.Name(number) if number is not None else str(dtype)


@cache
def _kinds() -> dict[int, _Kind]:
    from tensorflow import dtypes

    fields = {
        "float_val": ("float32",),
        "double_val": ("float64",),
        "int_val": ("int32", "uint8", "int16", "int8", "uint16", "qint8", "quint8", "qint32", "qint16", "quint16"),
        "int64_val": ("int64",),
        "bool_val": ("bool",),
        "string_val": ("string",),
        "uint32_val": ("uint32",),
        "uint64_val": ("uint64",),
        "scomplex_val": ("complex64",),
        "dcomplex_val": ("complex128",),
        "half_val": ("float16", "bfloat16"),
    }
    stored = {"half_val": np.uint16, "scomplex_val": np.float32, "dcomplex_val": np.float64}
    types = {name: dtypes.as_dtype(name) for names in fields.values() for name in names}
    return {
        types[name].as_datatype_enum: _Kind(
            np.dtype(types[name].as_numpy_dtype),
            field,
            stored.get(field),
            is_raw=field not in ("bool_val", "string_val"),
            is_listed=name == names[0] and field not in stored,
        )
        for field, names in fields.items()
        for name in names
    }


@cache
def _numbers() -> dict[Any, int]:
    return {kind.dtype: number for number, kind in _kinds().items()}


def _malformed(alias: str) -> StatusError:
    return invalid_argument(f"tensor parsing error: {alias}")


def _values(message: Any, kind: _Kind, shape: tuple[int, ...], count: int) -> Array:
    if count == 0:
        return np.empty(shape, kind.dtype)
    if kind.is_raw and message.tensor_content:
        if len(message.tensor_content) != count * kind.dtype.itemsize:
            raise ValueError("content does not fit the shape")
        return np.ndarray(shape, kind.dtype, message.tensor_content)
    values = getattr(message, kind.field)
    if message.tensor_content or len(values) != count or not kind.is_listed:
        if len(values) < count and count * kind.dtype.itemsize > _MAX_FILLED_BYTES:
            raise ValueError("too large to fill")
        return _parsed(message, kind).reshape(shape)
    flat = _unpacked(values, kind) if kind.field in _PACKED and count > _FEW else np.array(values, kind.dtype)
    return flat.reshape(shape)


def _parsed(message: Any, kind: _Kind) -> Array:
    """Return the values of what is rarely sent as TensorFlow itself reads them. Raises ValueError."""
    from tensorflow import errors

    try:
        return np.asarray(_parser(message.dtype)(message.SerializeToString()), kind.dtype)
    except errors.OpError as error:
        raise ValueError(error.message) from error


@cache
def _parser(number: int) -> Any:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        serialized = tf.compat.v1.placeholder(tf.string, [])
        parsed = tf.io.parse_tensor(serialized, tf.as_dtype(number))
    return tf.compat.v1.Session(graph=graph).make_callable(parsed, [serialized])


def _inner(kind: _Kind) -> Any:
    # to numpy a quantized type is a record of one integer
    return kind.dtype if kind.dtype.names is None else kind.dtype[0]


# Fixed-width fields (and bool, a byte each) lie in the message as they do in memory: a copy through the wire format
# is many times faster than a Python object per value. The tag is field number << 3 | 2 (length-delimited).
_PACKED = {"float_val": 5, "double_val": 6, "bool_val": 11}
_FEW = 32


def _unpacked(values: Any, kind: _Kind) -> Array:
    from tensorflow.core.framework import tensor_pb2

    alone = tensor_pb2.TensorProto()
    getattr(alone, kind.field).MergeFrom(values)
    size = len(values) * kind.dtype.itemsize
    return np.frombuffer(memoryview(alone.SerializeToString())[-size:], kind.dtype)


def _write_packed(array: Array, message: Any, kind: _Kind) -> None:
    if array.size <= _FEW:
        getattr(message, kind.field).extend(array.ravel().tolist())
        return
    body = array.astype(kind.dtype, copy=False).tobytes()
    message.MergeFromString(bytes([_PACKED[kind.field] << 3 | 2]) + _varint(len(body)) + body)


def _write_numbers(array: Array, message: Any, kind: _Kind) -> None:
    flat = np.ascontiguousarray(array).reshape(-1)
    flat = flat.view(_inner(kind) if kind.stored is None else kind.stored)
    getattr(message, kind.field).extend(flat.tolist())


def _write_strings(array: Array, message: Any, kind: _Kind) -> None:
    message.string_val.extend(array.ravel().tolist())


_FIELD_WRITERS = {**dict.fromkeys(_PACKED, _write_packed), "string_val": _write_strings}


def _content(array: Array, kind: _Kind) -> bytes:
    if kind.field != "string_val":
        return array.tobytes()
    texts = array.ravel().tolist()
    return b"".join([*(_varint(len(text)) for text in texts), *texts])


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
