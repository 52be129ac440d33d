"""Requests read by a layout known from before: always what the parser would say."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ALIASES = [f"mean {'x' * (index % 3)}{index}" for index in range(12)]
VALUES = [index + 0.5 for index in range(12)]
Content = Any  # of a request, comparable; text: why it is refused


def tensor(*values: float, **fields: Any) -> Any:
    import tensorflow as tf

    message = tf.make_tensor_proto(list(values), tf.float32)
    message.ClearField("tensor_content")
    message.ClearField("float_val")
    message.float_val.extend(values)
    message.MergeFrom(type(message)(**fields))
    return message


def in_content(value: float) -> Any:
    message = tensor(value)
    message.ClearField("float_val")
    message.tensor_content = struct.pack("<f", value)
    return message


def request(inputs: Sequence[tuple[str, Any]], model: str = "m", **fields: Any) -> bytes:
    """A request's bytes, its inputs in this order."""
    from tensorflow_serving.apis import predict_pb2

    whole = predict_pb2.PredictRequest(**fields)
    whole.model_spec.name = model
    data: bytes = whole.SerializeToString()
    for alias, message in inputs:
        one = predict_pb2.PredictRequest()
        one.inputs[alias].CopyFrom(message)
        data += one.SerializeToString()
    return data


def row(values: Sequence[float] = VALUES, aliases: Sequence[str] = ALIASES, **fields: Any) -> bytes:
    return request([(alias, tensor(value)) for alias, value in zip(aliases, values, strict=True)], **fields)


def spec(**fields: Any) -> Any:
    from tensorflow_serving.apis import model_pb2

    return model_pb2.ModelSpec(**fields)


def content(read: Any) -> Content:
    from serving.server.core.status import StatusError
    from serving.server.grpc.requests import content_of

    try:
        found = content_of(read)
    except StatusError as error:
        return str(error)
    inputs = {alias: (str(v.dtype), v.shape, v.tobytes()) for alias, v in found.inputs.items()}
    return found.model_spec, inputs, found.output_filter


def parsed(data: bytes) -> Content:
    """What the parser alone makes of it."""
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import predict_pb2

    try:
        return content(predict_pb2.PredictRequest.FromString(data))
    except DecodeError:
        return "no message"


def read(reader: Any, data: bytes) -> Content:
    from google.protobuf.message import DecodeError

    try:
        return content(reader.read(data))
    except DecodeError:
        return "no message"


def is_known(reader: Any, data: bytes) -> bool:
    from serving.server.grpc.requests import Predict

    return isinstance(reader.read(data), Predict)


@pytest.fixture
def reader() -> Any:
    from serving.server.grpc.requests import PredictReader

    return PredictReader()


def test_the_second_request_of_a_layout_is_read_by_it(reader: Any) -> None:
    assert not is_known(reader, row())
    other = row([value * 3 for value in VALUES])
    assert is_known(reader, other)
    assert read(reader, other) == parsed(other)


@pytest.mark.parametrize(
    "bits",
    [0x7FC00000, 0x7FC12345, 0xFFFFFFFF, 0x7F800000, 0xFF800000, 0x80000000, 1, 0, 0x122A0412, 0x0A0A0A0A],
    ids=hex,
)
def test_a_float_may_be_any_bytes(reader: Any, bits: int) -> None:
    reader.read(row())
    data = row([struct.unpack("<f", struct.pack("<I", bits))[0]] * 12)
    assert is_known(reader, data)
    assert read(reader, data) == parsed(data)


def test_a_signalling_nan_stays_what_it_is(reader: Any) -> None:
    data = row([-1.0] * 12)
    reader.read(data)
    signalling = struct.pack("<I", 0x7F800001)
    found = reader.read(data.replace(struct.pack("<f", -1.0), signalling))
    assert {value.tobytes() for value in found.inputs.values()} == {signalling}


def test_a_float_may_stand_in_the_content(reader: Any) -> None:
    reader.read(request([(alias, in_content(1)) for alias in ALIASES]))
    data = request([(alias, in_content(value)) for alias, value in zip(ALIASES, VALUES, strict=True)])
    assert is_known(reader, data)
    assert read(reader, data) == parsed(data)
    assert parsed(data)[1] == parsed(row())[1]


@pytest.mark.parametrize("write", [tensor, in_content], ids=["in float_val", "in tensor_content"])
def test_whatever_byte_differs_it_is_read_as_the_parser_does(reader: Any, write: Any) -> None:
    fields = {"model_spec": spec(signature_name="s", version_label="stable"), "output_filter": ["y"]}
    data = request([(alias, write(value)) for alias, value in zip(ALIASES, VALUES, strict=True)], **fields)
    reader.read(data)
    assert is_known(reader, data)
    reader._tries = 0  # the one layout stays
    for position in range(len(data)):
        for change in (1, 0x80):
            other = bytearray(data)
            other[position] ^= change
            assert read(reader, bytes(other)) == parsed(bytes(other)), position
    assert is_known(reader, data)


def test_bytes_that_were_cut_or_added_are_read_as_the_parser_does(reader: Any) -> None:
    data = row()
    reader.read(data)
    for size in range(len(data)):
        assert read(reader, data[:size]) == parsed(data[:size]), size
    for more in (b"\x00", b"\xff", b"\x1a\x01y", data):
        assert read(reader, data + more) == parsed(data + more)


def test_clients_with_layouts_of_one_length_do_not_mix() -> None:
    from serving.server.grpc.requests import PredictReader

    reader = PredictReader()
    shuffled = random.Random(1).sample(ALIASES, len(ALIASES))
    layouts = [
        {},
        {"aliases": shuffled},
        {"model": "n"},
        {"model_spec": spec(signature_name="one")},
        {"model_spec": spec(signature_name="two")},
        {"model_spec": spec(version_label="one")},
        {"model_spec": spec(version={"value": 1})},
        {"model_spec": spec(version={"value": 2})},
        {"output_filter": ["y"]},
    ]
    for turn in range(20):
        for fields in layouts:
            data = row([turn + value for value in VALUES], **fields)
            assert read(reader, data) == parsed(data)
    assert all(is_known(reader, row(**fields)) for fields in layouts[-2:])


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param(lambda: [("a", tensor(1)), ("b", tensor(2, 3))], id="two floats"),
        pytest.param(lambda: [("a", tensor(1)), ("a", tensor(2))], id="an input twice"),
        pytest.param(lambda: [("a", tensor(1)), ("b", tensor(2, tensor_content=b"\0\0\0\0"))], id="content beside it"),
        pytest.param(lambda: [("a", tensor(1)), ("b", tensor(2, dtype=3))], id="another type"),
        pytest.param(lambda: [("a", tensor(1)), ("b", tensor(2, double_val=[1.0]))], id="another field beside it"),
        pytest.param(lambda: [("a", tensor(1)), ("b", tensor())], id="no value"),
        pytest.param(lambda: [("", tensor(1)), ("b", tensor(2))], id="no name"),
        pytest.param(lambda: [], id="no input"),
    ],
)
def test_other_requests_are_read_as_the_parser_does(reader: Any, inputs: Any) -> None:
    data = request(inputs())
    for _ in range(3):
        assert read(reader, data) == parsed(data)


def test_floats_that_are_not_packed_and_unknown_fields_are_no_trouble(reader: Any) -> None:
    field = b"\x12\x0d\x08\x01\x12\x04\x12\x02\x08\x01\x2d" + struct.pack("<f", 7)  # the value of a map's entry
    unpacked = b"\x12" + bytes([len(field) + 3]) + b"\x0a\x01a" + field
    for data in (request([]) + unpacked, row() + b"\x3b\x3c", row() + b"\x38\x01"):
        for _ in range(3):
            assert read(reader, data) == parsed(data)


def test_a_request_without_a_model_is_refused_each_time(reader: Any) -> None:
    from tensorflow_serving.apis import predict_pb2

    message = predict_pb2.PredictRequest.FromString(row())
    message.ClearField("model_spec")
    data = message.SerializeToString()
    assert [read(reader, data) for _ in range(3)] == ["INVALID_ARGUMENT: Missing ModelSpec"] * 3


def test_what_is_kept_is_bounded(reader: Any) -> None:
    from serving.server.grpc.requests import MAX_ALIKE, MAX_LENGTHS

    for size in range(MAX_LENGTHS + 10):
        for index in range(MAX_ALIKE + 2):
            data = row(model="m" * size + chr(65 + index))
            reader.read(data)
            assert is_known(reader, data)  # used, hence always room for another
    kept = [len(layouts) for layouts in reader._layouts.values()]
    assert len(kept) == MAX_LENGTHS
    assert max(kept) == MAX_ALIKE


def test_a_client_that_changes_its_order_all_the_time_is_given_up_and_looked_at_now_and_then(reader: Any) -> None:
    from serving.server.grpc.requests import MISSES_A_TRY, TRIES

    chance = random.Random(2)
    for _ in range(TRIES):
        reader.read(row(aliases=chance.sample(ALIASES, len(ALIASES))))
    steady = row(model="steady")
    assert not any(is_known(reader, steady) for _ in range(3))
    assert any(is_known(reader, steady) for _ in range(MISSES_A_TRY))


def test_a_large_request_is_not_learned(reader: Any) -> None:
    data = row(model="m" * (1 << 16))
    assert not any(is_known(reader, data) for _ in range(3))


def test_values_are_new_arrays_that_may_be_written(reader: Any) -> None:
    data = row()
    reader.read(data)
    first, second = reader.read(data), reader.read(data)
    first.inputs[ALIASES[0]][0] = 99
    assert second.inputs[ALIASES[0]][0] == np.float32(VALUES[0])
