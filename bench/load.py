"""Load on a server by h2load, which speaks HTTP/1.1 and, for gRPC, HTTP/2, and costs little beside what it drives.

Every request is in its log: when it started, its HTTP status, how long it took. Rates and percentiles are taken from
those that ended within the measured window. HTTP says 200 for a failed gRPC call too: callers count those elsewhere.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.pipeline import RunFailed
from common.errors import EnvironmentProblem

PROGRAM = "h2load"
LEAD_S = 0.5  # connections open and queues fill before it counts
PATIENCE_S = 30.0  # beyond the time asked for
PACED_PROCESSES = 64  # one process sends all its paced requests at the same ticks, ten a second
OK = 200

Entries = NDArray[np.int64]  # [requests, 3]: start in µs since the epoch, HTTP status, duration in µs


@dataclass(frozen=True)
class Shot:
    """One request, which is sent again and again. If it `may_miss`, only what was answered well counts."""

    url: str
    body: Path
    is_grpc: bool = False
    may_miss: bool = False


@dataclass(frozen=True)
class Load:
    """What a server did under load. Percentiles are of the requests that ended within the window."""

    per_s: float
    p50_ms: float
    p99_ms: float
    requests: int


def require_generator() -> None:
    """Raise EnvironmentProblem if there is no h2load."""
    if not shutil.which(PROGRAM):
        raise EnvironmentProblem(f"{PROGRAM} is not on PATH", fix="apt-get install nghttp2-client (Debian, Ubuntu)")


def drive(shot: Shot, concurrency: int, seconds: float) -> Load:
    """Send as fast as answers come, on as many connections with one request each under way.

    Raises RunFailed when none was answered, and for a request that failed unless the shot may miss.
    """
    return _measured(shot, [_Part(concurrency)], seconds)


def drive_at(shot: Shot, concurrency: int, seconds: float, per_s: float) -> Load:
    """Send at a fixed rate, spread over processes whose ticks do not coincide. Raises as `drive`."""
    each = max(concurrency // PACED_PROCESSES, 1)
    processes = min(PACED_PROCESSES, concurrency)
    return _measured(shot, [_Part(each, per_s / (each * processes))] * processes, seconds)


@dataclass(frozen=True)
class _Part:
    connections: int
    per_s_each: float | None = None


def _measured(shot: Shot, parts: Sequence[_Part], seconds: float) -> Load:
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / str(index) for index in range(len(parts))]
        processes: list[subprocess.Popen[str]] = []
        try:
            for part, log in zip(parts, logs, strict=True):
                words = _command(shot, part, seconds, log)
                processes.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
            outputs = [process.communicate(timeout=LEAD_S + seconds + PATIENCE_S)[0] for process in processes]
        except subprocess.TimeoutExpired:
            raise RunFailed(f"{PROGRAM} did not end in time", got=shot.url) from None
        finally:
            for process in processes:
                process.kill()
                process.wait()
        for process, words_told in zip(processes, outputs, strict=True):
            if process.returncode:
                raise RunFailed(f"{PROGRAM} ended with exit code {process.returncode}", got=words_told[-500:])
        entries = np.concatenate([read_log(log.read_text(encoding="ascii")) for log in logs])
    return window(entries[entries[:, 1] == OK] if shot.may_miss else entries, LEAD_S, seconds, shot.url)


def _command(shot: Shot, part: _Part, seconds: float, log: Path) -> list[str]:
    kind = "application/grpc" if shot.is_grpc else "application/json"
    headers = ["-H", f"content-type: {kind}", *(["-H", "te: trailers"] if shot.is_grpc else ["--h1"])]
    pace = [f"--rps={part.per_s_each:.2f}"] if part.per_s_each else []
    return [
        PROGRAM,
        "-t1",
        "-m1",
        f"-c{part.connections}",
        f"-D{round((LEAD_S + seconds) * 1000)}ms",
        *headers,
        *pace,
        "-d",
        str(shot.body),
        f"--log-file={log}",
        shot.url,
    ]


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
