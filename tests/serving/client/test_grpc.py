"""The client against a gRPC server that misbehaves. Against one that behaves: test_cli.py and test_release.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import pytest

from common.errors import VouchError
from serving.client.errors import (
    BadAnswer,
    InvalidRequest,
    ModelNotFound,
    ModelServerDown,
    ModelServerFailed,
    ModelServerTimeout,
)
from serving.client.grpc import OPTIONS, GrpcClient
from serving.client.retry import Policy
from serving.client.types import VersionSpec
from serving.wire.messages import message

QUICK = Policy(budget_s=2.0, tries=2, first_wait_s=0.0)
ROWS = {"x": [1.0, 2.0, 5.0]}


class GrpcStub(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A gRPC server whose signature takes `x` as float; Predict answers, or fails, as told."""

    def __init__(self) -> None:
        self.dtype = 1
        self.predict: Callable[[Any, Any], Any] = lambda request, context: None
        self.asked: list[Any] = []
        self.server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[self])
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        call, kind = (self.metadata, "GetModelMetadata") if name == "GetModelMetadata" else (self._predict, "Predict")
        return grpc.unary_unary_rpc_method_handler(
            call, message(f"{kind}Request").FromString, lambda answer: answer.SerializeToString()
        )

    def metadata(self, request: Any, context: Any) -> Any:
        answer, signatures = message("GetModelMetadataResponse")(), message("SignatureDefMap")()
        signatures.signature_def["serving_default"].inputs["x"].dtype = self.dtype
        answer.metadata["signature_def"].Pack(signatures)
        return answer

    def _predict(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        return self.predict(request, context)


@pytest.fixture(scope="module")
def grpc_server() -> Iterator[GrpcStub]:
    found = GrpcStub()
    yield found
    found.server.stop(None)


@pytest.fixture
def grpc_stub(grpc_server: GrpcStub) -> GrpcStub:
    grpc_server.dtype, grpc_server.asked = 1, []
    return grpc_server


@pytest.fixture
def grpc_client(grpc_stub: GrpcStub) -> Iterator[GrpcClient]:
    found = GrpcClient(grpc_stub.address, QUICK)
    yield found
    found.close()


def outputs(**values: Any) -> Any:
    answer = message("PredictResponse")()
    for name, fields in values.items():
        answer.outputs[name].CopyFrom(message("tensorflow.TensorProto")(**fields))
    return answer


def shaped(*sizes: int) -> Any:
    return message("tensorflow.TensorShapeProto")(dim=[{"size": size} for size in sizes])


def test_grpc_outputs_come_by_name(grpc_stub: GrpcStub, grpc_client: GrpcClient) -> None:
    content = np.array([[1, 2], [3, 4], [5, 6]], np.int64).tobytes()
    grpc_stub.predict = lambda request, context: outputs(
        y={"dtype": 1, "float_val": [2.5, 3, 4.5], "tensor_shape": shaped(3)},
        same={"dtype": 1, "float_val": [0.5], "tensor_shape": shaped(3)},
        packed={"dtype": 9, "tensor_content": content, "tensor_shape": shaped(3, 2)},
        label={"dtype": 7, "string_val": [b"a", "é".encode(), b""], "tensor_shape": shaped(3)},
    )
    assert grpc_client.predict("m", ROWS, VersionSpec(label="stable")) == {
        "y": [2.5, 3, 4.5],
        "same": [0.5] * 3,
        "packed": [[1, 2], [3, 4], [5, 6]],
        "label": ["a", "é", ""],
    }
    [request] = grpc_stub.asked
    assert request.model_spec.version_label == "stable"
    assert np.frombuffer(request.inputs["x"].tensor_content, np.float32).tolist() == ROWS["x"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"dtype": 1, "float_val": [1, 2], "tensor_shape": shaped(2)}, "another number of rows"),
        ({"dtype": 1, "float_val": [1, 2], "tensor_shape": shaped(3)}, "cannot be read"),
        (
            {"dtype": 1, "float_val": [1, float("nan"), 2], "tensor_shape": shaped(3)},
            "a value that is not a finite number",
        ),
        ({"dtype": 7, "string_val": [b"\xff"] * 3, "tensor_shape": shaped(3)}, "cannot be read"),
        ({"dtype": 20, "tensor_shape": shaped(3)}, "cannot be read"),
        ({"dtype": 1, "tensor_content": b"abc", "tensor_shape": shaped(3)}, "cannot be read"),
    ],
    ids=["too few", "other shape", "NaN", "no text", "unknown type", "torn"],
)
def test_grpc_garbage_is_a_bad_answer(
    grpc_stub: GrpcStub, grpc_client: GrpcClient, fields: dict[str, Any], told: str
) -> None:
    grpc_stub.predict = lambda request, context: outputs(y=fields)
    with pytest.raises(BadAnswer, match=told):
        grpc_client.predict("m", ROWS)


@pytest.mark.parametrize(
    ("code", "text", "error", "tries"),
    [
        ("INVALID_ARGUMENT", "no", InvalidRequest, 1),
        ("NOT_FOUND", "no", ModelNotFound, 1),
        ("INVALID_ARGUMENT", "Unrecognized servable version label: x", ModelNotFound, 1),
        ("UNAVAILABLE", "full", ModelServerDown, 2),
        ("DEADLINE_EXCEEDED", "", ModelServerTimeout, 1),
        ("INTERNAL", "oh", ModelServerFailed, 1),
        ("FAILED_PRECONDITION", "no", InvalidRequest, 1),
    ],
)
def test_grpc_refusals_are_typed(
    grpc_stub: GrpcStub, grpc_client: GrpcClient, code: str, text: str, error: type[VouchError], tries: int
) -> None:
    grpc_stub.predict = lambda request, context: context.abort(getattr(grpc.StatusCode, code), text)
    with pytest.raises(error):
        grpc_client.predict("m", ROWS)
    assert len(grpc_stub.asked) == tries


def test_a_request_too_large_for_the_server_is_invalid_and_no_outage(grpc_stub: GrpcStub) -> None:
    small = grpc.server(
        futures.ThreadPoolExecutor(4), handlers=[grpc_stub], options=[("grpc.max_receive_message_length", 10_000)]
    )
    address = f"127.0.0.1:{small.add_insecure_port('127.0.0.1:0')}"
    small.start()
    grpc_stub.predict = lambda request, context: outputs(
        y={"dtype": 1, "float_val": [1, 2, 3], "tensor_shape": shaped(3)}
    )
    client = GrpcClient(address, Policy(budget_s=5, failures_to_open=1))
    with pytest.raises(InvalidRequest, match="too large"):
        client.predict("m", {"x": [1.0] * 10_000})
    assert client.predict("m", ROWS) == {"y": [1, 2, 3]}  # the breaker is closed
    client.close()
    small.stop(None)


def test_a_server_that_is_exhausted_is_asked_again(grpc_stub: GrpcStub, grpc_client: GrpcClient) -> None:
    grpc_stub.predict = lambda request, context: context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many")
    with pytest.raises(ModelServerDown):
        grpc_client.predict("m", ROWS)
    assert len(grpc_stub.asked) == QUICK.tries


def test_the_client_pings_no_more_often_than_a_server_bears() -> None:
    assert OPTIONS["grpc.keepalive_time_ms"] >= 300_000  # below, the core hangs up after two: "too_many_pings"


def test_a_version_with_other_types_is_noticed(grpc_stub: GrpcStub, grpc_client: GrpcClient) -> None:
    answer = outputs(y={"dtype": 9, "int64_val": [1, 2, 3], "tensor_shape": shaped(3)})

    def predict(request: Any, context: Any) -> Any:
        if request.inputs["x"].dtype != grpc_stub.dtype:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Expects arg[0] to be int64 but float is provided")
        return answer

    grpc_stub.predict = predict
    grpc_client.predict("m", {"x": [1, 2, 3]})
    grpc_stub.dtype = 9
    assert grpc_client.predict("m", {"x": [1, 2, 3]}) == {"y": [1, 2, 3]}


@pytest.mark.parametrize(
    ("dtype", "values"), [(9, [1.5]), (9, [2**63]), (3, [2**31]), (1, ["1"]), (1, [True]), (7, [1]), (9, [None])]
)
def test_values_that_do_not_fit_the_signature_are_refused(
    grpc_stub: GrpcStub, grpc_client: GrpcClient, dtype: int, values: list[Any]
) -> None:
    grpc_stub.dtype = dtype
    with pytest.raises(InvalidRequest, match="the values of x do not fit"):
        grpc_client.predict("m", {"x": values})
    assert grpc_stub.asked == []


def test_grpc_unknown_names_are_refused(grpc_client: GrpcClient) -> None:
    with pytest.raises(InvalidRequest, match="no input 'y'"):
        grpc_client.predict("m", {"y": [1.0]})
    with pytest.raises(InvalidRequest, match="no signature 'other'"):
        grpc_client.predict("m", ROWS, signature="other")
