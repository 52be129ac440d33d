"""What the controller starts: commands of ours in processes of their own, with a time limit and a log."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from common.errors import EnvironmentProblem
from monitoring.controller.machine import Ended

END_S = 30.0
AGAIN_S = 30.0
ROOT = Path(__file__).resolve().parents[2]
ERROR, REFUSED = "error: ", "refused "  # what our commands print before a sentence


def supervise(command: Sequence[str], log: Path, limit_s: float) -> Ended:
    """Run a command to its end, or to the limit; what it prints is added to a log.

    Where the machine is in the way (exit code 5), such as a run that a controller before us has started and that still
    goes on, it is run again until the time is over.
    """
    deadline = time.monotonic() + limit_s
    while True:
        ended = _run_once(command, log, deadline - time.monotonic())
        if ended.code != EnvironmentProblem.exit_code or time.monotonic() + AGAIN_S > deadline:
            return ended
        time.sleep(AGAIN_S)


def _run_once(command: Sequence[str], log: Path, limit_s: float) -> Ended:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            [*_with_parent(), *command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(max(limit_s, 0.0))
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _stop(process)
    return Ended(code, _said(log, begin))


def _with_parent() -> list[str]:
    """Return what makes a process end with the one that started it, where the machine has it."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started, if it still runs."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
    if process.poll() is None:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _said(log: Path, begin: int) -> str:
    """Return the error, or a gate's refusal, that a command of ours printed: for people, it decides nothing."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    errors = [line.partition(ERROR)[2] for line in lines if ERROR in line]
    refusals = [line.removeprefix(REFUSED) for line in lines if line.startswith(REFUSED)]
    return next(iter(errors[-1:] + refusals), "").strip()


def in_order(deeds: Sequence[Callable[[], object]], tell: Callable[[Exception], None]) -> None:
    """Do each deed, whatever becomes of the others."""
    for deed in deeds:
        try:
            deed()
        except Exception as error:  # of what is only to make room, none may stop a retraining
            tell(error)
