"""The one way to speak to a model server, by REST or by gRPC; either speaks to TensorFlow Serving as to ours."""

from __future__ import annotations

from serving.client.retry import Policy
from serving.client.types import Addresses, ModelClient


def connect(addresses: Addresses, protocol: str = "rest", policy: Policy | None = None) -> ModelClient:
    """Return a client for `rest` or `grpc`. Nothing is sent yet."""
    if protocol == "grpc":
        from serving.client.grpc import GrpcClient

        return GrpcClient(addresses.grpc.split(",")[0], policy)  # of several servers any can answer
    from serving.client.rest import RestClient

    return RestClient(addresses.rest, policy)
