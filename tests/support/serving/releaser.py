"""Release commands in a process of their own, which can be killed at any step."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import VouchError
from serving.release import commands
from serving.release.servers import ReleaseContext, release_clients
from serving.release.state import State
from tests.support.paths import ROOT

ANSWER_S = 60


@dataclass(frozen=True)
class Outcome:
    """How a command ended: with a state, with an error, or killed (neither)."""

    state: State | None = None
    error: str = ""
    exit_code: int = 0

    @property
    def is_killed(self) -> bool:
        return self.state is None and not self.error


class Releaser:
    """Runs one command after the other; one that was killed is followed by another process."""

    def __init__(self, root: Path, addresses: str) -> None:
        self._command = [sys.executable, "-m", "tests.support.serving.releaser", str(root), addresses]
        self._processes = [self._start(), self._start()]  # the second is warm by the time the first is killed

    def run(self, command: str, model: str, *arguments: object, die_at: str = "") -> Outcome:
        """Run a command of `serving.release.commands`; `die_at` is a step after which its process is killed."""
        process = self._processes[0]
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps([command, model, arguments, die_at]) + "\n")
        process.stdin.flush()
        assert select.select([process.stdout], [], [], ANSWER_S)[0], f"{command} {model} does not end"
        line = process.stdout.readline()
        if not line:
            process.communicate()
            assert process.returncode == -signal.SIGKILL, process.returncode
            self._processes = [self._processes[1], self._start()]
            return Outcome()
        values = json.loads(line)
        return Outcome(State(**values["state"])) if "state" in values else Outcome(**values)

    def close(self) -> None:
        for process in self._processes:
            process.communicate("")

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def main() -> None:
    root, addresses = sys.argv[1:]
    with release_clients(addresses) as clients:
        context = ReleaseContext(Path(root), clients, "releaser", load_timeout_s=20)
        for line in sys.stdin:
            command, model, arguments, die_at = json.loads(line)
            print(
                json.dumps(_outcome(replace(context, reached=_killer(die_at)), command, model, arguments)), flush=True
            )


def _killer(die_at: str) -> Any:
    return lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == die_at else None


def _outcome(context: ReleaseContext, command: str, model: str, arguments: list[Any]) -> dict[str, Any]:
    try:
        return {"state": asdict(getattr(commands, command)(context, model, *arguments))}
    except VouchError as error:
        return {"error": str(error), "exit_code": error.exit_code}


if __name__ == "__main__":
    main()
