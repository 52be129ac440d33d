"""The entry point of the image, run with the embedded server in TensorFlow Serving's place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from serving.client.errors import ModelNotFound, ModelServerDown
from serving.client.grpc import GrpcClient
from serving.client.types import VersionSpec
from serving.launch.backends import free
from tests.support.paths import ROOT
from tests.support.serving.running import wait_for

SCRIPT, HEALTH = ROOT / "serving" / "entrypoint.sh", ROOT / "serving" / "healthcheck.sh"
EMBEDDED = f"{sys.executable} -m serving.server"
LIMIT_S = 240  # of a machine that does much else
LOOK_EVERY_S, PAUSE_S = 0.05, 0.005


@dataclass(frozen=True)
class EntryPoint:
    """A running entry point; `log` has what it and its server said."""

    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['PORT']}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.environment['GRPC_PORT']}"

    def health(self, *model: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([HEALTH, *model], env=self.environment, capture_output=True, text=True, check=False)

    def version(self, model: str, label: str = "stable") -> int | None:
        """The version that answers under a label, None if none does."""
        try:
            with closing(GrpcClient(self.grpc)) as client:
                return client.metadata(model, VersionSpec(label=label)).version
        except (ModelNotFound, ModelServerDown):
            return None

    def loaded(self, model: str) -> set[int]:
        try:
            with closing(GrpcClient(self.grpc)) as client:
                return {status.version for status in client.status(model) if status.state == "AVAILABLE"}
        except (ModelNotFound, ModelServerDown):
            return set()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until `condition()` holds, while the process lives."""

        def holds() -> bool:
            assert self.process.poll() is None, f"the entry point ended:\n{self.log.read_text()}"
            return condition()

        wait_for(holds, LIMIT_S, lambda: f"{what}:\n{self.log.read_text()}")

    def serves(self, model: str, version: int | None, label: str = "stable") -> None:
        self.wait(lambda: self.version(model, label) == version, f"{model} {label} is never {version}")

    def stays(self, condition: Callable[[], bool], polls: int = 3) -> None:
        """See that a condition goes on to hold while the server reads its config so many times."""
        end = time.monotonic() + polls * int(self.environment["VOUCH_POLL_S"])
        while time.monotonic() < end:
            assert condition(), self.log.read_text()
            time.sleep(LOOK_EVERY_S)

    def comes_to_stay(self, condition: Callable[[], bool], polls: int = 3) -> None:
        """Wait until a condition has held while the server read its config so many times.

        Where it reads a copy, that may lag behind a release for a moment, and take it a step back.
        """
        began: list[float] = []

        def has_held() -> bool:
            if not condition():
                began.clear()
                return False
            began.append(time.monotonic())
            return began[-1] - began[0] > polls * int(self.environment["VOUCH_POLL_S"])

        self.wait(has_held, "it does not stay so")


@contextmanager
def load(url: str, model: str, body: dict[str, object]) -> Iterator[Counter[str]]:
    """Ask for predictions by the stable version, again and again; count the answers, failed ones by their words."""
    answers, is_over = Counter[str](), threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            while not is_over.wait(PAUSE_S):
                try:
                    answer = session.post(f"{url}/v1/models/{model}/labels/stable:predict", json=body, timeout=30)
                    answers["good" if answer.ok else answer.text[:200]] += 1
                except requests.RequestException as error:
                    answers[repr(error)[:200]] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        is_over.set()
        thread.join()


@contextmanager
def entry_point(models: Path, state: Path, **settings: str) -> Iterator[EntryPoint]:
    """Run the entry point on a folder of models until the context ends."""
    rest, grpc = free(2)
    state.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PORT": str(rest),
        "GRPC_PORT": str(grpc),
        "MODEL_BASE_PATH": str(models),
        "VOUCH_SERVER": EMBEDDED,
        "VOUCH_CONFIG": str(ROOT / "config"),
        "VOUCH_STATE": str(state),
        "VOUCH_POLL_S": "1",
        "VOUCH_DRAIN_S": "0",
        **settings,
    }
    log = state / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [SCRIPT], env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield EntryPoint(process, environment, log)
        process.terminate()
        process.wait(LIMIT_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
