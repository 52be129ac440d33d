"""`local_runner.py` in a process of its own: started from nothing, or forked from one that has imported TFX."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.support.paths import ROOT

RUNNER = ROOT / "local_runner.py"
TIMEOUT_S = 900
IMPORTED = ["pipeline.orchestrators.local", "pipeline.pipeline", "components.pusher.push", "pipeline.history"]


def environment(var: Path) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**clean, "VOUCH_VAR": str(var), "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "200"}


def call(var: Path, *arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Start it from nothing, as people do, and wait for its end."""
    return subprocess.run(
        [sys.executable, str(RUNNER), *map(str, arguments)],
        cwd=cwd,
        env=environment(var),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@dataclass(frozen=True)
class Forked:
    """A call in a process, and a process group, that began with TFX imported: that takes longer than most calls."""

    process: ForkServerProcess
    arguments: tuple[str, ...]
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        assert self.process.pid
        return self.process.pid

    def is_running(self) -> bool:
        return self.process.is_alive()

    def output(self) -> str:
        """What it said so far, on both streams."""
        return self.out.read_text() + self.err.read_text()

    def kill(self) -> None:
        """End it without warning, and what it started."""
        if self.is_running():
            os.killpg(self.pid, signal.SIGKILL)
            self.process.join()

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end."""
        self.process.join(TIMEOUT_S)
        returncode = self.process.exitcode
        assert returncode is not None, self.output()
        return subprocess.CompletedProcess(self.arguments, returncode, self.out.read_text(), self.err.read_text())


def fork(var: Path, *arguments: object) -> Forked:
    """Begin a call and do not wait. The first call imports TFX in the process that all others are forked from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    folder = Path(tempfile.mkdtemp(prefix="call-", dir=var.parent))  # pytest clears it away
    out, err, words = folder / "out", folder / "err", tuple(map(str, arguments))
    for path in (out, err):
        path.touch()
    process = context.Process(target=_run, args=(words, environment(var), str(out), str(err)))
    process.start()
    return Forked(process, words, out, err)


def _run(arguments: tuple[str, ...], variables: Mapping[str, str], out: str, err: str) -> None:
    assert set(IMPORTED) <= set(sys.modules), "TFX was not imported: start pytest in the repository's root"
    os.setsid()
    for path, stream in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(ROOT)
    sys.argv = [str(RUNNER), *arguments]
    runpy.run_path(str(RUNNER), run_name="__main__")
