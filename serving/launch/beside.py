"""Run a command beside a model server: it is told where the server is, and both end together."""

from __future__ import annotations

import os
import shlex
import subprocess
from contextlib import suppress

from common.errors import ConfigError
from serving.launch.launcher import Running, end

LOOK_EVERY_S = 0.2
REST, GRPC = "VOUCH_MODEL_SERVER_REST", "VOUCH_MODEL_SERVER_GRPC"


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
