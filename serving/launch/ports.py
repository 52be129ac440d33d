"""Ports of this machine to listen on."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack

from common.errors import ConfigError, EnvironmentProblem

HOST = "127.0.0.1"


def take(wanted: Mapping[str, int]) -> tuple[int, ...]:
    """Return a port for each use, such as `{"REST": 8501, "gRPC": 0}`; 0 means any that is free, each another.

    Raises ConfigError if two are the same, EnvironmentProblem if one is taken.
    """
    with ExitStack() as held:  # all at once: a port let go may be the next one found
        ports = tuple(_bound(held, use, port) for use, port in wanted.items())
    if len(set(ports)) < len(ports):
        raise ConfigError("two uses of one port", got=dict(wanted), wanted=f"{', '.join(wanted)} on a port each")
    return ports


def free(count: int) -> tuple[int, ...]:
    """Return so many ports that nothing listens on."""
    return take({str(number): 0 for number in range(count)})


def _bound(held: ExitStack, use: str, port: int) -> int:
    probe = held.enter_context(socket.socket())
    if port:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((HOST, port))
    except OSError as error:
        raise EnvironmentProblem(
            f"port {port}, for {use}, cannot be listened on",
            got=error.strerror,
            fix=f"stop what listens there, or choose another: --{use.lower()}-port 0 takes any that is free",
        ) from None
    return int(probe.getsockname()[1])
