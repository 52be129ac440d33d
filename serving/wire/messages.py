"""TensorFlow Serving's messages without TensorFlow: classes made from `apis.binpb` in a pool of their own."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FILE = Path(__file__).with_name("apis.binpb")  # written by serving.wire.descriptors


@cache
def message(name: str) -> Any:
    """Return the class of a message, such as `PredictRequest`, or with its package: `tensorflow.TensorProto`."""
    return class_of(_pool(), name if "." in name else f"tensorflow.serving.{name}")


@cache
def dtypes() -> dict[str, int]:
    """Return the number of each TensorFlow type: `DT_FLOAT` is 1."""
    return {value.name: value.number for value in _pool().FindEnumTypeByName("tensorflow.DataType").values}


def class_of(pool: Any, full_name: str) -> Any:
    """Return the class of a message in a pool, whatever protobuf's version."""
    descriptor = pool.FindMessageTypeByName(full_name)
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)  # protobuf 3


@cache
def _pool() -> Any:
    """Return a pool that shares nothing with protobuf's own, into which TensorFlow puts the same names."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(FILE.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool
