"""TensorFlow Serving's messages without TensorFlow: classes made from `apis.binpb` in a pool of their own.

`python -m serving.wire.messages` writes that file. To import the generated modules would import TensorFlow, seconds and
hundreds of megabytes that a client has no use for.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FILE = Path(__file__).with_name("apis.binpb")
MODULES = (
    "tensorflow_serving.apis.predict_pb2",
    "tensorflow_serving.apis.classification_pb2",
    "tensorflow_serving.apis.regression_pb2",
    "tensorflow_serving.apis.inference_pb2",
    "tensorflow_serving.apis.get_model_metadata_pb2",
    "tensorflow_serving.apis.get_model_status_pb2",
    "tensorflow_serving.apis.model_management_pb2",
    "tensorflow_serving.config.model_server_config_pb2",
)


@cache
def message(name: str) -> Any:
    """Return the class of a message, such as `PredictRequest`, or with its package: `tensorflow.TensorProto`."""
    return class_of(_pool(), name if "." in name else f"tensorflow.serving.{name}")


@cache
def dtypes() -> dict[str, int]:
    """Return the number of each TensorFlow type: `DT_FLOAT` is 1."""
    return {value.name: value.number for value in _pool().FindEnumTypeByName("tensorflow.DataType").values}


def class_of(pool: Any, full_name: str) -> Any:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))


@cache
def _pool() -> Any:
    """Return a pool that shares nothing with protobuf's own, into which TensorFlow puts the same names."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(FILE.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def collect() -> descriptor_pb2.FileDescriptorSet:
    """Return the files of `MODULES` and all they depend on, each after what it needs."""
    files: dict[str, bytes] = {}

    def walk(file: Any) -> None:
        if file.name in files:
            return
        for needed in file.dependencies:
            walk(needed)
        files[file.name] = file.serialized_pb

    for module in MODULES:
        walk(importlib.import_module(module).DESCRIPTOR)
    return descriptor_pb2.FileDescriptorSet(
        file=[descriptor_pb2.FileDescriptorProto.FromString(serialized) for serialized in files.values()]
    )


if __name__ == "__main__":
    FILE.write_bytes(collect().SerializeToString(deterministic=True))
