"""gRPC over TCP and a UNIX socket, with TLS and the health service where asked for."""

from __future__ import annotations

import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from serving.server.grpc.services import MODEL, PREDICTION, Reload, Services
from serving.server.listen import listen
from serving.server.status import Code, StatusError, invalid_argument

if TYPE_CHECKING:
    from serving.server.core.loading import Core
    from serving.server.flags import Options

LOG = logging.getLogger("serving")
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
    as_content = options.enable_serialization_as_tensor_content
    services = Services(core.inference, core.manager, reload, core.metrics, as_content)
    server.add_generic_rpc_handlers(services.handlers())
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
    """Return `k=v,k=v` as gRPC takes it: integers as integers, all else as text."""
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
            server.add_secure_port(address, _credentials(tls))
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


def _credentials(tls: Any) -> Any:
    pair = tls.server_key.encode(), tls.server_cert.encode()
    return grpc.ssl_server_credentials([pair], tls.custom_ca.encode() or None, tls.client_verify)
