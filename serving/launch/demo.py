"""What `make demo` shows of a server that was just started: a few predictions, and a command that runs beside it."""

from __future__ import annotations

import os
import shlex
import subprocess
from contextlib import closing, suppress
from typing import Any

from rich.console import Console
from rich.table import Table

from common.errors import ConfigError
from serving.client.connect import connect
from serving.client.types import DEFAULT_SIGNATURE, VersionSpec
from serving.launch.launcher import Running, end
from serving.release.checks import read_golden
from serving.repository.layout import STABLE

PROTOCOLS = {"rest": "by REST", "grpc": "by gRPC"}
LOOK_EVERY_S = 0.2
REST, GRPC = "VOUCH_MODEL_SERVER_REST", "VOUCH_MODEL_SERVER_GRPC"


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
    """Return label and probability of each row: of the positive class, or of the likeliest if there are more."""
    scores = outputs.get("probability") or [max(row) for row in outputs["probabilities"]]
    return [f"{label} {score:.4f}" for label, score in zip(outputs["label"], scores, strict=True)]


def run_beside(running: Running, command: str) -> int:
    """Run a command until it ends and return its exit code.

    Raises ConfigError if there is no such program, EnvironmentProblem if the server ends first.
    """
    environment = {**os.environ, REST: running.addresses.rest, GRPC: running.addresses.grpc}
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
