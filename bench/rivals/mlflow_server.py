"""MLflow's own model server, set up as someone does who knows it, in an environment of its own.

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

from bench.load import HOST, Command, Shot, failed, run, running, wait_until
from bench.model_server import ROW, SHAPES, Bodies, Shape
from bench.report import ROOT, say
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
        say(f"making {venv} for the rivals: 2 GB, a few minutes")
        log = folder / "install.log"
        run(Command([str(uv), "venv", "--clear", "--python", sys.executable, str(venv)], log), INSTALL_S)
        install = ["--python", str(venv / "bin" / "python"), "--no-deps", "--compile-bytecode", "-r", str(LOCK)]
        run(Command([str(uv), "pip", "install", *install], log), INSTALL_S)
        write_text(stamp, wanted)
    return venv / "bin"


def prepare(bin_: Path, version: Path, work: Path) -> Path:
    """Write the network as a Keras file, and of that MLflow's model; return the model's folder."""
    keras_file, model = work / "model.keras", work / "mlflow"
    rebuild = [sys.executable, "-m", "bench.rivals.plain_keras", "rebuild", str(version), str(keras_file)]
    run(Command(rebuild, work / "model.log"), START_S)
    words = [str(bin_ / "python"), str(HERE / "mlflow_save.py"), str(keras_file), str(model)]
    run(Command(words, work / "mlflow.log", environment=_variables(bin_, work)), START_S)
    return model


@contextmanager
def serving(bin_: Path, model: Path, bodies: Bodies, work: Path) -> Iterator[Served]:
    """Serve with a worker a core, once each request was answered rightly."""
    port = str(free(1)[0])
    words = [str(bin_ / "mlflow"), "models", "serve", "--env-manager", "local", "-h", HOST, "-p", port]
    words += ["-m", str(model), "--workers", str(os.cpu_count())]
    command = Command(words, work / f"rival-{port}.log", HERE, _variables(bin_, work))
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
            bodies.check(MLFLOW, shape, np.ravel(answered.json()["predictions"]))
        yield Served(shots, process.pid)


def _post(shot: Shot) -> requests.Response:
    headers = {"content-type": "application/json"}
    return requests.post(shot.url, data=shot.body.read_bytes(), headers=headers, timeout=ANSWER_S)


def _variables(bin_: Path, work: Path) -> dict[str, str]:
    """Have MLflow find its environment's programs, write to our folder only, and not call home."""
    return {
        "PATH": f"{bin_}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{work / 'mlflow.db'}",
    }
