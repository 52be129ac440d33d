"""HTTP read from a bare socket, whole: one packet need not hold all of a message."""

from __future__ import annotations

import re
import socket

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def received(connection: socket.socket, messages: int = 1) -> bytes:
    """So many requests or answers, each as long as its Content-Length says; fewer if the other side closes."""
    content, end = b"", 0
    for _ in range(messages):
        head_end = content.find(HEAD_END, end)
        while head_end < 0 and (piece := connection.recv(1 << 16)):
            content += piece
            head_end = content.find(HEAD_END, end)
        if head_end < 0:
            break
        length = LENGTH.search(content, end, head_end)
        end = head_end + len(HEAD_END) + (int(length[1]) if length else 0)
        while len(content) < end and (piece := connection.recv(1 << 16)):
            content += piece
    return content


def received_head(connection: socket.socket) -> bytes:
    """All until the blank line: for an answer to HEAD, which tells the length of a body that does not come."""
    content = b""
    while HEAD_END not in content and (piece := connection.recv(1 << 16)):
        content += piece
    return content


def drained(connection: socket.socket) -> bytes:
    """All until the other side closes."""
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))
