"""The health service of gRPC: what is there serves, from the start to the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from serving.server.core.status import Code
from serving.server.grpc.core import Call, Method

_SERVICE = "grpc.health.v1.Health"


def health_methods(services: Iterable[str]) -> Mapping[str, Method]:
    """Return Check and Watch for the server as a whole and for services, by their full and by their short names."""
    names = {"", *(name for service in services for name in (service, service.rpartition(".")[2]))}

    def check(call: Call, data: bytes) -> None:
        name = _service(call, data)
        if name in names:
            call.answer(_status("SERVING"))
        elif name is not None:
            call.refuse(Code.NOT_FOUND, "")

    def watch(call: Call, data: bytes) -> None:
        name = _service(call, data)
        if name is not None:
            call.send(_status("SERVING" if name in names else "SERVICE_UNKNOWN"))  # and no news until the client leaves

    return {f"/{_SERVICE}/Check": check, f"/{_SERVICE}/Watch": watch}


def _service(call: Call, data: bytes) -> str | None:
    try:
        name: str = health_pb2.HealthCheckRequest.FromString(data).service
    except DecodeError:
        call.refuse(Code.INTERNAL, "Failed to parse the HealthCheckRequest")
        return None
    return name


def _status(name: str) -> bytes:
    data: bytes = health_pb2.HealthCheckResponse(status=name).SerializeToString()
    return data
