"""A model server in a process of its own, for tests that speak to it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from serving.launch.backends import free
from tests.support.paths import ROOT

START_S = 90
END_S = 30
LEAST_S = 60
SILENT = ("PYTHONDONTWRITEBYTECODE", "TF_CPP_MIN_LOG_LEVEL")  # as a stranger starts it


@dataclass
class Running:
    """A started server; `log` has what it wrote on stdout and stderr."""

    process: subprocess.Popen[bytes]
    rest_port: int
    grpc_port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.rest_port}"

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def predict(self, model: str, body: object, **options: object) -> requests.Response:
        return requests.post(f"{self.url}/v1/models/{model}:predict", json=body, timeout=30, **options)  # type: ignore[arg-type]

    def states(self, model: str) -> dict[str, str]:
        """State by version."""
        answer = requests.get(f"{self.url}/v1/models/{model}", timeout=30).json()
        return {one["version"]: one["state"] for one in answer.get("model_version_status", [])}

    def rss_mb(self) -> float:
        return self._status_mb("VmRSS:")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak_mb(self) -> float:
        """The largest resident memory since the start, or since it was forgotten."""
        return self._status_mb("VmHWM:")

    def _status_mb(self, field: str) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(field)[1].split()[0]) / 1024


def free_port() -> int:
    return free(1)[0]


def spawn(log: Path, *flags: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start a process without waiting for anything."""
    inherited = {name: value for name, value in os.environ.items() if name not in SILENT}
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "serving.server", *flags],
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**inherited, "PYTHONUNBUFFERED": "1", **environment},
        )


def begin(log: Path, *flags: str, ports: tuple[int, int] | None = None) -> Running:
    """Start a server on the REST and gRPC ports given, or on free ones, without waiting for it."""
    rest_port, grpc_port = ports or free(2)
    addresses = [f"--port={grpc_port}", f"--rest_api_port={rest_port}", "--bind_address=127.0.0.1"]
    return Running(spawn(log, *addresses, *flags), rest_port, grpc_port, log)


def wait_until_up(server: Running) -> None:
    """Wait until the server answers."""
    wait_for(lambda: is_up(server), START_S, lambda: f"the server does not answer:\n{server.log.read_text()}")


@contextmanager
def running(log: Path, *flags: str) -> Iterator[Running]:
    """Start a server on free ports and wait until it answers; at the end it must leave when asked to."""
    server = begin(log, *flags)
    try:
        wait_until_up(server)
        yield server
    finally:
        end(server.process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a server to leave, and see that it does."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def is_up(server: Running) -> bool:
    if server.process.poll() is not None:
        raise AssertionError(f"the server has ended with {server.process.returncode}:\n{server.log.read_text()}")
    return is_open(server.rest_port)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(is_true: Callable[[], bool], timeout_s: float, otherwise: Callable[[], str]) -> None:
    """Wait until a condition holds, on a slow machine for a minute at the least."""
    end = time.monotonic() + max(timeout_s, LEAST_S)
    while not is_true():
        if time.monotonic() > end:
            raise AssertionError(otherwise())
        time.sleep(0.05)
