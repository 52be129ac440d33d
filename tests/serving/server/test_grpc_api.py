"""PredictionService and ModelService of a running server, by the stubs of tensorflow-serving-api."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.serving import models
from tests.support.serving.models import predict_request
from tests.support.serving.running import Running, running, wait_for

pytestmark = pytest.mark.slow

TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Client:
    """Both stubs on one channel, and where the models are."""

    server: Running
    prediction: Any
    model: Any
    base: Path


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    base = tmp_path_factory.mktemp("grpc")
    models.half_plus(base / "half" / "123")
    models.two_inputs(base / "two" / "1")
    models.slow(base / "slow" / "1")
    models.half_plus(base / "other" / "1", 3.0)
    models.half_plus(base / "other" / "2", 4.0)
    config = base / "models.config"
    config.write_text(f"model_config_list {{ {' '.join(_config(base, n) for n in ('half', 'two', 'slow'))} }}")
    socket_path = base / "socket"
    socket_path.write_text("stale")
    with (
        running(
            base / "log",
            f"--model_config_file={config}",
            f"--grpc_socket_path={socket_path}",
            "--enable_grpc_healthcheck_service",
            "--grpc_channel_arguments=grpc.max_connection_age_ms=2000000,grpc.unknown=text",
        ) as server,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        grpc.channel_ready_future(channel).result(TIMEOUT_S)
        yield Client(
            server,
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
            base,
        )


def _config(base: Path, name: str, more: str = "") -> str:
    return f'config {{ name: "{name}" base_path: "{base / name}" model_platform: "tensorflow" {more} }}'


def on_examples(request: Any, signature: str, *values: float, model: str = "half") -> Any:
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for value in values:
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return request


def refusal(call: Any, request: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=TIMEOUT_S)
    return caught.value.code().name, caught.value.details()


def test_predict_answers_in_the_typed_fields_and_says_what_it_used(client: Client) -> None:
    answer = client.prediction.Predict(predict_request(), timeout=TIMEOUT_S)
    assert list(answer.outputs["y"].float_val) == [3.0]
    spec = answer.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("half", 123, "serving_default")


def test_inputs_come_in_any_form(client: Client) -> None:
    import numpy as np

    request = predict_request()
    tensor = request.inputs["x"]
    tensor.Clear()
    tensor.dtype = 1
    tensor.tensor_shape.dim.add().size = 3
    tensor.float_val.append(2.0)  # one for the whole shape
    assert list(client.prediction.Predict(request, timeout=TIMEOUT_S).outputs["y"].float_val) == [3.0] * 3
    tensor.ClearField("float_val")
    tensor.tensor_content = np.array([2.0, 4.0, 6.0], np.float32).tobytes()
    assert list(client.prediction.Predict(request, timeout=TIMEOUT_S).outputs["y"].float_val) == [3.0, 4.0, 5.0]


def test_output_filter(client: Client) -> None:
    request = predict_request("two", a=[1.0], b=[2.0])
    request.output_filter.append("difference")
    answer = client.prediction.Predict(request, timeout=TIMEOUT_S)
    assert list(answer.outputs) == ["difference"]


def _unnamed(request: Any) -> Any:
    request.model_spec.ClearField("name")
    return request


def _without_spec(request: Any) -> Any:
    request.ClearField("model_spec")
    return request


def _versioned(request: Any, version: int) -> Any:
    request.model_spec.version.value = version
    return request


def _labelled(request: Any) -> Any:
    request.model_spec.version_label = "L"
    return request


def _filtered(request: Any, *aliases: str) -> Any:
    request.output_filter.extend(aliases)
    return request


def _typed(request: Any) -> Any:
    request.inputs["x"].Clear()
    request.inputs["x"].dtype = 10
    request.inputs["x"].bool_val.append(True)
    return request


def _torn(request: Any) -> Any:
    request.inputs["x"].tensor_content = b"abc"
    return request


REFUSALS: list[tuple[str, Any, str, str]] = [
    ("no model_spec", lambda: _without_spec(predict_request()), "INVALID_ARGUMENT", "Missing ModelSpec"),
    ("no name", lambda: _unnamed(predict_request()), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    ("no such model", lambda: predict_request("nobody"), "NOT_FOUND", "Servable not found for request: Latest(nobody)"),
    (
        "no such version",
        lambda: _versioned(predict_request(), 9),
        "NOT_FOUND",
        "Servable not found for request: Specific(half, 9)",
    ),
    (
        "no such label",
        lambda: _labelled(predict_request()),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: L",
    ),
    (
        "no such signature",
        lambda: predict_request(signature="S"),
        "FAILED_PRECONDITION",
        'Serving signature key "S" not found.',
    ),
    (
        "no inputs",
        lambda: predict_request("two", a=[1.0]),
        "INVALID_ARGUMENT",
        "input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but required: {b}.",
    ),
    ("another alias", lambda: predict_request(z=[1.0]), "INVALID_ARGUMENT", "z"),
    (
        "no such output",
        lambda: _filtered(predict_request(), "A"),
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: A Outputs expected to be in the set {y}.",
    ),
    (
        "an output twice",
        lambda: _filtered(predict_request(), "y", "y"),
        "INVALID_ARGUMENT",
        "duplicate output tensor alias: y",
    ),
    (
        "a wrong type",
        lambda: _typed(predict_request()),
        "INVALID_ARGUMENT",
        "Expects arg[0] to be float but bool is provided",
    ),
    ("a torn tensor", lambda: _torn(predict_request()), "INVALID_ARGUMENT", ""),
    (
        "shapes that do not add",
        lambda: predict_request("two", a=[1.0, 2.0], b=[1.0, 2.0, 3.0]),
        "INVALID_ARGUMENT",
        "Incompatible shapes",
    ),
]


@pytest.mark.parametrize(("make", "code", "words"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS])
def test_predict_refuses(client: Client, make: Any, code: str, words: str) -> None:
    got, details = refusal(client.prediction.Predict, make())
    assert (got, words in details) == (code, True), details
    assert client.prediction.Predict(predict_request(), timeout=TIMEOUT_S).outputs["y"].float_val[0] == 3.0


def test_a_deadline_ends_the_wait(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.prediction.Predict(predict_request("slow", x=[100.0]), timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_call_without_a_deadline_is_answered(client: Client) -> None:
    assert client.prediction.Predict(predict_request()).outputs["y"].float_val[0] == 3.0


def test_classify_and_regress(client: Client) -> None:
    from tensorflow_serving.apis import classification_pb2, regression_pb2

    request = on_examples(classification_pb2.ClassificationRequest(), "classify_both", 2.0, 4.0)
    answer = client.prediction.Classify(request, timeout=TIMEOUT_S)
    found = [[(c.label, c.score) for c in row.classes] for row in answer.result.classifications]
    assert found == [[("half", 3.0)], [("half", 4.0)]]
    request = on_examples(regression_pb2.RegressionRequest(), "regress_x_to_y", 2.0)
    answer = client.prediction.Regress(request, timeout=TIMEOUT_S)
    assert [r.value for r in answer.result.regressions] == [3.0]
    assert answer.model_spec.signature_name == "regress_x_to_y"


def test_a_context_is_merged_into_each_example(client: Client) -> None:
    from tensorflow_serving.apis import regression_pb2

    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "half", "regress_x_to_y"
    listed = request.input.example_list_with_context
    listed.context.features.feature["x"].float_list.value.append(2.0)
    listed.examples.add()
    listed.examples.add().features.feature["x"].float_list.value.append(4.0)
    answer = client.prediction.Regress(request, timeout=TIMEOUT_S)
    assert [r.value for r in answer.result.regressions] == [3.0, 4.0]


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        ("S", "No signature was found with the name: S"),
        ("regress_two_outputs", "Expected one output Tensor, found 2"),
        ("wrong_batch", "Input batch size did not match output batch size: 1 vs. 3"),
    ],
    ids=["unknown", "two outputs", "batch"],
)
def test_regress_refuses(client: Client, signature: str, words: str) -> None:
    from tensorflow_serving.apis import regression_pb2

    request = on_examples(regression_pb2.RegressionRequest(), signature, 2.0)
    assert refusal(client.prediction.Regress, request) == ("INVALID_ARGUMENT", words)


def test_an_input_without_examples_is_empty(client: Client) -> None:
    from tensorflow_serving.apis import classification_pb2

    request = on_examples(classification_pb2.ClassificationRequest(), "classify_x_to_y")
    assert refusal(client.prediction.Classify, request) == ("INVALID_ARGUMENT", "Input is empty.")


def multi(*tasks: tuple[str, str, str]) -> Any:
    from tensorflow_serving.apis import inference_pb2

    request = inference_pb2.MultiInferenceRequest()
    for model, signature, method in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = model, signature
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
    return request


def test_multi_inference_keeps_the_order_of_the_tasks(client: Client) -> None:
    request = multi(("half", "regress_x_to_y", "regress"), ("half", "classify_both", "classify"))
    answer = client.prediction.MultiInference(request, timeout=TIMEOUT_S)
    assert answer.results[0].regression_result.regressions[0].value == 3.0
    assert answer.results[1].classification_result.classifications[0].classes[0].label == "half"
    assert [r.model_spec.signature_name for r in answer.results] == ["regress_x_to_y", "classify_both"]


@pytest.mark.parametrize(
    ("tasks", "code", "words"),
    [
        (
            [("half", "a", "regress"), ("two", "b", "regress")],
            "INVALID_ARGUMENT",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            [("half", "regress_x_to_y", "regress")] * 2,
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: regress_x_to_y",
        ),
        ([("half", "S", "regress")], "INVALID_ARGUMENT", "Requested signature not found in model graph: S"),
        (
            [("half", "regress_x_to_y", "predict")],
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
    ],
    ids=["two models", "twice", "unknown", "predict"],
)
def test_multi_inference_refuses(client: Client, tasks: Any, code: str, words: str) -> None:
    assert refusal(client.prediction.MultiInference, multi(*tasks)) == (code, words)


def test_metadata(client: Client) -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2 as messages

    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "half"
    answer = client.prediction.GetModelMetadata(request, timeout=TIMEOUT_S)
    found = messages.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(found)
    assert found.signature_def["serving_default"].inputs["x"].name == "x:0"
    assert (answer.model_spec.version.value, answer.model_spec.signature_name) == (123, "")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["F"], "Metadata field F is not supported"),
    ],
    ids=["none", "unknown"],
)
def test_metadata_refuses(client: Client, fields: list[str], words: str) -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2 as messages

    request = messages.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "half"
    assert refusal(client.prediction.GetModelMetadata, request) == ("INVALID_ARGUMENT", words)


def statuses(client: Client, model: str) -> dict[int, int]:
    from tensorflow_serving.apis import get_model_status_pb2 as messages

    request = messages.GetModelStatusRequest()
    request.model_spec.name = model
    answer = client.model.GetModelStatus(request, timeout=TIMEOUT_S)
    return {one.version: one.state for one in answer.model_version_status}


def test_status(client: Client) -> None:
    from tensorflow_serving.apis import get_model_status_pb2 as messages

    assert statuses(client, "half") == {123: 30}
    request = messages.GetModelStatusRequest()
    assert refusal(client.model.GetModelStatus, request) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    request.model_spec.name = "nobody"
    wanted = ("NOT_FOUND", "Could not find any versions of model nobody")
    assert refusal(client.model.GetModelStatus, request) == wanted


def reload(*configs: str) -> Any:
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2

    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(f"model_config_list {{ {' '.join(configs)} }}", request.config)
    return request


def test_a_reload_adds_a_model_moves_labels_and_keeps_what_it_names(client: Client) -> None:
    kept = [_config(client.base, name) for name in ("half", "two", "slow")]
    both = "model_version_policy { all {} }"
    request = reload(*kept, _config(client.base, "other", both))
    assert client.model.HandleReloadConfigRequest(request, timeout=TIMEOUT_S).status.error_code == 0
    wait_for(lambda: statuses(client, "other") == {1: 30, 2: 30}, TIMEOUT_S, lambda: str(statuses(client, "other")))
    labelled = both + ' version_labels { key: "stable" value: 1 }'
    client.model.HandleReloadConfigRequest(reload(*kept, _config(client.base, "other", labelled)), timeout=TIMEOUT_S)
    by_label = predict_request("other")
    by_label.model_spec.version_label = "stable"
    assert client.prediction.Predict(by_label, timeout=TIMEOUT_S).outputs["y"].float_val[0] == 4.0
    away = both + ' version_labels { key: "stable" value: 7 }'
    code, details = refusal(client.model.HandleReloadConfigRequest, reload(*kept, _config(client.base, "other", away)))
    assert code == "FAILED_PRECONDITION"
    assert "version 7 of model other, which is not currently available for inference" in details
    assert client.prediction.Predict(by_label, timeout=TIMEOUT_S).outputs["y"].float_val[0] == 4.0
    client.model.HandleReloadConfigRequest(reload(*kept), timeout=TIMEOUT_S)
    assert refusal(client.prediction.Predict, by_label)[0] in ("NOT_FOUND", "INVALID_ARGUMENT")
    assert client.prediction.Predict(predict_request(), timeout=TIMEOUT_S).outputs["y"].float_val[0] == 3.0


def serves_only(client: Client, model: str, version: int) -> bool:
    return [number for number, state in statuses(client, model).items() if state == 30] == [version]


def test_the_same_bytes_are_answered_by_what_is_served_under_the_name_now(client: Client) -> None:
    kept = [_config(client.base, name) for name in ("half", "two", "slow")]
    request = predict_request("moved", a=[5.0], b=[3.0])
    two, half = (_config(client.base, name).replace(f'name: "{name}"', 'name: "moved"') for name in ("two", "half"))
    for config, wanted in ((two, [2.0]), (half, None), (two, [2.0])):
        client.model.HandleReloadConfigRequest(reload(*kept, config), timeout=TIMEOUT_S)
        serving = partial(serves_only, client, "moved", 1 if config is two else 123)
        wait_for(serving, TIMEOUT_S, lambda: str(statuses(client, "moved")))
        for _ in range(3):
            if wanted:
                answer = client.prediction.Predict(request, timeout=TIMEOUT_S)
                assert list(answer.outputs["difference"].float_val) == wanted
            else:
                code, details = refusal(client.prediction.Predict, request)
                assert (code, details[:43]) == ("INVALID_ARGUMENT", "input size does not match signature: 2!=1 l")
    client.model.HandleReloadConfigRequest(reload(*kept), timeout=TIMEOUT_S)


@pytest.mark.parametrize("config", ["", "custom_model_config {}"], ids=["nothing", "custom"])
def test_a_reload_without_a_list_is_refused(client: Client, config: str) -> None:
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2

    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(config, request.config)
    assert refusal(client.model.HandleReloadConfigRequest, request) == (
        "INVALID_ARGUMENT",
        "ServerModelConfig type not supported by HandleReloadConfigRequest. "
        "Only ModelConfigList is currently supported",
    )


@pytest.mark.parametrize(
    ("model", "words"),
    [(None, "Found ModelSpec with an empty model name."), ("", "Found ModelSpec with an empty model name.")],
    ids=["no spec", "no name"],
)
def test_every_task_of_a_multi_inference_names_the_model(client: Client, model: str | None, words: str) -> None:
    request = multi(("half", "regress_x_to_y", "regress"), ("half", "classify_both", "classify"))
    request.tasks[1].ClearField("model_spec")
    if model is not None:
        request.tasks[1].model_spec.name = model
        request.tasks[1].model_spec.signature_name = "classify_both"
    assert refusal(client.prediction.MultiInference, request) == ("INVALID_ARGUMENT", words)


def test_bytes_that_are_no_request_are_an_internal_error(client: Client) -> None:
    with grpc.insecure_channel(client.server.grpc_address) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        assert refusal(call, b"\xff\xff") == ("INTERNAL", "Failed to parse the PredictRequest")


def test_a_method_nobody_serves_is_unimplemented(client: Client) -> None:
    with grpc.insecure_channel(client.server.grpc_address) as channel:
        call = channel.unary_unary("/tensorflow.serving.SessionService/SessionRun")
        assert refusal(call, b"")[0] == "UNIMPLEMENTED"


def test_long_details_are_cut(client: Client) -> None:
    _, details = refusal(client.prediction.Predict, predict_request("m" * 5000))
    assert len(details) == 1024
    assert details.endswith("...TRUNCATED")


def test_the_unix_socket_answers_too(client: Client) -> None:
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    with grpc.insecure_channel(f"unix:{client.base / 'socket'}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert stub.Predict(predict_request(), timeout=TIMEOUT_S).outputs["y"].float_val[0] == 3.0


def test_health(client: Client) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(client.server.grpc_address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "ModelService", "PredictionService", "tensorflow.serving.PredictionService"):
            request = health_pb2.HealthCheckRequest(service=service)
            assert stub.Check(request, timeout=TIMEOUT_S).status == health_pb2.HealthCheckResponse.SERVING
            watched = stub.Watch(request, timeout=TIMEOUT_S)
            assert next(iter(watched)).status == health_pb2.HealthCheckResponse.SERVING
            watched.cancel()
        assert refusal(stub.Check, health_pb2.HealthCheckRequest(service="b.Service"))[0] == "NOT_FOUND"


def test_many_calls_at_once_get_each_its_own_answer(client: Client) -> None:
    calls = [client.prediction.Predict.future(predict_request(x=[float(n)]), timeout=TIMEOUT_S) for n in range(300)]
    answers = [call.result().outputs["y"].float_val[0] for call in calls]
    assert answers == [n / 2 + 2 for n in range(300)]


def test_a_call_without_a_message_is_refused(client: Client) -> None:
    with grpc.insecure_channel(client.server.grpc_address) as channel:
        call = channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
        assert refusal(call, iter([]))[0] in ("UNIMPLEMENTED", "INTERNAL", "UNKNOWN", "INVALID_ARGUMENT")
