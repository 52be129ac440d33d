"""Start what is measured, and load it by h2load, which speaks HTTP/1.1 and HTTP/2 and costs little beside a server.

Every request is in its log: when it started, its HTTP status, how long it took. Rates and percentiles are taken from
those that ended within the measured window. HTTP says 200 for a failed gRPC call too: callers count those elsewhere.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.report import ROOT, RunFailed
from common.errors import EnvironmentProblem

HOST = "127.0.0.1"
END_WAIT_S = 10.0
LOOK_EVERY_S = 0.1
LAST_LINES = 15
IDLE_WAIT_S = 60.0
IDLE_TICKS = 2  # of 10 ms, in LOOK_EVERY_S: pollers and heartbeats take less
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONUNBUFFERED": "1"}
PROGRAM = "h2load"
LEAD_S = 0.5  # connections open and queues fill before it counts
PATIENCE_S = 30.0  # beyond the time asked for
PACED_PROCESSES = 64  # one process sends all its paced requests at the same ticks, ten a second
OK = 200
Entries = NDArray[np.int64]  # [requests, 3]: start in µs since the epoch, HTTP status, duration in µs


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
        wait_for_end(process, command, timeout_s)


def wait_for_end(process: subprocess.Popen[str], command: Command, timeout_s: float) -> None:
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


@dataclass(frozen=True)
class Shot:
    """One request, which is sent again and again. If it `may_miss`, only what was answered well counts."""

    url: str
    body: Path
    is_grpc: bool = False
    may_miss: bool = False


@dataclass(frozen=True)
class Load:
    """What a server did under load. Percentiles are of the requests that ended within the window.

    `generator_s`: of the processors, which the load generator took from the server; `refused`: of a shot that may miss.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    requests: int
    generator_s: float = 0.0
    refused: int = 0


def require_generator() -> None:
    """Raise EnvironmentProblem if there is no h2load."""
    if not shutil.which(PROGRAM):
        raise EnvironmentProblem(f"{PROGRAM} is not on PATH", fix="apt-get install nghttp2-client (Debian, Ubuntu)")


def drive(
    shot: Shot, concurrency: int, seconds: float, per_s: float | None = None, *, generators: int = PACED_PROCESSES
) -> Load:
    """Send on as many connections, one request each under way: as fast as answers come, or evenly at a fixed rate.

    Raises RunFailed when none was answered, and for a request that failed unless the shot may miss.
    """
    parts = min(generators, concurrency) if per_s else 1  # ticks of several processes do not coincide
    connections = max(concurrency // parts, 1)
    pace = [f"--rps={per_s / (connections * parts):.2f}"] if per_s else []
    words = _command(shot, connections, seconds) + pace
    before_s = _processor_s()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        logs = [Path(folder) / str(index) for index in range(parts)]
        commands = [Command([*words, f"--log-file={log}", shot.url], log.with_suffix(".out")) for log in logs]
        processes = [stack.enter_context(running(command)) for command in commands]
        for process, command in zip(processes, commands, strict=True):
            wait_for_end(process, command, LEAD_S + seconds + PATIENCE_S)
        entries = np.concatenate([read_log(log.read_text(encoding="ascii")) for log in logs])
    load = window(entries[entries[:, 1] == OK] if shot.may_miss else entries, LEAD_S, seconds, shot.url)
    return replace(load, generator_s=_processor_s() - before_s, refused=int((entries[:, 1] != OK).sum()))


def _processor_s() -> float:
    """Return what ended child processes, generators among them, took of the processors."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _command(shot: Shot, connections: int, seconds: float) -> list[str]:
    kind = "application/grpc" if shot.is_grpc else "application/json"
    headers = ["-H", f"content-type: {kind}", *(["-H", "te: trailers"] if shot.is_grpc else ["--h1"])]
    lasts = f"-D{round((LEAD_S + seconds) * 1000)}ms"
    return [PROGRAM, "-t1", "-m1", f"-c{connections}", lasts, *headers, "-d", str(shot.body)]


def read_log(text: str) -> Entries:
    """Return a log's entries. A last line that was cut short is left out."""
    rows = [line.split("\t") for line in text[: text.rfind("\n") + 1].splitlines()]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def window(entries: Entries, lead_s: float, seconds: float, name: str) -> Load:
    """Return what ended in the window, which begins `lead_s` after the first request did.

    Raises RunFailed for any request that failed, in the window or out of it, or when none ended in it.
    """
    failed = entries[entries[:, 1] != OK]
    if len(failed):
        raise RunFailed(
            f"{len(failed)} of {len(entries)} requests to {name} failed",
            got="status " + ", ".join(map(str, np.unique(failed[:, 1]))),
        )
    begin = entries[:, 0].min(initial=np.iinfo(np.int64).max) + lead_s * 1e6
    ends = entries[:, 0] + entries[:, 2]
    inside = entries[(ends >= begin) & (ends < begin + seconds * 1e6)]
    if not len(inside):
        raise RunFailed(f"{name} answered nothing within {seconds:g} s")
    p50, p99 = np.percentile(inside[:, 2], [50, 99]) / 1000
    return Load(len(inside) / seconds, float(p50), float(p99), len(inside))
