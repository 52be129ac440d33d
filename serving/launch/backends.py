"""Which model server there is to start, its command line, and ports of this machine to listen on."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from common.errors import ConfigError, EnvironmentProblem
from common.paths import MODEL_SERVER_GRPC, MODEL_SERVER_REST

HOST = "127.0.0.1"
REAL = "tensorflow_model_server"
ROOT = Path(__file__).resolve().parents[2]
LOAD_RETRIES, RETRY_WAIT_US = 2, 500_000  # a version is checked before it is loaded: no use in five minutes of tries


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


@dataclass(frozen=True)
class Places:
    """Where the server finds what it serves and where it listens."""

    root: Path  # var/serving
    models: Path  # the models.config to start with
    config: Path  # with prometheus.config and batching.config
    rest_port: int
    grpc_port: int


@dataclass(frozen=True)
class Program:
    name: str
    why: str
    command: tuple[str, ...]
    note: str = ""


def choose(places: Places, *, docker: bool, environment: Mapping[str, str]) -> Program:
    """Return the real server if it is on PATH, Docker if it is asked for, else the embedded one.

    Raises EnvironmentProblem if Docker is asked for and not there.
    """
    path = environment.get("PATH", os.defpath)
    if docker:
        if not shutil.which("docker", path=path):
            raise EnvironmentProblem("docker is not on PATH", fix="install it, or leave --docker out")
        return Program("TensorFlow Serving in Docker", "--docker was given", _docker(places))
    real = shutil.which(REAL, path=path)
    if real:
        command = (real, *_flags(places, places.grpc_port, places.rest_port))
        return Program(
            "TensorFlow Serving",
            f"{real} is on PATH",
            command,
            note="it listens on every interface and knows no flag against that: keep a firewall before it",
        )
    command = (sys.executable, "-m", "serving.server", *_flags(places, places.grpc_port, places.rest_port))
    return Program("the embedded model server", f"no {REAL} is on PATH", (*command, f"--bind_address={HOST}"))


def _flags(places: Places, grpc_port: int, rest_port: int) -> tuple[str, ...]:
    return (
        f"--port={grpc_port}",
        f"--rest_api_port={rest_port}",
        f"--model_config_file={places.models}",
        "--model_config_file_poll_wait_seconds=0",  # a release tells the server; an older reading could undo that
        "--file_system_poll_wait_seconds=1",
        "--allow_version_labels_for_unavailable_models=true",
        f"--max_num_load_retries={LOAD_RETRIES}",
        f"--load_retry_interval_micros={RETRY_WAIT_US}",
        "--enable_grpc_healthcheck_service=true",
        f"--monitoring_config_file={places.config / 'prometheus.config'}",
        "--enable_batching=true",
        f"--batching_parameters_file={places.config / 'batching.config'}",
    )


def _docker(places: Places) -> tuple[str, ...]:
    """Publish on loopback only, and mount the folders where they are, so that base paths hold inside as outside."""
    mounts = [option for path in (places.root, places.config) for option in ("--volume", f"{path}:{path}:ro")]
    ports = [
        option
        for outside, inside in ((places.grpc_port, MODEL_SERVER_GRPC), (places.rest_port, MODEL_SERVER_REST))
        for option in ("--publish", f"{HOST}:{outside}:{inside}")
    ]
    return (
        "docker",
        "run",
        "--rm",
        "--init",
        *ports,
        *mounts,
        "--entrypoint",
        REAL,
        _image(),
        *_flags(places, MODEL_SERVER_GRPC, MODEL_SERVER_REST),
    )


def _image() -> str:
    image = re.search(r"^ARG IMAGE=(\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    if not image:
        raise EnvironmentProblem("the Dockerfile names no image of TensorFlow Serving", wanted="ARG IMAGE=…")
    return image[1]
