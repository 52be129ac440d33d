"""Start a model server on all that is released, wait until it serves, and end it with its starter."""

from __future__ import annotations

import os
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import DataError, EnvironmentProblem, GateRefused, VouchError
from common.files import locked
from serving.client.errors import ModelNotFound, ModelServerDown, ModelServerTimeout
from serving.client.rest import RestClient
from serving.client.retry import Clock, Policy
from serving.client.types import Addresses
from serving.launch.backends import ROOT, Places, Program, choose
from serving.launch.ports import HOST, take
from serving.release.commands import prepare
from serving.release.context import ReleaseContext
from serving.release.state import State, disk_problems_told
from serving.repository.layout import models

LOG, LOCK = ".model_server.log", ".model_server.lock"
LAST_LINES = 15
LOOK_EVERY_S, TELL_EVERY_S = 0.1, 5.0
END_WAIT_S = 15.0  # what a server may take to finish what is under way
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Start:
    """What to start. A port 0 means: any that is free."""

    root: Path  # var/serving
    rest_port: int = 8501
    grpc_port: int = 8500
    docker: bool = False
    who: str = "start"
    config: Path = ROOT / "config"
    wait_s: float = 120.0
    say: Callable[[str], None] = lambda line: None
    clock: Clock = field(default_factory=Clock)


@dataclass(frozen=True)
class Running:
    """A server that serves. `models` are those released, with their states."""

    program: Program
    process: subprocess.Popen[bytes]
    addresses: Addresses
    models: dict[str, State]
    root: Path
    log_start: int = 0  # where in the log its own words begin

    @property
    def log(self) -> Path:
        """What the server wrote."""
        return self.root / LOG

    def urls(self, model: str) -> dict[str, str]:
        """Return where to look at a model: its status, its metadata and the server's metrics."""
        base = f"{self.addresses.rest}/v1/models/{model}"
        metrics = f"{self.addresses.rest}/monitoring/prometheus/metrics"
        return {"status": base, "metadata": f"{base}/metadata", "metrics": metrics}

    def wait(self) -> None:
        """Wait until the server ends. Raises EnvironmentProblem: it should not do that by itself."""
        self.process.wait()
        raise _died(self)


@contextmanager
def launch(start: Start) -> Iterator[Running]:
    """Run a model server for as long as the context lasts.

    Raises DataError if nothing was pushed, GateRefused if no version may be served, EnvironmentProblem if a port is
    taken, the server dies, or does not serve in time.
    """
    if not models(start.root):
        raise DataError(
            f"no model was pushed to {start.root} yet", fix="make demo, or: python local_runner.py run config/NAME"
        )
    with ExitStack() as stack:
        with disk_problems_told(start.root):
            stack.enter_context(locked(start.root / LOCK, f"a model server runs on {start.root} already"))
            running = _start(start, _released(start))
        stack.callback(end, running.process)
        _wait_until_serving(start, running)
        yield running


def _start(start: Start, states: dict[str, State]) -> Running:
    rest_port, grpc_port = take({"REST": start.rest_port, "gRPC": start.grpc_port})
    places = Places(start.root.absolute(), start.config.absolute(), rest_port, grpc_port)
    program = choose(places, docker=start.docker, environment=os.environ)
    start.say(f"starting {program.name}: {program.why}")
    if program.note:
        start.say(f"note: {program.note}")
    with (start.root / LOG).open("ab") as output:
        log_start = output.tell()
        process = subprocess.Popen(
            program.command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,  # Ctrl-C is for us to pass on
        )
        addresses = Addresses(f"http://{HOST}:{rest_port}", f"{HOST}:{grpc_port}")
        return Running(program, process, addresses, states, start.root, log_start)


def _released(start: Start) -> dict[str, State]:
    refused: list[str] = []

    def left_out(model: str, why: VouchError) -> None:
        refused.append(f"{model}, {why.what}: {why.got}")
        start.say(f"left out: {refused[-1]}")

    states = prepare(ReleaseContext(start.root, (), start.who), left_out)
    if not states:
        raise GateRefused("no version may be served", got="; ".join(refused), fix="run the pipeline to push another")
    return states


def _wait_until_serving(start: Start, running: Running) -> None:
    """Wait until what is stable is available for every model."""
    client = RestClient(running.addresses.rest, Policy(budget_s=5.0, tries=1, failures_to_open=1_000_000_000))
    clock, waiting = start.clock, dict(running.models)
    began = told = clock.now()
    try:
        while waiting:
            if running.process.poll() is not None:
                raise _died(running)
            for model, state in list(waiting.items()):
                if _serves(client, model, state.stable):
                    start.say(f"{model} {state.stable} is available after {clock.now() - began:.1f} s")
                    del waiting[model]
            if waiting and clock.now() - began > start.wait_s:
                raise EnvironmentProblem(
                    f"{running.program.name} did not serve in time",
                    got=_tail(running),
                    wanted=f"{', '.join(waiting)} within {start.wait_s:g} s",
                )
            if waiting and clock.now() - told > TELL_EVERY_S:
                told = clock.now()
                start.say(f"waiting for {', '.join(waiting)}: {told - began:.0f} s")
            clock.sleep(LOOK_EVERY_S if waiting else 0)
    finally:
        client.close()


def _serves(client: RestClient, model: str, version: int) -> bool:
    with suppress(ModelServerDown, ModelServerTimeout, ModelNotFound):
        return any(found.version == version and found.state == "AVAILABLE" for found in client.status(model))
    return False


def _died(running: Running) -> VouchError:
    code = running.process.returncode
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return EnvironmentProblem(
        f"{running.program.name} ended with {how}", got=_tail(running), fix=f"the whole log is {running.log}"
    )


def _tail(running: Running) -> str:
    with running.log.open(encoding="utf-8", errors="replace") as file:
        file.seek(running.log_start)
        return "\n    ".join(["", *(line.rstrip() for line in deque(file, LAST_LINES))]) or "it said nothing"


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started, kindly first."""
    process.terminate()
    try:
        process.wait(END_WAIT_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # the second Ctrl-C of one who lost patience
        process.kill()
        process.wait()
