"""Who releases, what lies where, and which model servers are told."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from serving.client.grpc import GrpcClient
from serving.client.retry import Clock


def utc_now() -> str:
    """Return the time, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class ReleaseContext:
    """Who releases what where. Without `clients` only files are written, for the server that starts next.

    `root` holds a folder for each model; `reached` is called after each of `transaction.STEPS`, for tests that stop
    there.
    """

    root: Path
    clients: tuple[GrpcClient, ...]  # one for each server; a release reaches all of them, or none
    who: str
    load_timeout_s: float = 120.0
    clock: Clock = field(default_factory=Clock)
    now: Callable[[], str] = utc_now
    reached: Callable[[str], None] = lambda step: None


@contextmanager
def release_clients(addresses: str) -> Iterator[tuple[GrpcClient, ...]]:
    """Yield a client for each model server that `addresses` names (see `resolve`)."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(closing(GrpcClient(address))) for address in resolve(addresses))


def resolve(addresses: str) -> tuple[str, ...]:
    """Return the gRPC address of each model server: `HOST:PORT`, several divided by commas.

    A name that stands for several machines, as that of a headless Service does, is each of them.
    """
    named = (address.strip() for address in addresses.split(","))
    return tuple(dict.fromkeys(machine for address in named if address for machine in _machines(address)))


def _machines(address: str) -> list[str]:
    host, _, port = address.rpartition(":")
    if ":" in host or not port.isdecimal():  # unix:/path, dns:///host:port, [::1]:8500
        return [address]
    for family, form in ((socket.AF_INET, "{}:{}"), (socket.AF_INET6, "[{}]:{}")):
        with suppress(OSError):
            answers = socket.getaddrinfo(host, int(port), family, socket.SOCK_STREAM)
            hosts = sorted({str(answer[4][0]) for answer in answers})
            return [form.format(each, port) for each in hosts] if len(hosts) > 1 else [address]
    return [address]
