"""Write `serving/wire/apis.binpb`, TensorFlow Serving's messages: `python -m serving.wire.descriptors`.

Importing the generated modules imports TensorFlow, seconds and hundreds of megabytes that a client has no use for.
"""

from __future__ import annotations

import importlib
from typing import Any

import click
from google.protobuf import descriptor_pb2

from serving.wire.messages import FILE

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


def main() -> None:
    content = collect().SerializeToString(deterministic=True)
    FILE.write_bytes(content)
    click.echo(f"{FILE.name}: {len(content)} bytes")


if __name__ == "__main__":
    main()
