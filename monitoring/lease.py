"""One process at a time at a job, over crashes and hang-ups: a file that its holder locks, and touches as it goes on.

    the holder dies            the kernel frees the lock: who waits goes on at once
    its main thread hangs      a thread beside it sees that no progress is told, and ends the process
    all of it stands still     the file is not touched any more: who waits puts a file of its own in its place, and the
                               old holder, should it go on, sees that and ends

No clock is compared with another: who waits counts by its own for how long a file has not changed.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import NoReturn

from common.errors import EnvironmentProblem


@dataclass(frozen=True)
class Pace:
    """How often the holder touches the file; how long it may stand still, and its main thread without progress."""

    beat_s: float = 2.0
    still_s: float = 30.0
    stuck_s: float = 900.0


PACE = Pace()


class Lease:
    """What its holder has. It tells of its progress, and is ended by `end` where it lost the lease or is stuck."""

    def __init__(self, path: Path, descriptor: int, pace: Pace, end: Callable[[str], None]) -> None:
        self._path, self._descriptor, self._pace, self._end = path, descriptor, pace, end
        self._beats_without_progress = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def progress(self) -> None:
        """Say that the main thread goes on."""
        self._beats_without_progress = 0

    def release(self) -> None:
        self._is_over.set()
        self._thread.join()
        os.close(self._descriptor)

    def _keep(self) -> None:
        while not self._is_over.wait(self._pace.beat_s):
            if not _is_at(self._path, self._descriptor):
                self._end(f"another process has taken over: {_holder(self._path)}")
                return
            self._beats_without_progress += 1  # counted, for a machine that slept has not been stuck
            if self._beats_without_progress * self._pace.beat_s > self._pace.stuck_s:
                self._end(f"no progress for {self._pace.stuck_s:g} s: another process may have its turn")
                return
            os.utime(self._descriptor)


@contextmanager
def held(
    path: Path, *, is_patient: bool, say: Callable[[str], None], end: Callable[[str], None], pace: Pace = PACE
) -> Iterator[Lease]:
    """Hold the lease; wait for it if need be, and say for whom, or raise EnvironmentProblem that says it.

    `end` is called from another thread and must end the process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _try(path)
    if descriptor is None and not is_patient:
        fix = "wait for it to end, or stop it, then run again"
        raise EnvironmentProblem("another process is at it", got=_holder(path), fix=fix)
    if descriptor is None:
        say(f"waiting until {_holder(path)} ends")
        descriptor = _wait(path, pace)
    lease = Lease(path, descriptor, pace, end)
    try:
        yield lease
    finally:
        lease.release()


def leave(reason: str) -> NoReturn:
    """End this process at once, as `end` of a lease; what it was about to write appears by a rename, or not at all."""
    os.write(2, f"error: {reason}\n".encode())
    os._exit(EnvironmentProblem.exit_code)


def _wait(path: Path, pace: Pace) -> int:
    seen, since = _beat(path), time.monotonic()
    while True:
        threading.Event().wait(pace.beat_s / 2)
        if (descriptor := _try(path)) is not None:
            return descriptor
        if (now := _beat(path)) != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > pace.still_s and (descriptor := _take_over(path, seen)) is not None:
            return descriptor


def _try(path: Path) -> int | None:
    """Return the lease's file, locked, if nobody holds it."""
    with _alone(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        _sign(descriptor)
        return descriptor


def _take_over(path: Path, seen: tuple[int, int]) -> int | None:
    """Put another file in the place of one that has not changed, unless it has by now."""
    with _alone(path):
        if _beat(path) != seen:
            return None
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _sign(descriptor)
        os.replace(fresh, path)
        return descriptor


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep out others that look for the lease, for the moment that it takes."""
    with path.with_name(f".{path.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sign(descriptor: int) -> None:
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    words = {"process": os.getpid(), "host": socket.gethostname(), "since": since}
    os.ftruncate(descriptor, 0)
    with suppress(OSError):  # a full disk: the lease holds without a name
        os.pwrite(descriptor, json.dumps(words).encode(), 0)


def _beat(path: Path) -> tuple[int, int]:
    with suppress(FileNotFoundError):
        state = path.stat()
        return state.st_ino, state.st_mtime_ns
    return 0, 0


def _is_at(path: Path, descriptor: int) -> bool:
    return _beat(path)[0] == os.fstat(descriptor).st_ino


def _holder(path: Path) -> str:
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
        return f"process {words['process']} on {words['host']}, since {words['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return f"the process that holds {path}"
