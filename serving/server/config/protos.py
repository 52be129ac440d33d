"""The server's text-proto files. Messages that no package brings are defined here, numbered as TensorFlow Serving's."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, text_format, wrappers_pb2

from serving.server.status import Code, StatusError, invalid_argument
from serving.wire.messages import class_of, message

if TYPE_CHECKING:
    from serving.server.run.options import BatchingOptions

PER_MODEL_BATCHING = "batching_params.pbtxt"
_PACKAGE = "tensorflow.serving"
_INT64, _TEXT, _BOOL = ".google.protobuf.Int64Value", ".google.protobuf.StringValue", ".google.protobuf.BoolValue"
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {  # message: field: its number and type
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, f".{_PACKAGE}.PrometheusConfig")},
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
    "BatchingParameters": {
        "max_batch_size": (1, _INT64),
        "batch_timeout_micros": (2, _INT64),
        "max_enqueued_batches": (3, _INT64),
        "num_batch_threads": (4, _INT64),
        "thread_pool_name": (5, _TEXT),
        "allowed_batch_sizes": (6, "repeated int64"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, _BOOL),
        "max_execution_batch_size": (9, _INT64),
    },
}


def read_model_config(path: str) -> Any:
    """Return the ModelServerConfig in a file. Raises StatusError, as all readers here do.

    INVALID_ARGUMENT if it is no such text proto, with protobuf's own words on stderr; NOT_FOUND if there is no file.
    """
    return _read(path, message("ModelServerConfig")())


def read_monitoring_config(path: str) -> Any:
    """Return the MonitoringConfig in a file. Raises StatusError."""
    return _read(path, _class("MonitoringConfig")())


def read_ssl_config(path: str) -> Any:
    """Return the SSLConfig in a file. Raises StatusError."""
    return _read(path, _class("SSLConfig")())


def read_session_config(path: str) -> Any:
    """Return the ConfigProto in a file, as TensorFlow's own class. Raises StatusError."""
    from tensorflow.core.protobuf import config_pb2

    return _read(path, config_pb2.ConfigProto())


def read_batching(path: str) -> BatchingOptions:
    """Return the options in a file of BatchingParameters, unset ones at their defaults; no path: all of them.

    Raises StatusError.
    """
    from serving.server.run.options import BatchingOptions

    if not path:
        return BatchingOptions(thread_pool_name="model_server_batch_threads")
    parameters = _read(path, _class("BatchingParameters")())
    values: dict[str, Any] = {}
    for field, value in parameters.ListFields():
        values[field.name] = value.value if field.message_type is not None else value
    if "batch_timeout_micros" in values:
        values["batch_timeout_s"] = values.pop("batch_timeout_micros") / 1e6
    if "allowed_batch_sizes" in values:
        values["allowed_batch_sizes"] = tuple(values["allowed_batch_sizes"])
    return BatchingOptions(**values)


def read_version_batching(folder: Path, server: BatchingOptions) -> BatchingOptions | None:
    """Return a version's own options, its threads being the server's; None, no batching, if it brings no file.

    Raises StatusError.
    """
    path = folder / PER_MODEL_BATCHING
    if not path.exists():
        return None
    return replace(
        read_batching(str(path)), thread_pool_name=server.thread_pool_name, num_batch_threads=server.num_batch_threads
    )


def _read(path: str, into: Any) -> Any:
    try:
        text = Path(path).read_bytes().decode()
        return text_format.Parse(text, into)
    except OSError as error:
        code = Code.NOT_FOUND if isinstance(error, FileNotFoundError) else Code.FAILED_PRECONDITION
        raise StatusError(code, f"{path}; {error.strerror}") from None
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        print(f"Error parsing text-format {into.DESCRIPTOR.full_name}: {error}", file=sys.stderr, flush=True)
        raise invalid_argument(f"Invalid protobuf file: '{path}'") from None


@cache
def _class(name: str) -> Any:
    return class_of(_pool(), f"{_PACKAGE}.{name}")


@cache
def _pool() -> Any:
    """Return a pool of its own: TensorFlow Serving's package may bring the same names one day."""
    file = descriptor_pb2.FileDescriptorProto(name="vouch_serving.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for name, members in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for member, (number, kind) in members.items():
            described.field.append(_field(member, number, kind))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _field(name: str, number: int, kind: str) -> descriptor_pb2.FieldDescriptorProto:
    proto = descriptor_pb2.FieldDescriptorProto
    label = proto.LABEL_REPEATED if kind.startswith("repeated ") else proto.LABEL_OPTIONAL
    field = proto(name=name, number=number, label=label)
    if kind.startswith("."):
        field.type, field.type_name = proto.TYPE_MESSAGE, kind
    else:
        types = {"bool": proto.TYPE_BOOL, "string": proto.TYPE_STRING, "int64": proto.TYPE_INT64}
        field.type = types[kind.removeprefix("repeated ")]
    return field
