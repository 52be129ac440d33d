"""What passes between the web app and a decoding process: a head in JSON and a body, each with its length."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

LENGTHS = struct.Struct(">II")
MAX_HEAD_BYTES = 1 << 16
MAX_BODY_BYTES = 1 << 26
PIECE_BYTES = 1 << 16


class Ended(Exception):
    """The other side is gone, or says what nobody here would say."""


def send(connection: socket.socket, head: Mapping[str, Any], body: bytes, deadline_s: float) -> None:
    """Raises TimeoutError, OSError. `deadline_s`: by the monotonic clock."""
    text = json.dumps(head).encode()
    connection.settimeout(_left_s(deadline_s))
    connection.sendall(LENGTHS.pack(len(text), len(body)) + text)
    connection.settimeout(_left_s(deadline_s))
    connection.sendall(body)


def receive(connection: socket.socket, deadline_s: float | None = None) -> tuple[dict[str, Any], bytes]:
    """Return head and body. Raises Ended, TimeoutError, OSError."""
    head_bytes, body_bytes = LENGTHS.unpack(_exactly(connection, LENGTHS.size, deadline_s))
    if head_bytes > MAX_HEAD_BYTES or body_bytes > MAX_BODY_BYTES:
        raise Ended
    try:
        head = json.loads(_exactly(connection, head_bytes, deadline_s))
    except ValueError:
        raise Ended from None
    if not isinstance(head, dict):
        raise Ended
    return head, _exactly(connection, body_bytes, deadline_s)


def _exactly(connection: socket.socket, size: int, deadline_s: float | None) -> bytes:
    pieces = bytearray()
    while len(pieces) < size:
        connection.settimeout(None if deadline_s is None else _left_s(deadline_s))
        piece = connection.recv(min(PIECE_BYTES, size - len(pieces)))
        if not piece:
            raise Ended
        pieces += piece
    return bytes(pieces)


def _left_s(deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
