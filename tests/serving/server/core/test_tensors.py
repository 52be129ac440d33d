from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from serving.server.core.tensors import from_proto, to_proto, type_name, type_number
from serving.server.status import Code, StatusError

pytestmark = pytest.mark.slow

NUMBERS = [
    "float32",
    "float64",
    "int32",
    "uint8",
    "int16",
    "int8",
    "int64",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "bfloat16",
    "complex64",
    "complex128",
    "bool",
    "qint8",
    "quint8",
    "qint16",
    "quint16",
    "qint32",
]


def proto(**fields: Any) -> Any:
    from tensorflow.core.framework import tensor_pb2

    shape = fields.pop("shape", [])
    message = tensor_pb2.TensorProto(**fields)
    for size in shape:
        message.tensor_shape.dim.add(size=size)
    return message


def array_of(type_: str, *shape: int) -> Any:
    import tensorflow as tf

    dtype = np.dtype(tf.as_dtype(type_).as_numpy_dtype)
    plain = dtype if dtype.names is None else dtype[0]
    return np.arange(np.prod(shape, dtype=int)).astype(plain).view(dtype).reshape(shape)


@pytest.mark.parametrize("as_content", [False, True], ids=["typed", "content"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (2, 3), (50, 2)], ids=str)
@pytest.mark.parametrize("type_", NUMBERS)
def test_every_type_goes_there_and_back_as_tensorflow_reads_and_writes_it(
    type_: str, shape: tuple[int, ...], as_content: bool
) -> None:
    import tensorflow as tf

    array, message = array_of(type_, *shape), proto()
    to_proto(array, message, as_content)
    assert bool(message.tensor_content) is (as_content and array.size > 0)
    assert message.dtype == tf.as_dtype(type_).as_datatype_enum
    for read in (from_proto(message), from_proto(type(message).FromString(message.SerializeToString()))):
        assert read.dtype == array.dtype
        assert read.shape == shape
        assert read.tobytes() == array.tobytes()
    if type_ in ("quint16", "qint16") and not as_content:
        return  # tf.make_ndarray cannot read those
    assert tf.make_ndarray(message).tobytes() == array.tobytes()


@pytest.mark.parametrize("type_", ["float32", "float64", "bool", "int64"])
def test_extreme_values_are_exact(type_: str) -> None:
    extremes = {
        "float32": [np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4028235e38],
        "float64": [np.nan, np.inf, -np.inf, -0.0, 5e-324, 1.7976931348623157e308],
        "bool": [True, False],
        "int64": [-(2**63), 2**63 - 1],
    }
    array, message = np.array(extremes[type_] * 20, type_), proto()
    to_proto(array, message)
    assert from_proto(message).tobytes() == array.tobytes()


@pytest.mark.parametrize("as_content", [False, True], ids=["typed", "content"])
def test_text_is_bytes_of_any_kind(as_content: bool) -> None:
    array = np.array([[b"", b"\x00\xff"], [b"a" * 300, "é".encode()]], dtype=object)
    message = proto()
    to_proto(array, message, as_content)
    assert bool(message.tensor_content) is as_content
    read = from_proto(message)
    assert read.dtype == np.object_
    assert read.tolist() == array.tolist()


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3).T, np.arange(100.0)[::2]], ids=["columns", "strided"])
def test_an_array_in_any_order_of_memory_is_written_row_by_row(array: Any) -> None:
    message = proto()
    to_proto(array, message)
    assert from_proto(message).tolist() == array.tolist()


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        pytest.param({"dtype": 1, "float_val": [7], "shape": [3]}, [7, 7, 7], id="one for the whole shape"),
        pytest.param({"dtype": 1, "float_val": [7, 8], "shape": [4]}, [7, 8, 8, 8], id="the last repeats"),
        pytest.param({"dtype": 1, "shape": [2]}, [0, 0], id="none is zero"),
        pytest.param({"dtype": 1, "float_val": [7, 8, 9], "shape": [2]}, [7, 8], id="surplus is cut"),
        pytest.param({"dtype": 7, "shape": [2]}, [b"", b""], id="no text is empty"),
        pytest.param({"dtype": 7, "string_val": [b"a"], "shape": [2]}, [b"a", b"a"], id="one text"),
        pytest.param({"dtype": 8, "scomplex_val": [1, 2], "shape": [2]}, [1 + 2j, 1 + 2j], id="one complex"),
        pytest.param({"dtype": 8, "scomplex_val": [1, 2, 3], "shape": [2]}, [1 + 2j, 1 + 2j], id="half a complex"),
        pytest.param({"dtype": 10, "tensor_content": b"\x01\x00", "shape": [2]}, [True, False], id="bool"),
        pytest.param({"dtype": 4, "int_val": [257], "shape": [1]}, [1], id="as C++ casts"),
        pytest.param({"dtype": 1, "float_val": [7]}, 7, id="scalar"),
        pytest.param({"dtype": 1, "float_val": [7], "shape": [0]}, [], id="empty"),
    ],
)
def test_typed_values_are_read_as_tensorflow_reads_them(fields: dict[str, Any], values: Any) -> None:
    assert from_proto(proto(**fields)).tolist() == values


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"dtype": 0}, id="no type"),
        pytest.param({"dtype": 20}, id="resource"),
        pytest.param({"dtype": 21}, id="variant"),
        pytest.param({"dtype": 101, "float_val": [1]}, id="reference"),
        pytest.param({"dtype": 999}, id="unknown type"),
        pytest.param({"dtype": 1, "shape": [-1]}, id="negative"),
        pytest.param({"dtype": 1, "shape": [0, -1]}, id="negative beside empty"),
        pytest.param({"dtype": 1, "shape": [-2, -2], "float_val": [1, 2, 3, 4]}, id="negative twice"),
        pytest.param({"dtype": 1, "shape": [2**40]}, id="huge"),
        pytest.param({"dtype": 1, "shape": [2**62, 2**62]}, id="overflowing"),
        pytest.param({"dtype": 1, "shape": [2**28], "float_val": [1]}, id="filled to a gigabyte"),
        pytest.param({"dtype": 7, "shape": [2**27], "string_val": [b"a"]}, id="filled with text"),
        pytest.param({"dtype": 1, "shape": [1] * 100, "float_val": [1]}, id="more dimensions than numpy has"),
        pytest.param({"dtype": 1, "shape": [0, 2**62, 2**62]}, id="empty but huge"),
        pytest.param({"dtype": 10, "shape": [2], "tensor_content": b"\x02\x00"}, id="neither true nor false"),
        pytest.param({"dtype": 1, "shape": [2], "tensor_content": b"1234"}, id="content too short"),
        pytest.param({"dtype": 1, "shape": [2], "tensor_content": b"123456789"}, id="content too long"),
        pytest.param({"dtype": 7, "shape": [2], "tensor_content": b"\x01"}, id="text without lengths"),
        pytest.param({"dtype": 7, "shape": [1], "tensor_content": b"\x05ab"}, id="text too short"),
        pytest.param({"dtype": 7, "shape": [1], "tensor_content": b"\xff" * 12}, id="endless varint"),
        pytest.param({"dtype": 7, "shape": [1], "tensor_content": b"\xff"}, id="varint cut off"),
    ],
)
def test_what_is_no_tensor_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(StatusError, match="tensor parsing error: x") as raised:
        from_proto(proto(**fields), "x")
    assert raised.value.code is Code.INVALID_ARGUMENT


def test_an_unknown_rank_is_refused() -> None:
    message = proto(dtype=1, float_val=[1])
    message.tensor_shape.unknown_rank = True
    with pytest.raises(StatusError):
        from_proto(message)


def test_types_are_named_as_tensorflow_names_them() -> None:
    assert type_name(np.dtype(np.float64)) == "DT_DOUBLE"
    assert type_name(np.dtype(object)) == "DT_STRING"
    assert type_number(np.dtype(bool)) == 10
    with pytest.raises(StatusError, match="Unsupported type"):
        type_number(np.dtype("M8[s]"))
