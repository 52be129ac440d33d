"""PredictionService and ModelService over the core, as handlers of grpcio's server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server.core.classify import examples_of
from serving.server.core.inference import Classified, Inference, ModelSpec, Task
from serving.server.core.manager import Manager
from serving.server.core.metrics import OTHER, ServingMetrics
from serving.server.core.servable import Servable
from serving.server.core.tensors import from_protos, to_proto
from serving.server.grpc.messages import (
    as_classifications,
    as_metadata,
    as_regressions,
    as_spec,
    as_status_answer,
    fill_spec,
    spec_of,
)
from serving.server.status import Code, as_status, invalid_argument

PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"
MAX_DETAILS = 1024
TRUNCATED = "...TRUNCATED"
_API_METRICS = ("Predict", "Classify", "Regress")  # the calls TensorFlow Serving counts
_STATUS_CODES = {Code(code.value[0]): code for code in grpc.StatusCode}
Api = Callable[[Any, float | None], Any]
Reload = Callable[[Any, float | None], None]  # ModelServerConfig, timeout in seconds


class Services:
    """Both services. `reload` applies a config or raises StatusError."""

    def __init__(
        self,
        inference: Inference,
        manager: Manager[Servable],
        reload: Reload,
        metrics: ServingMetrics,
        as_content: bool = False,
    ) -> None:
        self._inference = inference
        self._manager = manager
        self._reload = reload
        self._metrics = metrics
        self._as_content = as_content

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return what `grpc.Server.add_generic_rpc_handlers` takes."""
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
        return [
            grpc.method_handlers_generic_handler(PREDICTION, prediction),
            grpc.method_handlers_generic_handler(MODEL, model),
        ]

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
        for alias, value in predicted.outputs.items():
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
            if isinstance(result, Classified):
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
        return as_metadata(self._inference.metadata(spec))

    def _status(self, request: Any, timeout_s: float | None) -> Any:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        return as_status_answer(self._manager.status(spec.name, version))

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
