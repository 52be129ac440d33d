"""The files that flags name, read before TensorFlow is imported: models and their versions, batching, metrics, TLS.

Messages that no package brings are defined here, numbered as TensorFlow Serving's.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, text_format, wrappers_pb2

from serving.server.status import Code, StatusError, invalid_argument
from serving.wire.messages import class_of, message

if TYPE_CHECKING:
    from serving.server.flags import Options


METRICS_PATH = "/monitoring/prometheus/metrics"


@dataclass(frozen=True)
class Files:
    models: tuple[ModelConfig, ...] | None  # None: nothing yet
    batching: BatchingOptions | None  # None: no batching
    metrics_path: str  # empty: no metrics page
    tls: Any  # SSLConfig, or None

    @staticmethod
    def read(options: Options) -> Files:
        if options.model_config_file:
            models = from_proto(read_proto(options.model_config_file, "ModelServerConfig"))
        else:
            models = single_model(options.model_name, options.model_base_path)
        metrics_path = ""
        if options.monitoring_config_file:
            metrics = read_proto(options.monitoring_config_file, "MonitoringConfig").prometheus_config
            metrics_path = (metrics.path or METRICS_PATH) if metrics.enable else ""
        return Files(
            models,
            batching=read_batching(options.batching_parameters_file) if options.enable_batching else None,
            metrics_path=metrics_path,
            tls=read_proto(options.ssl_config_file, "SSLConfig") if options.ssl_config_file else None,
        )


PLATFORM = "tensorflow"
NO_LABELS: Mapping[str, int] = MappingProxyType({})
_URI = re.compile(r"[a-zA-Z][0-9a-zA-Z.]*://")


@dataclass(frozen=True)
class Latest:
    """Serve the largest versions."""

    count: int = 1


@dataclass(frozen=True)
class All:
    """Serve every version."""


@dataclass(frozen=True)
class Specific:
    """Serve these versions and no others."""

    versions: frozenset[int]


Policy = Latest | All | Specific


@dataclass(frozen=True)
class ModelConfig:
    """One model. The base path is absolute or a URI and holds one folder per version."""

    name: str
    base_path: str
    policy: Policy = Latest()
    labels: Mapping[str, int] = field(default_factory=lambda: NO_LABELS)  # label: version


def single_model(name: str, base_path: str) -> tuple[ModelConfig, ...]:
    """Return the config of `--model_name` and `--model_base_path`. Raises StatusError for a relative path."""
    _check_path(name, base_path)
    return (ModelConfig(name, base_path),)


def from_proto(message: Any) -> tuple[ModelConfig, ...] | None:
    """Return the models of a ModelServerConfig; None if it has no list at all, which changes nothing.

    Raises StatusError INVALID_ARGUMENT for a list that cannot be served, and for a custom config.
    """
    kind = message.WhichOneof("config")
    if kind is None:
        return None
    if kind != "model_config_list":
        raise invalid_argument("ModelServer does not yet support custom model config.")
    by_name: dict[str, ModelConfig] = {}
    for model in message.model_config_list.config:
        if model.name in by_name:
            raise invalid_argument(f"Illegal to list model {model.name} multiple times in config list")
        _check_path(model.name, model.base_path)
        by_name[model.name] = ModelConfig(
            model.name, model.base_path, _policy(model.model_version_policy), dict(model.version_labels)
        )
    for model in message.model_config_list.config:
        _check_platform(model)
        if model.HasField("logging_config"):
            raise invalid_argument("No request-logger-creator provided.")
    return tuple(by_name.values())


def _check_platform(model: Any) -> None:
    if bool(model.model_type) == bool(model.model_platform):
        given = "both" if model.model_type else "neither"
        raise invalid_argument(f"Model {model.name} has {given} of model_platform and the deprecated model_type")
    if model.model_platform not in ("", PLATFORM) or model.model_type not in (0, 1):  # ModelType.TENSORFLOW
        asked = model.model_platform or f"model_type {model.model_type}"
        raise invalid_argument(f"Model {model.name} requests unsupported platform {asked}; wanted {PLATFORM}")


def _policy(policy: Any) -> Policy:
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return All()
    if kind == "specific":
        return Specific(frozenset(policy.specific.versions))
    return Latest(max(policy.latest.num_versions, 1))


def _check_path(name: str, path: str) -> None:
    if not path.startswith("/") and not _URI.match(path):
        raise invalid_argument(f"Expected model {name} to have an absolute path or URI; got base_path()={path}")


@dataclass(frozen=True)
class BatchingOptions:
    """BatchingParameters, with the defaults of TensorFlow Serving."""

    max_batch_size: int = 1000
    batch_timeout_s: float = 0.0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    thread_pool_name: str = ""
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None  # only with splitting; None: max_batch_size

    def check(self) -> None:
        """Raise StatusError, INVALID_ARGUMENT, for what no batch could be made with."""
        for name, least, value in (
            ("num_batch_threads", 1, self.num_batch_threads),
            ("max_batch_size", 1, self.max_batch_size),
            ("batch_timeout_micros", 0, round(self.batch_timeout_s * 1e6)),
            ("max_enqueued_batches", 0, self.max_enqueued_batches),
            ("max_execution_batch_size", 1, self.run_size),
        ):
            if value < least:
                raise invalid_argument(f"{name} must be {'positive' if least else 'non-negative'}; was {value}")
        if self.run_size > self.max_batch_size:
            raise invalid_argument(
                "max_execution_batch_size should be less than or equal to max_batch_size; was "
                f"{self.run_size}, max_batch_size {self.max_batch_size}"
            )
        self._check_allowed()

    def _check_allowed(self) -> None:
        sizes = self.allowed_batch_sizes
        if not sizes:
            return
        limit = "max_execution_batch_size" if self.enable_large_batch_splitting else "max_batch_size"
        if sizes[-1] not in (self.run_size, self.max_batch_size):
            raise invalid_argument(
                f"Last entry in allowed_batch_sizes must match {limit}; last entry was {sizes[-1]}; "
                f"expected {self.run_size}"
            )
        if sizes[0] < 1 or any(a >= b for a, b in pairwise(sizes)):
            raise invalid_argument("allowed_batch_sizes entries must be monotonically increasing")

    @property
    def run_size(self) -> int:
        if self.enable_large_batch_splitting and self.max_execution_batch_size is not None:
            return self.max_execution_batch_size
        return self.max_batch_size

    def padded(self, rows: int) -> int:
        """Return the smallest allowed size that holds so many rows."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)


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


def read_proto(path: str, name: str) -> Any:
    """Return the message of `tensorflow.serving`, such as ModelServerConfig, that is in a file as text.

    Raises StatusError, as all readers here do: INVALID_ARGUMENT if it is none, with protobuf's own words on stderr;
    NOT_FOUND if there is no file.
    """
    kind = class_of(_pool(), f"{_PACKAGE}.{name}") if name in _MESSAGES else message(name)
    return _read(path, kind())


def read_session_config(path: str) -> Any:
    """Return the ConfigProto in a file, as TensorFlow's own class. Raises StatusError."""
    from tensorflow.core.protobuf import config_pb2

    return _read(path, config_pb2.ConfigProto())


def read_batching(path: str) -> BatchingOptions:
    """Return the options in a file of BatchingParameters, unset ones at their defaults; no path: all of them.

    Raises StatusError.
    """
    if not path:
        return BatchingOptions(thread_pool_name="model_server_batch_threads")
    parameters = read_proto(path, "BatchingParameters")
    values: dict[str, Any] = {}
    for described, value in parameters.ListFields():
        values[described.name] = value.value if described.message_type is not None else value
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
def _pool() -> Any:
    """Return a pool of its own: TensorFlow Serving's package may bring the same names one day."""
    file = descriptor_pb2.FileDescriptorProto(name="vouch_serving.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for name, members in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for member, (number, kind) in members.items():
            described.field.add(
                name=member,
                number=number,
                label="LABEL_REPEATED" if kind.startswith("repeated ") else "LABEL_OPTIONAL",
                type="TYPE_MESSAGE" if kind.startswith(".") else f"TYPE_{kind.removeprefix('repeated ').upper()}",
                type_name=kind if kind.startswith(".") else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool
