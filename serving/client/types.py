"""The one way to speak to a model server, by REST or by gRPC; either speaks to TensorFlow Serving as to ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from common.errors import ConfigError
from serving.repository.layout import DEFAULT_SIGNATURE as DEFAULT_SIGNATURE

Columns = Mapping[str, Sequence[Any]]  # input: a value for each row; bytes, NaN and numpy arrays are welcome
Inputs = Columns | Sequence[Mapping[str, Any]]  # or rows
Outputs = dict[str, list[Any]]  # output: a value, or a list, for each row


@dataclass(frozen=True)
class VersionSpec:
    """Which version is meant: a number, a label, or neither: the largest number that is loaded."""

    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"version {self.version}"
        return f"label {self.label}" if self.label else "the newest version"


NEWEST = VersionSpec()


@dataclass(frozen=True)
class VersionStatus:
    """One version as the server sees it. `state`: START, LOADING, AVAILABLE, UNLOADING or END."""

    version: int
    state: str
    error_code: str = "OK"
    error: str = ""


@dataclass(frozen=True)
class TensorInfo:
    """One input or output. `dtype` as in `DT_FLOAT`; in `shape` -1 is any size, and None any shape at all."""

    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Signature:
    """What a signature takes and gives."""

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    method_name: str = ""


@dataclass(frozen=True)
class Metadata:
    """What a version says of itself."""

    version: int
    signatures: Mapping[str, Signature] = field(default_factory=dict)


class ModelClient(Protocol):
    """What both clients do. Safe to share between threads.

    All raise ModelServerDown, ModelServerTimeout, CircuitOpen, ModelServerFailed or BadAnswer when the server is to
    blame, ModelNotFound or InvalidRequest when the request is.
    """

    def predict(
        self, model: str, inputs: Inputs, version_spec: VersionSpec = NEWEST, *, signature: str = DEFAULT_SIGNATURE
    ) -> Outputs:
        """Return each output's values, one a row. Every row is answered with finite numbers, or it is an error."""

    def status(self, model: str, version_spec: VersionSpec = NEWEST) -> tuple[VersionStatus, ...]:
        """Return the versions ever seen, newest first, or the one that is meant."""

    def metadata(self, model: str, version_spec: VersionSpec = NEWEST) -> Metadata:
        """Return the signatures, and the version that the label or the newest stands for."""

    def close(self) -> None:
        """Close all connections."""


@dataclass(frozen=True)
class Addresses:
    rest: str = "http://127.0.0.1:8501"
    grpc: str = "127.0.0.1:8500"

    def __post_init__(self) -> None:
        parts = urlsplit(self.rest)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ConfigError("this is no REST address", got=repr(self.rest), wanted="such as http://127.0.0.1:8501")
        if "://" in self.grpc.removeprefix("unix://") or not self.grpc:
            raise ConfigError("this is no gRPC address", got=repr(self.grpc), wanted="such as 127.0.0.1:8500")
