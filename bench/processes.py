"""Start what is measured, wait until it answers, and end it with all its children on any way out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.pipeline import ROOT, RunFailed

HOST = "127.0.0.1"
END_WAIT_S = 10.0
LOOK_EVERY_S = 0.1
LAST_LINES = 15
IDLE_WAIT_S = 60.0
IDLE_TICKS = 2  # of 10 ms, in LOOK_EVERY_S: pollers and heartbeats take less
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Command:
    """What to start, and what is added to the environment. `is_asked`: by its standard input, it answers by output."""

    words: Sequence[str]
    log: Path
    cwd: Path = ROOT
    environment: Mapping[str, str] = field(default_factory=dict)
    is_asked: bool = False


@contextmanager
def running(command: Command) -> Iterator[subprocess.Popen[str]]:
    """Run for as long as the context lasts, in a process group that ends with it."""
    # bytecode is compiled at set-up, as a user has it
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command.log.parent.mkdir(parents=True, exist_ok=True)
    with command.log.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command.words,
            cwd=command.cwd,
            env={**inherited, **ENVIRONMENT, **command.environment},
            text=True,
            stdin=subprocess.PIPE if command.is_asked else subprocess.DEVNULL,
            stdout=subprocess.PIPE if command.is_asked else log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def run(command: Command, timeout_s: float) -> None:
    """Run to the end. Raises RunFailed for any exit code but 0, or when it takes too long."""
    with running(command) as process:
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise failed(command, f"did not end within {timeout_s:g} s") from None
    if process.returncode:
        raise failed(command, f"ended with exit code {process.returncode}")


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[str], command: Command, timeout_s: float) -> None:
    """Wait for a process to be ready. Raises RunFailed if it ends or takes too long."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if process.poll() is not None:
            raise failed(command, f"ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise failed(command, f"was not ready within {timeout_s:g} s")
        time.sleep(LOOK_EVERY_S)


def wait_until_idle(first: int, timeout_s: float = IDLE_WAIT_S) -> None:
    """Wait until a process and all it started are idle: requests left in its queues would slow the next contender.

    Raises RunFailed if it goes on.
    """
    deadline = time.monotonic() + timeout_s
    before = sum(_family(first).values())
    while True:
        time.sleep(LOOK_EVERY_S)
        now = sum(_family(first).values())
        if now - before <= IDLE_TICKS:
            return
        if time.monotonic() > deadline:
            raise RunFailed(f"process {first} is still at work", wanted=f"idle within {timeout_s:g} s")
        before = now


def failed(command: Command, how: str) -> RunFailed:
    lines = command.log.read_text(encoding="utf-8", errors="replace").splitlines()
    return RunFailed(f"{' '.join(command.words)} {how}", got="\n".join(lines[-LAST_LINES:]))


def end_on_sigterm() -> None:
    """Leave by way of every `finally` when asked to end, so that nothing is left running."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def _family(first: int) -> dict[int, int]:
    """Return the CPU ticks of a process, of its group and of all descendants, some of which leave the group."""
    parents, groups, ticks = {}, {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            pid = int(stat.parent.name)
            parents[pid], groups[pid], ticks[pid] = int(fields[1]), int(fields[2]), int(fields[11]) + int(fields[12])
    family: set[int] = set()
    new = {pid for pid in parents if first in (pid, groups[pid])}
    while new:
        family |= new
        new = {pid for pid, parent in parents.items() if parent in family} - family
    return {pid: ticks[pid] for pid in family}


def _end(process: subprocess.Popen[str]) -> None:
    """End the process with all that it started, kindly first."""
    family = _family(process.pid)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_WAIT_S)
    for pid in {*family, *_family(process.pid)}:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(BrokenPipeError):
                pipe.close()
