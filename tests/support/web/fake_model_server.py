"""A stand-in for a model server, to be told how to misbehave: what a real one cannot be made to do on demand.

It speaks TensorFlow Serving's REST over a real socket for the models of making.py and scores with a logistic function.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from config.data_settings import IMAGE_BYTES
from tests.support.web.pictures import likeness

if TYPE_CHECKING:
    from tests.support.web.models import Made

Mood = Literal[
    "well",
    "slow",
    "hanging",
    "closing",
    "garbage",
    "nan",
    "fewer",
    "failing",
    "unavailable",
    "beyond",
    "stranger",
    "more-than-one",
    "contrary",
]


def probabilities_of(made: Made, columns: Mapping[str, Sequence[Any]]) -> NDArray[np.float32]:
    """Return [rows, classes]: the nearer a row's numbers to the mean of a class, the likelier the class."""
    if IMAGE_BYTES in made.columns:
        return likeness([base64.b64decode(value["b64"]) for value in columns[IMAGE_BYTES]])
    numbers = [name for name in made.columns if isinstance(made.first(name), float)]
    train = np.array([[np.nan if v is None else v for v in made.columns[name]] for name in numbers], float).T
    given = np.array([[np.nan if v is None else float(v) for v in columns[name]] for name in numbers]).T
    mean, deviation = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
    z_train, z = np.nan_to_num((train - mean) / deviation), np.nan_to_num((given - mean) / deviation)
    labels = np.array(made.labels)
    centres = np.array([z_train[labels == name].mean(axis=0) for name in made.classes])
    scores = -((z[:, None, :] - centres[None]) ** 2).sum(axis=2)
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True), np.float32)


@dataclass
class FakeModelServer:
    """Serves `models` by name and version. Change `mood` at any time; `asked` holds the bodies it got."""

    models: dict[tuple[str, int], Made]
    mood: Mood = "well"
    delay_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    hanging: int = 0  # requests that are held just now
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        fake = self

        class Handler(_Handler):
            server_of = fake

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._released = threading.Event()
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Close the port: connections are refused from now on."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def hang(self) -> None:
        with self._lock:
            self.hanging += 1
        self._released.wait(30)
        with self._lock:
            self.hanging -= 1

    def calm(self) -> None:
        """Behave again, and forget what was asked."""
        self._released.set()
        self._released = threading.Event()
        self.mood, self.delay_s = "well", 0.0
        self.asked.clear()

    def status(self, model: str, version: int | None) -> dict[str, Any] | None:
        found = sorted((v for name, v in self.models if name == model and version in (None, v)), reverse=True)
        ok = {"error_code": "OK", "error_message": ""}
        states = [{"version": str(v), "state": "AVAILABLE", "status": ok} for v in found]
        return {"model_version_status": states} if states else None

    def predict(self, made: Made, body: dict[str, Any]) -> dict[str, Any]:
        from tests.support.web.models import answers_of

        inputs = body["inputs"]
        if body.get("signature_name", "serving_default") == "serving_packed":
            matrix = inputs["features"] if isinstance(inputs, dict) else inputs
            inputs = {name: [row[i] for row in matrix] for i, name in enumerate(made.columns)}
        if body.get("signature_name") == "serving_plain":
            answers, rows = answers_of(made, inputs), len(next(iter(inputs.values())))
            said = {name: answers[name] for name in (("probabilities", "label") if made.classes else ("value",))}
            beside = {name: [[value, value] for value in values] for name, values in said.items()}
            return beside | {"inputs": [[0.5] * len(made.columns)] * rows}
        return _spoilt(answers_of(made, inputs), self.mood)


def _spoilt(outputs: dict[str, Any], mood: Mood) -> dict[str, Any]:
    if mood == "nan":
        return outputs | {"probabilities": [[float("nan")] * len(row) for row in outputs["probabilities"]]}
    if mood == "fewer":
        return {name: values[:-1] for name, values in outputs.items()}
    if mood == "beyond":
        return outputs | {"probabilities": [[2.5] * len(row) for row in outputs["probabilities"]]}
    if mood == "more-than-one":
        return outputs | {"probabilities": [[0.9] * len(row) for row in outputs["probabilities"]]}
    if mood == "contrary":
        return outputs | {"probabilities": [row[1:] + row[:1] for row in outputs["probabilities"]]}
    if mood == "stranger":
        return outputs | {"label": ["nobody knows"] * len(outputs["label"])}
    return outputs


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # more than five may come at once


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_of: FakeModelServer

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes | None) -> None:
        fake = self.server_of
        if fake.delay_s:
            time.sleep(fake.delay_s)
        if fake.mood == "hanging":
            fake.hang()
        if fake.mood in ("hanging", "closing"):
            self.close_connection = True
            return
        if fake.mood == "garbage":
            self._send(200, b"<html>hello</html>")
        elif fake.mood == "failing":
            self._send(500, b'{"error": "out of luck"}')
        elif fake.mood == "unavailable":
            self._send(503, b'{"error": "loading"}')
        else:
            self._send(*self._found(body))

    def _found(self, body: bytes | None) -> tuple[int, bytes]:
        fake, parts = self.server_of, self.path.partition("?")[0].strip("/").split("/")
        name, last = parts[2].partition(":")[0], parts[-1].partition(":")[0]
        version = int(last) if len(parts) > 4 and parts[3] == "versions" and last.isdecimal() else None
        status = fake.status(name, version)
        if status is None:
            return 404, json.dumps({"error": f"Servable not found for request: Latest({name})"}).encode()
        if body is None:
            return 200, json.dumps(status).encode()
        asked = json.loads(body)
        fake.asked.append(asked | {"path": self.path})
        newest = int(status["model_version_status"][0]["version"])
        return 200, json.dumps({"outputs": fake.predict(fake.models[name, newest], asked)}).encode()

    def _send(self, status: int, body: bytes) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
