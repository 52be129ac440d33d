"""The gRPC skin: PredictionService and ModelService over the same core (contract, section 3)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

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

from serving.server.core.inference import Classified, Inference, ModelSpec, Task
from serving.server.core.metrics import ServingMetrics
from serving.server.core.status import Code, StatusError, as_status, invalid_argument
from serving.server.core.tensors import to_proto
from serving.server.grpc.answers import (
    as_classifications,
    as_metadata,
    as_regressions,
    as_status_answer,
    examples_of,
    fill_spec,
)
from serving.server.grpc.core import Call, Method
from serving.server.grpc.requests import PredictReader, as_spec, content_of, spec_of
from serving.server.rest.routes import Statuses

PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"
MAX_DETAILS = 1024
TRUNCATED = "...TRUNCATED"
_API_METRICS = ("Predict", "Classify", "Regress")  # the calls TensorFlow Serving counts
Api = Callable[[Any, float | None], Awaitable[Any]]
Reload = Callable[[Any, float | None], Awaitable[None]]  # ModelServerConfig, timeout in seconds


class Services:
    """Both services: `methods` by full name. `reload` applies a config or raises StatusError."""

    def __init__(
        self,
        inference: Inference,
        statuses: Statuses,
        reload: Reload,
        metrics: ServingMetrics,
        as_content: bool = False,
    ) -> None:
        self._inference = inference
        self._statuses = statuses
        self._reload = reload
        self._metrics = metrics
        self._as_content = as_content
        p, m = PREDICTION, MODEL
        metadata, status = get_model_metadata_pb2, get_model_status_pb2
        self._loop = asyncio.get_running_loop()
        self.methods: Mapping[str, Method] = {
            f"/{p}/Predict": self._method(self._predict, predict_pb2.PredictRequest, PredictReader().read),
            f"/{p}/Classify": self._method(self._classify, classification_pb2.ClassificationRequest),
            f"/{p}/Regress": self._method(self._regress, regression_pb2.RegressionRequest),
            f"/{p}/MultiInference": self._method(self._multi, inference_pb2.MultiInferenceRequest),
            f"/{p}/GetModelMetadata": self._method(self._metadata, metadata.GetModelMetadataRequest),
            f"/{m}/GetModelStatus": self._method(self._status, status.GetModelStatusRequest),
            f"/{m}/HandleReloadConfigRequest": self._method(
                self._reload_config, model_management_pb2.ReloadConfigRequest
            ),
        }

    def _method(self, api: Api, request_type: Any, read: Callable[[bytes], Any] | None = None) -> Method:
        name = api.__name__.lstrip("_").capitalize()
        counted = name if name in _API_METRICS else ""
        read = read or request_type.FromString

        def begin(call: Call, data: bytes) -> None:
            started = time.perf_counter()
            try:
                request = read(data)
            except DecodeError:
                call.refuse(Code.INTERNAL, f"Failed to parse the {request_type.DESCRIPTOR.name}")
                return
            call.on_cancelled = self._loop.create_task(self._answer(call, api, request, counted, started)).cancel

        return begin

    async def _answer(self, call: Call, api: Api, request: Any, counted: str, started: float) -> None:
        failed: StatusError | None = None
        try:
            answer = (await api(request, call.time_remaining())).SerializeToString()
        except Exception as error:  # the edge: whatever goes wrong must be a status
            failed = as_status(error)
        if counted:
            self._count(request.model_spec.name, counted, failed.code if failed else Code.OK, started)
        if failed:
            call.refuse(failed.code, shortened(failed.message))
        else:
            call.answer(answer)

    def _count(self, model: str, api: str, code: Code, started: float) -> None:
        self._metrics.request_count.cell(model, code.name).add()
        if code is Code.OK:
            self._metrics.request_latency.cell(model, api, "GRPC").add((time.perf_counter() - started) * 1e6)

    async def _predict(self, request: Any, timeout_s: float | None) -> Any:
        predicted = await self._inference.predict(*content_of(request), timeout_s)
        answer = predict_pb2.PredictResponse()
        fill_spec(answer.model_spec, predicted.spec)
        for alias, value in predicted.outputs.items():
            to_proto(value, answer.outputs[alias], self._as_content)
        return answer

    async def _classify(self, request: Any, timeout_s: float | None) -> Any:
        spec = spec_of(request)
        return as_classifications(await self._inference.classify(spec, examples_of(request.input), timeout_s))

    async def _regress(self, request: Any, timeout_s: float | None) -> Any:
        spec = spec_of(request)
        return as_regressions(await self._inference.regress(spec, examples_of(request.input), timeout_s))

    async def _multi(self, request: Any, timeout_s: float | None) -> Any:
        tasks = [Task(_spec_of_task(task, index), task.method_name) for index, task in enumerate(request.tasks)]
        examples = examples_of(request.input)
        results = await self._inference.multi_inference(tasks, examples, timeout_s)
        if tasks:
            self._metrics.example_count_total.cell(tasks[0].spec.name).add(len(examples))
            self._metrics.example_counts.cell(tasks[0].spec.name).add(len(examples))
        answer = inference_pb2.MultiInferenceResponse()
        for result in results:
            one = answer.results.add()
            fill_spec(one.model_spec, result.spec)
            if isinstance(result, Classified):
                one.classification_result.CopyFrom(as_classifications(result).result)
            else:
                one.regression_result.CopyFrom(as_regressions(result).result)
        return answer

    async def _metadata(self, request: Any, timeout_s: float | None) -> Any:
        spec = spec_of(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != "signature_def":
                raise invalid_argument(f"Metadata field {name} is not supported")
        return as_metadata(self._inference.metadata(spec))

    async def _status(self, request: Any, timeout_s: float | None) -> Any:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        return as_status_answer(self._statuses.status(spec.name, version))

    async def _reload_config(self, request: Any, timeout_s: float | None) -> Any:
        await self._reload(request.config, timeout_s)
        answer = model_management_pb2.ReloadConfigResponse()
        answer.status.error_code = 0
        return answer


def _spec_of_task(task: Any, index: int) -> ModelSpec:
    return as_spec(task.model_spec) if index else spec_of(task)  # the first one chooses the servable


def shortened(details: str) -> str:
    """Cut details that are too long for a status, as TensorFlow Serving does."""
    if len(details.encode()) <= MAX_DETAILS:
        return details
    return details.encode()[: MAX_DETAILS - len(TRUNCATED)].decode(errors="ignore") + TRUNCATED
