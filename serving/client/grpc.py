"""Speak TensorFlow Serving's gRPC API, with the same retries and the same errors as by REST."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import grpc
import numpy as np

from common.errors import VouchError
from serving.client.errors import (
    BadAnswer,
    InvalidRequest,
    ModelNotFound,
    ModelServerDown,
    ModelServerFailed,
    ModelServerTimeout,
    refusal,
)
from serving.client.retry import Caller, Policy
from serving.client.types import (
    DEFAULT_SIGNATURE,
    NEWEST,
    Columns,
    Metadata,
    Outputs,
    Signature,
    VersionSpec,
    VersionStatus,
    checked,
    count_rows,
    metadata_of,
    versions_of,
)
from serving.wire.messages import dtypes, message

OPTIONS = {
    "grpc.enable_http_proxy": 0,  # no proxy stands between us and the model server
    "grpc.enable_retries": 0,  # the policy's are the only ones
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
    "grpc.keepalive_time_ms": 310_000,  # finds a peer that vanished; more than one in 300 s, and the server hangs up
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1,
}
_METHODS = {
    "Predict": ("PredictionService", "PredictRequest", "PredictResponse"),
    "GetModelMetadata": ("PredictionService", "GetModelMetadataRequest", "GetModelMetadataResponse"),
    "GetModelStatus": ("ModelService", "GetModelStatusRequest", "GetModelStatusResponse"),
    "HandleReloadConfigRequest": ("ModelService", "ReloadConfigRequest", "ReloadConfigResponse"),
}
_CODE_ERRORS: dict[grpc.StatusCode, type[VouchError]] = {
    grpc.StatusCode.NOT_FOUND: ModelNotFound,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.UNIMPLEMENTED: InvalidRequest,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ModelServerDown,
}
_TOO_LARGE = "larger than max"  # grpcio has no other sign of it; by REST it is 413
RELOAD_BUDGET_S = 600.0  # answered once newly named models are loaded
_SMALL = ("int8", "int16", "int32", "uint8", "uint16")  # share a field
_WHOLE = (*_SMALL, "int64", "uint32", "uint64")
_NUMPY: dict[str, Any] = {f"DT_{kind.upper()}": np.dtype(kind).type for kind in _WHOLE}
_NUMPY |= {"DT_FLOAT": np.float32, "DT_DOUBLE": np.float64, "DT_HALF": np.float16, "DT_BOOL": np.bool_}
_FIELDS = {f"DT_{kind.upper()}": "int_val" if kind in _SMALL else f"{kind}_val" for kind in _WHOLE}
_FIELDS |= {"DT_FLOAT": "float_val", "DT_DOUBLE": "double_val", "DT_BOOL": "bool_val"}


class GrpcClient:
    """A ModelClient over gRPC, which can also hand the server another config."""

    def __init__(self, address: str, policy: Policy | None = None) -> None:
        self.address = address
        self._caller = Caller(policy)
        self._signatures: dict[tuple[str, VersionSpec, str], Signature] = {}
        self._channel = grpc.insecure_channel(address, options=list(OPTIONS.items()))
        self._methods = {name: self._method(name) for name in _METHODS}

    def predict(
        self, model: str, columns: Columns, version_spec: VersionSpec = NEWEST, *, signature: str = DEFAULT_SIGNATURE
    ) -> Outputs:
        rows = count_rows(columns)
        key = (model, version_spec, signature)
        known = self._signature(*key)
        try:
            answer = self._predict(*key, columns, known)
        except InvalidRequest:
            self._signatures.pop(key, None)
            if (present := self._signature(*key)) == known:
                raise
            answer = self._predict(*key, columns, present)  # another version answers now, and takes other types
        return checked({name: from_tensor(name, proto) for name, proto in answer.outputs.items()}, rows)

    def status(self, model: str, version_spec: VersionSpec = NEWEST) -> tuple[VersionStatus, ...]:
        """See ModelClient. A label narrows nothing down: gRPC's answer is that of the whole model."""
        request = message("GetModelStatusRequest")()
        _fill_spec(request.model_spec, model, version_spec)
        return versions_of(self._call("GetModelStatus", request))

    def metadata(self, model: str, version_spec: VersionSpec = NEWEST) -> Metadata:
        request = message("GetModelMetadataRequest")(metadata_field=["signature_def"])
        _fill_spec(request.model_spec, model, version_spec)
        answer = self._call("GetModelMetadata", request)
        definitions = message("SignatureDefMap")()
        if not answer.metadata["signature_def"].Unpack(definitions):
            raise BadAnswer("this is no metadata of a model", got=str(answer)[:200])
        return metadata_of(answer.model_spec.version.value, definitions)

    def reload_config(self, config: Any) -> None:
        """Give the server another ModelServerConfig; returns when newly named models are served.

        Raises InvalidRequest if the server refuses it.
        """
        request = message("ReloadConfigRequest")()
        request.config.CopyFrom(config)
        status = self._call("HandleReloadConfigRequest", request, RELOAD_BUDGET_S).status
        if status.error_code:
            raise InvalidRequest("the model server refused the config", got=status.error_message)

    def close(self) -> None:
        self._channel.close()

    def _predict(
        self, model: str, version_spec: VersionSpec, signature: str, columns: Mapping[str, Any], known: Signature
    ) -> Any:
        request = message("PredictRequest")()
        _fill_spec(request.model_spec, model, version_spec)
        request.model_spec.signature_name = signature
        for name, values in columns.items():
            if name not in known.inputs:
                raise InvalidRequest(f"signature {signature} has no input {name!r}", wanted=", ".join(known.inputs))
            request.inputs[name].CopyFrom(to_tensor(name, values, known.inputs[name].dtype))
        return self._call("Predict", request)

    def _signature(self, model: str, version_spec: VersionSpec, signature: str) -> Signature:
        key = (model, version_spec, signature)
        if key not in self._signatures:
            signatures = self.metadata(model, version_spec).signatures
            if signature not in signatures:
                raise InvalidRequest(f"{model} has no signature {signature!r}", wanted=", ".join(sorted(signatures)))
            self._signatures[key] = signatures[signature]
        return self._signatures[key]

    def _call(self, name: str, request: Any, least_s: float = 0.0) -> Any:
        return self._caller.call(partial(self._attempt, name, request, least_s))

    def _attempt(self, name: str, request: Any, least_s: float, left_s: float) -> Any:
        try:
            return self._methods[name](request, timeout=max(left_s, least_s, 0.001))
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or ""
            if code is grpc.StatusCode.UNAVAILABLE:
                raise ModelServerDown(f"no answer from a model server at {self.address}", got=details) from None
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                what = f"the model server at {self.address} did not answer in time"
                raise ModelServerTimeout(what, got=f"nothing in {left_s:.1f} s") from None
            if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in details:
                raise InvalidRequest("the request is too large for the model server", got=details) from None
            kind = _CODE_ERRORS.get(code, ModelServerFailed)
            raise refusal(kind, f"{code.name}: {details}" if kind is ModelServerFailed else details) from None

    def _method(self, name: str) -> Callable[..., Any]:
        service, request, response = _METHODS[name]
        return self._channel.unary_unary(
            f"/tensorflow.serving.{service}/{name}",
            request_serializer=message(request).SerializeToString,
            response_deserializer=message(response).FromString,
        )


def _fill_spec(spec: Any, model: str, version_spec: VersionSpec) -> None:
    spec.name = model
    if version_spec.version is not None:
        spec.version.value = version_spec.version
    elif version_spec.label:
        spec.version_label = version_spec.label


def to_tensor(name: str, values: Any, dtype: str) -> Any:
    """Return a TensorProto of a type such as `DT_FLOAT`. Raises InvalidRequest if the values do not fit it."""
    proto = message("tensorflow.TensorProto")(dtype=dtypes()[dtype])
    try:
        if dtype == "DT_STRING":
            array = np.array(values, dtype=object)
            proto.string_val.extend(value if isinstance(value, bytes) else value.encode() for value in array.flat)
        elif dtype in _NUMPY:
            array = _fitting(values, _NUMPY[dtype])
            proto.tensor_content = array.tobytes()
        else:
            raise InvalidRequest(f"input {name} is of a type that cannot be sent", got=dtype)
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise InvalidRequest(f"the values of {name} do not fit", got=error, wanted=dtype) from None
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def from_tensor(name: str, proto: Any) -> Any:
    """Return a TensorProto's values as nested lists; text as str unless the output's name ends in `_bytes`.

    Raises BadAnswer if it is of an unknown type or holds another number of values than its shape says.
    """
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    names = {number: known for known, number in dtypes().items()}
    dtype = names.get(proto.dtype, str(proto.dtype))
    try:
        if dtype == "DT_STRING":
            as_text = not name.endswith("_bytes")
            texts = [value.decode() if as_text else value for value in proto.string_val]
            return _shaped(np.array(texts, dtype=object), shape)
        if proto.tensor_content:
            return _shaped(np.frombuffer(proto.tensor_content, _NUMPY[dtype]), shape)
        return _shaped(np.array(getattr(proto, _FIELDS[dtype]), _NUMPY[dtype]), shape)
    except (KeyError, ValueError) as error:
        raise BadAnswer(f"the model server's output {name} cannot be read", got=f"{dtype}: {error}") from None


def _fitting(values: Any, dtype: Any) -> Any:
    """Return an array of the type; like the server's JSON, whole numbers pass for decimal ones but not the reverse."""
    raw = np.asarray(values)
    if raw.size and (
        raw.dtype.kind not in "fiub"
        or (raw.dtype.kind == "f" and np.dtype(dtype).kind != "f")
        or (raw.dtype.kind == "b") != (np.dtype(dtype).kind == "b")
    ):
        raise ValueError(f"{raw.dtype} given")
    with np.errstate(over="ignore"):  # to infinity, as the server's JSON has it
        array = raw.astype(dtype)
    if array.dtype.kind in "iu" and not np.array_equal(array, raw):
        raise ValueError("a number is out of range")
    return array


def _shaped(values: Any, shape: tuple[int, ...]) -> Any:
    if values.size == 1:
        values = np.broadcast_to(values.reshape(()), shape)  # one value may stand for all
    return values.reshape(shape).tolist()
