"""Keep the screen for people: what libraries print goes to a file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def output_to(log: Path) -> Iterator[int]:
    """Send all output of this process, that of C++ code too, to a file; yield a descriptor of the old stdout."""
    log.parent.mkdir(parents=True, exist_ok=True)
    screen, errors = os.dup(1), os.dup(2)
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield screen
    finally:
        os.dup2(screen, 1)
        os.dup2(errors, 2)
        os.close(screen)
        os.close(errors)
