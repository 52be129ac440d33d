"""Write files so that no reader ever sees half of one, and let one process at a time at a folder."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import EnvironmentProblem


def write_text(path: Path, text: str) -> None:
    """Write a file through a temporary one beside it, synced and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # less what the umask takes away
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(*paths: Path) -> None:
    """Have the disk hold what was written to files and folders."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def disk_problems(what: str, fix: str) -> Iterator[None]:
    """Raise EnvironmentProblem, in words, where the disk is full, read-only or another user's."""
    try:
        yield
    except OSError as error:
        raise EnvironmentProblem(what, got=error, fix=fix) from error


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file; the kernel frees it when the process dies.

    Raises EnvironmentProblem with the words of `busy` and the process that holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = f"process {file.read().strip()}"
            raise EnvironmentProblem(busy, got=holder, fix="wait for it to end, or stop it, then run again") from None
        with suppress(OSError):  # a full disk: the lock holds without a name
            file.seek(0)
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
        yield
