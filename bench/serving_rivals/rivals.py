"""What a user without Docker would serve a Keras model with. Of several ways to set one up the fastest is compared."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import requests

from bench.load import Shot
from bench.processes import HOST, Command, failed, run, running, wait_until
from bench.serving_rivals.bodies import ROW, SHAPES, Bodies, Shape
from serving.launch.ports import free

HERE = Path(__file__).parent
START_S = 120.0
ANSWER_S = 30.0
SHARED = tuple(shape for shape in SHAPES if shape.rows > 1 or shape is ROW)  # rivals know but one kind of single row
MLFLOW, FLASK, BENTO = "MLflow (b)", "Flask (c)", "BentoML (d)"


@dataclass(frozen=True)
class Way:
    """One way to run a rival. `{port}` in its words is where it listens, `key` what its JSON calls the rows."""

    rival: str
    name: str
    words: tuple[str, ...]
    path: str
    key: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.rival}, {self.name}"


@dataclass(frozen=True)
class Served:
    """A running rival: the requests it takes, and its first process."""

    shots: dict[Shape, Shot]
    pid: int


def ways(bin_: Path, work: Path) -> list[Way]:
    """Return all ways, the likely fastest of a rival first, to be run from the environment `bin_`."""
    mlflow = (str(bin_ / "mlflow"), "models", "serve", "--env-manager", "local", "-h", HOST, "-p", "{port}", "-m")
    gunicorn = (str(bin_ / "gunicorn"), "-b", f"{HOST}:{{port}}")
    bento = (str(bin_ / "bentoml"), "serve", "bento_service:Network", "--host", HOST, "-p", "{port}")
    cores = str(os.cpu_count())
    keras, module = str(work / "mlflow-keras"), str(work / "mlflow-module")
    one, all_ = {"WORKERS": "1"}, {"WORKERS": cores}
    return [
        Way(MLFLOW, "tf.Module, a worker a core", (*mlflow, module, "--workers", cores), "/invocations", "inputs"),
        Way(MLFLOW, "tf.Module, 1 worker (its default)", (*mlflow, module), "/invocations", "inputs"),
        Way(MLFLOW, "Keras model, 1 worker (its default)", (*mlflow, keras), "/invocations", "inputs"),
        Way(
            FLASK,
            "gunicorn, 2 workers of 4 threads",
            (*gunicorn, "-w", "2", "--threads", "4", "flask_app:app"),
            "/predict",
            "instances",
        ),
        Way(FLASK, "app.run(threaded=True)", (str(bin_ / "python"), "flask_app.py", "{port}"), "/predict", "instances"),
        Way(BENTO, "a worker a core", bento, "/predict", "rows", all_),
        Way(BENTO, "1 worker (its default)", bento, "/predict", "rows", one),
    ]


def prepare(python: str, bin_: Path, version: Path, work: Path) -> None:
    """Write the network as a Keras file, and as MLflow's two kinds of model."""
    model = work / "model.keras"
    run(Command([python, "-m", "bench.serving_rivals.model", str(version), str(model)], work / "model.log"), START_S)
    for kind in ("keras", "module"):
        words = [str(bin_ / "python"), str(HERE / "mlflow_save.py"), kind, str(model), str(work / f"mlflow-{kind}")]
        run(Command(words, work / f"mlflow-{kind}.log", environment=_variables(words[0], work)), START_S)


@contextmanager
def serving(way: Way, bodies: Bodies, work: Path) -> Iterator[Served]:
    """Run a rival one way, once each of its requests was answered rightly."""
    port = str(free(1)[0])
    words = [word.replace("{port}", port) for word in way.words]
    command = Command(words, work / f"rival-{port}.log", HERE, {**_variables(words[0], work), **way.environment})
    shots = {
        shape: Shot(f"http://{HOST}:{port}{way.path}", bodies.rival(way.key, shape), may_miss=True) for shape in SHARED
    }

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
            answer = answered.json()
            bodies.check(str(way), shape, np.ravel(answer["predictions"] if isinstance(answer, dict) else answer))
        yield Served(shots, process.pid)


def _post(shot: Shot) -> requests.Response:
    headers = {"content-type": "application/json"}
    return requests.post(shot.url, data=shot.body.read_bytes(), headers=headers, timeout=ANSWER_S)


def _variables(program: str, work: Path) -> dict[str, str]:
    """Have the rivals find each other's programs, write to our folder only, and not call home."""
    return {
        "PATH": f"{Path(program).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "MODEL": str(work / "model.keras"),
        "BENTOML_HOME": str(work / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{work / 'mlflow.db'}",
    }
