"""Start a model server on all that is released, wait until it serves, and end it with its starter."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from common.errors import ConfigError, DataError, EnvironmentProblem, GateRefused, VouchError
from common.files import locked, write_text
from serving.client import connect
from serving.client.errors import ModelNotFound, ModelServerDown, ModelServerTimeout
from serving.client.rest import RestClient
from serving.client.retry import Policy
from serving.client.types import DEFAULT_SIGNATURE, Addresses, VersionSpec
from serving.launch.backends import HOST, ROOT, Places, Program, choose, take
from serving.release.checks import read_golden
from serving.release.commands import prepare
from serving.release.servers import ReleaseContext, bring, release_clients
from serving.release.state import CONFIG, State, one_at_a_time, release_disk_problems
from serving.repository.layout import STABLE, models

LOG, LOCK = ".model_server.log", ".model_server.lock"
WITHOUT_MODELS = ".without_models.config"
LAST_LINES = 15
LOOK_EVERY_S, TELL_EVERY_S = 0.1, 5.0
END_WAIT_S = 15.0  # what a server may take to finish what is under way
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONUNBUFFERED": "1"}
PROTOCOLS = {"rest": "by REST", "grpc": "by gRPC"}


@dataclass(frozen=True)
class Start:
    """What to start. A port 0 means: any that is free."""

    root: Path  # var/serving
    rest_port: int = 8501
    grpc_port: int = 8500
    docker: bool = False
    who: str = "start"
    wait_s: float = 120.0
    say: Callable[[str], None] = lambda line: None


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
        return self.root / LOG

    def urls(self, model: str) -> dict[str, str]:
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
        with release_disk_problems(start.root):
            stack.enter_context(locked(start.root / LOCK, f"a model server runs on {start.root} already"))
            running = _start(start, _released(start), CONFIG)
        stack.callback(end, running.process)
        if not _become_ready(start, running, {model: state.stable for model, state in running.models.items()}):
            if len(running.models) == 1:
                raise _died(running)
            start.say(f"{_died(running).what}: it starts again without models, which then come one by one")
            with release_disk_problems(start.root):
                write_text(start.root / WITHOUT_MODELS, "model_config_list { }\n")
                running = _start(start, running.models, WITHOUT_MODELS)
            stack.callback(end, running.process)
            running = replace(running, models=_loaded_one_by_one(start, running))
        yield running


def _start(start: Start, states: dict[str, State], config: str) -> Running:
    rest_port, grpc_port = take({"REST": start.rest_port, "gRPC": start.grpc_port})
    root = start.root.absolute()
    places = Places(root, root / config, ROOT / "config", rest_port, grpc_port)
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
    states, refused = prepare(ReleaseContext(start.root, (), start.who))
    reasons = [f"{model}, {why.what}: {why.got}" for model, why in refused.items()]
    for reason in reasons:
        start.say(f"left out: {reason}")
    if not states:
        raise GateRefused("no version may be served", got="; ".join(reasons), fix="run the pipeline to push another")
    return states


def _become_ready(start: Start, running: Running, versions: Mapping[str, int | None]) -> bool:
    """Wait until each model's version is available, None: until the server answers. False if it ended instead."""
    client = RestClient(running.addresses.rest, Policy(budget_s=5.0, tries=1, failures_to_open=1_000_000_000))
    waiting = dict(versions)
    began = said = time.monotonic()
    with closing(client):
        while waiting:
            if running.process.poll() is not None:
                return False
            for model, version in list(waiting.items()):
                if _is_ready(client, model, version):
                    if version:
                        start.say(f"{model} {version} is available after {time.monotonic() - began:.1f} s")
                    del waiting[model]
            if waiting and time.monotonic() - began > start.wait_s:
                raise EnvironmentProblem(
                    f"{running.program.name} did not serve in time",
                    got=_tail(running),
                    wanted=f"{', '.join(waiting)} within {start.wait_s:g} s",
                )
            if waiting and time.monotonic() - said > TELL_EVERY_S:
                said = time.monotonic()
                start.say(f"waiting for {', '.join(waiting)}: {said - began:.0f} s")
            time.sleep(LOOK_EVERY_S if waiting else 0)
    return True


def _is_ready(client: RestClient, model: str, version: int | None) -> bool:
    with suppress(ModelServerDown, ModelServerTimeout):
        try:
            statuses = client.status(model)
        except ModelNotFound:
            return version is None
        return version is None or any(s.version == version and s.state == "AVAILABLE" for s in statuses)
    return False


def _loaded_one_by_one(start: Start, running: Running) -> dict[str, State]:
    """Tell a server that was started without models of each; return those that it serves.

    A server that cannot load one of its models does not start; one that runs leaves out that one only.
    """
    if not _become_ready(start, running, dict.fromkeys(running.models)):
        raise _died(running)
    served, refused = dict[str, State](), list[str]()
    with one_at_a_time(start.root, start.who), release_clients(running.addresses.grpc) as clients:
        context = ReleaseContext(start.root, clients, start.who, load_timeout_s=start.wait_s)
        for model, state in running.models.items():
            try:
                bring(context, model, state)
            except VouchError as error:
                refused.append(f"{error.what}: {error.got}")
                start.say(f"LEFT OUT: {refused[-1]}")
            else:
                start.say(f"{model} {state.stable} is available")
                served[model] = state
    if not served:
        raise GateRefused("no version can be loaded", got="; ".join(refused), fix="run the pipeline to push another")
    return served


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
    process.terminate()
    try:
        process.wait(END_WAIT_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # the second Ctrl-C of one who lost patience
        process.kill()
        process.wait()


def show_sample(running: Running, rows: int) -> None:
    """Print so many predictions of each model for its golden rows. Raises what the clients raise."""
    for model, state in running.models.items():
        columns = read_golden(running.root / model, state.stable).columns(DEFAULT_SIGNATURE)
        first = {name: values[:rows] for name, values in columns.items()}
        table = Table(title=f"{model} {state.stable}", title_justify="left")
        table.add_column("row")
        answers = []
        for protocol, heading in PROTOCOLS.items():
            table.add_column(heading)
            with closing(connect(running.addresses, protocol)) as client:
                answers.append(_texts(client.predict(model, first, VersionSpec(label=STABLE))))
        for number, cells in enumerate(zip(*answers, strict=True)):
            table.add_row(str(number), *cells)
        Console(highlight=False).print(table)


def _texts(outputs: dict[str, list[Any]]) -> list[str]:
    """Return label and probability of each row, of the positive class or of the likeliest; or a number's interval."""
    if "value" in outputs:
        together = zip(outputs["value"], outputs["lower"], outputs["upper"], strict=True)
        return [f"{value:.5g} ({lower:.5g} to {upper:.5g})" for value, lower, upper in together]
    scores = outputs.get("probability") or [max(row) for row in outputs["probabilities"]]
    return [f"{label} {score:.4f}" for label, score in zip(outputs["label"], scores, strict=True)]


def run_beside(running: Running, command: str) -> int:
    """Run a command until it ends and return its exit code.

    Raises ConfigError if there is no such program, EnvironmentProblem if the server ends first.
    """
    rest, grpc = running.addresses.rest, running.addresses.grpc
    environment = {**os.environ, "VOUCH_MODEL_SERVER_REST": rest, "VOUCH_MODEL_SERVER_GRPC": grpc}
    try:
        process = subprocess.Popen(shlex.split(command), env=environment, start_new_session=True)  # Ctrl-C is ours
    except (OSError, ValueError) as error:
        raise ConfigError("this command cannot be run", got=f"{command}: {error}") from None
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(LOOK_EVERY_S)
            if running.process.poll() is not None:
                running.wait()  # says how it ended
    finally:
        end(process)
