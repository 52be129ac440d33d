"""Our model server under measurement, and the in-process limit (a) that it is held against."""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import requests

from bench.bodies import SHAPES, Bodies, Shape
from bench.load import Load, Shot
from bench.pipeline import ROOT, RunFailed
from bench.processes import HOST, Command, running, wait_until
from serving.launch.backends import free
from serving.wire.messages import message

START_S = 120.0
ANSWER_S = 30.0
THREADS = (1, 2, 4, 8)
METHOD = "/tensorflow.serving.PredictionService/Predict"
BATCHING = ("--enable_batching=true", f"--batching_parameters_file={ROOT / 'config' / 'batching.config'}")


@dataclass(frozen=True)
class Served:
    """Our running server: the requests it takes, its counts and its first process."""

    rest: dict[Shape, Shot]
    grpc: dict[Shape, Shot]
    metrics_url: str
    pid: int

    def counts(self) -> tuple[int, int]:
        """Return how many requests went well and how many did not, as the server counted."""
        return request_counts(requests.get(self.metrics_url, timeout=ANSWER_S).text)


def request_counts(metrics: str) -> tuple[int, int]:
    """Return requests with status OK and with any other, from the metrics page."""
    good = bad = 0
    for status, value in re.findall(r'^:tensorflow:serving:request_count\{.*status="(\w+)"\} (\S+)', metrics, re.M):
        if status == "OK":
            good += int(float(value))
        else:
            bad += int(float(value))
    return good, bad


@contextmanager
def serving(base: Path, bodies: Bodies, work: Path, *, batching: bool) -> Iterator[Served]:
    """Serve the newest version of a model as `python -m serving start` does, and check each request's answer."""
    port, rest_port = free(2)
    words = [
        sys.executable,
        "-m",
        "serving.server",
        f"--port={port}",
        f"--rest_api_port={rest_port}",
        f"--bind_address={HOST}",
        f"--model_name={base.name}",
        f"--model_base_path={base.resolve()}",
        f"--monitoring_config_file={ROOT / 'config' / 'prometheus.config'}",
        *(BATCHING if batching else ()),
    ]
    command = Command(words, work / f"server-{port}.log")
    url = f"http://{HOST}:{rest_port}"
    rest = {shape: Shot(f"{url}/v1/models/{base.name}:predict", bodies.rest(shape)) for shape in SHAPES}
    by_grpc = {shape: Shot(f"http://{HOST}:{port}{METHOD}", bodies.grpc(shape), is_grpc=True) for shape in SHAPES}

    def ready() -> bool:
        with suppress(requests.ConnectionError, requests.Timeout):
            return requests.get(f"{url}/v1/models/{base.name}", timeout=ANSWER_S).ok
        return False

    with running(command) as process:
        wait_until(ready, process, command, START_S)
        with grpc.insecure_channel(f"{HOST}:{port}", [("grpc.max_receive_message_length", -1)]) as channel:
            for shape in SHAPES:
                bodies.check("our server by REST", shape, _by_rest(rest[shape]))
                bodies.check("our server by gRPC", shape, _by_grpc(channel, by_grpc[shape]))
        yield Served(rest, by_grpc, f"{url}/monitoring/prometheus/metrics", process.pid)


def _by_rest(shot: Shot) -> list[float]:
    answer = requests.post(shot.url, data=shot.body.read_bytes(), timeout=ANSWER_S).json()
    if "error" in answer:
        raise RunFailed("our server refuses a request", got=answer["error"])
    if "predictions" in answer:
        return [row["probability"] for row in answer["predictions"]]
    return list(np.ravel(answer["outputs"]["probability"]))


def _by_grpc(channel: grpc.Channel, shot: Shot) -> list[float]:
    call = channel.unary_unary(METHOD, response_deserializer=message("PredictResponse").FromString)
    tensor = call(shot.body.read_bytes()[5:], timeout=ANSWER_S).outputs["probability"]
    return list(tensor.float_val) or list(np.frombuffer(tensor.tensor_content, np.float32))


class Limit:
    """Limit (a): calls in a process of its own, from the number of threads that suits each shape best."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.threads: dict[Shape, int] = {}

    def choose_threads(self, shape: Shape, seconds: float) -> None:
        self.threads[shape] = max(THREADS, key=lambda threads: self._ask(shape, threads, seconds).per_s)

    def measure(self, shape: Shape, seconds: float) -> Load:
        return self._ask(shape, self.threads[shape], seconds)

    def _ask(self, shape: Shape, threads: int, seconds: float) -> Load:
        order = {"signature": shape.signature, "rows": shape.rows, "threads": threads, "seconds": seconds}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        is_there, _, _ = select.select([self._process.stdout], [], [], seconds + START_S)
        line = self._process.stdout.readline() if is_there else ""
        if not line:
            raise RunFailed("the in-process limit gave no answer", got="see limit.log in the scratch folder")
        answer = json.loads(line)
        return Load(answer["calls"] / answer["seconds"], answer["p50_ms"], answer["p99_ms"], answer["calls"])


@contextmanager
def limit(version: Path, work: Path) -> Iterator[Limit]:
    words = [sys.executable, "-m", "bench.in_process", str(version)]
    with running(Command(words, work / "limit.log", is_asked=True)) as process:
        yield Limit(process)
