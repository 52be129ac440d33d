"""What passes between the web app and a decoding process: a line of JSON, and the parts whose sizes it tells."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import IO, Any

MAX_HEAD_BYTES = 1 << 16
MAX_PARTS_BYTES = 1 << 26


class Ended(Exception):
    """The other side is gone, or says what nobody here would say."""


def send(stream: IO[bytes], head: Mapping[str, Any], parts: Sequence[bytes]) -> None:
    """Raises OSError."""
    line = json.dumps({**head, "sizes": [len(part) for part in parts]}).encode()
    stream.write(b"".join([line, b"\n", *parts]))
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """Return head and parts. Raises Ended, OSError."""
    try:
        head = json.loads(stream.readline(MAX_HEAD_BYTES))
        sizes = [int(size) for size in head["sizes"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Ended from None
    if any(size < 0 for size in sizes) or sum(sizes) > MAX_PARTS_BYTES:
        raise Ended
    parts = [stream.read(size) for size in sizes]
    if [len(part) for part in parts] != sizes:
        raise Ended
    return head, parts
