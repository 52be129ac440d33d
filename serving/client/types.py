"""What goes to a model server and what comes back, the same by REST and by gRPC; and what of it cannot be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from common.errors import ConfigError
from serving.client.errors import BadAnswer, InvalidRequest
from serving.repository.layout import DEFAULT_SIGNATURE as DEFAULT_SIGNATURE

Columns = Mapping[str, Sequence[Any]]  # input: a value for each row; bytes, NaN and numpy arrays are welcome
Outputs = dict[str, list[Any]]  # output: a value, or a list, for each row


@dataclass(frozen=True)
class VersionSpec:
    """Which version is meant: a number, a label, or neither: the largest number that is loaded."""

    version: int | None = None
    label: str | None = None


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
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    method_name: str = ""


@dataclass(frozen=True)
class Metadata:
    version: int
    signatures: Mapping[str, Signature] = field(default_factory=dict)


class ModelClient(Protocol):
    """What both clients do. Safe to share between threads.

    All raise ModelServerDown, ModelServerTimeout, CircuitOpen, ModelServerFailed or BadAnswer when the server is to
    blame, ModelNotFound or InvalidRequest when the request is.
    """

    def predict(
        self, model: str, columns: Columns, version_spec: VersionSpec = NEWEST, *, signature: str = DEFAULT_SIGNATURE
    ) -> Outputs:
        """Return each output's values, one a row. Every row is answered with finite numbers, or it is an error."""

    def status(self, model: str, version_spec: VersionSpec = NEWEST) -> tuple[VersionStatus, ...]:
        """Return the versions ever seen, newest first, or the one that is meant."""

    def metadata(self, model: str, version_spec: VersionSpec = NEWEST) -> Metadata:
        """Return the signatures, and the version that the label or the newest stands for."""

    def close(self) -> None: ...


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


def versions_of(answer: Any) -> tuple[VersionStatus, ...]:
    """Return what a GetModelStatusResponse says of each version."""
    return tuple(
        VersionStatus(
            version.version,
            _enum_name(version, "state"),
            _enum_name(version.status, "error_code"),
            version.status.error_message,
        )
        for version in answer.model_version_status
    )


def metadata_of(version: int, definitions: Any) -> Metadata:
    """Return a version's signatures by its SignatureDefMap."""
    signatures = {
        name: Signature(_infos(its.inputs), _infos(its.outputs), its.method_name)
        for name, its in definitions.signature_def.items()
    }
    return Metadata(version, signatures)


def _infos(infos: Mapping[str, Any]) -> dict[str, TensorInfo]:
    return {name: TensorInfo(_enum_name(info, "dtype"), _shape(info.tensor_shape)) for name, info in infos.items()}


def _shape(shape: Any) -> tuple[int, ...] | None:
    return None if shape.unknown_rank else tuple(dim.size for dim in shape.dim)


def _enum_name(message: Any, field: str) -> str:
    number = getattr(message, field)
    known = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    return known[number].name if number in known else str(number)


def count_rows(columns: Mapping[str, Any]) -> int | None:
    """Return how many rows the columns have; None if nothing is batched. Raises InvalidRequest if they differ."""
    sized = {name: len(values) for name, values in columns.items() if _is_batch(values)}
    if not sized or len(sized) < len(columns):
        return None
    if len(set(sized.values())) > 1:
        few, many = min(sized, key=lambda name: sized[name]), max(sized, key=lambda name: sized[name])
        raise InvalidRequest(
            "the columns differ in length", got=f"{few} has {sized[few]} values, {many} has {sized[many]}"
        )
    return next(iter(sized.values()))


def checked(outputs: Mapping[str, Any], rows: int | None) -> Outputs:
    """Return the outputs if each has a value for every row and all numbers are finite. Raises BadAnswer."""
    if not outputs:
        raise BadAnswer("the model server answered without outputs")
    for name, values in outputs.items():
        if rows is not None and (not isinstance(values, list) or len(values) != rows):
            count = len(values) if isinstance(values, list) else "no list"
            raise BadAnswer(
                "the model server answered another number of rows", got=f"{name}: {count}", wanted=f"{rows}"
            )
        if not _is_text(values):
            _check_numbers(name, values)
    return dict(outputs)


def _is_batch(values: Any) -> bool:
    return (isinstance(values, np.ndarray) and values.ndim > 0) or (
        isinstance(values, Sequence) and not isinstance(values, str | bytes)
    )


def _is_text(values: Any) -> bool:
    """Return whether all that is nested in lists is text. numpy would make room for the longest in every place."""
    if not isinstance(values, list):
        return isinstance(values, str | bytes)
    kinds = set(map(type, values))
    return kinds <= {str, bytes} and bool(values) if list not in kinds else all(map(_is_text, values))


def _check_numbers(name: str, values: Any) -> None:
    try:
        array = np.asarray(values)
    except ValueError:
        raise BadAnswer("the model server answered rows of differing shapes", got=name) from None
    if array.dtype.kind not in "fiub":
        raise BadAnswer("the model server answered values of no known kind", got=name)
    odd = array[~np.isfinite(array)]
    if odd.size:
        raise BadAnswer("the model server answered a value that is not a finite number", got=f"{name}: {odd.flat[0]}")
