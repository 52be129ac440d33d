"""TCP ports: a listening socket for REST, and a look at both before anything slow is done."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from serving.server.status import Code, StatusError

if TYPE_CHECKING:
    from serving.server.flags import Options

BACKLOG = 2048


def check_ports(options: Options) -> None:
    """Raise StatusError UNAVAILABLE if a port of the flags is taken. None is opened."""
    if options.port:
        _socket(options.bind_address or "0.0.0.0", options.port, "gRPC").close()
    if options.rest_api_port and options.rest_api_port != options.port:
        _socket(options.bind_address, options.rest_api_port, "REST").close()


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens on an address, or on all, IPv6 included where there is any.

    Raises StatusError UNAVAILABLE if the port is taken.
    """
    bound = _socket(address, port, "REST")
    try:
        bound.listen(BACKLOG)
    except OSError as error:  # somebody was faster
        bound.close()
        raise StatusError(Code.UNAVAILABLE, f"Failed to listen on port {port} for REST: {error}") from error
    bound.setblocking(False)
    return bound


def _socket(address: str, port: int, what: str) -> socket.socket:
    families = [socket.AF_INET6 if ":" in address else socket.AF_INET] if address else [socket.AF_INET6, socket.AF_INET]
    failed: OSError | None = None
    for family in families:
        try:
            return _bound(family, address, port)
        except OSError as error:
            failed = error
    raise StatusError(Code.UNAVAILABLE, f"Failed to listen on {address or '[::]'}:{port} for {what}: {failed}")


def _bound(family: int, address: str, port: int) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind((address, port))
    except OSError:
        bound.close()
        raise
    return bound
