"""Have pictures decoded by processes of little power, a few at a time, each for a bounded time.

A process is started with the first picture and kept, for to start one takes ten times as long as to read a picture. One
that is late, or gone, is replaced.
"""

from __future__ import annotations

import hashlib
import math
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.data_settings import IMAGE_STATISTICS
from webapp.http.admission import NoRoom
from webapp.images.frames import Ended, receive, send
from webapp.predict.validation import shown
from webapp.types import InvalidInput, Problem

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 2  # a worker's; each may take child.MEMORY_BYTES
READ_S = 15.0
WAIT_S = 10.0  # for a process that is free
END_S = 5.0
BAD_REQUEST, TOO_LARGE, WRONG_TYPE = 400, 413, 415
STATUSES = {
    "FILE_TOO_LARGE": TOO_LARGE,
    "TOO_MANY_PIXELS": TOO_LARGE,
    "TOO_SLOW": TOO_LARGE,
    "NOT_AN_IMAGE": WRONG_TYPE,
}
EXAMPLE = "a JPEG or PNG file"


class RefusedImage(InvalidInput):
    """A file that is no picture, or none that can be read. The status says which."""

    def __init__(self, kind: str, rule: str, got: str) -> None:
        super().__init__([Problem("file", rule, got, EXAMPLE)], "the picture cannot be read")
        self.http_status = STATUSES.get(kind, BAD_REQUEST)


@dataclass(frozen=True)
class Picture:
    """A picture as the model sees it and as it may be kept: upright RGB, PNG or JPEG of our own, without EXIF.

    `width`, `height` and `statistics` are those of what was sent, `preview` is a small JPEG.
    """

    data: bytes
    preview: bytes
    width: int
    height: int
    sha256: str
    statistics: Mapping[str, float]  # of IMAGE_STATISTICS


Child = subprocess.Popen[bytes]


class Decoders:
    """Safe between threads. Nothing is started before the first picture."""

    def __init__(self, at_once: int = AT_ONCE, read_s: float = READ_S) -> None:
        self._read_s = read_s
        self._free: queue.LifoQueue[Child | None] = queue.LifoQueue()
        for _ in range(at_once):
            self._free.put(None)

    def picture(self, data: bytes) -> Picture:
        """Raises RefusedImage; NoRoom if too many wait."""
        head, parts = self._ask({}, data)
        if len(parts) != 2:
            raise _broken("no picture came of it")
        plain, preview = parts
        size, sha256 = (int(head.get("width", 0)), int(head.get("height", 0))), hashlib.sha256(plain).hexdigest()
        return Picture(plain, preview, *size, sha256, as_statistics(head.get("statistics")))

    def occluded(self, picture: Picture, cells: int) -> list[bytes]:
        """Return the picture and its copies, each with one cell of `cells` × `cells` grey. Raises as `picture`."""
        _, parts = self._ask({"cells": cells}, picture.data)
        if len(parts) != cells * cells + 1:
            raise _broken("no picture came of it")
        return parts

    def close(self) -> None:
        """End the processes that are free; one at work ends with its standard input, when this process does."""
        with suppress(queue.Empty):
            while True:
                if child := self._free.get_nowait():
                    _end(child)

    def _ask(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], list[bytes]]:
        with self.lent() as child:
            assert child.stdin
            assert child.stdout
            give_up = threading.Timer(self._read_s, child.kill)
            give_up.start()
            try:
                send(child.stdin, head, [body])
                answer, parts = receive(child.stdout)
            finally:
                give_up.cancel()
        if "kind" in answer:
            wanted = f": {answer['wanted']}" if answer.get("wanted") else ""
            raise RefusedImage(str(answer["kind"]), f"{answer.get('what')}{wanted}", shown(answer.get("got")))
        return answer, parts

    @contextmanager
    def lent(self) -> Iterator[Child]:
        """Lend a process. Whatever goes wrong meanwhile ends it, and another is started for the next."""
        try:
            child = self._free.get(timeout=WAIT_S)
        except queue.Empty:
            raise NoRoom("too many pictures wait to be read", fix="try again in a minute") from None
        lent_at = time.monotonic()
        try:
            child = child if child and child.poll() is None else _started()
            yield child
        except BaseException as error:
            if child:
                _end(child)
            child = None
            if not isinstance(error, Ended | OSError):
                raise
            if time.monotonic() - lent_at < self._read_s:
                raise _broken("its decoder gave up") from None
            got = f"nothing after {self._read_s:g} s"
            raise RefusedImage("TOO_SLOW", "must be read in a moment", got) from None
        finally:
            self._free.put(child)


def as_statistics(said: object) -> dict[str, float]:
    """Return them, if they are finite numbers. Raises RefusedImage: who decodes strangers' pictures is not believed."""
    measured = said if isinstance(said, dict) else {}
    numbers = {name: measured.get(name) for name in IMAGE_STATISTICS}
    found = {name: float(v) for name, v in numbers.items() if isinstance(v, int | float) and math.isfinite(v)}
    if len(found) < len(numbers):
        raise _broken("its decoder measured no numbers")
    return found


def _broken(got: str) -> RefusedImage:
    return RefusedImage("BROKEN", "must be a picture that can be read", got)


def _started() -> Child:
    return subprocess.Popen(
        [sys.executable, "-m", "webapp.images.child"],
        cwd=ROOT,
        env={"OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end(child: Child) -> None:
    child.kill()
    with suppress(subprocess.TimeoutExpired):
        child.communicate(timeout=END_S)  # what it had still to say, and what to say to it, is dropped
