"""Our model server under measurement, and the in-process limit (a) that it is held against."""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import requests
from numpy.typing import NDArray

from bench.load import HOST, Command, Load, Shot, running, wait_until
from bench.report import ROOT, RunFailed
from serving.client.grpc import to_tensor
from serving.launch.backends import free
from serving.repository.contents import Golden
from serving.repository.layout import TRAINING
from serving.wire.messages import message

DEFAULT, PACKED = "serving_default", "serving_packed"
TOLERANCE = 1e-5
START_S = 120.0
ANSWER_S = 30.0
THREADS = (1, 2, 4, 8)
METHOD = "/tensorflow.serving.PredictionService/Predict"
BATCHING = ("--enable_batching=true", f"--batching_parameters_file={ROOT / 'config' / 'batching.config'}")


@dataclass(frozen=True)
class Shape:
    signature: str
    rows: int

    def __str__(self) -> str:
        return f"{self.rows} by {self.signature}"


ROW, PACKED_ROW, BATCH_32, BATCH_1024 = Shape(DEFAULT, 1), Shape(PACKED, 1), Shape(PACKED, 32), Shape(PACKED, 1024)
SHAPES = (ROW, PACKED_ROW, BATCH_32, BATCH_1024)


class Bodies:
    """Writes requests under a folder and judges answers. `version` is the folder of the pushed version."""

    def __init__(self, version: Path, folder: Path) -> None:
        self.model = version.parent.name
        self.folder = folder
        golden = Golden.read(version)
        data = json.loads((version / TRAINING).read_text(encoding="utf-8"))["settings"]["data"]
        self.columns = golden.columns(DEFAULT)
        self.packed: list[list[float]] = golden.columns(PACKED)["features"]
        self.probability = np.array(golden.outputs["probabilities"])[:, data["classes"].index(data["positive"])]

    def rest(self, shape: Shape) -> Path:
        """Write the JSON for our server: one row as a named object, more by `inputs`."""
        body: dict[str, Any] = {"signature_name": shape.signature}
        if shape.signature == DEFAULT:
            names = self.columns.items()
            body["instances"] = [{name: values[row] for name, values in names} for row in self._rows(shape)]
        else:
            body["inputs"] = self._features(shape)
        return self._write(f"rest-{shape.signature}-{shape.rows}", json.dumps(body).encode())

    def rival(self, key: str, shape: Shape) -> Path:
        """Write the JSON for a rival: rows as plain lists, which are the quickest to read."""
        return self._write(f"{key}-{shape.rows}", json.dumps({key: self._features(shape)}).encode())

    def grpc(self, shape: Shape) -> Path:
        """Write a PredictRequest as it is framed on the wire."""
        request = message("PredictRequest")()
        request.model_spec.name, request.model_spec.signature_name = self.model, shape.signature
        if shape.signature == DEFAULT:
            arrays = {name: [values[row] for row in self._rows(shape)] for name, values in self.columns.items()}
        else:
            arrays = {"features": self._features(shape)}
        for name, values in arrays.items():
            request.inputs[name].CopyFrom(to_tensor(name, values, "DT_FLOAT"))
        data = request.SerializeToString()
        return self._write(f"grpc-{shape.signature}-{shape.rows}", b"\0" + len(data).to_bytes(4, "big") + data)

    def check(self, who: str, shape: Shape, answer: Sequence[float] | NDArray[Any]) -> None:
        """Raise RunFailed unless these are the golden probabilities: otherwise there is nothing to compare."""
        wanted = self.probability[self._rows(shape)]
        got = np.ravel(answer)
        if got.shape != wanted.shape or not np.allclose(got, wanted, rtol=0, atol=TOLERANCE):
            raise RunFailed(f"{who} answers {shape} wrongly", got=got[:4].tolist(), wanted=str(wanted[:4].tolist()))

    def _rows(self, shape: Shape) -> list[int]:
        return [index % len(self.packed) for index in range(shape.rows)]

    def _features(self, shape: Shape) -> list[list[float]]:
        return [self.packed[row] for row in self._rows(shape)]

    def _write(self, name: str, data: bytes) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / name
        file.write_bytes(data)
        return file


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
    words = [sys.executable, "-m", "bench.model_server", str(version)]
    with running(Command(words, work / "limit.log", is_asked=True)) as process:
        yield Limit(process)


def answer_orders(version: Path) -> None:
    """Limit (a) in its own process: session calls with nothing around them.

    Each line of input is a JSON object with `signature`, `rows`, `threads` and `seconds`; each is answered by a line
    with `calls`, `seconds`, `p50_ms`, `p99_ms`.
    """
    from serving.server.core.servable import Servable, as_array  # TensorFlow: in this process alone

    servable = Servable.load(version)
    golden = Golden.read(version)
    for line in sys.stdin:
        order = json.loads(line)
        signature, rows = order["signature"], order["rows"]
        arrays = {name: as_array(v, servable.dtype(signature, name)) for name, v in golden.columns(signature).items()}
        inputs = {name: np.resize(array, (rows, *array.shape[1:])) for name, array in arrays.items()}
        call = partial(servable.run, signature, inputs)
        print(json.dumps(measured(call, order["threads"], order["seconds"])), flush=True)


def measured(call: Callable[[], object], threads: int, seconds: float) -> dict[str, float]:
    call()
    begin = time.perf_counter()

    def work(_: int) -> list[float]:
        times = []
        started = time.perf_counter()
        while started < begin + seconds:
            call()
            ended = time.perf_counter()
            times.append(ended - started)
            started = ended
        return times

    with ThreadPoolExecutor(threads) as pool:
        times = [took_s for part in pool.map(work, range(threads)) for took_s in part]
    elapsed = time.perf_counter() - begin
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    return {"calls": len(times), "seconds": elapsed, "p50_ms": float(p50), "p99_ms": float(p99)}


if __name__ == "__main__":
    answer_orders(Path(sys.argv[1]))
