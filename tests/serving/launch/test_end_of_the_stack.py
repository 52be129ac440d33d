"""SIGTERM to a model server with its web app: who was being answered still is, then the model server goes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from serving.launch.backends import free
from serving.launch.launcher import LOG
from tests.support.paths import ROOT
from tests.support.pipeline.runs import PipelineRun
from tests.support.serving.running import is_open, wait_for
from tests.support.serving.versions import copy_version

pytestmark = pytest.mark.slow

START_S = 180
CLIENTS = 4


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[bytes]
    web: int  # its port
    rest: int
    log: Path  # of the model server

    def is_ready(self) -> bool:
        assert self.process.poll() is None
        if not is_open(self.web):
            return False
        with closing(HTTPConnection("127.0.0.1", self.web, timeout=30)) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200


@pytest.fixture
def running(pipeline_run: PipelineRun, tmp_path: Path) -> Iterator[Running]:
    copy_version(pipeline_run.serving / "1", tmp_path / "serving" / pipeline_run.model, 1)
    rest, grpc, web = free(3)
    command = [sys.executable, "-m", "serving", "start", "--rest-port", str(rest), "--grpc-port", str(grpc)]
    command += ["--run", f"{sys.executable} -m webapp --port {web}"]
    environment = {**os.environ, "VOUCH_VAR": str(tmp_path), "VOUCH_RATE_LIMIT": ""}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    made = Running(process, web, rest, tmp_path / "serving" / LOG)
    try:
        wait_for(made.is_ready, START_S, (tmp_path / "log").read_text)
        yield made
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def half_sent(port: int, path: str, kind: str, body: bytes) -> Iterator[tuple[HTTPConnection, bytes]]:
    """A request of which the web app has the first half of the body; yield the second, too."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.putrequest("POST", path)
        connection.putheader("Content-Type", kind)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[: len(body) // 2])
        yield connection, body[len(body) // 2 :]


def test_whoever_is_being_answered_still_is_and_the_model_server_goes_last(
    running: Running, pipeline_run: PipelineRun
) -> None:
    with closing(HTTPConnection("127.0.0.1", running.web, timeout=30)) as connection:
        connection.request("GET", "/api/v1/predict/by-index/0")
        row = json.load(connection.getresponse())["features"]
    single = json.dumps({"rows": [row]}).encode()
    table = "\n".join([",".join(row), *[",".join(map(str, row.values()))] * 500, ""]).encode()
    with ExitStack() as stack:
        asked = [
            stack.enter_context(half_sent(running.web, "/api/v1/predict", "application/json", single))
            for _ in range(CLIENTS)
        ]
        asked.append(stack.enter_context(half_sent(running.web, "/api/v1/predict/csv", "text/csv", table)))
        running.process.send_signal(signal.SIGTERM)
        wait_for(lambda: not is_open(running.web), 60, lambda: "new requests are still let in")
        for connection, rest in asked:
            connection.send(rest)
        answers = [connection.getresponse() for connection, _ in asked]
        bodies = [answer.read() for answer in answers]
    assert [answer.status for answer in answers] == [200] * len(asked), bodies
    assert [len(json.loads(body)["predictions"]) for body in bodies[:CLIENTS]] == [1] * CLIENTS
    assert bodies[CLIENTS].count(b"\n") == 501
    assert running.process.wait(60) == 0
    assert not is_open(running.rest)
    assert re.search("Finishing the requests under way", running.log.read_text())
