"""PredictionService and ModelService on grpcio's server, with TLS and the health service where asked for."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server.core.inference import Array, ModelSpec, Result, Task
from serving.server.core.metrics import OTHER
from serving.server.core.plans import Classes, examples_of
from serving.server.core.tensors import from_protos, to_proto
from serving.server.listen import listen
from serving.server.status import Code, StatusError, as_status, invalid_argument

if TYPE_CHECKING:
    from serving.server.core.loading import Core
    from serving.server.core.versions import VersionStatus
    from serving.server.flags import Options


LOG = logging.getLogger("serving")
PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"
MAX_DETAILS = 1024
TRUNCATED = "...TRUNCATED"
_API_METRICS = ("Predict", "Classify", "Regress")  # the calls TensorFlow Serving counts
_STATUS_CODES = {Code(code.value[0]): code for code in grpc.StatusCode}
Api = Callable[[Any, float | None], Any]
Reload = Callable[[Any, float | None], None]  # ModelServerConfig, timeout in seconds
CALLS_AT_ONCE = 32  # each waits in a thread of its own: fewer keep batches small, more get in one another's way
_DEFAULTS = {
    "grpc.max_send_message_length": -1,
    "grpc.max_receive_message_length": -1,
    "grpc.optimization_target": "throughput",
    "grpc.so_reuseport": 0,  # a port that is taken must be an error
}


def start_grpc(options: Options, core: Core, tls: Any, reload: Reload) -> grpc.Server:
    """Serve gRPC, over TCP as an SSLConfig `tls` says.

    Raises StatusError: UNAVAILABLE if a port or socket cannot be had, INVALID_ARGUMENT for an unusable key.
    """
    arguments = {**_DEFAULTS, **channel_arguments(options.grpc_channel_arguments)}
    pool = ThreadPoolExecutor(max(options.grpc_max_threads, CALLS_AT_ONCE), thread_name_prefix="grpc")
    server = grpc.server(pool, options=list(arguments.items()))
    Services(core, reload, options.enable_serialization_as_tensor_content).add_to(server)
    if options.enable_grpc_healthcheck_service:
        health_pb2_grpc.add_HealthServicer_to_server(_health(), server)
    for address in _addresses(options):
        _open(server, address, tls if not address.startswith("unix:") else None)
        LOG.info("Running gRPC ModelServer at %s ...", address)
    server.start()
    return server


def _health() -> health.HealthServicer:
    """Return a servicer for the server as a whole and its services, by their full and by their short names."""
    servicer = health.HealthServicer()
    for name in (PREDICTION, MODEL):
        for alias in (name, name.rpartition(".")[2]):
            servicer.set(alias, health_pb2.HealthCheckResponse.SERVING)
    return servicer


def channel_arguments(text: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for pair in filter(None, text.split(",")):
        key, _, value = pair.partition("=")
        is_integer = re.fullmatch("-?[0-9]{1,10}", value) and abs(int(value)) < 1 << 31
        arguments[key] = int(value) if is_integer else value
    return arguments


def _addresses(options: Options) -> list[str]:
    addresses = []
    if options.port:
        host = options.bind_address or "0.0.0.0"
        addresses.append(f"[{host}]:{options.port}" if ":" in host else f"{host}:{options.port}")
    if options.grpc_socket_path:
        with suppress(OSError):  # what cannot be removed cannot be listened on, and that will be said
            os.unlink(options.grpc_socket_path)  # a stale one would be in the way
        addresses.append(f"unix:{options.grpc_socket_path}")
    return addresses


def _open(server: grpc.Server, address: str, tls: Any) -> None:
    try:
        if tls:
            pair = tls.server_key.encode(), tls.server_cert.encode()
            root = tls.custom_ca.encode() or None
            server.add_secure_port(address, grpc.ssl_server_credentials([pair], root, tls.client_verify))
        else:
            server.add_insecure_port(address)
    except RuntimeError:
        if tls and _can_listen(address):
            fault = "Failed to use server_key and server_cert of server_options.ssl_config_file for TLS"
            raise invalid_argument(fault) from None
        raise StatusError(Code.UNAVAILABLE, f"Failed to listen on {address} for gRPC; is it in use?") from None


def _can_listen(address: str) -> bool:
    """Return whether it is not the address that is at fault: gRPC tells nothing."""
    host, _, port = address.rpartition(":")
    try:
        listen(host.strip("[]"), int(port)).close()
    except StatusError:
        return False
    return True


class Services:
    """Both services. `reload` applies a config or raises StatusError; `as_content` is about what Predict answers."""

    def __init__(self, core: Core, reload: Reload, as_content: bool) -> None:
        self._inference, self._manager, self._metrics = core.inference, core.manager, core.metrics
        self._reload = reload
        self._as_content = as_content

    def add_to(self, server: grpc.Server) -> None:
        prediction = {
            "Predict": self._handler(self._predict, predict_pb2.PredictRequest),
            "Classify": self._handler(self._classify, classification_pb2.ClassificationRequest),
            "Regress": self._handler(self._regress, regression_pb2.RegressionRequest),
            "MultiInference": self._handler(self._multi, inference_pb2.MultiInferenceRequest),
            "GetModelMetadata": self._handler(self._metadata, get_model_metadata_pb2.GetModelMetadataRequest),
        }
        model = {
            "GetModelStatus": self._handler(self._status, get_model_status_pb2.GetModelStatusRequest),
            "HandleReloadConfigRequest": self._handler(self._reload_config, model_management_pb2.ReloadConfigRequest),
        }
        server.add_registered_method_handlers(PREDICTION, prediction)  # found by name: generic ones are searched
        server.add_registered_method_handlers(MODEL, model)

    def _handler(self, api: Api, request_type: Any) -> grpc.RpcMethodHandler:
        """Return a handler of serialized messages, so that one that cannot be parsed is INTERNAL, not UNKNOWN."""
        name = api.__name__.lstrip("_").capitalize()
        counted = name if name in _API_METRICS else ""

        def handle(data: bytes, context: grpc.ServicerContext) -> bytes:
            started, model = time.perf_counter(), ""
            try:
                request = request_type.FromString(data)
                model = request.model_spec.name if counted else ""
                answer: bytes = api(request, _time_left(context)).SerializeToString()
            except DecodeError:
                context.abort(grpc.StatusCode.INTERNAL, f"Failed to parse the {request_type.DESCRIPTOR.name}")
            except Exception as error:  # the edge: whatever goes wrong must be a status
                failed = as_status(error)
                self._count(model, counted, failed.code, started)
                context.abort(_STATUS_CODES[failed.code], shortened(failed.message))
            self._count(model, counted, Code.OK, started)
            return answer

        return grpc.unary_unary_rpc_method_handler(handle)

    def _count(self, model: str, api: str, code: Code, started: float) -> None:
        if not api:
            return
        known = model if not model or self._manager.is_configured(model) else OTHER
        self._metrics.request_count.cell(known, code.name).add()
        if code is Code.OK:
            self._metrics.request_latency.cell(model, api, "GRPC").add((time.perf_counter() - started) * 1e6)

    def _predict(self, request: Any, timeout_s: float | None) -> Any:
        spec, inputs = spec_of(request), from_protos(request.inputs)
        work = self._inference.predict(spec, inputs, tuple(request.output_filter))
        predicted = self._inference.run(work, timeout_s)
        answer = predict_pb2.PredictResponse()
        fill_spec(answer.model_spec, predicted.spec)
        for alias, value in predicted.value.items():
            to_proto(value, answer.outputs[alias], self._as_content)
        return answer

    def _classify(self, request: Any, timeout_s: float | None) -> Any:
        spec = spec_of(request)
        work = self._inference.classify(spec, examples_of(request.input))
        return as_classifications(self._inference.run(work, timeout_s))

    def _regress(self, request: Any, timeout_s: float | None) -> Any:
        spec = spec_of(request)
        work = self._inference.regress(spec, examples_of(request.input))
        return as_regressions(self._inference.run(work, timeout_s))

    def _multi(self, request: Any, timeout_s: float | None) -> Any:
        tasks = [Task(_spec_of_task(task, index), task.method_name) for index, task in enumerate(request.tasks)]
        examples = examples_of(request.input)
        results = self._inference.run(self._inference.multi_inference(tasks, examples), timeout_s)
        if tasks:
            self._metrics.example_count_total.cell(tasks[0].spec.name).add(len(examples))
            self._metrics.example_counts.cell(tasks[0].spec.name).add(len(examples))
        answer = inference_pb2.MultiInferenceResponse()
        for result in results:
            inference = answer.results.add()
            fill_spec(inference.model_spec, result.spec)
            if isinstance(result.value, list):
                inference.classification_result.CopyFrom(as_classifications(result).result)
            else:
                inference.regression_result.CopyFrom(as_regressions(result).result)
        return answer

    def _metadata(self, request: Any, timeout_s: float | None) -> Any:
        spec = spec_of(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != "signature_def":
                raise invalid_argument(f"Metadata field {name} is not supported")
        metadata = self._inference.metadata(spec)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name = metadata.spec.name
        answer.model_spec.version.value = metadata.spec.version
        answer.metadata["signature_def"].Pack(signature_map(metadata))
        return answer

    def _status(self, request: Any, timeout_s: float | None) -> Any:
        spec = spec_of(request)
        return as_status_answer(self._manager.status(spec.name, spec.version))

    def _reload_config(self, request: Any, timeout_s: float | None) -> Any:
        self._reload(request.config, timeout_s)
        answer = model_management_pb2.ReloadConfigResponse()
        answer.status.error_code = 0
        return answer


def _time_left(context: grpc.ServicerContext) -> float | None:
    """Return the seconds until the deadline, None without one: grpcio then tells more than a lock can wait."""
    left_s: float | None = context.time_remaining()
    return None if left_s is None or left_s > threading.TIMEOUT_MAX else left_s


def _spec_of_task(task: Any, index: int) -> ModelSpec:
    return as_spec(task.model_spec) if index else spec_of(task)  # the first one chooses the servable


def shortened(details: str) -> str:
    """Cut details that are too long for a status, as TensorFlow Serving does."""
    if len(details.encode()) <= MAX_DETAILS:
        return details
    return details.encode()[: MAX_DETAILS - len(TRUNCATED)].decode(errors="ignore") + TRUNCATED


def spec_of(message: Any) -> ModelSpec:
    """Return the model_spec of a request. Raises StatusError if there is none."""
    if not message.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    return as_spec(message.model_spec)


def as_spec(spec: model_pb2.ModelSpec) -> ModelSpec:
    version = spec.version.value if spec.HasField("version") else None
    return ModelSpec(spec.name, version, spec.version_label or None, spec.signature_name)


def fill_spec(message: Any, spec: ModelSpec) -> None:
    message.name = spec.name
    message.version.value = spec.version
    message.signature_name = spec.signature_name


def as_classifications(classified: Result[Classes]) -> Any:
    answer = classification_pb2.ClassificationResponse()
    fill_spec(answer.model_spec, classified.spec)
    answer.result.SetInParent()
    for row in classified.value:
        classifications = answer.result.classifications.add()
        for label, score in row:
            classifications.classes.add(label=label.decode("utf-8", "replace"), score=score)
    return answer


def as_regressions(regressed: Result[Array]) -> Any:
    answer = regression_pb2.RegressionResponse()
    fill_spec(answer.model_spec, regressed.spec)
    answer.result.SetInParent()
    for value in regressed.value:
        answer.result.regressions.add(value=value)
    return answer


def signature_map(metadata: Result[Mapping[str, Any]]) -> Any:
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in metadata.value.items():
        signatures.signature_def[name].CopyFrom(definition)
    return signatures


def as_status_answer(versions: Iterable[VersionStatus]) -> Any:
    answer = get_model_status_pb2.GetModelStatusResponse()
    for version in versions:
        status = answer.model_version_status.add(version=version.version, state=int(version.state)).status
        status.error_code = int(version.code)
        status.error_message = version.message
    return answer
