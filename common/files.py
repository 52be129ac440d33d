"""Write files so that no reader ever sees half of one, and let one process at a time at a folder."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import EnvironmentProblem


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a place beside a file to write to, which takes the file's name once all is written and on the disk."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        yield part
        sync(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as part:
        part.write_text(text, encoding="utf-8")


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
