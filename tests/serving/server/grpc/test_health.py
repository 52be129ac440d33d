"""The health service, by its own stub."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from grpc_health.v1 import health_pb2

from serving.server.core.status import Code
from serving.server.grpc.health import health_methods

SERVING = health_pb2.HealthCheckResponse.SERVING


class FakeCall:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[object, ...]] = []

    def send(self, message: bytes) -> None:
        self.sent.append(("sent", health_pb2.HealthCheckResponse.FromString(message).status))

    def answer(self, message: bytes) -> None:
        self.sent.append(("answered", health_pb2.HealthCheckResponse.FromString(message).status))

    def refuse(self, code: Code, details: str) -> None:
        self.sent.append((code,))


def asked(method: str, data: bytes) -> list[tuple[object, ...]]:
    call = FakeCall()
    begin: Callable[[object, bytes], None] = health_methods(["a.b.Service"])[f"/grpc.health.v1.Health/{method}"]  # type: ignore[assignment]
    begin(call, data)
    return call.sent


def request(service: str) -> bytes:
    return health_pb2.HealthCheckRequest(service=service).SerializeToString()


@pytest.mark.parametrize("service", ["", "a.b.Service", "Service"], ids=["the server", "full name", "short name"])
def test_what_is_there_serves(service: str) -> None:
    assert asked("Check", request(service)) == [("answered", SERVING)]
    assert asked("Watch", request(service)) == [("sent", SERVING)]


def test_what_is_not_there_is_not_found_or_unknown() -> None:
    assert asked("Check", request("b.Service")) == [(Code.NOT_FOUND,)]
    assert asked("Watch", request("b.Service")) == [("sent", health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)]


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_bytes_that_are_no_request_are_refused(method: str) -> None:
    assert asked(method, b"\xff") == [(Code.INTERNAL,)]
