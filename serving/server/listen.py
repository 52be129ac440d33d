"""TCP ports: a listening socket for REST, and a look at both before anything slow is done."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from serving.server.status import Code, StatusError

if TYPE_CHECKING:
    from serving.server.flags import Options

BACKLOG = 2048


def check_ports(options: Options) -> None:
    """Raise StatusError UNAVAILABLE if a port of the flags is taken. None is left open."""
    if options.port:
        listen(options.bind_address or "0.0.0.0", options.port, "gRPC").close()
    if options.rest_api_port and options.rest_api_port != options.port:
        listen(options.bind_address, options.rest_api_port).close()


def listen(address: str, port: int, what: str = "REST") -> socket.socket:
    """Return a socket that listens on an address, or on all, IPv6 included where there is any.

    Raises StatusError UNAVAILABLE if the port is taken.
    """
    is_dual = not address and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if is_dual or ":" in address else socket.AF_INET
    try:
        listening = socket.create_server((address, port), family=family, backlog=BACKLOG, dualstack_ipv6=is_dual)
    except OSError as error:
        place = f"{address or '[::]'}:{port}"
        raise StatusError(Code.UNAVAILABLE, f"Failed to listen on {place} for {what}: {error}") from error
    listening.setblocking(False)
    return listening
