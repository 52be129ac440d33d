"""MLflow's own model server, in an environment of its own. Of several ways to set it up the fastest is compared.

The environment is locked apart: MLflow's server needs other versions than the project, which does without them.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests

from bench.bodies import ROW, SHAPES, Bodies, Shape
from bench.load import Shot
from bench.pipeline import ROOT
from bench.processes import HOST, Command, failed, run, running, wait_until
from common.errors import EnvironmentProblem
from common.files import write_text
from serving.launch.backends import free

HERE = Path(__file__).parent
LOCK = HERE / "requirements.txt"
INSTALL_S = 1800.0
START_S = 120.0
ANSWER_S = 30.0
SHARED = tuple(shape for shape in SHAPES if shape.rows > 1 or shape is ROW)  # rivals know but one kind of single row
MLFLOW = "MLflow (b)"
PATH, KEY = "/invocations", "inputs"  # where it takes requests, and what its JSON calls the rows


@dataclass(frozen=True)
class Way:
    """One way to run a rival; `{port}` in its words is where it listens."""

    rival: str
    name: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.rival}, {self.name}"


@dataclass(frozen=True)
class Served:
    """A running rival: the requests it takes, and its first process."""

    shots: dict[Shape, Shot]
    pid: int


def environment(folder: Path) -> Path:
    """Return the `bin` of the rivals' environment, made from the lock if it is not there yet (2 GB, a few minutes)."""
    venv = folder / "venv"
    stamp, wanted = venv / ".stamp", f"{hashlib.sha256(LOCK.read_bytes()).hexdigest()} {sys.version}"
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        uv = ROOT / ".venv" / "bin" / "uv"
        if not uv.is_file():
            raise EnvironmentProblem("there is no uv to make the rivals' environment with", fix="make setup")
        print(f"making {venv} for the rivals: 2 GB, a few minutes", file=sys.stderr)
        log = folder / "install.log"
        run(Command([str(uv), "venv", "--clear", "--python", sys.executable, str(venv)], log), INSTALL_S)
        install = ["--python", str(venv / "bin" / "python"), "--no-deps", "--compile-bytecode", "-r", str(LOCK)]
        run(Command([str(uv), "pip", "install", *install], log), INSTALL_S)
        write_text(stamp, wanted)
    return venv / "bin"


def ways(bin_: Path, work: Path) -> list[Way]:
    """Return all ways, the likely fastest first, to be run from the environment `bin_`."""
    serve = (str(bin_ / "mlflow"), "models", "serve", "--env-manager", "local", "-h", HOST, "-p", "{port}", "-m")
    keras, module = str(work / "mlflow-keras"), str(work / "mlflow-module")
    return [
        Way(MLFLOW, "tf.Module, a worker a core", (*serve, module, "--workers", str(os.cpu_count()))),
        Way(MLFLOW, "tf.Module, 1 worker (its default)", (*serve, module)),
        Way(MLFLOW, "Keras model, 1 worker (its default)", (*serve, keras)),
    ]


def prepare(python: str, bin_: Path, version: Path, work: Path) -> None:
    """Write the network as a Keras file, and as MLflow's two kinds of model."""
    model = work / "model.keras"
    run(Command([python, "-m", "bench.rivals.keras_model", str(version), str(model)], work / "model.log"), START_S)
    for kind in ("keras", "module"):
        words = [str(bin_ / "python"), str(HERE / "mlflow_save.py"), kind, str(model), str(work / f"mlflow-{kind}")]
        run(Command(words, work / f"mlflow-{kind}.log", environment=_variables(words[0], work)), START_S)


@contextmanager
def serving(way: Way, bodies: Bodies, work: Path) -> Iterator[Served]:
    """Run a rival one way, once each of its requests was answered rightly."""
    port = str(free(1)[0])
    words = [word.replace("{port}", port) for word in way.words]
    command = Command(words, work / f"rival-{port}.log", HERE, _variables(words[0], work))
    shots = {shape: Shot(f"http://{HOST}:{port}{PATH}", bodies.rival(KEY, shape), may_miss=True) for shape in SHARED}

    def ready() -> bool:
        with suppress(requests.ConnectionError, requests.Timeout):
            return _post(shots[ROW]).ok
        return False

    with running(command) as process:
        wait_until(ready, process, command, START_S)
        for shape, shot in shots.items():
            answered = _post(shot)
            if not answered.ok:
                raise failed(command, f"answers {shape} with {answered.status_code}: {answered.text[:300]}")
            bodies.check(str(way), shape, np.ravel(answered.json()["predictions"]))
        yield Served(shots, process.pid)


def _post(shot: Shot) -> requests.Response:
    headers = {"content-type": "application/json"}
    return requests.post(shot.url, data=shot.body.read_bytes(), headers=headers, timeout=ANSWER_S)


def _variables(program: str, work: Path) -> dict[str, str]:
    """Have MLflow find its environment's programs, write to our folder only, and not call home."""
    return {
        "PATH": f"{Path(program).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{work / 'mlflow.db'}",
    }
