"""The controller: one thread that takes retrainings a step further, and a web server that alerts come in by.

POST /alerts    Alertmanager's JSON, with `Authorization: Bearer TOKEN`: each firing alert with a label `model` asks
                for a retraining of it
GET  /livez     503 when the thread has ended
GET  /metrics   for Prometheus
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from common.errors import ConfigError, EnvironmentProblem, VouchError
from common.files import locked
from config.load import CONFIG_NAME, load_settings
from monitoring.controller.deeds import Deeds
from monitoring.controller.machine import Machine
from monitoring.controller.metrics import text_of

VARIABLE = "VOUCH_CONTROLLER_TOKEN"
TOKEN_FILE = Path(__file__).resolve().parents[1] / "alertmanager" / "secrets" / "controller_token"
LEAST_TOKEN = 16
MOST_BYTES = 1 << 20
REQUEST_S = 10.0
LOOK_EVERY_S = 0.05  # whether to end
log = logging.getLogger(__name__)


def now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Controller:
    """Retrains the models that have a folder in `configs`. `grpc`: where the model servers are."""

    var: Path
    configs: Path
    grpc: str
    who: str
    woken: threading.Event = field(default_factory=threading.Event)
    ending: threading.Event = field(default_factory=threading.Event)

    def machines(self) -> dict[str, Machine]:
        """Return each model's machine, by what its settings say now; a model whose settings are wrong is left out."""
        machines = {}
        for file in sorted(self.configs.glob(f"*/{CONFIG_NAME}")):
            try:
                machine = self.machine(file.parent)
            except ConfigError as error:
                log.warning("%s is left out: %s", file.parent.name, error)
                continue
            machines[machine.model] = machine
        return machines

    def machine(self, config: Path) -> Machine:
        """Raises ConfigError."""
        settings = load_settings(config)
        deeds = Deeds(self.var, config.resolve(), settings, self.grpc, self.who)
        return Machine(self.var, settings.name, settings.retrain, deeds, now)

    def take(self, payload: Any) -> dict[str, list[str]]:
        """Ask for what Alertmanager tells of; return for which models, and which had been asked for already.

        Raises ConfigError for something that Alertmanager does not send.
        """
        alerts = payload.get("alerts") if isinstance(payload, dict) else None
        if not isinstance(alerts, list) or not all(isinstance(alert, dict) for alert in alerts):
            raise ConfigError("this is no message of Alertmanager", wanted="an object with a list of alerts")
        machines = self.machines()
        answer: dict[str, list[str]] = {"asked": [], "known": [], "ignored": []}
        for alert in alerts:
            labels = alert.get("labels")
            labels = labels if isinstance(labels, dict) else {}
            model = str(labels.get("model", ""))
            if alert.get("status") != "firing" or model not in machines:
                answer["ignored"].append(model)
                continue
            is_new = machines[model].request(f"alert {labels.get('alertname', '')}".strip()[:80], "Alertmanager")
            answer["asked" if is_new else "known"].append(model)
        if answer["asked"]:
            self.woken.set()
        return answer

    def work(self, every_s: float) -> None:
        """Take every retraining on, again and again, until `end`."""
        while not self.ending.is_set():
            for machine in self.machines().values():
                self.advance(machine)
            self.woken.wait(every_s)
            self.woken.clear()

    def advance(self, machine: Machine) -> None:
        """Take steps until there is nothing to do now, or another process takes them."""
        try:
            with driving(self.var, machine.model):
                while not self.ending.is_set() and machine.step():
                    log.info("%s: a step further", machine.model)
        except VouchError as error:
            log.warning("%s: the next step has to wait: %s", machine.model, error)
        except Exception:  # the other models' go on
            log.exception("%s: the next step failed, and is tried again", machine.model)

    def end(self) -> None:
        self.ending.set()
        self.woken.set()


@contextmanager
def driving(var: Path, model: str) -> Iterator[None]:
    """Be the one process that takes a model's retraining further. Raises EnvironmentProblem."""
    with locked(var / "monitoring" / model / ".retrain_lock", f"another process retrains {model}"):
        yield


@contextmanager
def serving(controller: Controller, address: tuple[str, int], token: str, every_s: float) -> Iterator[int]:
    """Run the controller and its web server; yield the port. Raises EnvironmentProblem if it is taken."""
    worker = threading.Thread(target=controller.work, args=(every_s,), name="controller", daemon=True)
    try:
        server = ThreadingHTTPServer(address, partial(_Handler, controller, token, worker))
    except OSError as error:
        raise EnvironmentProblem(
            f"{address[0]}:{address[1]} cannot be listened on", got=error, fix="give another --port"
        ) from None
    with server:
        threading.Thread(target=server.serve_forever, args=(LOOK_EVERY_S,), name="web", daemon=True).start()
        worker.start()
        try:
            yield server.server_port
        finally:
            controller.end()
            server.shutdown()


def read_token(file: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """Return what Alertmanager must show. Raises ConfigError if there is none, or a short one."""
    path = file or Path(environment.get(f"{VARIABLE}_FILE") or TOKEN_FILE)
    try:
        token = environment.get(VARIABLE) or path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            "the controller has no token, by which it knows Alertmanager",
            got=error,
            fix=f"openssl rand -hex 32 | install -D -m 600 /dev/stdin {path}",
        ) from None
    if len(token) < LEAST_TOKEN:
        raise ConfigError("the controller's token is too short", wanted=f"{LEAST_TOKEN} letters or more")
    return token


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_S

    def __init__(self, controller: Controller, token: str, worker: threading.Thread, *arguments: Any) -> None:
        self._controller, self._token, self._worker = controller, token, worker
        super().__init__(*arguments)

    def do_GET(self) -> None:
        if self.path == "/livez":
            is_alive = self._worker.is_alive()
            self._answer(HTTPStatus.OK if is_alive else HTTPStatus.SERVICE_UNAVAILABLE, {"alive": is_alive})
        elif self.path == "/metrics":
            body = text_of(self._controller.machines().values(), now())
            self._send(HTTPStatus.OK, body, "text/plain; version=0.0.4; charset=utf-8")
        else:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "there is nothing here", "wanted": "/livez or /metrics"})

    def do_POST(self) -> None:
        if self.path != "/alerts":
            self._answer(HTTPStatus.NOT_FOUND, {"error": "there is nothing here", "wanted": "/alerts"})
            return
        shown = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(shown.encode(), self._token.encode()):
            self._answer(HTTPStatus.UNAUTHORIZED, {"error": "the token is missing or wrong"})
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            self._answer(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": "the message is too large, or its size unknown"}
            )
            return
        try:
            answer = self._controller.take(json.loads(self.rfile.read(int(length))))
        except (ValueError, RecursionError, ConfigError) as error:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except VouchError as error:  # Alertmanager tries again
            log.warning("an alert could not be taken: %s", error)
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": error.what})
        else:
            self._answer(HTTPStatus.OK, answer)

    def _answer(self, status: HTTPStatus, document: object) -> None:
        self._send(status, (json.dumps(document) + "\n").encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.close_connection = True  # what was not read of a request is no next one
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        log.debug(format, *arguments)
